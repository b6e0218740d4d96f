//! The state of a connection that its byte stream and its hyper service share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;

use super::application::PendingReply;

/// The progress of the requests of a connection that hyper was given.
pub(super) struct ConnectionState<R> {
    /// The number of requests that are being handled.
    in_progress: AtomicUsize,
    /// The number of requests whose replies were sent, to the last byte of the body.
    completed: AtomicUsize,
    /// Whether a reply has begun, and the rest of it is not ready.
    is_stalled: AtomicBool,
    /// The number of requests that hyper has read.
    read: AtomicUsize,
    /// The reply to a request that hyper will read, if the stream has obtained it already, and the number of requests
    /// before it.
    handed_over: Mutex<Option<(usize, PendingReply<R>)>>,
    /// Woken when a request is completed.
    awaits_completion: AtomicWaker,
}

impl<R> Default for ConnectionState<R> {
    fn default() -> Self {
        Self {
            in_progress: AtomicUsize::new(0),
            completed: AtomicUsize::new(0),
            is_stalled: AtomicBool::new(false),
            read: AtomicUsize::new(0),
            handed_over: Mutex::new(None),
            awaits_completion: AtomicWaker::new(),
        }
    }
}

impl<R> ConnectionState<R> {
    /// Whether a request is being handled.
    pub(super) fn is_busy(&self) -> bool {
        self.in_progress.load(Ordering::Acquire) > 0
    }

    /// Whether a reply has begun, and the rest of it is not ready. Until it is, nothing is sent that a client who has left
    /// would reject.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Acquire)
    }

    /// The number of requests whose replies were sent.
    pub(super) fn completed(&self) -> usize {
        self.completed.load(Ordering::Acquire)
    }

    /// Wakes a task as soon as another request is completed.
    pub(super) fn wake_when_completed(&self, waker: &Waker) {
        self.awaits_completion.register(waker);
    }

    /// Hands over the reply to the request that hyper will read after `before` others.
    pub(super) fn hand_over(&self, before: usize, reply: PendingReply<R>) {
        *self.handed_over.lock().unwrap_or_else(PoisonError::into_inner) = Some((before, reply));
    }

    /// Counts a request that hyper has read, and takes its reply if the stream has obtained it already.
    pub(super) fn take_over(&self) -> Option<PendingReply<R>> {
        let before = self.read.fetch_add(1, Ordering::AcqRel);
        let mut handed_over = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        handed_over.take_if(|(number, _)| *number == before).map(|(_, reply)| reply)
    }
}

/// Counts a request as being handled until it is dropped.
pub(super) struct RequestInProgress<R>(Arc<ConnectionState<R>>);

impl<R> RequestInProgress<R> {
    pub(super) fn new(state: &Arc<ConnectionState<R>>) -> Self {
        state.in_progress.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(state))
    }

    /// Notes whether the rest of the reply, which has begun, is not ready.
    pub(super) fn set_stalled(&self, is_stalled: bool) {
        self.0.is_stalled.store(is_stalled, Ordering::Release);
    }
}

impl<R> Drop for RequestInProgress<R> {
    fn drop(&mut self) {
        self.0.is_stalled.store(false, Ordering::Release);
        self.0.in_progress.fetch_sub(1, Ordering::AcqRel);
        self.0.completed.fetch_add(1, Ordering::AcqRel);
        self.0.awaits_completion.wake();
    }
}
