//! The results as one page of HTML, with everything in it that it needs. Its first screen answers: how long do clients wait, is
//! that good, and who is to blame.

use askama::Template;
use serde_json::json;

use crate::engine::load::RunReport;
use crate::page::source::units::show_ms;

use super::super::measure::statistics::HeatMap;
use super::super::results::{BlameResult, Results, RowResult};
use super::table::{bytes, percent};
use super::verdict::{Verdict, part_name};
use super::waterfalls::{Fall, worst};

/// How many lines of blame are shown.
const MAX_BLAME: usize = 12;
/// The latencies that the heat map is labelled with.
const TICKS_MS: [f64; 7] = [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 60_000.0];
/// Shades of the heat map.
const LEVELS: f64 = 6.0;

/// What is shown beside the results.
pub(in super::super) struct Recorded {
    /// What the compositor recorded.
    pub(in super::super) report: Option<RunReport>,
    /// When requests took how long.
    pub(in super::super) heat: HeatMap,
}

#[derive(Template)]
#[template(path = "load/report.html")]
struct Page {
    what: String,
    when: String,
    verdict: Verdict,
    /// Name, value and class.
    facts: Vec<(&'static str, String, &'static str)>,
    blame: Vec<BlameRow>,
    unblamed: String,
    gates: Vec<GateRow>,
    sweep: Option<SweepTable>,
    rows: Vec<PathRow>,
    heat: Heat,
    waterfalls: Vec<Fall>,
    settings: Vec<(&'static str, String)>,
    /// JSON for the script, without `<`.
    data: String,
    version: &'static str,
    uplot_css: &'static str,
    uplot_js: &'static str,
    css: &'static str,
    js: &'static str,
}

struct BlameRow {
    part: String,
    path: String,
    why: &'static str,
    p99: String,
    without: String,
    mean: String,
    /// In per cent of the longest bar.
    rest: f64,
    cost: f64,
    at: String,
}

struct GateRow {
    name: String,
    limit: String,
    value: String,
    ok: bool,
}

struct SweepTable {
    found: String,
    steps: Vec<StepRow>,
}

struct StepRow {
    rate: String,
    requests: u64,
    p99: String,
    errors: u64,
    ok: bool,
}

struct PathRow {
    path: String,
    is_total: bool,
    requests: u64,
    errors: String,
    has_errors: bool,
    times: [TimeRow; 2],
    hits: String,
    stale: String,
    fallbacks: String,
    bytes: String,
}

struct TimeRow {
    what: &'static str,
    ms: [String; 5],
}

#[derive(Default)]
struct Heat {
    columns: usize,
    rows: usize,
    column: String,
    end: String,
    cells: Vec<Cell>,
    ticks: Vec<Tick>,
}

struct Cell {
    x: usize,
    y: usize,
    width: usize,
    level: usize,
}

struct Tick {
    /// Where it is, from the bottom, in per cent.
    at: f64,
    y: f64,
    text: String,
}

/// The page.
///
/// # Errors
/// It could not be rendered.
pub(in super::super) fn page(results: &Results, recorded: &Recorded) -> Result<String, String> {
    let page = Page {
        what: what(results),
        when: results.started.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        verdict: Verdict::of(results),
        facts: facts(results),
        blame: blame_rows(results),
        unblamed: match &results.unblamed {
            Some(why) => format!("Nobody is blamed: {why}."),
            None => "Nothing took any time that is worth a line.".to_owned(),
        },
        gates: results.gates.iter().map(gate_row).collect(),
        sweep: results.sweep.as_ref().map(|sweep| SweepTable {
            found: match sweep.knee {
                Some(knee) => format!("Up to {knee:.0} requests a second are borne."),
                None => "Not even the lowest rate is borne.".to_owned(),
            },
            steps: sweep
                .steps
                .iter()
                .map(|step| StepRow {
                    rate: format!("{:.0}", step.rate),
                    requests: step.requests,
                    p99: show_ms(step.p99_ms),
                    errors: step.errors,
                    ok: step.ok,
                })
                .collect(),
        }),
        rows: path_rows(results),
        heat: heat(&recorded.heat, results.seconds),
        waterfalls: recorded.report.as_ref().map(worst).unwrap_or_default(),
        settings: settings(results),
        data: data(results),
        version: env!("CARGO_PKG_VERSION"),
        uplot_css: include_str!("../../../../templates/console/uplot.css"),
        uplot_js: include_str!("../../../../templates/console/uplot.js"),
        css: include_str!("../../../../templates/load/report.css"),
        js: include_str!("../../../../templates/load/report.js"),
    };
    page.render().map_err(|error| error.to_string())
}

/// What was requested, shortened.
fn what(results: &Results) -> String {
    const MAX: usize = 4;
    let targets = &results.settings.targets;
    let named = targets.iter().take(MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match targets.len().saturating_sub(MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn facts(results: &Results) -> Vec<(&'static str, String, &'static str)> {
    let total = &results.total;
    let errors = match total.errors.all() {
        0 => ("0".to_owned(), ""),
        all => {
            #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
            let share = all as f64 / total.requests.max(1) as f64;
            (format!("{all} ({})", percent(share)), "bad")
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
    let rate = total.requests as f64 / results.seconds.max(0.001);
    let mut facts = vec![
        ("requests", total.requests.to_string(), ""),
        ("per second", format!("{rate:.0}"), ""),
        ("errors", errors.0, errors.1),
        ("p50", show_ms(total.latency.p50_ms), ""),
        ("p90", show_ms(total.latency.p90_ms), ""),
        ("p99", show_ms(total.latency.p99_ms), ""),
        ("longest", show_ms(total.latency.max_ms), ""),
    ];
    if let (Some(hits), Some(fallbacks)) = (total.hits, total.fallbacks) {
        facts.push(("hits", percent(hits), ""));
        facts.push(("fallbacks", percent(fallbacks), if fallbacks > 0.0 { "warn" } else { "" }));
    }
    facts
}

fn blame_rows(results: &Results) -> Vec<BlameRow> {
    let blame = || results.blame.iter().filter(|one| one.matters()).take(MAX_BLAME);
    let longest = blame().map(|one| one.p99_ms).fold(0.001, f64::max);
    let rounded = |share: f64| (share * 1e3).round() / 10.0;
    let row = |one: &BlameResult| BlameRow {
        part: part_name(one),
        path: one.path.clone(),
        why: match one.kind {
            "service" => "the nanoservice",
            "lane" => "waiting for a free slot",
            "retry" => "requests sent in vain",
            "compositor" => "planning and stitching",
            _ => "the wait for a connection, and all else outside the compositor",
        },
        p99: show_ms(one.p99_ms),
        without: show_ms(one.without_ms),
        mean: show_ms(one.mean_saved_ms.max(0.0)),
        rest: rounded(one.without_ms / longest),
        cost: rounded((one.p99_ms - one.without_ms) / longest),
        at: one.at.clone().unwrap_or_default(),
    };
    blame().map(row).collect()
}

fn gate_row(gate: &super::super::measure::gates::Gate) -> GateRow {
    let show = |value: f64| if gate.gate == "max-p99" { show_ms(value) } else { percent(value) };
    GateRow {
        name: match gate.gate {
            "max-p99" => "p99",
            "max-errors" => "errors",
            "max-fallbacks" => "pages with fallbacks",
            "max-regression-p50" => "p50 above the baseline",
            _ => "p99 above the baseline",
        }
        .to_owned(),
        limit: show(gate.limit),
        value: gate.value.map_or_else(|| "not known".to_owned(), show),
        ok: gate.ok,
    }
}

fn path_rows(results: &Results) -> Vec<PathRow> {
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    let row = |row: &RowResult| PathRow {
        path: row.path.clone().unwrap_or_else(|| "all paths".to_owned()),
        is_total: row.path.is_none(),
        requests: row.requests,
        errors: if row.errors.all() == 0 { "0".to_owned() } else { row.errors.in_words() },
        has_errors: row.errors.all() > 0,
        times: [("whole page", row.latency), ("first byte", row.first_byte)].map(|(what, times)| TimeRow {
            what,
            ms: [times.p50_ms, times.p90_ms, times.p99_ms, times.p99_9_ms, times.max_ms].map(show_ms),
        }),
        hits: share(row.hits),
        stale: share(row.stale),
        fallbacks: share(row.fallbacks),
        bytes: bytes(row.bytes),
    };
    let total = (results.paths.len() > 1).then_some(&results.total);
    results.paths.iter().chain(total).map(row).collect()
}

/// The cells of the heat map that are used, with a little room around them.
fn heat(map: &HeatMap, seconds: f64) -> Heat {
    let columns = map.columns();
    let used = |row: &usize| columns.iter().any(|counts| counts[*row] > 0);
    let all_rows = 0..columns.first().map_or(0, |counts| counts.len());
    let (Some(first), Some(last)) = (all_rows.clone().find(used), all_rows.rev().find(used)) else {
        return Heat::default();
    };
    let (first, last) = (first.saturating_sub(1), last + 1);
    let rows = last - first + 1;
    let most = columns.iter().flatten().copied().max().unwrap_or(1);
    let level = |count: u32| {
        let share = f64::from(count).ln_1p() / f64::from(most).ln_1p();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 1 to 6")]
        let level = (share * LEVELS).ceil().clamp(1.0, LEVELS) as usize;
        level
    };
    let mut cells: Vec<Cell> = Vec::new();
    for row in first..=last {
        for (x, counts) in columns.iter().enumerate() {
            let Some(count) = counts.get(row).copied().filter(|count| *count > 0) else { continue };
            let (y, level) = (last - row, level(count));
            match cells.last_mut() {
                Some(before) if before.y == y && before.level == level && before.x + before.width == x => {
                    before.width += 1;
                }
                _ => cells.push(Cell { x, y, width: 1, level }),
            }
        }
    }
    let (lowest, highest) = (HeatMap::row_from_ms(first), HeatMap::row_from_ms(last + 1));
    let tick = |ms: f64| {
        let share = (ms / lowest).ln() / (highest / lowest).ln();
        #[expect(clippy::cast_precision_loss, reason = "there are few rows")]
        let y = (1.0 - share) * rows as f64;
        Tick { at: (share * 1e3).round() / 10.0, y: (y * 100.0).round() / 100.0, text: show_ms(ms) }
    };
    let ticks = TICKS_MS.into_iter().filter(|ms| (lowest..=highest).contains(ms)).map(tick);
    Heat {
        columns: columns.len(),
        rows,
        column: show_ms(map.column.as_secs_f64() * 1e3),
        end: show_ms(seconds * 1e3),
        cells,
        ticks: ticks.collect(),
    }
}

fn settings(results: &Results) -> Vec<(&'static str, String)> {
    let settings = &results.settings;
    let yes = |name, is_so: bool| is_so.then(|| (name, "yes".to_owned()));
    let mut all = vec![("arrivals", settings.arrivals.to_owned())];
    match (&results.sweep, settings.rate) {
        (Some(_), _) => all.push(("rate", "searched for".to_owned())),
        (None, Some(rate)) => all.push(("rate", format!("{rate} a second"))),
        (None, None) => {}
    }
    all.extend([
        ("duration", format!("{:.1} s{}", results.seconds, if results.interrupted { ", interrupted" } else { "" })),
        ("connections", format!("at most {} to each host", settings.connections)),
        ("timeout", show_ms(settings.timeout)),
        (
            "late",
            format!(
                "{} of the requests left more than 2 ms late by this tool's own fault (p99 {}, at most {})",
                percent(results.late.share),
                show_ms(results.late.p99_ms),
                show_ms(results.late.max_ms)
            ),
        ),
    ]);
    all.extend(
        [
            settings.from.as_ref().map(|from| ("from", from.clone())),
            settings.speed.map(|speed| ("speed", format!("{speed} times"))),
            (results.skipped > 0).then(|| ("skipped", format!("{} lines of the log", results.skipped))),
            (!settings.headers.is_empty()).then(|| ("headers", settings.headers.join(", "))),
            yes("HTTP/2", settings.http2),
            yes("a connection per request", !settings.keepalive),
            yes("any certificate", settings.insecure),
            yes("for every kind of client", settings.variants),
            settings.baseline.as_ref().map(|baseline| ("baseline", baseline.clone())),
            results.run.as_ref().map(|run| ("run", run.clone())),
        ]
        .into_iter()
        .flatten(),
    );
    all
}

/// What the script draws.
fn data(results: &Results) -> String {
    // Up to the last request of all, and no further.
    let total: u64 = results.total.histogram.iter().map(|(_, count)| count).sum();
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
    let most = (total.max(2) as f64).log10();
    let points: Vec<f64> = (0..).map(|step| f64::from(step) * 0.05).take_while(|x| *x <= most).collect();
    let at = |times: &[(f64, f64)], x: f64| {
        let share = 1.0 - 10_f64.powf(-x);
        times.iter().find(|(_, below)| *below >= share).map(|(ms, _)| *ms)
    };
    let curve = |quantiles: &[(f64, f64)]| points.iter().map(|x| at(quantiles, *x)).collect::<Vec<_>>();
    let half = 2_f64.log10();
    let ticks: Vec<f64> = std::iter::once(half).chain((1..).map(f64::from).take_while(|x| *x <= most)).collect();
    let [whole, first, once] = results.curves.each_ref().map(|times| curve(times));
    let sweep = results.sweep.as_ref().map(|sweep| {
        let mut steps: Vec<(f64, f64)> = sweep.steps.iter().map(|step| (step.rate, step.p99_ms)).collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (rates, p99): (Vec<f64>, Vec<f64>) = steps.into_iter().unzip();
        [rates, p99]
    });
    let data = json!({ "curve": [points, whole, first, once], "ticks": ticks, "half": half, "sweep": sweep });
    data.to_string().replace('<', "\\u003c")
}
