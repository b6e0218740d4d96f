//! The endpoints of a service: which one is asked, and what becomes known of it by that.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::{Instant, timeout_at};
use tower::BoxError;

use crate::engine::port::{Ports, UpstreamResponse};
use crate::page::policy::resilience::breaker::{Admission, Breaker, BreakerRules};
use crate::page::policy::resilience::latency::PeakLatency;
use crate::page::response::parsed::Failure;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::concurrency::{ConcurrencyLimit, Entered};
use super::request::Try;

const FRAGMENT_TIMEOUT: HeaderName = HeaderName::from_static("fragment-timeout-ms");

/// All endpoints of a service.
pub(super) struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    rules: BreakerRules,
    ports: Ports,
}

/// One of them.
struct Endpoint {
    upstream: Name,
    lane: Arc<ConcurrencyLimit>,
    known: Mutex<Known>,
    /// Requests that go there, those that wait for a lane among them.
    wanted: AtomicUsize,
    /// One that nobody waits for is heard out, to learn whether it is slow or hangs.
    heard_out: AtomicBool,
}

/// What is known of it.
struct Known {
    breaker: Breaker,
    latency: PeakLatency,
}

impl Endpoint {
    /// Changes what is known of whether it is well, and tells where that makes a difference.
    fn judge<T>(&self, ports: &Ports, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let (before, changed, after) = self.known(|Known { breaker, .. }| {
            let before = breaker.circuit();
            let changed = change(breaker);
            (before, changed, breaker.circuit())
        });
        if before != after {
            ports.observer.circuit_changed(&self.upstream, after);
            tracing::warn!(upstream = &*self.upstream, circuit = after.as_str(), "endpoint changed");
        }
        changed
    }

    fn known<T>(&self, read: impl FnOnce(&mut Known) -> T) -> T {
        read(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Chooses an endpoint for each request.
#[derive(Clone)]
pub(super) struct Choose(pub(super) Arc<Endpoints>);

impl tower::Service<Try> for Choose {
    type Response = UpstreamResponse;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<UpstreamResponse, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Who has to wait, waits in the lane of his endpoint.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, wanted: Try) -> Self::Future {
        let endpoints = Arc::clone(&self.0);
        async move {
            let is_beside = wanted.is_beside;
            match endpoints.send(wanted).await {
                // What was asked beside another only helps: that one may still come.
                Err(_) if is_beside => std::future::pending().await,
                result => result.map_err(BoxError::from),
            }
        }
        .boxed()
    }
}

impl Endpoints {
    pub(super) fn new(upstreams: &[Name], concurrency: u32, rules: BreakerRules, ports: &Ports) -> Self {
        let now = Instant::now().into_std();
        let endpoint = |upstream: &Name| {
            Arc::new(Endpoint {
                upstream: Arc::clone(upstream),
                lane: Arc::new(ConcurrencyLimit::new(concurrency)),
                known: Mutex::new(Known { breaker: Breaker::new(now), latency: PeakLatency::unknown(now) }),
                wanted: AtomicUsize::new(0),
                heard_out: AtomicBool::new(false),
            })
        };
        Self { all: upstreams.iter().map(endpoint).collect(), rules, ports: ports.clone() }
    }

    /// How long the fastest of them takes just now, where that is known.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.all.iter().filter_map(|endpoint| endpoint.lane.usual()).min()
    }

    /// Whether anybody is asked just now, or shut out.
    pub(super) fn is_busy(&self) -> bool {
        let now = Instant::now().into_std();
        self.all.iter().any(|endpoint| {
            endpoint.wanted.load(Ordering::Relaxed) > 0 || !endpoint.known(|known| known.breaker.would_admit(now))
        })
    }

    async fn send(self: Arc<Self>, wanted: Try) -> Result<UpstreamResponse, Failure> {
        let passage = loop {
            let seat = self.choose(&wanted).ok_or_else(shut_out)?;
            let entered = Arc::clone(&seat.endpoint().lane).enter().await;
            let now = Instant::now();
            if now >= wanted.deadline {
                return Err(Failure::new(Reason::Overloaded, "no lane was free in time"));
            }
            let admission = seat.endpoint().judge(&self.ports, |breaker| breaker.admit(now.into_std()));
            // It may have been shut out while this one waited: then another one may be asked.
            let admission = if seat.forced { admission.or(Some(Admission::Normal)) } else { admission };
            if let Some(admission) = admission {
                break Passage::begin(seat, entered, admission, now, &wanted);
            }
        };
        wanted.tried().asked += 1;
        let mut request = wanted.request.clone();
        request.address.clone_from(&wanted.targets[passage.seat.index].address);
        let left = wanted.deadline.saturating_duration_since(passage.began);
        request.headers.insert(FRAGMENT_TIMEOUT, HeaderValue::from(units::milliseconds(left)));
        let answer = self.ports.upstream.send(request);
        let index = passage.seat.index;
        let response = Asking(Some((answer, passage))).await?;
        wanted.tried().answered = Some(index);
        Ok(response)
    }

    /// Of two endpoints that chance offers the one that has less to do. `None`: all are shut out.
    fn choose(self: &Arc<Self>, wanted: &Try) -> Option<Seat> {
        let now = Instant::now().into_std();
        let is_shut = |endpoint: &Arc<Endpoint>| !endpoint.known(|known| known.breaker.would_admit(now));
        let (shut, open): (Vec<usize>, Vec<usize>) = (0..self.all.len()).partition(|index| is_shut(&self.all[*index]));
        // Of several no more than half are shut out: where all seem to fail, it may be the way there.
        let most = if self.all.len() == 1 { 1 } else { self.all.len() / 2 };
        let mut candidates: Vec<(usize, bool)> = open.into_iter().map(|index| (index, false)).collect();
        if candidates.is_empty() {
            candidates.extend(shut.into_iter().skip(most).map(|index| (index, true)));
        }
        let mut tried = wanted.tried();
        let untried: Vec<_> = candidates.iter().copied().filter(|(index, _)| !tried.chosen.contains(index)).collect();
        if !untried.is_empty() {
            candidates = untried;
        }
        let cost = |(index, _): &(usize, bool)| {
            let endpoint = &self.all[*index];
            endpoint.known(|known| known.latency.cost(endpoint.wanted.load(Ordering::Relaxed), now))
        };
        let mut draw = || {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a chance is less than 1"
            )]
            let drawn = ((self.ports.chance)() * candidates.len() as f64) as usize;
            (!candidates.is_empty()).then(|| candidates.swap_remove(drawn.min(candidates.len() - 1)))
        };
        let (first, second) = (draw()?, draw());
        let (index, forced) = [first].into_iter().chain(second).min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        tried.chosen.push(index);
        self.all[index].wanted.fetch_add(1, Ordering::Relaxed);
        Some(Seat { endpoints: Arc::clone(self), index, forced })
    }
}

/// Whether an answer is that of a service which is well. What is wrong with a request is no fault of it,
/// unless it has too much to do.
fn is_well(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

fn shut_out() -> Failure {
    Failure::new(Reason::CircuitOpen, "it failed too often, and is left alone for a while")
}

/// A request that goes to an endpoint, until it is dropped.
struct Seat {
    endpoints: Arc<Endpoints>,
    index: usize,
    /// It goes there though that is shut out.
    forced: bool,
}

impl Seat {
    fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoints.all[self.index]
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.endpoint().wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request whose answer has not begun; `None` once it has.
struct Asking(Option<(BoxFuture<'static, Result<UpstreamResponse, Failure>>, Passage)>);

impl Future for Asking {
    type Output = Result<UpstreamResponse, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, _) = self.0.as_mut().expect("nobody polls it once it has ended");
        let result = ready!(answer.as_mut().poll(context));
        let (_, passage) = self.0.take().expect("it has not ended before");
        Poll::Ready(passage.answered(result))
    }
}

impl Drop for Asking {
    /// Layouts may have less patience than a service asks for, and then nobody would ever learn whether it
    /// is slow or hangs. So of those that are given up, one at a time is heard out, for as long as the service
    /// may take by its own word.
    fn drop(&mut self) {
        let Some((answer, mut passage)) = self.0.take() else { return };
        if !passage.is_given_up() {
            return;
        }
        let Some(only) = HeardOut::begin(passage.seat.endpoint(), passage.began) else { return };
        passage.deadline = passage.began + passage.patience;
        tokio::spawn(async move {
            match timeout_at(passage.deadline, answer).await {
                // That it answers is all that is of interest.
                Ok(Ok(response)) if is_well(response.status) => drop(passage.answered(Ok(response))),
                // It was told how long anybody waits, and gives up as it should.
                Ok(_) => passage.of_no_interest(),
                Err(_) => drop(passage),
            }
            drop(only);
        });
    }
}

/// The only request of its endpoint that is heard out, until it is dropped.
struct HeardOut(Arc<Endpoint>);

impl HeardOut {
    /// `None` where another one is, or where its failure would tell nothing new.
    fn begin(endpoint: &Arc<Endpoint>, began: Instant) -> Option<Self> {
        let is_news = endpoint.known(|known| known.breaker.is_new_failure(began.into_std()));
        (is_news && !endpoint.heard_out.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(endpoint)))
    }
}

impl Drop for HeardOut {
    fn drop(&mut self) {
        self.0.heard_out.store(false, Ordering::Release);
    }
}

/// A request at its endpoint, from its first byte to the last of the answer. However it ends, that is
/// noted.
struct Passage {
    seat: Seat,
    entered: Entered,
    admission: Admission,
    began: Instant,
    deadline: Instant,
    /// How long the service may take by its own word.
    patience: Duration,
    /// Whether the head of the answer was that of a service which is well.
    head: Option<bool>,
    noted: bool,
}

impl Passage {
    fn begin(seat: Seat, entered: Entered, admission: Admission, began: Instant, wanted: &Try) -> Self {
        let upstream = &seat.endpoint().upstream;
        seat.endpoints.ports.observer.in_flight(upstream, true);
        let (deadline, patience) = (wanted.deadline, wanted.patience);
        Self { seat, entered, admission, began, deadline, patience, head: None, noted: false }
    }

    /// The answer began, or there is none.
    fn answered(self, result: Result<UpstreamResponse, Failure>) -> Result<UpstreamResponse, Failure> {
        match result {
            Ok(response) => Ok(self.watch(response)),
            Err(failure) => {
                // It answers nobody: to whoever chooses, that is as slow as can be.
                let slowest = self.deadline.saturating_duration_since(self.began);
                let now = Instant::now().into_std();
                self.seat.endpoint().known(|known| known.latency.record(slowest, now));
                self.ended(false);
                Err(failure)
            }
        }
    }

    /// Its time is over, and by the service's own word it is not.
    fn is_given_up(&self) -> bool {
        Instant::now() >= self.deadline && !self.is_late()
    }

    /// It takes longer than the service itself says that it may.
    fn is_late(&self) -> bool {
        self.began.elapsed() + Duration::from_millis(1) >= self.patience
    }

    /// The head came. What becomes of the body is noted too.
    fn watch(mut self, response: UpstreamResponse) -> UpstreamResponse {
        let UpstreamResponse { status, headers, body } = response;
        self.took(self.began.elapsed());
        self.head = Some(is_well(status));
        let body: BoxStream<'static, _> = stream::unfold((body, Some(self)), |(mut body, passage)| async move {
            let passage = passage?;
            match body.next().await {
                Some(Err(failure)) => {
                    passage.ended(failure.reason != Reason::Incomplete);
                    Some((Err(failure), (body, None)))
                }
                Some(chunk) => Some((chunk, (body, Some(passage)))),
                None => {
                    passage.ended(true);
                    None
                }
            }
        })
        .boxed();
        UpstreamResponse { status, headers, body }
    }

    fn took(&self, took: Duration) {
        self.entered.saw(took);
        self.seat.endpoint().known(|known| known.latency.record(took, Instant::now().into_std()));
    }

    /// The answer ended, or broke off.
    fn ended(mut self, is_well: bool) {
        let is_well = is_well && self.head.unwrap_or(true);
        self.note(is_well);
    }

    /// It tells nothing of the service.
    fn of_no_interest(mut self) {
        self.noted = true;
        self.abandoned();
    }

    fn abandoned(&self) {
        let now = Instant::now().into_std();
        let ports = &self.seat.endpoints.ports;
        self.seat.endpoint().judge(ports, |breaker| breaker.cancel(self.admission, now));
    }

    fn note(&mut self, is_well: bool) {
        self.noted = true;
        let Endpoints { rules, ports, .. } = &*self.seat.endpoints;
        let (chance, now) = ((ports.chance)(), Instant::now().into_std());
        let endpoint = self.seat.endpoint();
        let request = (self.admission, self.began.into_std());
        endpoint.judge(ports, |breaker| breaker.record(request, is_well, rules, chance, now));
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.noted {
            // A layout that has less patience than the service asks for says nothing of that.
            let late = Instant::now() >= self.deadline && self.is_late();
            match self.head {
                Some(_) if self.is_given_up() => self.abandoned(),
                // Nobody wanted the body, or it came too late.
                Some(is_well) => self.note(is_well && !late),
                None if late => {
                    self.took(self.began.elapsed());
                    self.note(false);
                }
                None => self.abandoned(),
            }
        }
        self.seat.endpoints.ports.observer.in_flight(&self.seat.endpoint().upstream, false);
    }
}
