//! The slowest pages of a run, each with its parts along time.

use crate::engine::load::blame::phases;
use crate::engine::load::{PageReport, RunReport};
use crate::page::output::waterfall::{Bar, Waterfall};
use crate::page::source::units::show_ms;

/// How many pages are shown.
const MOST: usize = 10;
/// The width of a waterfall, in its own units.
const WIDTH: f64 = 1_000.0;
/// The width of the shortest piece.
const LEAST: f64 = 3.0;

/// A page along time.
pub(super) struct Fall {
    pub(super) took: String,
    pub(super) path: String,
    pub(super) trace: String,
    pub(super) bars: Vec<FallBar>,
}

/// A part along time.
pub(super) struct FallBar {
    pub(super) part: String,
    pub(super) at: String,
    pub(super) title: String,
    pub(super) took: String,
    /// What it shows, if that is not a fresh response.
    pub(super) note: String,
    /// Whether the page waited for it last.
    pub(super) is_last: bool,
    /// Class, beginning and width.
    pub(super) pieces: Vec<(&'static str, f64, f64)>,
}

/// The slowest pages that were composed: one that was cached as a whole has no parts.
pub(super) fn worst(report: &RunReport) -> Vec<Fall> {
    let pages = report.pages.iter().flat_map(|page| {
        let composed = page.slowest.iter().filter(|one| !one.bars.is_empty());
        composed.take(MOST).map(move |one| (page, one))
    });
    let mut all: Vec<(&PageReport, &Waterfall)> = pages.collect();
    all.sort_by(|(_, a), (_, b)| b.took_ms.total_cmp(&a.took_ms));
    all.into_iter().take(MOST).map(|(page, one)| fall(page, one)).collect()
}

fn fall(page: &PageReport, one: &Waterfall) -> Fall {
    let last = one.bars.iter().map(|bar| bar.end_ms).fold(0.0, f32::max);
    let scale = WIDTH / f64::from(one.took_ms.max(last).max(0.001));
    let bar = |bar: &Bar| {
        let name = page.parts.get(bar.part).map(|part| &part.name);
        let took = bar.end_ms - bar.start_ms;
        let note = match (&*bar.outcome, &*bar.cache) {
            ("fresh", "hit") => "hit",
            ("fresh", "joined") => "joined",
            ("fresh", _) => "",
            (outcome, _) => outcome,
        };
        FallBar {
            part: name.map(|name| name.id.clone()).unwrap_or_default(),
            at: name.map(|name| format!("{}:{}", name.file, name.line)).unwrap_or_default(),
            title: name.map(|name| format!("{}, {}:{}", name.fragment, name.file, name.line)).unwrap_or_default(),
            took: show_ms(f64::from(took)),
            note: note.to_owned(),
            is_last: bar.end_ms >= last,
            pieces: pieces(bar, scale),
        }
    };
    Fall {
        took: show_ms(f64::from(one.took_ms)),
        path: page.path.clone(),
        trace: format!("{:032x}", one.trace),
        bars: one.bars.iter().map(bar).collect(),
    }
}

/// The pieces of a bar: waiting for a slot, sent in vain, until the first byte, until the last.
fn pieces(bar: &Bar, scale: f64) -> Vec<(&'static str, f64, f64)> {
    let [lane, retry, service] = phases(bar).map(f64::from);
    let start = f64::from(bar.start_ms);
    let sent = start + lane + retry;
    let head = bar.first_byte_ms.map_or(sent + service, f64::from).clamp(sent, sent + service);
    let rounded = |x: f64| (x * 10.0).round() / 10.0;
    [
        ("lane", start, lane),
        ("retry", start + lane, retry),
        ("wait", sent, head - sent),
        ("body", head, sent + service - head),
    ]
    .into_iter()
    .filter(|(class, _, width)| *width > 0.0 || *class == "wait")
    .map(|(class, from, width)| {
        let width = (width * scale).max(LEAST);
        (class, rounded((from * scale).min(WIDTH - width)), rounded(width))
    })
    .collect()
}
