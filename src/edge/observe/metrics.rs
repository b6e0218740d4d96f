//! Counts events for Prometheus.
//! The number of label values is bounded: they come from layouts and manifests, never from clients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::engine::page::{CachedPageCounts, Page, PartOutcome};
use crate::engine::port::{CircuitChange, Observer};
use crate::page::manifest::Manifest;
use crate::page::policy::supervision::status::ProgramStatus;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Cache, Shown};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::components::ComponentMetrics;
pub use super::measured::Measured;
use super::measured::Values;
use super::process::Process;
use super::programs::ProgramMetrics;
use super::routes::{Routes, SECONDS};
use super::upstreams::Upstreams;
use super::{line_file, log};

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
struct ByVariant {
    experiment: String,
    variant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBuild {
    version: &'static str,
}

/// The exemplar of a slow fetch: the trace that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InTrace {
    trace_id: String,
}

type Traced<L> = Family<L, HistogramWithExemplars<InTrace>, fn() -> HistogramWithExemplars<InTrace>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRollout {
    fragment: String,
    version: String,
    state: &'static str,
}

type Counters = Map<(Name, Shown, Option<Reason>), Counter>;

/// All metrics.
pub struct Metrics {
    registry: Registry,
    routes: Routes,
    outcomes: Family<ByOutcome, Counter>,
    /// The counters of `outcomes` again, for a fast lookup: a family hashes slowly, and there are many parts.
    counters: Mutex<Counters>,
    fetches: Traced<ByFragment>,
    upstreams: Upstreams,
    variants: Family<ByVariant, Counter>,
    cache_hits: Counter,
    cache_misses: Counter,
    unrouted: Counter,
    values: Values,
    panics: Counter,
    programs: ProgramMetrics,
    components: ComponentMetrics,
    rollouts: Family<ByRollout, Gauge>,
}

fn traced() -> HistogramWithExemplars<InTrace> {
    HistogramWithExemplars::new(SECONDS.into_iter())
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let outcomes = Family::default();
        let fetches = Traced::new_with_constructor(traced as fn() -> HistogramWithExemplars<InTrace>);
        let (routes, upstreams) = (Routes::default(), Upstreams::default());
        registry.register_collector(Box::new(routes.clone()));
        registry.register("pasteup_fragment_outcomes", "Parts of pages by what filled them", outcomes.clone());
        registry.register(
            "pasteup_fragment_fetch_duration_seconds",
            "Seconds from a request to a nanoservice to the last byte of its response",
            fetches.clone(),
        );
        registry.register_collector(Box::new(upstreams.clone()));
        let variants = Family::default();
        registry.register(
            "pasteup_experiment_views",
            "Pages by the variants of experiments that they showed",
            variants.clone(),
        );
        let (cache_hits, cache_misses, unrouted) = (Counter::default(), Counter::default(), Counter::default());
        registry.register("pasteup_cache_hits", "Parts of pages that were in the cache", cache_hits.clone());
        registry.register("pasteup_cache_misses", "Parts of pages that had to be fetched", cache_misses.clone());
        registry.register("pasteup_unrouted_requests", "Requests that no layout has a route for", unrouted.clone());
        let values = Values::default();
        registry.register_collector(Box::new(values.clone()));
        registry.register_collector(Box::new(Process));
        let build = Family::<ByBuild, Gauge>::default();
        build.get_or_create(&ByBuild { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("pasteup_build_info", "The version that runs; always 1", build);
        let programs = ProgramMetrics::new(&mut registry);
        let components = ComponentMetrics::new(&mut registry);
        let rollouts = Family::default();
        registry.register(
            "pasteup_rollout_state",
            "Versions that are rolled out or went back, by their state; always 1",
            rollouts.clone(),
        );
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
        registry.register(
            "pasteup_access_log_lines_dropped",
            "Lines of the access log that its file did not take",
            line_file::dropped_lines().clone(),
        );
        Self {
            registry,
            routes,
            outcomes,
            counters: Mutex::default(),
            fetches,
            upstreams,
            variants,
            cache_hits,
            cache_misses,
            unrouted,
            values,
            panics,
            programs,
            components,
            rollouts,
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

    /// Shows these rollouts from now on: the nanoservice, its new version, and the state.
    pub fn show_rollouts<'r>(&self, rollouts: impl Iterator<Item = (&'r str, &'r str, &'static str)>) {
        self.rollouts.clear();
        for (fragment, version, state) in rollouts {
            let labels = ByRollout { fragment: fragment.to_owned(), version: version.to_owned(), state };
            self.rollouts.get_or_create_owned(&labels).set(1);
        }
    }

    /// Shows these programs from now on as they are now.
    pub fn show_programs(&self, programs: impl Iterator<Item = (Arc<Manifest>, ProgramStatus)>) {
        self.programs.show(programs);
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts parts of pages, each with how often it occurred.
    fn count_parts(&self, parts: impl Iterator<Item = (PartOutcome, u64)>) {
        let mut counters = self.counters();
        for (PartOutcome { nanoservice, shown, reason, cache }, times) in parts {
            let counter =
                counters.entry((nanoservice, shown, reason)).or_insert_with_key(|(fragment, shown, reason)| {
                    let reason = reason.map_or("", Reason::as_str);
                    let labels = ByOutcome { fragment: Arc::clone(fragment), outcome: shown.as_str(), reason };
                    self.outcomes.get_or_create_owned(&labels)
                });
            counter.inc_by(times);
            match cache {
                Some(Cache::Hit | Cache::Stale) => self.cache_hits.inc_by(times),
                Some(Cache::Miss | Cache::Joined) => self.cache_misses.inc_by(times),
                None => 0,
            };
        }
    }

    fn count_variants(&self, variants: &[(String, String)], times: u64) {
        for (experiment, variant) in variants {
            let labels = ByVariant { experiment: experiment.clone(), variant: variant.clone() };
            self.variants.get_or_create(&labels).inc_by(times);
        }
    }

    /// Renders all metrics as OpenMetrics text, with the values of this moment.
    #[must_use]
    pub fn render(&self, measured: Measured) -> String {
        self.values.set(measured);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = encode(&mut text, &self.registry);
        text
    }
}

impl Observer for Metrics {
    fn in_flight(&self, upstream: &str, began: bool) {
        self.upstreams.in_flight(upstream, began);
    }

    fn circuit_changed(&self, change: &CircuitChange<'_>) {
        self.upstreams.circuit_changed(change);
    }

    fn page_composed(&self, page: &Page) {
        self.count_parts(page.known().map(|(part, outcome)| (PartOutcome::of(&page.plan, part, outcome), 1)));
        self.variants_shown(&page.plan.visit.reader.variants);
    }

    fn cached_page_served(&self, again: &CachedPageCounts<'_>) {
        self.count_parts(again.parts.iter().cloned());
        self.count_variants(again.variants, again.times);
    }

    fn responded(&self, page: Option<&str>, status: StatusCode, took: Duration, times: u64) {
        self.routes.add(page, status, took, times);
    }

    fn program_started(&self, _: &Manifest, took: Duration) {
        self.programs.started(took);
    }

    fn component_ran(&self, manifest: &Manifest, took: Duration) {
        self.components.ran(manifest, took);
    }

    fn fetched(&self, fetch: &Fetch, _: Result<&ParsedResponse, &Failure>, sent: &Attempt) {
        let fixed = fetch.targets.iter().filter(|target| !target.is_named());
        fixed.for_each(|target| self.upstreams.asked(&target.upstream));
        // Without an attempt nothing was asked of the nanoservice, so there is nothing to measure.
        if sent.tries == 0 {
            return;
        }
        let labels = ByFragment { fragment: Arc::clone(&fetch.nanoservice) };
        let took = sent.ended.saturating_duration_since(sent.began);
        let trace = sent.span.sampled.then(|| InTrace { trace_id: format!("{:032x}", sent.span.trace) });
        self.fetches.get_or_create(&labels).observe(took.as_secs_f64(), trace, None);
    }

    fn variants_shown(&self, variants: &[(String, String)]) {
        self.count_variants(variants, 1);
    }

    fn unrouted(&self, _: &str) {
        self.unrouted.inc();
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
        assert!(metrics.render(Measured::default()).contains("pasteup_panics_total 1"));
    }
}
