//! The first screen of the report, in words: how long clients wait, whether that is good, and who is to blame.
//! Without bounds of the operator's own, what people bear decides: a tenth of a second, a second.

use crate::page::source::units::show_ms;

use super::super::results::{BlameResult, Results};
use super::table::{percent, too_late};

/// Up to here a wait is felt as none, in milliseconds.
const INSTANT: f64 = 100.0;
/// Up to here it is noticed, but interrupts nobody.
const NOTICED: f64 = 1_000.0;
/// The share of errors from which on nothing is good.
const MANY_ERRORS: f64 = 0.01;
/// The share of the p99 that something has to cost to stand out.
const STANDS_OUT: f64 = 0.05;

/// The first screen.
pub(super) struct Verdict {
    /// `good`, `warn` or `bad`.
    pub(super) class: &'static str,
    /// How long clients wait.
    pub(super) wait: String,
    pub(super) word: &'static str,
    pub(super) why: String,
    /// What is to blame, if anything stands out.
    pub(super) culprit: Option<String>,
    pub(super) blame: String,
}

impl Verdict {
    pub(super) fn of(results: &Results) -> Self {
        let (class, word, why) = judged(results);
        let (culprit, blame) = blamed(results);
        Self { class, wait: wait(results), word, why, culprit, blame }
    }
}

fn wait(results: &Results) -> String {
    let times = results.total.latency;
    if results.is_late() {
        return "These figures do not count.".to_owned();
    }
    if results.total.histogram.is_empty() {
        return "No request was answered.".to_owned();
    }
    // Numbers stay with their units.
    let [half, nearly_all] = [times.p50_ms, times.p99_ms].map(|ms| show_ms(ms).replace(' ', "\u{a0}"));
    format!("Half of all clients wait at most {half}, 99 of 100 at most {nearly_all}.")
}

fn judged(results: &Results) -> (&'static str, &'static str, String) {
    let total = &results.total;
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
    let errors = total.errors.all() as f64 / total.requests.max(1) as f64;
    if results.is_late() {
        let why = too_late(results);
        let mut letters = why.chars();
        let why: String = letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
        return ("bad", "Measure again.", format!("{why}."));
    }
    let broken: Vec<&str> = results.gates.iter().filter(|gate| !gate.ok).map(|gate| gate.gate).collect();
    if !broken.is_empty() {
        let why = format!("{} of {} bounds are broken: {}.", broken.len(), results.gates.len(), broken.join(", "));
        return ("bad", "Not good enough.", why);
    }
    if errors > MANY_ERRORS {
        return (
            "bad",
            "Not good.",
            format!("{} of all requests failed ({}).", percent(errors), total.errors.in_words()),
        );
    }
    if !results.gates.is_empty() {
        let why = match results.gates.len() {
            1 => "The bound that was given is kept.".to_owned(),
            bounds => format!("All {bounds} bounds that were given are kept."),
        };
        return ("good", "Good enough.", why);
    }
    match total.latency.p99_ms {
        p99 if p99 <= INSTANT => {
            ("good", "Good.", "Nearly nobody notices a wait: up to 100 ms people feel none.".to_owned())
        }
        p99 if p99 <= NOTICED => {
            let why = "The slowest waits are noticed (from 100 ms), but interrupt nobody's thoughts (from 1 s).";
            ("warn", "Acceptable.", why.to_owned())
        }
        _ => (
            "bad",
            "Not good.",
            "One client in a hundred waits so long that their thoughts wander (from 1 s).".to_owned(),
        ),
    }
}

fn blamed(results: &Results) -> (Option<String>, String) {
    if let Some(why) = &results.unblamed {
        return (None, format!("Who is to blame is not known: {why}."));
    }
    if results.is_late() {
        return (None, "So nobody is blamed here; below is what was recorded all the same.".to_owned());
    }
    let Some(worst) =
        results.blame.first().filter(|worst| worst.p99_ms - worst.without_ms >= STANDS_OUT * worst.p99_ms)
    else {
        return (
            None,
            "Nobody stands out: no page would be noticeably faster without any one of its parts.".to_owned(),
        );
    };
    if worst.p99_ms <= INSTANT && results.gates.iter().all(|gate| gate.ok) {
        let most = format!("Nobody has to be blamed. The most time goes to {} on {}", part_name(worst), worst.path);
        return (None, format!("{most}: without it, 99 of 100 would wait at most {}.", show_ms(worst.without_ms)));
    }
    let what = match worst.kind {
        "lane" => " Its requests wait for a free slot.",
        "retry" => " Its requests are sent in vain before one succeeds.",
        "network" => {
            " That is everything outside the compositor: waiting for a connection, sending, receiving, compression."
        }
        _ => "",
    };
    let name = format!("{} on {}.", part_name(worst), worst.path);
    let sentence = format!(
        "99 of 100 clients wait at most {} there; without it they would wait at most {}.{what}",
        show_ms(worst.p99_ms),
        show_ms(worst.without_ms)
    );
    (Some(name), sentence)
}

/// What is to blame, for people.
pub(super) fn part_name(blame: &BlameResult) -> String {
    match (&blame.part, &blame.fragment) {
        (Some(part), Some(fragment)) if part == fragment => part.clone(),
        (Some(part), Some(fragment)) => format!("{part} ({fragment})"),
        _ => format!("the {}", blame.kind),
    }
}
