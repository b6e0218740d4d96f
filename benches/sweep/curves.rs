//! What a hot page and a request cost against fragments, layouts and kept entries: does it grow faster than
//! the bytes that are sent?

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::StreamExt as _;

use crate::load::{Cell, Effort, Measured, Target, Turn, measure};
use crate::pages::ratio;
use crate::plot::{Line, Plot};
use crate::rig::{Rig, always, cell, layout, once};
use crate::support::Running;

const READERS: usize = 8;
const FRAGMENTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// Bytes of a page whose fragments are the smaller, the more there are.
const TOTAL: usize = 100_000;
/// Bytes of a fragment of a page that is the larger, the more there are.
const EACH: usize = 100;
const LAYOUTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// Of many layouts so many are asked for, from the first to the last.
const ASKED: usize = 16;
const ENTRIES: [usize; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// Bytes of a kept entry.
const SMALL: usize = 20;
/// Entries that one page fills.
const BLOCK: usize = 1_000;
/// Entries that one page draws, and the bytes of that page.
const DRAWN: usize = 10;

/// Something that is measured at several sizes.
struct Curve {
    name: &'static str,
    /// The sizes, each with the bytes that are sent.
    sizes: Vec<(usize, usize)>,
    /// Where its cells begin.
    first: usize,
}

/// Curves over the same sizes, which are shown together.
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

    async fn measure(self, effort: Effort) -> Grown {
        let measured = measure(&self.cells, effort).await;
        Grown { curves: self.curves, measured }
    }
}

/// A family of curves, measured.
struct Grown {
    curves: Vec<Curve>,
    measured: Measured,
}

const fn cpu(turn: &Turn) -> f64 {
    turn.cpu
}

const fn wall(turn: &Turn) -> f64 {
    1.0 / turn.per_second
}

impl Grown {
    /// How much of something it takes at a size, over another size.
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

    /// For each curve the step at which its CPU time grew most beside the bytes.
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

    /// What it would be if it grew as the bytes do.
    fn bytes(&self) -> Line {
        let sizes = &self.curves[0].sizes;
        let points = sizes.iter().map(|(size, bytes)| (*size as f64, *bytes as f64 / sizes[0].1 as f64)).collect();
        Line::reference("bytes sent", points)
    }
}

/// A page's address with a parameter that nobody used before: it is composed, since it is not kept whole.
fn composed(route: String) -> Target {
    let next = AtomicU64::new(0);
    Arc::new(move || format!("{route}?u={}", next.fetch_add(1, Ordering::Relaxed)))
}

/// A hot page, one that is composed of kept parts, and the limit, against fragments.
async fn fragments(rig: &Rig, effort: Effort, bytes: fn(usize) -> usize) -> Grown {
    let site = rig.site();
    for number in FRAGMENTS {
        let front = format!("route = \"/p{number}\"\nquery = [\"u\"]");
        site.write(&format!("layouts/p{number}.html"), &layout(&front, number, bytes(number), 0));
    }
    let running = site.serve(true);
    let mut family = Family::default();
    let page = |number: usize, target| (number, cell(&running, target, number * bytes(number), READERS));
    family.add("hot page", FRAGMENTS.map(|number| page(number, always(format!("/p{number}")))));
    family.add("composed page", FRAGMENTS.map(|number| page(number, composed(format!("/p{number}")))));
    family.add("the limit", FRAGMENTS.map(|number| (number, rig.limit(number * bytes(number), READERS))));
    family.measure(effort).await
}

/// One address after the other, of some of all layouts.
fn some_of(layouts: usize, route: fn(usize) -> String) -> Target {
    let asked = layouts.min(ASKED);
    let next = AtomicUsize::new(0);
    Arc::new(move || {
        let turn = next.fetch_add(1, Ordering::Relaxed) % asked;
        route(if asked == 1 { 0 } else { turn * (layouts - 1) / (asked - 1) })
    })
}

async fn layouts(rig: &Rig, effort: Effort) -> Grown {
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
        |(number, running): &(usize, Running), route| (*number, cell(running, some_of(*number, route), EACH, READERS));
    family.add("literal routes", all.iter().map(|site| page(site, |n| format!("/literal/{n}"))));
    family.add("routes with parameters", all.iter().map(|site| page(site, |n| format!("/with/{n}/oslo/monday"))));
    family.measure(effort).await
}

/// The number of an entry as it is asked for: that of its block, and three digits.
const fn entry(n: usize) -> usize {
    BLOCK + n
}

/// A site with so many entries, a page `/hot`, and a page `/drawn` of any ten of them.
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
    let kept: f64 = running.metric("pasteup_cache_entries").await.iter().sum();
    assert!(kept >= entries as f64, "{kept} of {entries} entries are kept");
    running
}

/// A page of ten entries that were drawn by lot. Its address is another one each time, so it is composed.
fn drawn(of: usize) -> Target {
    let next = AtomicU64::new(0);
    Arc::new(move || {
        let first = fastrand::usize(..of);
        let parts = (0..DRAWN).map(|n| format!("n{n}={}", entry((first + n * of / DRAWN) % of)));
        format!("/drawn/{}?{}", next.fetch_add(1, Ordering::Relaxed), parts.collect::<Vec<_>>().join("&"))
    })
}

async fn entries(rig: &Rig, effort: Effort) -> Grown {
    let mut all = Vec::new();
    for number in ENTRIES {
        all.push((number, filled(rig, number).await));
    }
    let mut family = Family::default();
    let page = |(number, running): &(usize, Running), target| (*number, cell(running, target, DRAWN * SMALL, READERS));
    family.add("hot page", all.iter().map(|site| page(site, always("/hot".to_owned()))));
    let enough = all.iter().filter(|(number, _)| *number >= DRAWN);
    family.add("page of ten drawn entries", enough.map(|site| page(site, drawn(site.0))));
    family.measure(effort).await
}

/// The curves as tables, and their plots.
pub(crate) async fn curves(rig: &Rig, effort: Effort) -> (String, Vec<Plot>) {
    let mut text = "## Curves\n\nEach figure is **over the same at the smallest size**, in the same round: 1 is what the smallest \
        takes, of CPU time (user and system) and of time a page. The claim is that neither grows faster than the bytes that are sent. \
        A hot page is kept whole; a composed one is stitched anew of kept parts, as are pages of many URLs or with a part that is not kept.\n\n".to_owned();
    let total = fragments(rig, effort, |number| TOTAL / number).await;
    let each = fragments(rig, effort, |_| EACH).await;
    let layouts = layouts(rig, effort).await;
    let entries = entries(rig, effort).await;
    for (title, what, grown) in [
        (format!("Fragments, {TOTAL} bytes a page"), "fragments a page", &total),
        (format!("Fragments, {EACH} bytes each"), "fragments a page", &each),
        (format!("Layouts in the site, {ASKED} of them asked for"), "layouts", &layouts),
        (format!("Entries kept, of {SMALL} bytes each"), "entries", &entries),
    ] {
        write!(text, "### {title}\n\n{}", grown.table(what)).unwrap();
    }
    let plot = |file, title, x, log_y, lines| Plot {
        file,
        title,
        x,
        y: "CPU time a page, over that of the smallest",
        log: (true, log_y),
        lines,
    };
    let with_bytes = |grown: &Grown| {
        let mut lines = grown.lines(cpu);
        lines.push(grown.bytes());
        lines
    };
    let plots = vec![
        plot("fragments-total", "Fragments of a page of 100,000 bytes", "fragments a page", true, with_bytes(&total)),
        plot("fragments-each", "Fragments of 100 bytes each", "fragments a page", true, with_bytes(&each)),
        plot("layouts", "Layouts in the site", "layouts", false, with_bytes(&layouts)),
        plot("entries", "Entries in the cache", "entries", false, with_bytes(&entries)),
    ];
    (text, plots)
}
