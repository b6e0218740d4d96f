//! Who is asked twice, and when: after a broken connection, or beside a slow answer. Both are paid for
//! from one allowance.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::{BoxError, Service, hedge, retry};

use crate::engine::port::UpstreamResponse;
use crate::page::policy::resilience::retry_budget::RetryBudget;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;

use super::request::Try;

/// What a service's retries and hedges share.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(Arc<Mutex<RetryBudget>>);

impl Shares {
    pub(super) fn earn(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).deposit();
    }

    fn spend(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).withdraw()
    }
}

/// Tries again what got no answer at all.
#[derive(Debug, Clone)]
pub(super) struct Again {
    /// How often yet.
    pub(super) left: u32,
    pub(super) allowance: Shares,
}

impl retry::Policy<Try, UpstreamResponse, BoxError> for Again {
    type Future = Ready<()>;

    fn retry(&mut self, wanted: &mut Try, result: &mut Result<UpstreamResponse, BoxError>) -> Option<Self::Future> {
        let failure = result.as_ref().err()?.downcast_ref::<Failure>()?;
        let in_time = Instant::now() < wanted.deadline;
        if failure.reason != Reason::Connect || self.left == 0 || !in_time || !self.allowance.spend() {
            return None;
        }
        self.left -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, wanted: &Try) -> Option<Try> {
        Some(wanted.clone())
    }
}

/// Asks once more where an answer is slower than most.
#[derive(Debug, Clone)]
pub(super) struct OnceMore(pub(super) Shares);

impl hedge::Policy<Try> for OnceMore {
    fn clone_request(&self, wanted: &Try) -> Option<Try> {
        Some(Try { is_beside: true, ..wanted.clone() })
    }

    fn can_retry(&self, wanted: &Try) -> bool {
        Instant::now() < wanted.deadline && self.0.spend()
    }
}

/// A service that cannot be cloned, in the hands of many.
pub(super) struct Shared<S>(Arc<Mutex<S>>);

impl<S> Shared<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Arc::new(Mutex::new(service)))
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service<Try>> Service<Try> for Shared<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).poll_ready(context)
    }

    fn call(&mut self, wanted: Try) -> Self::Future {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).call(wanted)
    }
}
