//! Chooses an endpoint for each request: of two at random, the one with the lower cost. Endpoints with an open circuit are
//! left out, but never more than half of several.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tower::BoxError;

use crate::engine::port::{Ports, UpstreamResponse};
use crate::page::policy::resilience::breaker::{Admission, BreakerRules};
use crate::page::response::parsed::Failure;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::endpoint::{Assignment, Endpoint};
use super::exchange::{Exchange, PendingResponse};
use super::request::StackRequest;

const FRAGMENT_TIMEOUT: HeaderName = HeaderName::from_static("fragment-timeout-ms");

/// All endpoints of a nanoservice.
pub(super) struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    ports: Ports,
}

/// The bottom of the stack: sends each request to an endpoint that it chooses.
#[derive(Clone)]
pub(super) struct Balancer(pub(super) Arc<Endpoints>);

impl tower::Service<StackRequest> for Balancer {
    type Response = UpstreamResponse;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<UpstreamResponse, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A request waits later, for a permit of its endpoint.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: StackRequest) -> Self::Future {
        let endpoints = Arc::clone(&self.0);
        async move {
            let is_hedge = request.is_hedge;
            match endpoints.send(request).await {
                // A hedge that fails must not end the original request, which may still succeed.
                Err(_) if is_hedge => std::future::pending().await,
                result => result.map_err(BoxError::from),
            }
        }
        .boxed()
    }
}

impl Endpoints {
    pub(super) fn new(
        nanoservice: &Name,
        upstreams: &[Name],
        concurrency: u32,
        rules: BreakerRules,
        ports: &Ports,
    ) -> Self {
        let endpoint =
            |upstream: &Name| Arc::new(Endpoint::new((nanoservice, upstream), concurrency, rules, &ports.observer));
        Self { all: upstreams.iter().map(endpoint).collect(), ports: ports.clone() }
    }

    /// The latency of the fastest endpoint. `None`: there was no response yet.
    pub(super) fn recent_latency(&self) -> Option<Duration> {
        self.all.iter().filter_map(|endpoint| endpoint.limit.recent_latency()).min()
    }

    /// Whether no request is assigned, and no circuit is open.
    pub(super) fn are_idle(&self) -> bool {
        let now = Instant::now();
        self.all.iter().all(|endpoint| endpoint.is_idle() && endpoint.is_available(now))
    }

    async fn send(self: Arc<Self>, request: StackRequest) -> Result<UpstreamResponse, Failure> {
        let exchange = loop {
            let assignment = self.choose(&request).ok_or_else(circuit_open)?;
            let permit = Arc::clone(&assignment.endpoint.limit).acquire().await;
            let now = Instant::now();
            if now >= request.deadline {
                return Err(Failure::new(Reason::Overloaded, "its concurrency limit was reached until the deadline"));
            }
            let admission = assignment.endpoint.with_breaker(|breaker| breaker.admit(request.key, now.into_std()));
            let admission = if assignment.is_forced { admission.or(Some(Admission::Normal)) } else { admission };
            // The circuit may have opened while the request waited; then another endpoint is chosen.
            if let Some(admission) = admission {
                break Exchange::begin(assignment, permit, admission, now, &request, self.ports.chance);
            }
        };
        request.log().sent += 1;
        let index = exchange.assignment.index;
        let mut upstream_request = request.request.clone();
        upstream_request.address.clone_from(&request.targets[index].address);
        let left = request.deadline.saturating_duration_since(exchange.began);
        upstream_request.headers.insert(FRAGMENT_TIMEOUT, HeaderValue::from(units::milliseconds(left)));
        let response = self.ports.upstream.send(upstream_request);
        let response = PendingResponse::new(response, exchange).await?;
        request.log().responded = Some(index);
        Ok(response)
    }

    /// Chooses an endpoint. `None`: all circuits are open.
    fn choose(&self, request: &StackRequest) -> Option<Assignment> {
        let now = Instant::now();
        let (open, closed): (Vec<usize>, Vec<usize>) =
            (0..self.all.len()).partition(|index| !self.all[*index].would_admit(request.key, now));
        // If all of several endpoints seem to fail, the cause may be the network: half of them still get requests.
        let max_left_out = if self.all.len() == 1 { 1 } else { self.all.len() / 2 };
        let mut candidates: Vec<(usize, bool)> = closed.into_iter().map(|index| (index, false)).collect();
        if candidates.is_empty() {
            candidates.extend(open.into_iter().skip(max_left_out).map(|index| (index, true)));
        }
        let mut log = request.log();
        let untried: Vec<_> = candidates.iter().copied().filter(|(index, _)| !log.chosen.contains(index)).collect();
        if !untried.is_empty() {
            candidates = untried;
        }
        let mut draw = || {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a probability is less than 1"
            )]
            let drawn = ((self.ports.chance)() * candidates.len() as f64) as usize;
            (!candidates.is_empty()).then(|| candidates.swap_remove(drawn.min(candidates.len() - 1)))
        };
        let (first, second) = (draw()?, draw());
        let cost = |(index, _): &(usize, bool)| self.all[*index].cost(now);
        let (index, is_forced) = [first].into_iter().chain(second).min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        log.chosen.push(index);
        Some(Assignment::new(&self.all[index], index, is_forced))
    }
}

fn circuit_open() -> Failure {
    Failure::new(Reason::CircuitOpen, "its circuit is open after repeated failures")
}
