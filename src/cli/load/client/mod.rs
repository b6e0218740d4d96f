//! Sends the requests of a run at their appointed moments. Each worker is a thread with its own connections; nothing is shared
//! while it runs, and what they counted is merged afterwards.
//! A request that finds no free connection waits for one, and that is a part of its latency.

mod connect;
mod timer;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::measure::arrivals::Schedule;
use super::measure::statistics::{Row, Statistics};
use super::targets::Targets;

pub(super) use connect::Tls;

/// Requests a second from which on another worker sends them, if there is a processor for it.
const RATE_OF_WORKER: f64 = 10_000.0;
/// From when a run is appointed until its first moment: the workers start meanwhile.
const LEAD: Duration = Duration::from_millis(20);

/// How requests are sent.
#[derive(Clone)]
pub(super) struct Sending {
    /// Most connections to each origin.
    pub(super) connections: usize,
    /// Longest time from the appointed moment to the last byte.
    pub(super) timeout: Duration,
    /// Whether they are sent over HTTP/2.
    pub(super) http2: bool,
    /// Whether connections are used again.
    pub(super) keepalive: bool,
    /// What TLS needs.
    pub(super) tls: Option<Tls>,
    /// The trace ids of the run begin with it, so that one trace is never used twice.
    pub(super) trace: u64,
}

/// What a run counted, and how long it took.
pub(super) struct Ran {
    pub(super) statistics: Statistics,
    pub(super) seconds: f64,
}

/// Runs a schedule to its end, or until it is interrupted; then requests under way are awaited. `watch` is shown what was counted
/// so far, from time to time.
///
/// # Errors
/// The operating system does not provide what is needed.
pub(super) async fn run(
    targets: &Arc<Targets>,
    sending: &Sending,
    schedule: &Schedule,
    interrupt: &CancellationToken,
    mut watch: impl FnMut(&Row),
) -> Result<Ran, String> {
    let (rate, duration) = match schedule {
        Schedule::Rate { rate, duration, .. } => (*rate, *duration),
        Schedule::Replay { entries, duration, .. } => {
            #[expect(clippy::cast_precision_loss, reason = "a log has fewer lines than 2^52")]
            let rate = entries.len() as f64 / duration.as_secs_f64().max(1.0);
            (rate, *duration)
        }
    };
    let workers = workers_for(rate);
    let begin = Instant::now() + LEAD;
    let (counted, mut results) = mpsc::unbounded_channel();
    let snapshots: Vec<_> = (0..workers).map(|_| Arc::new(Mutex::new(None))).collect();
    for (worker, snapshot) in snapshots.iter().enumerate() {
        let appointments = schedule.of_worker(worker, workers);
        let job = worker::Job {
            targets: Arc::clone(targets),
            sending: Sending { connections: share(sending.connections, worker, workers), ..sending.clone() },
            begin,
            duration,
            interrupt: interrupt.clone(),
            snapshot: Arc::clone(snapshot),
            trace: sending.trace.wrapping_add(worker as u64),
        };
        let counted = counted.clone();
        let thread = std::thread::Builder::new().name(format!("load-{worker}"));
        let spawned = thread.spawn(move || {
            // Nobody waits for it any more if the command was ended.
            let _ended = counted.send(worker::run(job, appointments));
        });
        spawned.map_err(|error| format!("no thread could be started: {error}"))?;
    }
    drop(counted);
    let mut total: Option<Statistics> = None;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut interrupted_at = None;
    loop {
        tokio::select! {
            result = results.recv() => match result {
                Some(result) => {
                    let result = result?;
                    match &mut total {
                        Some(total) => total.merge(&result),
                        none => *none = Some(result),
                    }
                }
                None => break,
            },
            () = interrupt.cancelled(), if interrupted_at.is_none() => interrupted_at = Some(Instant::now()),
            _ = ticks.tick() => {
                if let Some(now) = merged(&snapshots) {
                    watch(&now);
                }
            }
        }
    }
    let statistics = total.ok_or("no worker has counted anything")?;
    let took = interrupted_at.map_or(duration, |at| at.saturating_duration_since(begin).min(duration));
    Ok(Ran { statistics, seconds: took.as_secs_f64() })
}

/// How many workers send so many requests a second. One processor is left to everything else.
fn workers_for(rate: f64) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "floats saturate")]
    let wanted = (rate / RATE_OF_WORKER).ceil() as usize;
    wanted.clamp(1, processors.saturating_sub(1).max(1))
}

/// A worker's share of all connections: at least one.
fn share(all: usize, worker: usize, workers: usize) -> usize {
    (all / workers + usize::from(worker < all % workers)).max(1)
}

/// What all workers counted so far.
fn merged(snapshots: &[Arc<Mutex<Option<Row>>>]) -> Option<Row> {
    let mut total: Option<Row> = None;
    for snapshot in snapshots {
        let snapshot = snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut total, &*snapshot) {
            (_, None) => {}
            (Some(total), Some(one)) => total.merge(one),
            (none, Some(one)) => *none = Some(one.clone()),
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_shared_among_workers() {
        assert_eq!((0..3).map(|worker| share(100, worker, 3)).collect::<Vec<_>>(), [34, 33, 33]);
        assert_eq!(share(1, 1, 2), 1);
    }
}
