//! What the statistics report: figures of the last minute and of the last quarter of an hour, failures, and changes.
//! The names of the fields in JSON are public.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use sketches_ddsketch::DDSketch;

use crate::page::policy::resilience::health::Health;
use crate::page::source::names::Name;

/// The statistics of a page.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PageStatistics {
    /// Requests per second.
    pub per_second: f64,
    /// The share of requests with a server error, from 0 to 1.
    pub errors: f64,
    /// The share of pages whose parts all came from the cache, from 0 to 1.
    pub hits: f64,
    /// The share of pages with a degraded part, from 0 to 1.
    pub degraded: f64,
    /// How many responses had each status.
    pub statuses: BTreeMap<u16, u64>,
    /// The time from a request to the head of its response.
    #[serde(flatten)]
    pub took: Latency,
}

/// The statistics of a nanoservice.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NanoserviceStatistics {
    /// Its health.
    pub health: Health,
    /// Since when it has this health; `None` if it was never asked.
    pub since: Option<Timestamp>,
    /// The latest outcome of a part that it fills.
    pub latest: Option<&'static str>,
    /// The reason of the latest outcome.
    pub latest_reason: Option<&'static str>,
    /// The parts of pages that it should fill, per second.
    pub per_second: f64,
    /// The share of parts, among those that were looked up, that were filled from a fresh cached response, from 0 to 1.
    pub hits: f64,
    /// The share of degraded parts, from 0 to 1.
    pub degraded: f64,
    /// Requests to it per second.
    pub fetches_per_second: f64,
    /// The share of requests that failed, from 0 to 1.
    pub failures: f64,
    /// How many responses had each status. Requests that got no response are not among them.
    pub statuses: BTreeMap<u16, u64>,
    /// The number of requests that were not sent, because the circuit breaker refused them. They are not among the others.
    pub refused: u64,
    /// The number of responses that were 404 or 410, or redirected. They are answers, not failures.
    pub gone: u64,
    /// The average number of bytes of a response.
    pub bytes: u64,
    /// Whether its last response was cached.
    #[serde(rename = "keeping")]
    pub caching: Option<Caching>,
    /// The time from a request to the last byte of its response.
    #[serde(flatten)]
    pub took: Latency,
}

/// Whether a response was cached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Caching {
    /// Whether the last response was cached.
    #[serde(rename = "kept")]
    pub cached: bool,
    /// How long and because of which setting, or why not.
    pub why: String,
}

/// Quantiles of a duration, in milliseconds. `None`: there is nothing to measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
}

impl Latency {
    pub(super) fn of(took: &DDSketch) -> Self {
        let quantile = |share| took.quantile(share).ok().flatten().map(|seconds: f64| (seconds * 1e5).round() / 1e2);
        Self { p50_ms: quantile(0.5), p95_ms: quantile(0.95), p99_ms: quantile(0.99) }
    }
}

/// The history of all pages together, of one page or of one nanoservice, in slots of the same length, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct History {
    /// When each slot began.
    pub seconds_ago: Vec<u64>,
    /// Requests per second. Those to a nanoservice are the ones that were sent.
    pub per_second: Vec<f64>,
    /// Responses with a server error per second; of a nanoservice, requests that failed.
    pub errors_per_second: Vec<f64>,
    /// Pages with a degraded part, per second; of a nanoservice, degraded parts.
    pub degraded_per_second: Vec<f64>,
    /// The median of the time from a request to the head of its response.
    pub p50_ms: Vec<Option<f64>>,
    /// The 95th percentile of this time.
    pub p95_ms: Vec<Option<f64>>,
    /// The 99th percentile of this time.
    pub p99_ms: Vec<Option<f64>>,
}

impl History {
    /// Adds the next slot, which began so many seconds ago: requests, errors and what was degraded, per second, and latencies.
    pub(super) fn add(&mut self, ago: u64, [requests, errors, degraded]: [f64; 3], took: Latency) {
        self.seconds_ago.push(ago);
        self.per_second.push(requests);
        self.errors_per_second.push(errors);
        self.degraded_per_second.push(degraded);
        self.p50_ms.push(took.p50_ms);
        self.p95_ms.push(took.p95_ms);
        self.p99_ms.push(took.p99_ms);
    }
}

/// All failures of a nanoservice with one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureGroup {
    /// The nanoservice.
    pub fragment: Name,
    /// The reason.
    pub reason: &'static str,
    /// The details of the latest failure: the nanoservice's own explanation, if it gave one.
    pub detail: String,
    /// How many parts of pages were affected.
    pub count: u64,
    /// How many of them were affected while the circuit was open, so that nothing was requested.
    pub refused: u64,
    /// When the first failure occurred.
    pub first: Timestamp,
    /// When the latest failure occurred.
    pub last: Timestamp,
    /// The page that the latest failure affected, as the pattern of its route.
    pub page: Option<String>,
    /// The first pages that were affected, as the patterns of their routes.
    pub pages: BTreeSet<String>,
}

/// A request to a nanoservice that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecentFailure {
    /// When it failed.
    pub at: Timestamp,
    /// The reason.
    pub reason: &'static str,
    /// The details, shortened if they are long.
    pub detail: String,
    /// The endpoint that it was sent to, or last sent to.
    pub endpoint: Name,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// Requests that no layout has a route for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnroutedStatistics {
    /// The number of requests since the start.
    pub requests: u64,
    /// The most frequent paths of the last one to two hours, the most frequent first.
    pub paths: Vec<UnroutedPath>,
}

/// A path that no layout has a route for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnroutedPath {
    /// The path, without control characters, and shortened if it is long.
    pub path: String,
    /// How many requests were for it, or a few more.
    pub requests: u64,
}

/// A change of layouts, manifests or settings, which may explain later failures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteChange {
    /// When it happened.
    pub at: Timestamp,
    /// What changed.
    pub what: String,
}

/// A count per second, to one decimal place.
#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
pub(super) fn rate(count: u64, seconds: f64) -> f64 {
    (count as f64 / seconds * 10.0).round() / 10.0
}

/// A share from 0 to 1, to four decimal places; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
pub(super) fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (count as f64 / of as f64 * 1e4).round() / 1e4 }
}

/// Adds the durations of one sketch to another.
pub(super) fn merge(all: &mut DDSketch, other: &DDSketch) {
    all.merge(other).expect("all sketches have the same configuration");
}
