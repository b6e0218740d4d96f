//! A request on its way down the stack, and what becomes known of it on the way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::port::UpstreamRequest;
use crate::page::request::address::Target;
use crate::page::request::fetch::Fetch;

/// A request on its way down the stack.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Try {
    /// What is asked, of whichever endpoint.
    pub(super) request: UpstreamRequest,
    /// Where it can be asked.
    pub(super) targets: Arc<[Target]>,
    /// When nobody waits for it any more.
    pub(super) deadline: Instant,
    /// How long the service may take by its own word.
    pub(super) patience: Duration,
    /// It is asked beside another that is slow.
    pub(super) is_beside: bool,
    /// Which of the targets were asked already.
    pub(super) tried: Arc<Mutex<Tried>>,
}

/// Which targets were chosen, by their numbers.
#[derive(Debug, Default)]
pub(in crate::engine) struct Tried {
    pub(super) chosen: Vec<usize>,
    /// How often one was asked: who waits for a lane did not ask yet.
    pub(super) asked: usize,
    /// The one whose answer began.
    pub(super) answered: Option<usize>,
}

impl Tried {
    /// The one that answered, or else that was chosen last.
    pub(in crate::engine) fn last(&self) -> Option<usize> {
        self.answered.or_else(|| self.chosen.last().copied())
    }

    /// How often one was asked.
    pub(in crate::engine) fn times(&self) -> usize {
        self.asked
    }
}

impl Try {
    pub(in crate::engine) fn new(
        request: UpstreamRequest,
        fetch: &Fetch,
        deadline: Instant,
        tried: Arc<Mutex<Tried>>,
    ) -> Self {
        Self {
            request,
            targets: Arc::clone(&fetch.targets),
            deadline,
            patience: fetch.nanoservice_timeout,
            is_beside: false,
            tried,
        }
    }

    pub(super) fn tried(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
