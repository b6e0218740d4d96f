//! The state of a connection that its byte stream and its hyper service share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Answer;

/// How far the requests of a connection are that hyper was given.
pub(super) struct ConnectionState<R> {
    /// Requests that are being answered.
    answering: AtomicUsize,
    /// Requests that were answered, to the last byte of the reply's body.
    answered: AtomicUsize,
    /// The answer to the request that hyper is about to read, if the stream has asked for it already.
    handed_over: Mutex<Option<Answer<R>>>,
}

impl<R> Default for ConnectionState<R> {
    fn default() -> Self {
        Self { answering: AtomicUsize::new(0), answered: AtomicUsize::new(0), handed_over: Mutex::new(None) }
    }
}

impl<R> ConnectionState<R> {
    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.answering.load(Ordering::Acquire) > 0
    }

    /// The number of requests that were answered.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Acquire)
    }

    /// Hands over the answer to the next request, which the stream could not send.
    pub(super) fn hand_over(&self, answer: Answer<R>) {
        *self.handed_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// Takes the answer to the next request, if the stream has asked for it already.
    pub(super) fn take_over(&self) -> Option<Answer<R>> {
        self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Counts a request as being answered until it is dropped.
pub(super) struct Answering<R>(Arc<ConnectionState<R>>);

impl<R> Answering<R> {
    pub(super) fn new(state: &Arc<ConnectionState<R>>) -> Self {
        state.answering.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(state))
    }
}

impl<R> Drop for Answering<R> {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::AcqRel);
        self.0.answered.fetch_add(1, Ordering::AcqRel);
    }
}
