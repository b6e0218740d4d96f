//! Limits how many requests an endpoint has in flight, so that a slow endpoint occupies its own permits and no others.
//! The limit adapts to the latency of the endpoint; requests beyond it wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::page::policy::resilience::adaptive_limit::AdaptiveLimit;

/// The concurrency limit of one endpoint.
pub(super) struct ConcurrencyLimit {
    semaphore: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    limit: AdaptiveLimit,
    /// The number of permits that exist, free or not.
    permits: usize,
}

/// The permit of one request, which is released when it is dropped.
pub(super) struct Permit {
    limit: Arc<ConcurrencyLimit>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimit {
    pub(super) fn new(max: u32) -> Self {
        let limit = AdaptiveLimit::new(max);
        let permits = limit.current();
        Self { semaphore: Arc::new(Semaphore::new(permits)), state: Mutex::new(State { limit, permits }) }
    }

    /// How long the last responses took on average. `None`: there was none yet.
    pub(super) fn recent_latency(&self) -> Option<Duration> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limit.recent_latency()
    }

    /// Waits for a free permit.
    pub(super) async fn acquire(self: Arc<Self>) -> Permit {
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.expect("the semaphore is never closed");
        Permit { limit: self, permit: Some(permit) }
    }
}

impl Permit {
    /// Records how long it took until the head of the response arrived, or until the wait for it ended.
    pub(super) fn record(&self, took: Duration) {
        let mut state = self.limit.state.lock().unwrap_or_else(PoisonError::into_inner);
        let in_flight = state.permits.saturating_sub(self.limit.semaphore.available_permits());
        state.limit.record(took, in_flight);
        let more = state.limit.current().saturating_sub(state.permits);
        self.limit.semaphore.add_permits(more);
        state.permits += more;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limit.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.permits > state.limit.current()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.permits -= 1;
        }
    }
}
