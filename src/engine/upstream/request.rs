//! A request on its way down the stack, and the log of the endpoints that it was sent to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::port::UpstreamRequest;
use crate::page::policy::resilience::breaker::RequestKey;
use crate::page::request::address::Target;
use crate::page::request::fetch::Fetch;
use crate::page::response::parsed::Failure;
use crate::page::source::names::Name;

/// A request on its way down the stack. Retries and hedges are clones of it, which share its log.
#[derive(Debug, Clone)]
pub(in crate::engine) struct StackRequest {
    /// The request, whichever endpoint it will be sent to.
    pub(super) request: UpstreamRequest,
    /// Equal for equal requests.
    pub(super) key: RequestKey,
    /// Its address on each of the endpoints.
    pub(super) targets: Arc<[Target]>,
    /// When the response is no longer waited for.
    pub(super) deadline: Instant,
    /// How long the nanoservice may take according to its manifest; a layout may allow less.
    pub(super) declared_timeout: Duration,
    /// Whether it is a hedge: sent while another request is slow.
    pub(super) is_hedge: bool,
    log: Arc<Mutex<EndpointLog>>,
}

/// The endpoints that were chosen for a request.
#[derive(Debug, Default)]
pub(in crate::engine) struct EndpointLog {
    pub(super) chosen: Vec<Name>,
    /// How many requests were sent. One that waits for a permit is not sent yet.
    sent: usize,
    /// When the first of them was sent, and the one that responded, or otherwise the last.
    first_sent: Option<Instant>,
    last_sent: Option<Instant>,
    /// The endpoint whose response began.
    responded: Option<Name>,
    /// The failure after which the request is sent again.
    pub(super) retried: Option<Failure>,
}

impl EndpointLog {
    /// Records that a request was sent.
    pub(super) fn sent_one(&mut self, at: Instant) {
        self.sent += 1;
        self.first_sent.get_or_insert(at);
        self.last_sent = Some(at);
    }

    /// Records that the response began of the request that was sent to an endpoint at this time.
    pub(super) fn responded(&mut self, endpoint: Name, sent: Instant) {
        (self.responded, self.last_sent) = (Some(endpoint), Some(sent));
    }

    /// The endpoint that responded, or otherwise the one that was chosen last.
    pub(in crate::engine) fn last(&self) -> Option<Name> {
        self.responded.as_ref().or_else(|| self.chosen.last()).cloned()
    }

    /// When a request was sent for the first time, and the one that responded, or otherwise the last.
    pub(in crate::engine) fn sent_at(&self) -> (Option<Instant>, Option<Instant>) {
        (self.first_sent, self.last_sent)
    }

    /// How many requests were sent.
    pub(in crate::engine) const fn sent(&self) -> usize {
        self.sent
    }
}

impl StackRequest {
    pub(in crate::engine) fn new(
        request: UpstreamRequest,
        fetch: &Fetch,
        deadline: Instant,
        log: Arc<Mutex<EndpointLog>>,
    ) -> Self {
        Self {
            request,
            key: fetch.key.local_hash(),
            targets: Arc::clone(&fetch.targets),
            deadline,
            declared_timeout: fetch.nanoservice_timeout,
            is_hedge: false,
            log,
        }
    }

    /// The same request, as a hedge.
    pub(super) fn hedged(&self) -> Self {
        Self { is_hedge: true, ..self.clone() }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, EndpointLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
