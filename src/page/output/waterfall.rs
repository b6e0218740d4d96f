//! The waterfall of a page: when each of its parts began, was sent, and ended. Load runs keep thousands of them, so the names of
//! the parts are stored once per page, and each waterfall refers to them.
//! A part that was not looked up has no bar.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::page::plan::{Outcomes, Plan};
use crate::page::response::outcome::{Cache, LookupTiming, Shown};
use crate::page::source::diagnostic::SourceSpan;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

/// How much later than the first lookups of a page another one may begin, and still have begun with them, in milliseconds.
const TOGETHER: f32 = 0.2;

/// What names a part of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartName {
    /// The part's id on the page.
    pub id: String,
    /// The nanoservice that fills it; the host if the layout names a URL.
    pub fragment: String,
    /// The file that contains it.
    pub file: String,
    /// The line in the file, from 1.
    pub line: usize,
}

/// The names of all parts that one page was seen with.
#[derive(Debug, Default)]
pub struct PartNames {
    /// The names, in the order in which they were first seen.
    pub all: Vec<PartName>,
    known: HashMap<(Name, Name), usize>,
}

/// What happened to one request of a load run. Times are in milliseconds since the request arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waterfall {
    /// The id of the request's trace, in hexadecimal digits.
    #[serde(with = "trace_id")]
    pub trace: u128,
    /// When the response was ready; if its body was streamed, when the last part was ready.
    pub took_ms: f32,
    /// The parts that were looked up. There are none if the page was cached as a whole.
    pub bars: Vec<Bar>,
}

/// The times of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// The part, as an index of [`PartNames::all`].
    pub part: usize,
    /// The part that this one had to wait for, as an index of the bars: the one whose response, or whose fallback, contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<usize>,
    /// When its lookup began.
    pub start_ms: f32,
    /// When its request was sent for the first time. From its start until then it waited for a free slot, or for its program
    /// to start. `None`: no request was sent for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<f32>,
    /// When its request was sent for the last time: later than `sent_ms` if it was retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_ms: Option<f32>,
    /// When the head of its response arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f32>,
    /// When its outcome was known.
    pub end_ms: f32,
    /// How long it waited for its program to start.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub starting_ms: f32,
    /// What it shows.
    pub outcome: Cow<'static, str>,
    /// Why it is not fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// What the store did for it.
    pub cache: Cow<'static, str>,
}

/// What a page consisted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageKind {
    /// Whether each of its parts was fresh and in memory.
    pub is_hit: bool,
    /// Whether one of its parts was stale.
    pub is_stale: bool,
    /// Whether one of its parts showed its fallback, or nothing, because something went wrong.
    pub is_fallback: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(ms: &f32) -> bool {
    *ms == 0.0
}

impl PartNames {
    /// The index of a part's name, which is added if it is new.
    pub fn index(&mut self, id: &Name, fragment: &Name, at: &SourceSpan) -> usize {
        let key = (Name::clone(id), Name::clone(fragment));
        *self.known.entry(key).or_insert_with(|| {
            self.all.push(PartName {
                id: id.to_string(),
                fragment: fragment.to_string(),
                file: at.source.file.clone(),
                line: at.source.position(at.span.start).0,
            });
            self.all.len() - 1
        })
    }
}

impl PageKind {
    /// A page whose parts are all fresh and in memory.
    pub const HIT: Self = Self { is_hit: true, is_stale: false, is_fallback: false };

    /// What a page with these outcomes consists of.
    #[must_use]
    pub fn of(outcomes: &Outcomes) -> Self {
        let known = || outcomes.iter().flatten();
        let is_hit = |cache: Cache| cache == Cache::Hit;
        Self {
            is_hit: known().all(|outcome| outcome.timing.as_ref().is_none_or(|timing| is_hit(timing.cache))),
            is_stale: known().any(|outcome| outcome.shown == Shown::Stale),
            is_fallback: known().any(|outcome| {
                let is_missing = matches!(outcome.shown, Shown::Fallback | Shown::Omitted);
                is_missing && outcome.reason.is_some_and(Reason::is_incident)
            }),
        }
    }
}

impl Bar {
    /// The bar of a lookup on a page that was requested at `began`.
    #[must_use]
    pub fn of(part: usize, timing: &LookupTiming, shown: Shown, began: Instant) -> Self {
        let since = |instant: Instant| milliseconds(instant.saturating_duration_since(began));
        let (start_ms, end_ms) = (since(timing.began), since(timing.ended));
        // A lookup can join a request that was sent before it began.
        let within = |instant: Instant| since(instant).clamp(start_ms, end_ms.max(start_ms));
        let attempt = timing.attempt.as_deref();
        Self {
            part,
            after: None,
            start_ms,
            sent_ms: attempt.and_then(|attempt| attempt.sent).map(within),
            last_sent_ms: attempt.and_then(|attempt| attempt.last_sent).map(within),
            first_byte_ms: attempt.and_then(|attempt| attempt.head).map(within),
            end_ms,
            starting_ms: attempt
                .filter(|attempt| attempt.start.is_some())
                .map_or(0.0, |attempt| within(attempt.began) - start_ms),
            outcome: shown.as_str().into(),
            reason: None,
            cache: timing.cache.as_str().into(),
        }
    }
}

/// The bars of a page that was requested at `began`, in document order of the layout.
#[must_use]
pub fn bars(plan: &Plan, outcomes: &Outcomes, began: Instant, names: &mut PartNames) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut bar_of = vec![None; outcomes.len()];
    for (part, outcome) in outcomes.iter().enumerate().filter_map(|(part, outcome)| Some((part, outcome.as_ref()?))) {
        let Some(timing) = &outcome.timing else { continue };
        let name = names.index(&plan.parts[part].id, &plan.nanoservice_of(part), &plan.parts[part].fragment.at);
        let after = std::iter::successors(plan.parent(part), |part| plan.parent(*part)).find_map(|part| bar_of[part]);
        bar_of[part] = Some(bars.len());
        let reason = outcome.reason.map(|reason| reason.as_str().into());
        bars.push(Bar { after, reason, ..Bar::of(name, timing, outcome.shown, began) });
    }
    chain_fallbacks(&mut bars);
    bars
}

/// A fragment in a fallback is looked up once that fallback is shown: after the part that failed last before it began.
fn chain_fallbacks(bars: &mut [Bar]) {
    let first = bars.iter().map(|bar| bar.start_ms).fold(f32::INFINITY, f32::min);
    for index in 0..bars.len() {
        let (after, start) = (bars[index].after, bars[index].start_ms);
        if after.is_some() || start <= first + TOGETHER {
            continue;
        }
        let failed = bars.iter().enumerate().filter(|(other, bar)| {
            *other != index && bar.end_ms <= start && matches!(&*bar.outcome, "fallback" | "omitted")
        });
        bars[index].after = failed.max_by(|(_, a), (_, b)| a.end_ms.total_cmp(&b.end_ms)).map(|(other, _)| other);
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1e3
}

mod trace_id {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(trace: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{trace:032x}"))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(part: usize, (start_ms, end_ms): (f32, f32), outcome: &'static str) -> Bar {
        Bar {
            part,
            after: None,
            start_ms,
            sent_ms: None,
            last_sent_ms: None,
            first_byte_ms: None,
            end_ms,
            starting_ms: 0.0,
            outcome: outcome.into(),
            reason: None,
            cache: "miss".into(),
        }
    }

    #[test]
    fn a_fragment_in_a_fallback_comes_after_the_part_that_failed() {
        let mut bars = [
            bar(0, (0.1, 200.0), "fallback"),
            bar(1, (0.1, 90.0), "omitted"),
            bar(2, (200.1, 240.0), "fresh"),
            bar(3, (0.2, 20.0), "fresh"),
        ];
        chain_fallbacks(&mut bars);
        assert_eq!(bars.each_ref().map(|bar| bar.after), [None, None, Some(0), None]);
    }

    #[test]
    fn a_waterfall_is_read_as_it_was_written() {
        let bars = vec![bar(0, (0.0, 1.5), "fresh"), Bar { after: Some(0), ..bar(1, (1.5, 2.25), "stale") }];
        let waterfall = Waterfall { trace: 0xab, took_ms: 2.5, bars };
        let json = serde_json::to_string(&waterfall).expect("it can be written");
        assert!(json.contains(r#""trace":"000000000000000000000000000000ab""#), "{json}");
        assert_eq!(serde_json::from_str::<Waterfall>(&json).expect("it can be read"), waterfall);
    }
}
