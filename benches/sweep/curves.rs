//! Measures how the cost of a page grows with fragments, layouts and cache entries: does it grow faster than the bytes
//! that are sent?

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::StreamExt as _;

use crate::load::{Cell, Effort, Measured, Target, Turn, measure};
use crate::pages::ratio;
use crate::plot::{Line, Plot};
use crate::rig::{Rig, always, cell, layout, once};
use crate::support::Running;

const CLIENTS: usize = 8;
const FRAGMENTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// The size of a page that is divided into ever more and smaller fragments.
const TOTAL: usize = 100_000;
/// The size of each fragment of a page that grows with their number.
const EACH: usize = 100;
const LAYOUTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// The number of layouts that are requested, evenly spread over all of them.
const REQUESTED: usize = 16;
const ENTRIES: [usize; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// The size of a cached response, in bytes.
const SMALL: usize = 20;
/// The number of entries that one request of `/fill` caches.
const BLOCK: usize = 1_000;
/// The number of entries on a page of drawn entries.
const DRAWN: usize = 10;

/// A measurement at several sizes.
struct Curve {
    name: &'static str,
    /// The sizes, each with the bytes that are sent.
    sizes: Vec<(usize, usize)>,
    /// The index of its first cell.
    first: usize,
}

/// Curves over the same sizes, which share a table and a plot.
#[derive(Default)]
struct Family {
    cells: Vec<Cell>,
    curves: Vec<Curve>,
}

impl Family {
    fn add(&mut self, name: &'static str, cells: impl IntoIterator<Item = (usize, Cell)>) {
        let first = self.cells.len();
        let mut sizes = Vec::new();
        for (size, cell) in cells {
            sizes.push((size, cell.bytes));
            self.cells.push(cell);
        }
        self.curves.push(Curve { name, sizes, first });
    }

    async fn measure(self, effort: Effort) -> MeasuredFamily {
        let measured = measure(&self.cells, effort).await;
        MeasuredFamily { curves: self.curves, measured }
    }
}

/// A family of curves with its results.
struct MeasuredFamily {
    curves: Vec<Curve>,
    measured: Measured,
}

const fn cpu(turn: &Turn) -> f64 {
    turn.cpu
}

const fn wall(turn: &Turn) -> f64 {
    1.0 / turn.per_second
}

impl MeasuredFamily {
    /// The ratio of a value at one size to that at another.
    fn over(&self, curve: &Curve, at: usize, other: usize, of: fn(&Turn) -> f64) -> f64 {
        self.measured.over(curve.first + at, curve.first + other, of)
    }

    fn table(&self, what: &str) -> String {
        let names = self.curves.iter().map(|curve| curve.name);
        let heads: Vec<String> = names.map(|name| format!("{name}: CPU | time")).collect();
        let mut rows = format!("| {what} | bytes | {} |\n|---:|---:|", heads.join(" | "));
        rows += &"---:|---:|".repeat(self.curves.len());
        let longest = self.curves.iter().max_by_key(|curve| curve.sizes.len()).unwrap();
        for (size, bytes) in &longest.sizes {
            let sent = *bytes as f64 / longest.sizes[0].1 as f64;
            write!(rows, "\n| {size} | {} |", ratio(sent)).unwrap();
            for curve in &self.curves {
                match curve.sizes.iter().position(|(known, _)| known == size) {
                    Some(at) => {
                        let [cpu, wall] = [cpu, wall].map(|of| ratio(self.over(curve, at, 0, of)));
                        write!(rows, " {cpu} | {wall} |").unwrap();
                    }
                    None => rows += " | |",
                }
            }
        }
        rows + "\n\n" + &self.steps() + "\n"
    }

    /// For each curve, the step at which its CPU time grew most in relation to the bytes.
    fn steps(&self) -> String {
        let mut text = String::new();
        for curve in &self.curves {
            let step = |at: usize| {
                let cpu = self.over(curve, at + 1, at, cpu);
                (cpu, curve.sizes[at + 1].1 as f64 / curve.sizes[at].1 as f64, at)
            };
            let steps = (0..curve.sizes.len() - 1).map(step);
            let steepest =
                steps.max_by(|(cpu, bytes, _), (other, others, _)| (cpu / bytes).total_cmp(&(other / others)));
            let Some((cpu, bytes, at)) = steepest else { continue };
            let (from, to) = (curve.sizes[at].0, curve.sizes[at + 1].0);
            let (cpu, bytes) = (ratio(cpu), ratio(bytes));
            writeln!(
                text,
                "- {}: at its steepest, from {from} to {to}, {cpu} times the CPU time for {bytes} times the bytes",
                curve.name
            )
            .unwrap();
        }
        text
    }

    fn lines(&self, of: fn(&Turn) -> f64) -> Vec<Line> {
        let line = |curve: &Curve| {
            let points =
                curve.sizes.iter().enumerate().map(|(at, (size, _))| (*size as f64, self.over(curve, at, 0, of)));
            Line::new(curve.name, points.collect())
        };
        self.curves.iter().map(line).collect()
    }

    /// The reference line: growth in proportion to the bytes sent.
    fn bytes(&self) -> Line {
        let sizes = &self.curves[0].sizes;
        let points = sizes.iter().map(|(size, bytes)| (*size as f64, *bytes as f64 / sizes[0].1 as f64)).collect();
        Line::reference("bytes sent", points)
    }
}

/// The address of a page with a new parameter each time, so that the page is never a cached page.
fn composed(route: String) -> Target {
    let next = AtomicU64::new(0);
    Arc::new(move || format!("{route}?u={}", next.fetch_add(1, Ordering::Relaxed)))
}

/// A cached page, a page composed of cached parts, and the limit, by number of fragments.
async fn fragments(rig: &Rig, effort: Effort, bytes: fn(usize) -> usize) -> MeasuredFamily {
    let site = rig.site();
    for number in FRAGMENTS {
        let front = format!("route = \"/p{number}\"\nquery = [\"u\"]");
        site.write(&format!("layouts/p{number}.html"), &layout(&front, number, bytes(number), 0));
    }
    let running = site.serve(true);
    let mut family = Family::default();
    let page = |number: usize, target| (number, cell(&running, target, number * bytes(number), CLIENTS));
    family.add("cached page", FRAGMENTS.map(|number| page(number, always(format!("/p{number}")))));
    family.add("composed page", FRAGMENTS.map(|number| page(number, composed(format!("/p{number}")))));
    family.add("the limit", FRAGMENTS.map(|number| (number, rig.limit(number * bytes(number), CLIENTS))));
    family.measure(effort).await
}

/// Addresses of some of all layouts, one after another.
fn some_of(layouts: usize, route: fn(usize) -> String) -> Target {
    let requested = layouts.min(REQUESTED);
    let next = AtomicUsize::new(0);
    Arc::new(move || {
        let turn = next.fetch_add(1, Ordering::Relaxed) % requested;
        route(if requested == 1 { 0 } else { turn * (layouts - 1) / (requested - 1) })
    })
}

async fn layouts(rig: &Rig, effort: Effort) -> MeasuredFamily {
    let all = LAYOUTS.map(|number| {
        let site = rig.site();
        for n in 0..number {
            let front = format!("route = [\"/literal/{n}\", \"/with/{n}/{{city}}/{{day}}\"]");
            site.write(&format!("layouts/{n}.html"), &layout(&front, 1, EACH, 0));
        }
        (number, site.serve(true))
    });
    let mut family = Family::default();
    let page =
        |(number, running): &(usize, Running), route| (*number, cell(running, some_of(*number, route), EACH, CLIENTS));
    family.add("literal routes", all.iter().map(|site| page(site, |n| format!("/literal/{n}"))));
    family.add("routes with parameters", all.iter().map(|site| page(site, |n| format!("/with/{n}/oslo/monday"))));
    family.measure(effort).await
}

/// The number of an entry as a parameter: that of its block, and three digits.
const fn entry(n: usize) -> usize {
    BLOCK + n
}

/// A site with this many cached responses, a cached page `/hot`, and a page `/drawn` of any ten of the responses.
async fn filled(rig: &Rig, entries: usize) -> Running {
    let site = rig.site();
    site.write("layouts/hot.html", &layout("route = \"/hot\"", DRAWN, SMALL, 0).replace("data-n=", "data-n=9"));
    let mut block = "+++\nroute = \"/fill/{b}\"\n+++\n".to_owned();
    for n in 0..entries.min(BLOCK) {
        write!(block, "<fragment name=part ttl=1h data-s={SMALL} data-n=\"{{b}}{n:03}\" />").unwrap();
    }
    site.write("layouts/fill.html", &block);
    let names: Vec<String> = (0..DRAWN).map(|n| format!("n{n}")).collect();
    let mut drawn = format!("+++\nroute = \"/drawn/{{u}}\"\nquery = {names:?}\n+++\n");
    for name in &names {
        write!(drawn, "<fragment name=part ttl=1h data-s={SMALL} data-n={{{name}}} />").unwrap();
    }
    site.write("layouts/drawn.html", &drawn);
    let running = site.serve(true);
    let blocks = futures::stream::iter(1..=entries.div_ceil(BLOCK));
    let fill = |block| {
        let running = &running;
        async move { once(running, &format!("/fill/{block}")).await }
    };
    blocks.for_each_concurrent(4, fill).await;
    let cached: f64 = running.metric("pasteup_cache_entries").await.iter().sum();
    assert!(cached >= entries as f64, "{cached} of {entries} entries are cached");
    running
}

/// A page of ten random entries. Its address differs each time, so it is always composed.
fn drawn(of: usize) -> Target {
    let next = AtomicU64::new(0);
    Arc::new(move || {
        let first = fastrand::usize(..of);
        let parts = (0..DRAWN).map(|n| format!("n{n}={}", entry((first + n * of / DRAWN) % of)));
        format!("/drawn/{}?{}", next.fetch_add(1, Ordering::Relaxed), parts.collect::<Vec<_>>().join("&"))
    })
}

async fn entries(rig: &Rig, effort: Effort) -> MeasuredFamily {
    let mut all = Vec::new();
    for number in ENTRIES {
        all.push((number, filled(rig, number).await));
    }
    let mut family = Family::default();
    let page = |(number, running): &(usize, Running), target| (*number, cell(running, target, DRAWN * SMALL, CLIENTS));
    family.add("cached page", all.iter().map(|site| page(site, always("/hot".to_owned()))));
    let enough = all.iter().filter(|(number, _)| *number >= DRAWN);
    family.add("page of ten drawn entries", enough.map(|site| page(site, drawn(site.0))));
    family.measure(effort).await
}

/// Measures the curves. Returns tables and plots.
pub(crate) async fn curves(rig: &Rig, effort: Effort) -> (String, Vec<Plot>) {
    let mut text = "## Curves\n\nEach figure is **over the same at the smallest size**, in the same round: 1 is what the smallest \
        takes, of CPU time (user and system) and of time per page. The claim is that neither grows faster than the bytes that are sent. \
        A cached page is sent from the page cache; a composed one is stitched from cached parts, like pages with many URLs or an uncacheable part.\n\n".to_owned();
    let total = fragments(rig, effort, |number| TOTAL / number).await;
    let each = fragments(rig, effort, |_| EACH).await;
    let layouts = layouts(rig, effort).await;
    let entries = entries(rig, effort).await;
    for (title, what, grown) in [
        (format!("Fragments, {TOTAL} bytes per page"), "fragments per page", &total),
        (format!("Fragments, {EACH} bytes each"), "fragments per page", &each),
        (format!("Layouts in the site, {REQUESTED} of them requested"), "layouts", &layouts),
        (format!("Cached responses, of {SMALL} bytes each"), "entries", &entries),
    ] {
        write!(text, "### {title}\n\n{}", grown.table(what)).unwrap();
    }
    let plot = |file, title, x, log_y, lines| Plot {
        file,
        title,
        x,
        y: "CPU time per page, relative to the smallest",
        log: (true, log_y),
        lines,
    };
    let with_bytes = |grown: &MeasuredFamily| {
        let mut lines = grown.lines(cpu);
        lines.push(grown.bytes());
        lines
    };
    let plots = vec![
        plot("fragments-total", "Fragments of a page of 100,000 bytes", "fragments per page", true, with_bytes(&total)),
        plot("fragments-each", "Fragments of 100 bytes each", "fragments per page", true, with_bytes(&each)),
        plot("layouts", "Layouts in the site", "layouts", false, with_bytes(&layouts)),
        plot("entries", "Entries in the cache", "entries", false, with_bytes(&entries)),
    ];
    (text, plots)
}
