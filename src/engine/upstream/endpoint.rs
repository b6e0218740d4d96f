//! One endpoint of a nanoservice: its circuit breaker, its latency, its concurrency limit, and the requests assigned to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::engine::port::{CircuitChange, Observer};
use crate::page::policy::naming::Place;
use crate::page::policy::resilience::breaker::{Breaker, BreakerRules, Circuit, RequestKey};
use crate::page::policy::resilience::latency::PeakLatency;
use crate::page::response::parsed::Failure;
use crate::page::source::names::Name;

use super::concurrency::ConcurrencyLimit;

/// One endpoint.
pub(super) struct Endpoint {
    nanoservice: Name,
    pub(super) upstream: Name,
    pub(super) limit: Arc<ConcurrencyLimit>,
    pub(super) rules: BreakerRules,
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
    /// Number of requests that are assigned to it, including those that wait for a permit.
    assigned: AtomicUsize,
    /// Whether a request that was given up is still observed to its end; at most one is.
    is_observing: AtomicBool,
}

/// What is known of an endpoint.
pub(super) struct State {
    pub(super) breaker: Breaker,
    pub(super) latency: PeakLatency,
}

/// An endpoint that a request can be sent to.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) endpoint: Arc<Endpoint>,
    /// Its number among the targets of the request.
    pub(super) target: usize,
    /// Which place of that target it is, if the target stands for several.
    pub(super) place: Option<Place>,
}

/// A request that is assigned to an endpoint, until it is dropped.
pub(super) struct Assignment {
    pub(super) endpoint: Arc<Endpoint>,
    /// Its number among the targets of the request.
    pub(super) target: usize,
    /// Which place of that target it is, if the target stands for several.
    pub(super) place: Option<Place>,
    /// Whether the request is sent although the circuit is open.
    pub(super) is_forced: bool,
}

/// The right to observe a request that was given up; at most one per endpoint, until it is dropped.
pub(super) struct Observation(Arc<Endpoint>);

impl Endpoint {
    pub(super) fn new(
        (nanoservice, upstream): (&Name, &Name),
        concurrency: u32,
        rules: BreakerRules,
        observer: &Arc<dyn Observer>,
    ) -> Self {
        let now = Instant::now().into_std();
        let endpoint = Self {
            nanoservice: Arc::clone(nanoservice),
            upstream: Arc::clone(upstream),
            limit: Arc::new(ConcurrencyLimit::new(concurrency)),
            rules,
            observer: Arc::clone(observer),
            state: Mutex::new(State { breaker: Breaker::new(now), latency: PeakLatency::unknown(now) }),
            assigned: AtomicUsize::new(0),
            is_observing: AtomicBool::new(false),
        };
        endpoint.report(None, Some(Circuit::Closed), None);
        endpoint
    }

    /// Calls the circuit breaker, and reports if the circuit's state has changed.
    pub(super) fn with_breaker<T>(&self, call: impl FnOnce(&mut Breaker) -> T) -> T {
        self.with_breaker_after(None, call)
    }

    /// Calls the circuit breaker because of this failure, if there was one, and reports if the circuit's state has changed.
    pub(super) fn with_breaker_after<T>(&self, failure: Option<&Failure>, call: impl FnOnce(&mut Breaker) -> T) -> T {
        let (before, result, after) = self.with_state(|State { breaker, .. }| {
            let before = breaker.circuit();
            let result = call(breaker);
            (before, result, breaker.circuit())
        });
        if before != after {
            self.report(Some(before), Some(after), failure);
        }
        result
    }

    fn report(&self, before: Option<Circuit>, after: Option<Circuit>, cause: Option<&Failure>) {
        let (nanoservice, upstream) = (&self.nanoservice, &self.upstream);
        self.observer.circuit_changed(&CircuitChange { nanoservice, upstream, before, after, cause });
    }

    pub(super) fn with_state<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether its circuit would admit a request.
    pub(super) fn would_admit(&self, key: RequestKey, now: Instant) -> bool {
        self.with_state(|state| state.breaker.would_admit(key, now.into_std()))
    }

    /// Whether its circuit would admit some request.
    pub(super) fn is_available(&self, now: Instant) -> bool {
        self.with_state(|state| state.breaker.is_available(now.into_std()))
    }

    /// Whether no request is assigned to it.
    pub(super) fn is_idle(&self) -> bool {
        self.assigned.load(Ordering::Relaxed) == 0
    }

    /// The cost of one more request.
    pub(super) fn cost(&self, now: Instant) -> f64 {
        self.with_state(|state| state.latency.cost(self.assigned.load(Ordering::Relaxed), now.into_std()))
    }

    /// Reports that a request began (`true`) or ended.
    pub(super) fn in_flight(&self, began: bool) {
        self.observer.in_flight(&self.upstream, began);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let circuit = self.with_state(|state| state.breaker.circuit());
        self.report(Some(circuit), None, None);
    }
}

impl Assignment {
    pub(super) fn new(candidate: &Candidate, is_forced: bool) -> Self {
        let Candidate { endpoint, target, place } = candidate.clone();
        endpoint.assigned.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, target, place, is_forced }
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.endpoint.assigned.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Observation {
    /// `None`: another request is observed, or a failure of one that began at this moment would not count.
    pub(super) fn begin(endpoint: &Arc<Endpoint>, began: Instant) -> Option<Self> {
        let would_count = endpoint.with_state(|state| state.breaker.is_new_failure(began.into_std()));
        (would_count && !endpoint.is_observing.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(endpoint)))
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.0.is_observing.store(false, Ordering::Release);
    }
}
