//! Three sweeps: over the number of fragments, the number of clients, and the hit ratio.

use std::fmt::Write as _;

use crate::load::{Effort, Measured, measure};
use crate::plot::{Line, Plot};
use crate::rig::{Rig, always, cell, layout};

/// The size of a fragment, in bytes.
const BYTES: usize = 200;
const FRAGMENTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const CLIENTS: [usize; 3] = [1, 8, 64];
/// The percentages of a page's fragments that are cacheable.
const CACHEABLE: [usize; 4] = [100, 90, 50, 0];
/// The numbers of fragments and clients while something else is swept.
const USUAL: (usize, usize) = (100, 8);

/// A measured page: its fragments, the simultaneous clients, and the percentage of fragments that are cacheable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    fragments: usize,
    clients: usize,
    cacheable: usize,
}

impl Point {
    const fn uncacheable(self) -> usize {
        self.fragments * (100 - self.cacheable) / 100
    }

    fn route(self) -> String {
        format!("/p{}-{}", self.fragments, self.cacheable)
    }
}

fn points() -> Vec<Point> {
    let (fragments, clients) = USUAL;
    let mut all: Vec<Point> = CACHEABLE.map(|cacheable| Point { fragments, clients, cacheable }).to_vec();
    for cacheable in [100, 90] {
        all.extend(FRAGMENTS.map(|fragments| Point { fragments, clients, cacheable }));
        all.extend(CLIENTS.map(|clients| Point { fragments, clients, cacheable }));
    }
    // A page of one fragment has no tenth that could be uncacheable.
    all.retain(|point| point.cacheable == 100 || point.uncacheable() > 0);
    let mut once: Vec<Point> = Vec::new();
    for point in all {
        if !once.contains(&point) {
            once.push(point);
        }
    }
    once
}

/// All points with their results, each beside the limit with as many bytes and clients.
struct Swept {
    /// Each point, the index of its cell, and that of the limit's cell.
    at: Vec<(Point, usize, usize)>,
    measured: Measured,
}

impl Swept {
    async fn of(rig: &Rig, effort: Effort) -> Self {
        let points = points();
        let site = rig.site();
        for point in &points {
            let route = point.route();
            let layout = layout(&format!("route = \"{route}\""), point.fragments, BYTES, point.uncacheable());
            site.write(&format!("layouts{route}.html"), &layout);
        }
        let running = site.serve(true);
        let mut limits: Vec<(usize, usize)> = points.iter().map(|point| (point.fragments, point.clients)).collect();
        limits.sort_unstable();
        limits.dedup();
        let (mut at, mut cells) = (Vec::new(), Vec::new());
        // The limit's turn is next to those that are compared with it, since other work on the machine comes and goes.
        for (fragments, clients) in limits {
            let (limit, bytes) = (cells.len(), fragments * BYTES);
            cells.push(rig.limit(bytes, clients));
            for point in points.iter().filter(|point| (point.fragments, point.clients) == (fragments, clients)) {
                at.push((*point, cells.len(), limit));
                cells.push(cell(&running, always(point.route()), bytes, clients));
            }
        }
        let measured = measure(&cells, effort).await;
        Self { at, measured }
    }

    /// Pages per second, p50, p99 and CPU time per page, each relative to the limit's.
    fn over_limit(&self, point: Point) -> Option<[f64; 4]> {
        let (_, at, limit) = *self.at.iter().find(|(known, ..)| *known == point)?;
        let over = |of| self.measured.over(at, limit, of);
        Some([over(|turn| turn.per_second), over(|turn| turn.p50), over(|turn| turn.p99), over(|turn| turn.cpu)])
    }

    fn table(&self, what: &str, of: impl IntoIterator<Item = (String, Point)>) -> String {
        let mut rows = format!(
            "| {what} | fetches per page | pages/s | p50 | p99 | CPU per page |\n|---:|---:|---:|---:|---:|---:|\n"
        );
        for (name, point) in of {
            let Some([per_second, p50, p99, cpu]) = self.over_limit(point) else { continue };
            let upstream = point.uncacheable();
            let cells = [ratio(per_second), ratio(p50), ratio(p99), ratio(cpu)].join(" | ");
            writeln!(rows, "| {name} | {upstream} | {cells} |").unwrap();
        }
        rows + "\n"
    }

    fn line(&self, name: &'static str, what: usize, of: impl Iterator<Item = (f64, Point)>) -> Line {
        let points = of.filter_map(|(x, point)| Some((x, self.over_limit(point)?[what]))).collect();
        Line::new(name, points)
    }
}

/// A ratio with about three significant digits.
pub(crate) fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio if ratio >= 0.1 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.5}").trim_end_matches('0').to_owned(),
    }
}

/// Measures the sweeps. Returns tables and plots.
pub(crate) async fn sweeps(rig: &Rig, effort: Effort) -> (String, Vec<Plot>) {
    let swept = Swept::of(rig, effort).await;
    let (fragments, clients) = USUAL;
    let by_fragments = |cacheable| FRAGMENTS.map(|fragments| (fragments, Point { fragments, clients, cacheable }));
    let by_clients = |cacheable| CLIENTS.map(|clients| (clients, Point { fragments, clients, cacheable }));
    let named = |cacheable: usize, number: usize| format!("{number}, {cacheable} % cacheable");
    let mut text = format!(
        "## Sweeps\n\nFragments of {BYTES} bytes; {fragments} per page and {clients} simultaneous clients unless stated otherwise. \
         All figures are **relative to the limit** with as many bytes and clients, in the same round: 1 is a bare hyper server.\n\n"
    );
    for (what, by) in [
        ("fragments per page", [by_fragments(100).to_vec(), by_fragments(90).to_vec()]),
        ("simultaneous clients", [by_clients(100).to_vec(), by_clients(90).to_vec()]),
    ] {
        let rows = by.into_iter().flatten().map(|(number, point)| (named(point.cacheable, number), point));
        text += &swept.table(what, rows);
    }
    let by_cacheable = CACHEABLE.map(|cacheable| (cacheable, Point { fragments, clients, cacheable }));
    text += &swept
        .table("hit ratio", by_cacheable.map(|(cacheable, point)| (format!("{:.1}", cacheable as f64 / 100.0), point)));
    text += "The hit ratio is the share of a page's fragments that are cacheable (`ttl`); the others are fetched for each \
        request. Real pages are like this: shared parts, with some that are personal or always new. \
        A mix of new and known URLs would only average two of these rows, 1.0 and 0, and hide that one uncacheable part \
        already keeps a page out of the page cache.\n\n";
    let float = |points: Vec<(usize, Point)>| points.into_iter().map(|(x, point)| (x as f64, point));
    let lines = |what: usize| {
        [(100, "all cacheable"), (90, "nine of ten cacheable")]
            .map(|(cacheable, name)| swept.line(name, what, float(by_fragments(cacheable).to_vec())))
            .to_vec()
    };
    let [p50, p99] = [1, 2].map(|what| {
        float(by_clients(100).to_vec()).map(|(x, p)| (x, swept.over_limit(p).map_or(0.0, |o| o[what]))).collect()
    });
    let upstream = by_cacheable.map(|(cacheable, point)| ((100 - cacheable) as f64, point)).into_iter();
    let plots = vec![
        Plot {
            file: "pages-by-fragments",
            title: "Pages per second by fragments per page",
            x: "fragments per page, 200 bytes each",
            y: "pages/s relative to the limit (1 = a bare hyper server)",
            log: (true, true),
            lines: lines(0),
        },
        Plot {
            file: "latency-by-readers",
            title: "Latency of a cached page by simultaneous clients",
            x: "simultaneous clients",
            y: "latency relative to the limit (1 = a bare hyper server)",
            log: (true, false),
            lines: vec![Line::new("p50", p50), Line::new("p99", p99)],
        },
        Plot {
            file: "cpu-by-misses",
            title: "CPU time of a page by its fetches",
            x: "uncacheable fragments of 100",
            y: "CPU time per page relative to the limit",
            log: (false, false),
            lines: vec![swept.line("a page of 100 x 200 bytes", 3, upstream)],
        },
    ];
    (text, plots)
}
