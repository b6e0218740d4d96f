//! One worker: a thread that appoints its requests, and its connections, each a task that takes one request at a time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::super::measure::arrivals::Appointment;
use super::super::measure::statistics::{ErrorKind, Measurement, Row, Statistics};
use super::super::targets::{Shot, Targets};
use super::Sending;
use super::connect::{NoBody, Opened, SendError};
use super::timer::Timer;

/// How many requests one HTTP/2 connection carries at a time. Servers commonly allow 100.
const STREAMS: usize = 100;
/// How many requests are started before connections get their turn, if the worker is behind its schedule.
const BATCH: usize = 16;
/// How often a request that was never sent is given another connection.
const MAX_UNSENT: usize = 3;
/// How often what was counted so far is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// The nice value of the thread, of which Linux has one per thread.
#[cfg(target_os = "linux")]
const PRIORITY: i32 = -15;

/// What a worker has to do.
pub(super) struct Job {
    pub(super) targets: Arc<Targets>,
    pub(super) sending: Sending,
    pub(super) begin: Instant,
    pub(super) duration: Duration,
    pub(super) interrupt: CancellationToken,
    /// What was counted so far, for whoever watches.
    pub(super) snapshot: Arc<Mutex<Option<Row>>>,
    /// The first half of the trace ids.
    pub(super) trace: u64,
}

/// A request whose moment has come.
struct Due {
    /// When it was to leave.
    appointed: Instant,
    /// When the worker took it up.
    taken: Instant,
    shot: u64,
}

/// What the tasks of a worker share.
struct Worker {
    job: Job,
    pools: Vec<RefCell<Pool>>,
    statistics: RefCell<Statistics>,
    /// Requests that have not ended.
    pending: Cell<usize>,
    /// Is notified when the last of them has.
    none_pending: Notify,
}

/// The connections to one origin.
struct Pool {
    /// Those that wait for a request; the one that was used last is at the end.
    idle: Vec<Rc<Slot>>,
    /// How many there are, or are being opened.
    open: usize,
    most: usize,
    /// Requests that wait for one.
    queue: VecDeque<Due>,
    /// Connections over HTTP/2, which several tasks share.
    shared: Vec<Rc<tokio::sync::Mutex<Option<Opened>>>>,
}

/// Where a connection that waits is given a request.
#[derive(Default)]
struct Slot {
    due: Cell<Option<Due>>,
    given: Notify,
}

/// The connection of a task.
struct Lane {
    origin: usize,
    number: usize,
    opened: Option<Opened>,
}

/// How far a request came.
#[derive(Default)]
struct Progress {
    sent: Option<Instant>,
    head: Option<Instant>,
    bytes: u64,
    is_status_error: bool,
}

/// Runs a worker to its end.
///
/// # Errors
/// The operating system does not provide what the runtime needs.
pub(super) fn run(job: Job, appointments: impl Iterator<Item = Appointment>) -> Result<Statistics, String> {
    // So that it is woken in time on a busy machine. Where that is not permitted, it is late more often, and says so.
    #[cfg(target_os = "linux")]
    let _best_effort = rustix::process::setpriority_process(None, PRIORITY);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let worker = Rc::new(Worker::new(job));
    let local = LocalSet::new();
    local.block_on(&runtime, Rc::clone(&worker).schedule(appointments));
    drop(local);
    let worker = Rc::try_unwrap(worker).map_err(|_| "a connection outlived its worker")?;
    Ok(worker.statistics.into_inner())
}

impl Worker {
    fn new(job: Job) -> Self {
        let streams = if job.sending.http2 { STREAMS } else { 1 };
        let pool = || {
            let shared = if job.sending.http2 { job.sending.connections } else { 0 };
            Pool {
                idle: Vec::new(),
                open: 0,
                most: job.sending.connections * streams,
                queue: VecDeque::new(),
                shared: (0..shared).map(|_| Rc::default()).collect(),
            }
        };
        Self {
            pools: job.targets.origins.iter().map(|_| RefCell::new(pool())).collect(),
            statistics: RefCell::new(Statistics::new(job.targets.rows.len(), job.duration)),
            pending: Cell::new(0),
            none_pending: Notify::new(),
            job,
        }
    }

    /// Starts each request at its moment, and waits until all have ended.
    async fn schedule(self: Rc<Self>, appointments: impl Iterator<Item = Appointment>) {
        let timer = Timer::new();
        let (mut shown, mut started) = (self.job.begin, 0);
        for Appointment { at, shot } in appointments {
            let appointed = self.job.begin + at;
            let mut taken = Instant::now();
            if taken < appointed {
                tokio::select! {
                    biased;
                    () = self.job.interrupt.cancelled() => break,
                    () = timer.until(appointed) => {}
                }
                taken = Instant::now();
                started = 0;
            }
            if self.job.interrupt.is_cancelled() {
                break;
            }
            self.pending.set(self.pending.get() + 1);
            self.dispatch(Due { appointed, taken, shot });
            started += 1;
            if started == BATCH {
                started = 0;
                yield_now().await;
            }
            if taken >= shown {
                shown = taken + SHOWN_EVERY;
                self.show();
            }
        }
        while self.pending.get() > 0 {
            self.none_pending.notified().await;
        }
    }

    /// Shows what was counted so far.
    fn show(&self) {
        let counted = self.statistics.borrow().total.clone();
        *self.job.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }

    /// Gives a request to a connection that is free, or to a new one; otherwise it waits.
    fn dispatch(self: &Rc<Self>, due: Due) {
        let origin = self.job.targets.shot(due.shot).origin;
        let mut pool = self.pools[origin].borrow_mut();
        if let Some(slot) = pool.idle.pop() {
            slot.due.set(Some(due));
            slot.given.notify_one();
        } else if pool.open < pool.most {
            let number = pool.open;
            pool.open += 1;
            spawn_local(Rc::clone(self).serve(Lane { origin, number, opened: None }, due));
        } else {
            pool.queue.push_back(due);
        }
    }

    /// Sends one request after the other over one connection, until it closes while it is idle.
    async fn serve(self: Rc<Self>, mut lane: Lane, first: Due) {
        let mut free = first.taken;
        let mut next = Some(first);
        while let Some(due) = next {
            self.send(&mut lane, due, free).await;
            free = Instant::now();
            let waiting = self.pools[lane.origin].borrow_mut().queue.pop_front();
            next = match waiting {
                Some(due) => Some(due),
                None => {
                    let due = self.wait(&mut lane).await;
                    if let Some(due) = &due {
                        free = due.taken;
                    }
                    due
                }
            };
        }
        self.pools[lane.origin].borrow_mut().open -= 1;
    }

    /// Waits for the next request. `None`: the connection closed.
    async fn wait(&self, lane: &mut Lane) -> Option<Due> {
        let slot = Rc::new(Slot::default());
        // Tasks that share a connection, and those that open one for each request, have nothing that could close.
        let driver = lane.opened.as_mut().and_then(|opened| opened.driver.as_mut());
        self.pools[lane.origin].borrow_mut().idle.push(Rc::clone(&slot));
        match driver {
            None => slot.given.notified().await,
            Some(driver) => {
                tokio::select! {
                    biased;
                    () = slot.given.notified() => {}
                    _ = driver => {
                        lane.opened = None;
                        self.pools[lane.origin].borrow_mut().idle.retain(|other| !Rc::ptr_eq(other, &slot));
                    }
                }
            }
        }
        slot.due.take()
    }

    /// Sends one request, and counts how it went. `free`: since when the connection was free for it.
    async fn send(&self, lane: &mut Lane, due: Due, free: Instant) {
        let begun = Instant::now();
        let Due { appointed, taken, shot } = due;
        // Waiting for a connection is not the tool's fault.
        let late = (taken - appointed) + begun.saturating_duration_since(free.max(taken));
        let shot = self.job.targets.shot(shot);
        let deadline = appointed + self.job.sending.timeout;
        let mut progress = Progress::default();
        let result = timeout_at(deadline.into(), self.exchange(lane, shot, &mut progress)).await;
        let error = match result {
            Ok(Ok(())) => progress.is_status_error.then_some(ErrorKind::Status),
            Ok(Err(error)) => Some(error),
            Err(_) => Some(ErrorKind::Timeout),
        };
        let ended = Instant::now();
        if !matches!(error, None | Some(ErrorKind::Status)) || !self.job.sending.keepalive {
            lane.opened = None;
        }
        let one = Measurement {
            at: appointed.saturating_duration_since(self.job.begin),
            latency: ended - appointed,
            service: progress.sent.map(|sent| ended - sent),
            first_byte: progress.head.map(|head| head - appointed),
            late,
            bytes: progress.bytes,
            error,
        };
        self.statistics.borrow_mut().record(shot.row, &one);
        self.pending.set(self.pending.get() - 1);
        if self.pending.get() == 0 {
            self.none_pending.notify_one();
        }
    }

    /// Sends a request, and reads the answer to its end. A request that was never sent gets another connection; one that was
    /// sent is not sent again.
    async fn exchange(&self, lane: &mut Lane, shot: &Shot, progress: &mut Progress) -> Result<(), ErrorKind> {
        for _ in 0..MAX_UNSENT {
            if lane.opened.as_ref().is_none_or(|opened| opened.connection.is_closed()) {
                lane.opened = Some(self.open(lane).await.ok_or(ErrorKind::Connect)?);
            }
            let Some(opened) = &mut lane.opened else { return Err(ErrorKind::Connect) };
            progress.sent = Some(Instant::now());
            match opened.connection.send(self.request(shot)).await {
                Ok(response) => {
                    progress.head = Some(Instant::now());
                    progress.is_status_error = response.status().as_u16() >= 400;
                    let mut body = response.into_body();
                    while let Some(frame) = body.frame().await {
                        let frame = frame.map_err(|_| ErrorKind::Incomplete)?;
                        progress.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    }
                    return Ok(());
                }
                Err(SendError::Unsent) => lane.opened = None,
                Err(SendError::Broken) => return Err(ErrorKind::Incomplete),
            }
        }
        Err(ErrorKind::Incomplete)
    }

    /// Opens the connection of a lane, or shares that of others.
    async fn open(&self, lane: &Lane) -> Option<Opened> {
        let (origin, sending) = (&self.job.targets.origins[lane.origin], &self.job.sending);
        if !sending.http2 {
            return Opened::to(origin, sending.tls.as_ref(), false).await;
        }
        let shared = Rc::clone(&self.pools[lane.origin].borrow().shared[lane.number / STREAMS]);
        let mut shared = shared.lock().await;
        if shared.as_ref().is_none_or(|opened| opened.connection.is_closed() || !sending.keepalive) {
            *shared = Some(Opened::to(origin, sending.tls.as_ref(), true).await?);
        }
        let connection = shared.as_ref()?.connection.another()?;
        Some(Opened { connection, driver: None })
    }

    fn request(&self, shot: &Shot) -> Request<NoBody> {
        let mut request = Request::new(NoBody::new());
        *request.method_mut() = shot.method.clone();
        *request.uri_mut() = shot.uri.clone();
        *request.headers_mut() = self.job.targets.headers_of(shot, self.job.trace);
        request
    }
}
