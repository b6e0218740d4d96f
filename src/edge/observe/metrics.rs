//! Counts events for Prometheus.
//! The number of label values is bounded: they come from layouts and manifests, never from clients.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::engine::page::{CachedPageCounts, Page, PartOutcome};
use crate::engine::port::Observer;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Shown};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::log;

/// Upper bounds of the histogram buckets, in seconds: from a cached page to a page that waits for its whole budget.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    http_response_status_code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    fragment: Arc<str>,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFragment {
    fragment: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByUpstream {
    upstream: String,
}

/// The exemplar of a slow fetch: the trace that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InTrace {
    trace_id: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Traced<L> = Family<L, HistogramWithExemplars<InTrace>, fn() -> HistogramWithExemplars<InTrace>>;

type Counters = Map<(Name, Shown, Option<Reason>), Counter>;

/// All metrics.
pub struct Metrics {
    registry: Registry,
    requests: Histograms<ByStatus>,
    outcomes: Family<ByOutcome, Counter>,
    /// The counters of `outcomes` again, for a fast lookup: a family hashes slowly, and there are many parts.
    counters: Mutex<Counters>,
    fetches: Traced<ByFragment>,
    in_flight: Family<ByUpstream, Gauge<i64, AtomicI64>>,
    circuits: Family<ByUpstream, Gauge<i64, AtomicI64>>,
    cache_bytes: Gauge,
    cache_entries: Gauge,
    panics: Counter,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

fn traced() -> HistogramWithExemplars<InTrace> {
    HistogramWithExemplars::new(SECONDS.into_iter())
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Histograms::new_with_constructor(histogram as fn() -> Histogram);
        let outcomes = Family::default();
        let fetches = Traced::new_with_constructor(traced as fn() -> HistogramWithExemplars<InTrace>);
        let (in_flight, circuits) = (Family::default(), Family::default());
        let (cache_bytes, cache_entries) = (Gauge::default(), Gauge::default());
        registry.register(
            "http_server_request_duration_seconds",
            "Seconds from a request to the head of its response",
            requests.clone(),
        );
        registry.register("pasteup_fragment_outcomes", "Parts of pages by what filled them", outcomes.clone());
        registry.register(
            "pasteup_fragment_fetch_duration_seconds",
            "Seconds from a request to a nanoservice to the last byte of its response",
            fetches.clone(),
        );
        registry.register("pasteup_upstream_in_flight", "Requests to an upstream in progress", in_flight.clone());
        registry.register(
            "pasteup_circuit_state",
            "State of the circuit breaker: 0 closed, 1 open, 2 probing",
            circuits.clone(),
        );
        registry.register("pasteup_cache_bytes", "Bytes in the cache", cache_bytes.clone());
        registry.register("pasteup_cache_entries", "Responses and whole pages in the cache", cache_entries.clone());
        let panics = Counter::default();
        registry.register(
            "pasteup_panics",
            "Panics of the compositor, each of which cost at most one request",
            panics.clone(),
        );
        registry.register(
            "pasteup_log_lines_dropped",
            "Lines of the log and other messages that standard error did not take",
            log::dropped_lines().clone(),
        );
        Self {
            registry,
            requests,
            outcomes,
            counters: Mutex::default(),
            fetches,
            in_flight,
            circuits,
            cache_bytes,
            cache_entries,
            panics,
        }
    }
}

impl Metrics {
    /// Counts the panics of this process from now on, wherever they are caught.
    pub fn count_panics(&self) {
        let (panics, before) = (self.panics.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            panics.inc();
            before(panic);
        }));
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, counters: &mut Counters, what: (Name, Shown, Option<Reason>), times: u64) {
        let counter = counters.entry(what).or_insert_with_key(|(fragment, shown, reason)| {
            let reason = reason.map_or("", Reason::as_str);
            let labels = ByOutcome { fragment: Arc::clone(fragment), outcome: shown.as_str(), reason };
            self.outcomes.get_or_create_owned(&labels)
        });
        counter.inc_by(times);
    }

    /// Renders all metrics as OpenMetrics text, with the given size of the cache in bytes and entries.
    #[must_use]
    pub fn render(&self, (bytes, entries): (u64, u64)) -> String {
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = encode(&mut text, &self.registry);
        text
    }
}

impl Observer for Metrics {
    fn in_flight(&self, upstream: &str, began: bool) {
        let upstream = ByUpstream { upstream: upstream.to_owned() };
        // A circuit is closed at first, and stays so without any change that would be reported.
        let _zero = self.circuits.get_or_create_owned(&upstream);
        let gauge = self.in_flight.get_or_create_owned(&upstream);
        if began {
            gauge.inc()
        } else {
            gauge.dec()
        };
    }

    fn circuit_changed(&self, upstream: &str, circuit: Circuit) {
        let state = match circuit {
            Circuit::Closed => 0,
            Circuit::Open => 1,
            Circuit::HalfOpen => 2,
        };
        self.circuits.get_or_create_owned(&ByUpstream { upstream: upstream.to_owned() }).set(state);
    }

    fn page_composed(&self, page: &Page) {
        let mut counters = self.counters();
        for (part, outcome) in page.plan.parts.iter().zip(&page.outcomes) {
            let Some(outcome) = outcome else { continue };
            self.count(&mut counters, (part.label(), outcome.shown, outcome.reason), 1);
        }
    }

    fn cached_page_served(&self, again: &CachedPageCounts<'_>) {
        let mut counters = self.counters();
        for (PartOutcome { label, shown, reason, .. }, times) in again.parts {
            self.count(&mut counters, (Arc::clone(label), *shown, *reason), *times);
        }
    }

    fn responded(&self, _: Option<&str>, status: StatusCode, took: Duration, times: u64) {
        let labels = ByStatus { http_response_status_code: status.as_u16() };
        let requests = self.requests.get_or_create(&labels);
        (0..times).for_each(|_| requests.observe(took.as_secs_f64()));
    }

    fn fetched(&self, fetch: &Fetch, _: Result<&ParsedResponse, &Failure>, sent: &Attempt) {
        let labels = ByFragment { fragment: Arc::clone(&fetch.id) };
        let took = sent.ended.saturating_duration_since(sent.began);
        let trace = sent.span.sampled.then(|| InTrace { trace_id: format!("{:032x}", sent.span.trace) });
        self.fetches.get_or_create(&labels).observe(took.as_secs_f64(), trace, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_counted() {
        let metrics = Metrics::default();
        metrics.count_panics();
        assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
        assert!(metrics.render((0, 0)).contains("pasteup_panics_total 1"));
    }
}
