//! How many requests an endpoint has in flight, so that a slow one fills its own lanes and nobody
//! else's. How many there are follows from how it answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::page::policy::resilience::adaptive_limit::AdaptiveLimit;

/// The lanes of one endpoint.
pub(super) struct ConcurrencyLimit {
    free: Arc<Semaphore>,
    width: Mutex<Width>,
}

struct Width {
    limit: AdaptiveLimit,
    /// Lanes that there are, free or not.
    lanes: usize,
}

/// A request in its lane, until it is dropped.
pub(super) struct Entered {
    lane: Arc<ConcurrencyLimit>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimit {
    pub(super) fn new(most: u32) -> Self {
        let limit = AdaptiveLimit::new(most);
        let lanes = limit.current();
        Self { free: Arc::new(Semaphore::new(lanes)), width: Mutex::new(Width { limit, lanes }) }
    }

    /// How long answers take just now, where that is known.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.width.lock().unwrap_or_else(PoisonError::into_inner).limit.recent_latency()
    }

    /// Waits for a free lane.
    pub(super) async fn enter(self: Arc<Self>) -> Entered {
        let permit = Arc::clone(&self.free).acquire_owned().await.expect("lanes are never closed");
        Entered { lane: self, permit: Some(permit) }
    }
}

impl Entered {
    /// The head of the answer came after this long, or nobody waited any longer.
    pub(super) fn saw(&self, took: Duration) {
        let mut width = self.lane.width.lock().unwrap_or_else(PoisonError::into_inner);
        let in_flight = width.lanes.saturating_sub(self.lane.free.available_permits());
        width.limit.record(took, in_flight);
        let more = width.limit.current().saturating_sub(width.lanes);
        self.lane.free.add_permits(more);
        width.lanes += more;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut width = self.lane.width.lock().unwrap_or_else(PoisonError::into_inner);
        if width.lanes > width.limit.current()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            width.lanes -= 1;
        }
    }
}
