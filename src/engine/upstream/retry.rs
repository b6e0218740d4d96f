//! Sends some requests twice: a retry after a broken connection, a hedge while a response is slow.
//! Both are taken from one budget; once it is spent, neither is sent.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::{BoxError, Service, hedge, retry};

use crate::engine::port::UpstreamResponse;
use crate::page::policy::resilience::retry_budget::RetryBudget;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;

use super::request::StackRequest;

/// The budget that the retries and hedges of one nanoservice share.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedRetryBudget(Arc<Mutex<RetryBudget>>);

impl SharedRetryBudget {
    pub(super) fn deposit(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).deposit();
    }

    fn withdraw(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).withdraw()
    }
}

/// Retries requests whose connection broke before a response began.
#[derive(Debug, Clone)]
pub(super) struct RetryPolicy {
    /// How many retries are left.
    pub(super) left: u32,
    pub(super) budget: SharedRetryBudget,
}

impl retry::Policy<StackRequest, UpstreamResponse, BoxError> for RetryPolicy {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        request: &mut StackRequest,
        result: &mut Result<UpstreamResponse, BoxError>,
    ) -> Option<Self::Future> {
        let failure = result.as_ref().err()?.downcast_ref::<Failure>()?;
        // The failure may have opened the circuit, so that the retry was refused. It is the failure that matters.
        if failure.reason == Reason::CircuitOpen
            && let Some(retried) = request.log().retried.take()
        {
            *result = Err(retried.into());
            return None;
        }
        let in_time = Instant::now() < request.deadline;
        if failure.reason != Reason::Connect || self.left == 0 || !in_time || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        request.log().retried = Some(failure.clone());
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &StackRequest) -> Option<StackRequest> {
        Some(request.clone())
    }
}

/// Sends a second request if a response is slower than most.
#[derive(Debug, Clone)]
pub(super) struct HedgePolicy(pub(super) SharedRetryBudget);

impl hedge::Policy<StackRequest> for HedgePolicy {
    fn clone_request(&self, request: &StackRequest) -> Option<StackRequest> {
        Some(request.hedged())
    }

    fn can_retry(&self, request: &StackRequest) -> bool {
        Instant::now() < request.deadline && self.0.withdraw()
    }
}

/// Makes a service cloneable that is not: all clones share it.
pub(super) struct SharedService<S>(Arc<Mutex<S>>);

impl<S> SharedService<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Arc::new(Mutex::new(service)))
    }
}

impl<S> Clone for SharedService<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service<StackRequest>> Service<StackRequest> for SharedService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).poll_ready(context)
    }

    fn call(&mut self, request: StackRequest) -> Self::Future {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).call(request)
    }
}
