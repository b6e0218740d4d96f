//! Three sweeps over what a page is made of and how it is asked for.

use std::fmt::Write as _;

use crate::load::{Effort, Measured, measure};
use crate::plot::{Line, Plot};
use crate::rig::{Rig, always, cell, layout};

/// Bytes of a fragment.
const BYTES: usize = 200;
const FRAGMENTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const READERS: [usize; 3] = [1, 8, 64];
/// Of a hundred fragments of a page so many may be kept.
const KEPT: [usize; 4] = [100, 90, 50, 0];
/// What stays as it is while something else is swept.
const USUAL: (usize, usize) = (100, 8);

/// A page that is asked for: its fragments, readers at once, and how many of a hundred fragments may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    fragments: usize,
    readers: usize,
    kept: usize,
}

impl Point {
    const fn uncacheable(self) -> usize {
        self.fragments * (100 - self.kept) / 100
    }

    fn route(self) -> String {
        format!("/p{}-{}", self.fragments, self.kept)
    }
}

fn points() -> Vec<Point> {
    let (fragments, readers) = USUAL;
    let mut all: Vec<Point> = KEPT.map(|kept| Point { fragments, readers, kept }).to_vec();
    for kept in [100, 90] {
        all.extend(FRAGMENTS.map(|fragments| Point { fragments, readers, kept }));
        all.extend(READERS.map(|readers| Point { fragments, readers, kept }));
    }
    // One of ten that may not be kept: of one fragment there is no tenth.
    all.retain(|point| point.kept == 100 || point.uncacheable() > 0);
    let mut once: Vec<Point> = Vec::new();
    for point in all {
        if !once.contains(&point) {
            once.push(point);
        }
    }
    once
}

/// All points, measured, each beside the limit with as many bytes and readers.
struct Swept {
    /// Each point's cell, and that of the limit.
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
        let mut limits: Vec<(usize, usize)> = points.iter().map(|point| (point.fragments, point.readers)).collect();
        limits.sort_unstable();
        limits.dedup();
        let (mut at, mut cells) = (Vec::new(), Vec::new());
        // The limit's turn stands beside those that are held against it: what else the machine does comes and goes.
        for (fragments, readers) in limits {
            let (limit, bytes) = (cells.len(), fragments * BYTES);
            cells.push(rig.limit(bytes, readers));
            for point in points.iter().filter(|point| (point.fragments, point.readers) == (fragments, readers)) {
                at.push((*point, cells.len(), limit));
                cells.push(cell(&running, always(point.route()), bytes, readers));
            }
        }
        let measured = measure(&cells, effort).await;
        Self { at, measured }
    }

    /// Pages/s, p50, p99 and CPU time a page, each over the limit's.
    fn over_limit(&self, point: Point) -> Option<[f64; 4]> {
        let (_, at, limit) = *self.at.iter().find(|(known, ..)| *known == point)?;
        let over = |of| self.measured.over(at, limit, of);
        Some([over(|turn| turn.per_second), over(|turn| turn.p50), over(|turn| turn.p99), over(|turn| turn.cpu)])
    }

    fn table(&self, what: &str, of: impl IntoIterator<Item = (String, Point)>) -> String {
        let mut rows = format!(
            "| {what} | asked upstream a page | pages/s | p50 | p99 | CPU a page |\n|---:|---:|---:|---:|---:|---:|\n"
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

/// A ratio, as a person reads it: with three digits, however small or large.
pub(crate) fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio if ratio >= 0.1 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.5}").trim_end_matches('0').to_owned(),
    }
}

/// The sweeps as tables, and their plots.
pub(crate) async fn sweeps(rig: &Rig, effort: Effort) -> (String, Vec<Plot>) {
    let swept = Swept::of(rig, effort).await;
    let (fragments, readers) = USUAL;
    let by_fragments = |kept| FRAGMENTS.map(|fragments| (fragments, Point { fragments, readers, kept }));
    let by_readers = |kept| READERS.map(|readers| (readers, Point { fragments, readers, kept }));
    let named = |kept: usize, number: usize| format!("{number}, {kept} % kept");
    let mut text = format!(
        "## Sweeps\n\nFragments of {BYTES} bytes; {fragments} a page and {readers} readers at once where it says nothing else. \
         All figures are **over the limit's** with as many bytes and readers, in the same round: 1 is a bare hyper server.\n\n"
    );
    for (what, by) in [
        ("fragments a page", [by_fragments(100).to_vec(), by_fragments(90).to_vec()]),
        ("readers at once", [by_readers(100).to_vec(), by_readers(90).to_vec()]),
    ] {
        let rows = by.into_iter().flatten().map(|(number, point)| (named(point.kept, number), point));
        text += &swept.table(what, rows);
    }
    let by_kept = KEPT.map(|kept| (kept, Point { fragments, readers, kept }));
    text += &swept.table("hit ratio", by_kept.map(|(kept, point)| (format!("{:.1}", kept as f64 / 100.0), point)));
    text += "The hit ratio is the share of a page's fragments that may be kept (`ttl`); the others are asked for, for each \
        reader. That is what an operator has: pages of shared parts with some that are one reader's, or always \
        new. URLs of which some are new would only mix two of these rows, 1.0 and 0, and hide that one part that may not be kept \
        already takes a page out of those that are kept whole.\n\n";
    let float = |points: Vec<(usize, Point)>| points.into_iter().map(|(x, point)| (x as f64, point));
    let lines = |what: usize| {
        [(100, "all kept"), (90, "nine of ten kept")]
            .map(|(kept, name)| swept.line(name, what, float(by_fragments(kept).to_vec())))
            .to_vec()
    };
    let [p50, p99] = [1, 2].map(|what| {
        float(by_readers(100).to_vec()).map(|(x, p)| (x, swept.over_limit(p).map_or(0.0, |o| o[what]))).collect()
    });
    let upstream = by_kept.map(|(kept, point)| ((100 - kept) as f64, point)).into_iter();
    let plots = vec![
        Plot {
            file: "pages-by-fragments",
            title: "Pages a second against fragments a page",
            x: "fragments a page, 200 bytes each",
            y: "pages/s over the limit's (1 = a bare hyper server)",
            log: (true, true),
            lines: lines(0),
        },
        Plot {
            file: "latency-by-readers",
            title: "Latency of a hot page against readers at once",
            x: "readers at once",
            y: "latency over the limit's (1 = a bare hyper server)",
            log: (true, false),
            lines: vec![Line::new("p50", p50), Line::new("p99", p99)],
        },
        Plot {
            file: "cpu-by-misses",
            title: "CPU time of a page against what is asked upstream for it",
            x: "fragments of 100 that may not be kept",
            y: "CPU time a page over the limit's",
            log: (false, false),
            lines: vec![swept.line("a page of 100 x 200 bytes", 3, upstream)],
        },
    ];
    (text, plots)
}
