//! Chooses an endpoint for each request: of two at random, the one with the lower cost. Endpoints with an open circuit are
//! left out, but never more than half of several. Where hosts are looked up, endpoints come and go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use http::{HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};
use tower::BoxError;

use crate::engine::port::{Ports, UpstreamResponse};
use crate::page::policy::naming::{self, Place};
use crate::page::policy::resilience::breaker::{Admission, BreakerRules};
use crate::page::request::address::Target;
use crate::page::response::parsed::Failure;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::endpoint::{Assignment, Candidate, Endpoint};
use super::exchange::{Exchange, PendingResponse};
use super::request::StackRequest;

const FRAGMENT_TIMEOUT: HeaderName = HeaderName::from_static("fragment-timeout-ms");

/// How long before the deadline of a request its host is no longer waited for.
const BEFORE_DEADLINE: Duration = Duration::from_millis(5);

/// All endpoints of a nanoservice.
pub(super) struct Endpoints {
    /// Those at addresses.
    fixed: Arc<[Candidate]>,
    /// All, if the host of a target is looked up, so that endpoints come and go.
    found: Option<Mutex<Found>>,
    nanoservice: Name,
    concurrency: u32,
    rules: BreakerRules,
    ports: Ports,
}

/// The endpoints that are known now.
struct Found {
    candidates: Arc<[Candidate]>,
    /// The places that they were made of, for each target whose host is looked up.
    places: Vec<(usize, Arc<[Place]>)>,
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
        targets: &[Target],
        concurrency: u32,
        rules: BreakerRules,
        ports: &Ports,
    ) -> Self {
        let nanoservice = Arc::clone(nanoservice);
        let fixed = Arc::default();
        let mut endpoints = Self { fixed, found: None, nanoservice, concurrency, rules, ports: ports.clone() };
        let fixed = targets.iter().enumerate().filter(|(_, target)| !target.is_named());
        let candidate = |(target, Target { upstream, .. }): (usize, &Target)| Candidate {
            endpoint: endpoints.endpoint(upstream),
            target,
            place: None,
        };
        endpoints.fixed = fixed.map(candidate).collect();
        if targets.iter().any(Target::is_named) {
            let candidates = Arc::clone(&endpoints.fixed);
            endpoints.found = Some(Mutex::new(Found { candidates, places: Vec::new() }));
        }
        endpoints
    }

    fn endpoint(&self, upstream: &Name) -> Arc<Endpoint> {
        let name = (&self.nanoservice, upstream);
        Arc::new(Endpoint::new(name, self.concurrency, self.rules, &self.ports.observer))
    }

    /// All that are known now.
    fn known(&self) -> Arc<[Candidate]> {
        let found = self.found.as_ref().map(|found| Arc::clone(&lock(found).candidates));
        found.unwrap_or_else(|| Arc::clone(&self.fixed))
    }

    /// The endpoints that a request can be sent to now. Hosts that are looked up are waited for until shortly before its
    /// deadline.
    async fn candidates(&self, request: &StackRequest) -> Result<Arc<[Candidate]>, Failure> {
        let Some(known) = &self.found else { return Ok(Arc::clone(&self.fixed)) };
        let named = request.targets.iter().enumerate().filter(|(_, target)| target.is_named());
        let places = join_all(named.map(async |(index, target)| {
            // Before the fetch ends as a whole, with a less precise reason.
            let latest = request.deadline.checked_sub(BEFORE_DEADLINE).unwrap_or(request.deadline);
            let late = || Failure::new(Reason::Connect, format!("{} was not looked up in time", target.upstream));
            let found = timeout_at(latest, self.ports.upstream.places(&target.address)).await;
            found.unwrap_or_else(|_| Err(late())).map(|places| (index, places))
        }));
        let (found, failed): (Vec<_>, Vec<_>) = places.await.into_iter().partition(Result::is_ok);
        let found = found.into_iter().flatten().collect();
        let candidates = self.placed(&mut lock(known), &request.targets, found);
        match failed.into_iter().find_map(Result::err) {
            Some(failure) if candidates.is_empty() => Err(failure),
            _ => Ok(candidates),
        }
    }

    /// The endpoints at these places. One that was known before is the same endpoint, with what is known of it.
    fn placed(&self, known: &mut Found, targets: &[Target], places: Vec<(usize, Arc<[Place]>)>) -> Arc<[Candidate]> {
        let is_same = |a: &(usize, Arc<[Place]>), b: &(usize, Arc<[Place]>)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1);
        if places.len() == known.places.len() && places.iter().zip(&known.places).all(|(a, b)| is_same(a, b)) {
            return Arc::clone(&known.candidates);
        }
        let mut candidates = self.fixed.to_vec();
        for (target, places) in &places {
            for place in places.iter() {
                let Some(at) = targets[*target].at(place) else { continue };
                let before = known.candidates.iter().find(|one| one.endpoint.upstream == at.upstream);
                let endpoint = before.map_or_else(|| self.endpoint(&at.upstream), |one| Arc::clone(&one.endpoint));
                candidates.push(Candidate { endpoint, target: *target, place: Some(place.clone()) });
            }
        }
        *known = Found { candidates: candidates.into(), places };
        Arc::clone(&known.candidates)
    }

    /// The latency of the fastest endpoint. `None`: there was no response yet.
    pub(super) fn recent_latency(&self) -> Option<Duration> {
        self.known().iter().filter_map(|one| one.endpoint.limit.recent_latency()).min()
    }

    /// Ends the pauses of all open circuits.
    pub(super) fn end_pauses(&self) {
        let now = Instant::now().into_std();
        self.known().iter().for_each(|one| one.endpoint.with_breaker(|breaker| breaker.end_pause(now)));
    }

    /// Whether no request is assigned, and no circuit is open.
    pub(super) fn are_idle(&self) -> bool {
        let now = Instant::now();
        self.known().iter().all(|one| one.endpoint.is_idle() && one.endpoint.is_available(now))
    }

    async fn send(self: Arc<Self>, request: StackRequest) -> Result<UpstreamResponse, Failure> {
        let candidates = self.candidates(&request).await?;
        let exchange = loop {
            let assignment = self.choose(&candidates, &request).ok_or_else(circuit_open)?;
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
        let began = exchange.began;
        request.log().sent_one(began);
        let (target, upstream) = (&request.targets[exchange.assignment.target], &exchange.assignment.endpoint.upstream);
        let upstream = Arc::clone(upstream);
        let mut upstream_request = request.request.clone();
        match exchange.assignment.place.as_ref().and_then(|place| target.at(place)) {
            Some(at) => upstream_request.address = at.address,
            None => upstream_request.address.clone_from(&target.address),
        }
        let left = request.deadline.saturating_duration_since(exchange.began);
        upstream_request.headers.insert(FRAGMENT_TIMEOUT, HeaderValue::from(units::milliseconds(left)));
        let response = self.ports.upstream.send(upstream_request);
        let response = PendingResponse::new(response, exchange).await?;
        request.log().responded(upstream, began);
        Ok(response)
    }

    /// Chooses one of the endpoints. `None`: all circuits are open.
    fn choose(&self, all: &[Candidate], request: &StackRequest) -> Option<Assignment> {
        let now = Instant::now();
        let (open, closed): (Vec<usize>, Vec<usize>) =
            (0..all.len()).partition(|index| !all[*index].endpoint.would_admit(request.key, now));
        // If all of several endpoints seem to fail, the cause may be the network: half of them still get requests.
        let max_left_out = if all.len() == 1 { 1 } else { all.len() / 2 };
        let mut candidates: Vec<(usize, bool)> = closed.into_iter().map(|index| (index, false)).collect();
        if candidates.is_empty() {
            candidates.extend(open.into_iter().skip(max_left_out).map(|index| (index, true)));
        }
        let mut log = request.log();
        let is_untried = |index: usize| !log.chosen.contains(&all[index].endpoint.upstream);
        let untried: Vec<_> = candidates.iter().copied().filter(|(index, _)| is_untried(*index)).collect();
        if !untried.is_empty() {
            candidates = untried;
        }
        // Records state what is preferred, and how requests are divided among those; what has no record is preferred.
        let preference =
            |index: usize| all[index].place.as_ref().map_or((0, 0), |place| (place.priority, place.weight));
        if self.found.is_some() {
            let first = candidates.iter().map(|(index, _)| preference(*index).0).min()?;
            candidates.retain(|(index, _)| preference(*index).0 == first);
        }
        let is_weighted = self.found.is_some() && candidates.iter().any(|(index, _)| preference(*index).1 > 0);
        let mut draw = || {
            let chance = (self.ports.chance)();
            if is_weighted {
                let weights: Vec<(u16, u16)> = candidates.iter().map(|(index, _)| preference(*index)).collect();
                return naming::choose(&weights, chance).map(|drawn| candidates.swap_remove(drawn));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a probability is less than 1"
            )]
            let drawn = (chance * candidates.len() as f64) as usize;
            (!candidates.is_empty()).then(|| candidates.swap_remove(drawn.min(candidates.len() - 1)))
        };
        let first = draw()?;
        // Of two that are drawn by weight, the one with the lower cost would get more than its weight.
        let second = if is_weighted { None } else { draw() };
        let cost = |(index, _): &(usize, bool)| all[*index].endpoint.cost(now);
        let (index, is_forced) = [first].into_iter().chain(second).min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        log.chosen.push(Arc::clone(&all[index].endpoint.upstream));
        Some(Assignment::new(&all[index], is_forced))
    }
}

fn lock(found: &Mutex<Found>) -> MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

fn circuit_open() -> Failure {
    Failure::new(Reason::CircuitOpen, "its circuit is open after repeated failures")
}
