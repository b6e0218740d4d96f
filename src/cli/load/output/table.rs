//! The results in a terminal: a table per path, and what was found.

use anstyle::{AnsiColor, Style};

use crate::page::source::units::show_ms;
use crate::page::source::visible::visible;

use super::super::results::{BlameResult, Results, RowResult, SweepResult, Times};

/// How many lines of blame are shown.
const MAX_BLAME: usize = 8;

/// The results in words and tables.
pub(in super::super) fn table(results: &Results) -> String {
    let mut text = String::new();
    for path in &results.paths {
        text.push_str(&row(path));
    }
    if results.paths.len() != 1 {
        text.push_str(&row(&results.total));
    }
    text.push_str(&found(results));
    text
}

/// The table of one path.
fn row(row: &RowResult) -> String {
    let bold = Style::new().bold();
    let name = row.path.as_deref().unwrap_or("all paths");
    let errors = match row.errors.all() {
        0 => "no errors".to_owned(),
        all => format!("{all} errors ({})", row.errors.in_words()),
    };
    let share =
        |share: Option<f64>, what: &str| share.map(|share| format!("  {what} {}", percent(share))).unwrap_or_default();
    let mut text = format!(
        "{bold}{}{bold:#}  {} requests, {errors}{}{}{}  {}\n",
        visible(name),
        row.requests,
        share(row.hits, "hits"),
        share(row.stale, "stale"),
        share(row.fallbacks, "fallbacks"),
        bytes(row.bytes),
    );
    text.push_str(&format!("  {:16}{:>11}{:>11}{:>11}{:>11}{:>11}\n", "", "p50", "p90", "p99", "p99.9", "max"));
    for (what, times) in [("whole page", row.latency), ("first byte", row.first_byte), ("once sent", row.service)] {
        let Times { p50_ms, p90_ms, p99_ms, p99_9_ms, max_ms } = times;
        let columns = [p50_ms, p90_ms, p99_ms, p99_9_ms, max_ms].map(|ms| format!("{:>11}", show_ms(ms)));
        text.push_str(&format!("  {what:16}{}\n", columns.concat()));
    }
    text.push('\n');
    text
}

/// Who is to blame, the sweep, the bounds, and whether the run counts.
fn found(results: &Results) -> String {
    let mut text = String::new();
    let red = Style::new().fg_color(Some(AnsiColor::Red.into()));
    for blame in results.blame.iter().filter(|blame| blame.matters()).take(MAX_BLAME) {
        text.push_str(&format!("{}\n", visible(&sentence(blame))));
    }
    if let Some(why) = &results.unblamed {
        text.push_str(&format!("nobody is blamed: {why}\n"));
    }
    if let Some(sweep) = &results.sweep {
        text.push_str(&curve(sweep));
    }
    if results.skipped > 0 {
        text.push_str(&format!(
            "{} lines of the log were skipped: they are neither `GET` nor `HEAD`\n",
            results.skipped
        ));
    }
    if results.interrupted {
        text.push_str(&format!("interrupted after {:.1} s\n", results.seconds));
    }
    if results.is_late() {
        text.push_str(&format!("{red}{}{red:#}\n", too_late(results)));
    }
    text
}

/// Why a run does not count.
pub(in super::super) fn too_late(results: &Results) -> String {
    let steps = results.sweep.iter().flat_map(|sweep| &sweep.steps);
    let share = steps.map(|step| step.late).fold(results.late.share, f64::max);
    format!(
        "this machine could not send as fast: {} of the requests left more than 2 ms late (p99 {}, at most {}), so the figures \
         do not count; lower the rate, or send from a machine with less to do",
        percent(share),
        show_ms(results.late.p99_ms),
        show_ms(results.late.max_ms),
    )
}

/// What would have been faster without something, in words.
pub(in super::super) fn sentence(blame: &BlameResult) -> String {
    let (p99, without) = (show_ms(blame.p99_ms), show_ms(blame.without_ms));
    let what = match &blame.part {
        Some(part) => format!("`{part}`"),
        None if blame.kind == "network" => "the network and the wait for a connection".to_owned(),
        None => format!("the {}", blame.kind),
    };
    let why = match blame.kind {
        "lane" => ", which waits for a free slot",
        "retry" => ", whose requests are sent again",
        _ => "",
    };
    format!("{}: p99 {p99}; without {what} {without}{why}", blame.path)
}

fn curve(sweep: &SweepResult) -> String {
    let mut text = format!("{:>10}{:>12}{:>12}{:>10}\n", "rate", "requests", "p99", "errors");
    for step in &sweep.steps {
        let mark = if step.ok { "" } else { "  too much" };
        let p99 = show_ms(step.p99_ms);
        text.push_str(&format!("{:>8.0}/s{:>12}{p99:>12}{:>10}{mark}\n", step.rate, step.requests, step.errors));
    }
    text.push_str(&match sweep.knee {
        Some(knee) => format!("up to {knee:.0} requests a second are borne\n"),
        None => "not even the lowest rate is borne\n".to_owned(),
    });
    text
}

/// A share in per cent, with as many digits as matter.
pub(in super::super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 10.0 { format!("{percent:.0}%") } else { format!("{percent:.2}%") }
}

/// A number of bytes.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(in super::super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_is_a_sentence() {
        let blame = |part: Option<&str>, kind| BlameResult {
            path: "/sport".to_owned(),
            fragment: part.map(str::to_owned),
            part: part.map(str::to_owned),
            kind,
            p99_ms: 412.0,
            without_ms: 238.0,
            mean_saved_ms: 1.0,
            at: None,
        };
        for (part, kind, expected) in [
            (Some("scores"), "service", "/sport: p99 412 ms; without `scores` 238 ms"),
            (Some("scores"), "lane", "/sport: p99 412 ms; without `scores` 238 ms, which waits for a free slot"),
            (None, "network", "/sport: p99 412 ms; without the network and the wait for a connection 238 ms"),
        ] {
            assert_eq!(sentence(&blame(part, kind)), expected);
        }
    }

    #[test]
    fn shares_and_bytes_are_short() {
        assert_eq!([0.0, 0.0012, 0.093, 0.93, 1.0].map(percent), ["0%", "0.12%", "9.30%", "93%", "100%"]);
        assert_eq!([0, 1_500, 12_340_000].map(bytes), ["0 B", "1.5 kB", "12.3 MB"]);
    }
}
