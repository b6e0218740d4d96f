//! The results of a run as one object, from which every output is made. Times are in milliseconds, shares from 0 to 1.

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::load::blame::Blame;
use crate::engine::load::{PageReport, RunReport};

use super::measure::gates::Gate;
use super::measure::statistics::{ErrorKind, MAX_LATE, Row, Statistics, quantile_ms};
use super::targets::RowName;

/// The results of a run.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    /// The id that the compositor gave it; `None` if it took no part.
    pub(super) run: Option<String>,
    pub(super) started: Timestamp,
    pub(super) seconds: f64,
    pub(super) interrupted: bool,
    /// Lines of the access log that were not replayed.
    pub(super) skipped: u64,
    pub(super) settings: Settings,
    pub(super) late: Late,
    pub(super) total: RowResult,
    pub(super) paths: Vec<RowResult>,
    /// The worst first.
    pub(super) blame: Vec<BlameResult>,
    /// Why nobody can be blamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unblamed: Option<String>,
    pub(super) sweep: Option<SweepResult>,
    pub(super) gates: Vec<Gate>,
    /// Of the whole page, the first byte and the time once sent: each value with the share of requests up to it.
    #[serde(skip)]
    pub(super) curves: [Vec<(f64, f64)>; 3],
}

/// What a run was told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Settings {
    pub(super) targets: Vec<String>,
    /// Requests per second; `None` in a replay.
    pub(super) rate: Option<f64>,
    pub(super) duration: f64,
    /// `poisson`, `steady` or `replay`.
    pub(super) arrivals: &'static str,
    pub(super) connections: usize,
    pub(super) timeout: f64,
    pub(super) http2: bool,
    pub(super) keepalive: bool,
    pub(super) insecure: bool,
    pub(super) variants: bool,
    /// The names of the headers that were given.
    pub(super) headers: Vec<String>,
    pub(super) from: Option<String>,
    pub(super) speed: Option<f64>,
    pub(super) baseline: Option<String>,
}

/// How late the tool was.
#[derive(Debug, Serialize)]
pub(super) struct Late {
    /// The share of requests that left more than 2 ms late.
    pub(super) share: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// The results of one path, or of all.
#[derive(Debug, Serialize)]
pub(super) struct RowResult {
    /// The path as it was given; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    pub(super) requests: u64,
    pub(super) errors: Errors,
    pub(super) latency: Times,
    pub(super) service: Times,
    pub(super) first_byte: Times,
    /// The share of pages of which every part was fresh and in memory; `None` if it is not known.
    pub(super) hits: Option<f64>,
    pub(super) stale: Option<f64>,
    pub(super) fallbacks: Option<f64>,
    pub(super) bytes: u64,
    /// How often each latency occurred.
    pub(super) histogram: Vec<(f64, u64)>,
}

/// Errors by kind.
#[derive(Debug, Serialize)]
pub(super) struct Errors {
    pub(super) connect: u64,
    pub(super) timeout: u64,
    pub(super) status: u64,
    pub(super) incomplete: u64,
}

/// Quantiles.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Times {
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p99_9_ms: f64,
    pub(super) max_ms: f64,
}

/// What a page would have taken without something.
#[derive(Debug, Clone, Serialize)]
pub(super) struct BlameResult {
    pub(super) path: String,
    /// The nanoservice; `None`: the compositor or the network.
    pub(super) fragment: Option<String>,
    pub(super) part: Option<String>,
    pub(super) kind: &'static str,
    pub(super) p99_ms: f64,
    pub(super) without_ms: f64,
    /// How much shorter the page would have been on average.
    pub(super) mean_saved_ms: f64,
    /// The line of the layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<String>,
}

/// The search for the highest rate.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SweepResult {
    pub(super) steps: Vec<Step>,
    /// The highest rate that was good; `None`: none was.
    pub(super) knee: Option<f64>,
}

/// One rate of a sweep.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Step {
    pub(super) rate: f64,
    pub(super) requests: u64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
    /// The share of requests that left late by the tool's own fault.
    pub(super) late: f64,
    /// Whether it kept the bounds.
    pub(super) ok: bool,
}

/// What is read of the results of an earlier run.
#[derive(Debug, Deserialize)]
pub(super) struct Baseline {
    pub(super) total: BaselineRow,
}

/// See [`Baseline`].
#[derive(Debug, Deserialize)]
pub(super) struct BaselineRow {
    pub(super) histogram: Vec<(f64, u64)>,
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Self {
        let quantile = |quantile| quantile_ms(histogram, quantile);
        Self {
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p99_9_ms: quantile(0.999),
            max_ms: quantile(1.0),
        }
    }
}

impl Late {
    pub(super) fn of(statistics: &Statistics) -> Self {
        Self {
            share: statistics.late_share(),
            p99_ms: quantile_ms(&statistics.late, 0.99),
            max_ms: quantile_ms(&statistics.late, 1.0),
        }
    }
}

impl Errors {
    fn of(counts: [u64; 4]) -> Self {
        let count = |kind: ErrorKind| counts[kind as usize];
        Self {
            connect: count(ErrorKind::Connect),
            timeout: count(ErrorKind::Timeout),
            status: count(ErrorKind::Status),
            incomplete: count(ErrorKind::Incomplete),
        }
    }

    /// All of them.
    pub(super) const fn all(&self) -> u64 {
        self.connect + self.timeout + self.status + self.incomplete
    }

    /// Those that occurred, in words.
    pub(super) fn in_words(&self) -> String {
        let counts = [self.connect, self.timeout, self.status, self.incomplete];
        let occurred = ErrorKind::ALL.iter().zip(counts).filter(|(_, count)| *count > 0);
        occurred.map(|(kind, count)| format!("{} {count}", kind.as_str())).collect::<Vec<_>>().join(", ")
    }
}

impl RowResult {
    /// The results of a path, of which the compositor recorded these pages.
    pub(super) fn of<'a>(path: Option<&str>, row: &Row, pages: impl Iterator<Item = &'a PageReport>) -> Self {
        let [requests, hits, stale, fallbacks] = pages.fold([0; 4], |[requests, hits, stale, fallbacks], page| {
            [requests + page.requests, hits + page.hits, stale + page.stale, fallbacks + page.fallbacks]
        });
        #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
        let share = |count: u64| (requests > 0).then(|| count as f64 / requests as f64);
        #[expect(clippy::cast_precision_loss, reason = "a request takes less than 2^52 microseconds")]
        let histogram =
            row.latency.iter_recorded().map(|step| (step.value_iterated_to() as f64 / 1e3, step.count_at_value()));
        Self {
            path: path.map(str::to_owned),
            requests: row.requests,
            errors: Errors::of(row.errors),
            latency: Times::of(&row.latency),
            service: Times::of(&row.service),
            first_byte: Times::of(&row.first_byte),
            hits: share(hits),
            stale: share(stale),
            fallbacks: share(fallbacks),
            bytes: row.bytes,
            histogram: histogram.collect(),
        }
    }

    /// The results of each path, and of all.
    pub(super) fn all(statistics: &Statistics, names: &[RowName], recorded: Option<&RunReport>) -> (Self, Vec<Self>) {
        let pages = || recorded.into_iter().flat_map(|report| &report.pages);
        let row = |(row, name): (&Row, &RowName)| {
            let own = pages().filter(|page| name.is_here && page.path == name.target);
            Self::of(Some(&name.given), row, own)
        };
        let paths = statistics.rows.iter().zip(names).map(row).collect();
        (Self::of(None, &statistics.total, pages()), paths)
    }
}

impl BlameResult {
    /// Whether it is worth a line for people: it costs at least a hundredth of the page's p99, if only on average.
    pub(super) fn matters(&self) -> bool {
        (self.p99_ms - self.without_ms).max(self.mean_saved_ms) >= 0.01 * self.p99_ms
    }
}

impl From<&Blame> for BlameResult {
    fn from(blame: &Blame) -> Self {
        let part = blame.part.as_ref();
        Self {
            path: blame.path.clone(),
            fragment: part.map(|part| part.fragment.clone()),
            part: part.map(|part| part.id.clone()),
            kind: blame.kind.as_str(),
            p99_ms: rounded(blame.p99_ms),
            without_ms: rounded(blame.without_ms),
            mean_saved_ms: rounded(blame.mean_saved_ms),
            at: part.map(|part| part.at.clone()),
        }
    }
}

/// Microseconds are exact enough.
fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

/// The values of a histogram of microseconds, in milliseconds, each with the share of requests up to it.
#[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52, and a request fewer microseconds")]
pub(super) fn cumulative(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut below = 0;
    let steps = histogram.iter_recorded().map(|step| {
        below += step.count_at_value();
        (step.value_iterated_to() as f64 / 1e3, below as f64 / histogram.len() as f64)
    });
    steps.collect()
}

impl Results {
    /// Whether this machine could not send as fast as it was told.
    pub(super) fn is_late(&self) -> bool {
        let mut steps = self.sweep.iter().flat_map(|sweep| &sweep.steps);
        self.late.share > MAX_LATE || steps.any(|step| step.late > MAX_LATE)
    }
}
