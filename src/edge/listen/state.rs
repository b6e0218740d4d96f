//! The state of a connection that its byte stream and its hyper service share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::application::PendingReply;

/// The progress of the requests of a connection that hyper was given.
pub(super) struct ConnectionState<R> {
    /// The number of requests that are being handled.
    in_progress: AtomicUsize,
    /// The number of requests whose replies were sent, to the last byte of the body.
    completed: AtomicUsize,
    /// The reply to the request that hyper is about to read, if the stream has obtained it already.
    handed_over: Mutex<Option<PendingReply<R>>>,
}

impl<R> Default for ConnectionState<R> {
    fn default() -> Self {
        Self { in_progress: AtomicUsize::new(0), completed: AtomicUsize::new(0), handed_over: Mutex::new(None) }
    }
}

impl<R> ConnectionState<R> {
    /// Whether a request is being handled.
    pub(super) fn is_busy(&self) -> bool {
        self.in_progress.load(Ordering::Acquire) > 0
    }

    /// The number of requests whose replies were sent.
    pub(super) fn completed(&self) -> usize {
        self.completed.load(Ordering::Acquire)
    }

    /// Hands over the reply to the next request, which the stream could not send.
    pub(super) fn hand_over(&self, reply: PendingReply<R>) {
        *self.handed_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
    }

    /// Takes the reply to the next request, if the stream has obtained it already.
    pub(super) fn take_over(&self) -> Option<PendingReply<R>> {
        self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Counts a request as being handled until it is dropped.
pub(super) struct RequestInProgress<R>(Arc<ConnectionState<R>>);

impl<R> RequestInProgress<R> {
    pub(super) fn new(state: &Arc<ConnectionState<R>>) -> Self {
        state.in_progress.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(state))
    }
}

impl<R> Drop for RequestInProgress<R> {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::AcqRel);
        self.0.completed.fetch_add(1, Ordering::AcqRel);
    }
}
