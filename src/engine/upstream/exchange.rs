//! One request at its endpoint, from its first byte to the last byte of the response.
//! However it ends, its result is recorded for the endpoint's circuit breaker, latency and concurrency limit.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::engine::port::UpstreamResponse;
use crate::page::policy::resilience::breaker::{Admission, Admitted, RequestKey};
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::concurrency::Permit;
use super::endpoint::{Assignment, Observation};
use super::request::StackRequest;

/// A request at its endpoint.
pub(super) struct Exchange {
    pub(super) assignment: Assignment,
    pub(super) began: Instant,
    permit: Permit,
    admission: Admission,
    key: RequestKey,
    deadline: Instant,
    /// How long the nanoservice may take according to its manifest.
    declared_timeout: Duration,
    /// The status of the response. `None`: its head has not arrived yet.
    head: Option<StatusCode>,
    /// Whether the result was recorded.
    is_recorded: bool,
    chance: fn() -> f64,
}

/// The response to a request, until its head arrives.
pub(super) struct PendingResponse {
    /// `None` once the head has arrived.
    pending: Option<(BoxFuture<'static, Result<UpstreamResponse, Failure>>, Exchange)>,
}

impl PendingResponse {
    pub(super) fn new(response: BoxFuture<'static, Result<UpstreamResponse, Failure>>, exchange: Exchange) -> Self {
        Self { pending: Some((response, exchange)) }
    }
}

impl Future for PendingResponse {
    type Output = Result<UpstreamResponse, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, _) = self.pending.as_mut().expect("a future is not polled after it has ended");
        let result = ready!(response.as_mut().poll(context));
        let (_, exchange) = self.pending.take().expect("the future was pending above");
        Poll::Ready(exchange.responded(result))
    }
}

impl Drop for PendingResponse {
    /// A layout may allow less time than the nanoservice declares. If each such request were simply given up, it
    /// would never be known whether the nanoservice is slow or hangs. So one of them at a time is observed until the declared
    /// timeout.
    fn drop(&mut self) {
        let Some((response, mut exchange)) = self.pending.take() else { return };
        if !exchange.is_given_up_early() {
            return;
        }
        let Some(observation) = Observation::begin(&exchange.assignment.endpoint, exchange.began) else { return };
        exchange.deadline = exchange.began + exchange.declared_timeout;
        tokio::spawn(async move {
            match timeout_at(exchange.deadline, response).await {
                // It responds; the body is irrelevant.
                Ok(Ok(response)) if is_healthy(response.status) => drop(exchange.responded(Ok(response))),
                // The nanoservice was sent the shorter timeout, and may give up at that moment.
                Ok(_) => exchange.ignore(),
                Err(_) => drop(exchange),
            }
            drop(observation);
        });
    }
}

/// Whether a status is that of a healthy service. Client errors are not its fault, except for too many requests.
fn is_healthy(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

/// Whether a failure says nothing about the health of the endpoint.
fn is_no_evidence(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::Internal | Reason::Crashed)
}

impl Exchange {
    pub(super) fn begin(
        assignment: Assignment,
        permit: Permit,
        admission: Admission,
        began: Instant,
        request: &StackRequest,
        chance: fn() -> f64,
    ) -> Self {
        assignment.endpoint.in_flight(true);
        let (deadline, declared_timeout) = (request.deadline, request.declared_timeout);
        Self {
            assignment,
            began,
            permit,
            admission,
            key: request.key,
            deadline,
            declared_timeout,
            head: None,
            is_recorded: false,
            chance,
        }
    }

    /// Records that the head of the response arrived, or that the request failed.
    fn responded(self, result: Result<UpstreamResponse, Failure>) -> Result<UpstreamResponse, Failure> {
        match result {
            Ok(response) => Ok(self.watch(response)),
            // Nothing was sent, or the program ended: its next process is as good as any other.
            Err(failure) if is_no_evidence(&failure) => {
                self.ignore();
                Err(failure)
            }
            Err(failure) => {
                // When an endpoint is chosen, one that fails counts as the slowest.
                let slowest = self.deadline.saturating_duration_since(self.began);
                let now = Instant::now().into_std();
                self.assignment.endpoint.with_state(|state| state.latency.record(slowest, now));
                self.ended(Some(&failure));
                Err(failure)
            }
        }
    }

    /// Whether the deadline has passed, but not the declared timeout.
    fn is_given_up_early(&self) -> bool {
        Instant::now() >= self.deadline && !self.is_late()
    }

    /// Whether the nanoservice takes longer than its manifest declares.
    fn is_late(&self) -> bool {
        self.began.elapsed() + Duration::from_millis(1) >= self.declared_timeout
    }

    /// Continues with the body once the head has arrived. The exchange ends with it.
    fn watch(mut self, response: UpstreamResponse) -> UpstreamResponse {
        let UpstreamResponse { status, headers, body } = response;
        self.record_latency(self.began.elapsed());
        self.head = Some(status);
        let body: BoxStream<'static, _> = stream::unfold((body, Some(self)), |(mut body, exchange)| async move {
            let exchange = exchange?;
            match body.next().await {
                Some(Err(failure)) if is_no_evidence(&failure) => {
                    exchange.ignore();
                    Some((Err(failure), (body, None)))
                }
                Some(Err(failure)) => {
                    exchange.ended(Some(&failure).filter(|failure| failure.reason == Reason::Incomplete));
                    Some((Err(failure), (body, None)))
                }
                Some(chunk) => Some((chunk, (body, Some(exchange)))),
                None => {
                    exchange.ended(None);
                    None
                }
            }
        })
        .boxed();
        UpstreamResponse { status, headers, body }
    }

    fn record_latency(&self, took: Duration) {
        self.permit.record(took);
        let now = Instant::now().into_std();
        self.assignment.endpoint.with_state(|state| state.latency.record(took, now));
    }

    /// Records that the response ended, or was cut short by a failure.
    fn ended(mut self, failure: Option<&Failure>) {
        match failure {
            Some(failure) => self.record(Some(failure)),
            None => self.record(self.failed_status().as_ref()),
        }
    }

    /// The failure that the status of the response states.
    fn failed_status(&self) -> Option<Failure> {
        let status = self.head.filter(|status| !is_healthy(*status))?;
        Some(Failure::new(Reason::Status, format!("it answered {}", status.as_u16())))
    }

    /// Ends without a result, since this exchange is no evidence of the nanoservice's health.
    fn ignore(mut self) {
        self.is_recorded = true;
        self.cancel();
    }

    fn cancel(&self) {
        let now = Instant::now().into_std();
        self.assignment.endpoint.with_breaker(|breaker| breaker.cancel(self.admission, now));
    }

    fn record(&mut self, failure: Option<&Failure>) {
        self.is_recorded = true;
        let (chance, now) = ((self.chance)(), Instant::now().into_std());
        let endpoint = &self.assignment.endpoint;
        let request = Admitted { admission: self.admission, key: self.key, began: self.began.into_std() };
        endpoint.with_breaker_after(failure, |breaker| {
            breaker.record(request, failure.is_none(), &endpoint.rules, chance, now);
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_recorded {
            let is_late = Instant::now() >= self.deadline && self.is_late();
            let timeout = || {
                let time = units::show(self.declared_timeout);
                Failure::new(Reason::Timeout, format!("no complete response within {time}"))
            };
            match self.head {
                // If a layout allows less time than the nanoservice declares, a timeout is no evidence of its health.
                Some(_) if self.is_given_up_early() => self.cancel(),
                // The body was not needed, or arrived too late.
                Some(_) => {
                    let failure = self.failed_status().or_else(|| is_late.then(timeout));
                    self.record(failure.as_ref());
                }
                None if is_late => {
                    self.record_latency(self.began.elapsed());
                    self.record(Some(&timeout()));
                }
                None => self.cancel(),
            }
        }
        self.assignment.endpoint.in_flight(false);
    }
}
