//! Decides how long the head of a page waits for parts that are nearly there, once it could be sent.
//! A whole page may be cached downstream, a streamed one may not. If it may not be cached anyway, and a part is known to
//! take longer, the head does not wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::page::source::units;

/// How long a head waits for parts that are nearly there.
const GRACE: Duration = Duration::from_millis(10);
/// How late a timer may fire, which has a resolution of a millisecond. If it fires later than this, the machine is busy.
const TIMER_SLACK: Duration = Duration::from_millis(2);
/// How long a measured scheduling delay stays valid, in milliseconds.
const VALID_MS: u64 = 20;
/// How many times, roughly, a request and its response wait for this machine's scheduler.
const WAITS: u32 = 4;

/// The deadline by which the head of a page is flushed.
#[derive(Debug)]
pub(super) struct FlushDeadline {
    /// `None`: at once.
    until: Option<Instant>,
    /// Whether the deadline was extended; it is extended only once.
    is_extended: bool,
}

impl FlushDeadline {
    /// A deadline for a page that was requested at `began`. `unshared_latency` is the usual latency of the pending parts that
    /// make the page uncacheable downstream; if it is long, the head does not wait.
    pub(super) async fn new(unshared_latency: Option<Duration>, began: Instant, delay: &SchedulingDelay) -> Self {
        let until = match unshared_latency.filter(|latency| *latency > GRACE) {
            None => Some(began + GRACE),
            // On a busy machine all parts look slow.
            Some(latency) => (latency <= GRACE + WAITS * delay.measure().await).then(|| Instant::now() + GRACE),
        };
        Self { until, is_extended: false }
    }

    /// Waits for a future until the deadline. `None`: the deadline has passed, and the head is to be flushed.
    pub(super) async fn wait<T>(&mut self, mut future: impl Future<Output = T> + Unpin) -> Option<T> {
        let Some(until) = self.until else { return future.now_or_never() };
        let until = until.max(Instant::now());
        if let Ok(value) = timeout_at(until, &mut future).await {
            return Some(value);
        }
        let late = until.elapsed();
        if late <= TIMER_SLACK || std::mem::replace(&mut self.is_extended, true) {
            return None;
        }
        // The machine is busy: the part may have arrived long ago, and wait to be polled. Two writes are more work than one, and
        // would make a busy machine busier.
        let until = Instant::now() + GRACE + WAITS * late;
        self.until = Some(until);
        timeout_at(until, future).await.ok()
    }
}

/// The scheduling delay: how long it takes until all tasks that are ready have been polled.
#[derive(Debug)]
pub(super) struct SchedulingDelay {
    since: Instant,
    /// The last measurement: its time in milliseconds since `since`, and in the lowest [`BITS`] bits its result in
    /// microseconds. 0: there was none.
    last: AtomicU64,
}

/// The number of bits that hold the result of a measurement.
const BITS: u32 = 24;

impl Default for SchedulingDelay {
    fn default() -> Self {
        Self { since: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl SchedulingDelay {
    /// The delay, measured now unless the last measurement is still valid.
    async fn measure(&self) -> Duration {
        let at = |now: Instant| units::milliseconds(now.duration_since(self.since)) + 1;
        let (before, last) = (Instant::now(), self.last.load(Ordering::Relaxed));
        // A measurement delays its page by just what it measures, so it is reused for a while.
        if last > 0 && at(before).saturating_sub(last >> BITS) <= VALID_MS {
            return Duration::from_micros(last & ((1 << BITS) - 1));
        }
        yield_now().await;
        let now = Instant::now();
        let took = u64::try_from(now.duration_since(before).as_micros()).unwrap_or(u64::MAX).min((1 << BITS) - 1);
        self.last.store(at(now) << BITS | took, Ordering::Relaxed);
        Duration::from_micros(took)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_waits_for_parts_that_are_nearly_there() {
        let began = Instant::now();
        let mut flush = FlushDeadline::new(Some(GRACE / 2), began, &SchedulingDelay::default()).await;
        assert_eq!(flush.wait(sleep(GRACE / 2).map(|()| 1).boxed()).await, Some(1));
        assert_eq!(flush.wait(pending::<()>()).await, None);
        assert!(began.elapsed() <= GRACE + TIMER_SLACK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_does_not_wait_for_a_part_that_takes_longer() {
        let began = Instant::now();
        let mut flush = FlushDeadline::new(Some(GRACE * 2), began, &SchedulingDelay::default()).await;
        assert_eq!(flush.wait(ready(1)).await, Some(1));
        assert_eq!(flush.wait(pending::<()>()).await, None);
        assert!(began.elapsed() <= TIMER_SLACK);
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_busy_machine_a_head_waits_for_parts_that_look_slow() {
        let delay = Arc::new(SchedulingDelay::default());
        let with = |delay: Arc<SchedulingDelay>| async move {
            FlushDeadline::new(Some(GRACE * 2), Instant::now(), &delay).await
        };
        let flush = tokio::spawn(with(Arc::clone(&delay)));
        // The spawned task runs first; then this task delays it.
        yield_now().await;
        advance(GRACE).await;
        assert!(flush.await.expect("the task ends").until.is_some());
        assert!(with(Arc::clone(&delay)).now_or_never().expect("the delay is known").until.is_some());
        advance(Duration::from_millis(VALID_MS + 1)).await;
        assert!(with(delay).await.until.is_none(), "the machine is not busy any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_timer_does_not_split_a_page_into_two_writes() {
        let mut flush = FlushDeadline::new(None, Instant::now(), &SchedulingDelay::default()).await;
        let waiting = tokio::spawn(async move { flush.wait(sleep(GRACE * 4).boxed()).await });
        // The other task runs meanwhile.
        yield_now().await;
        advance(GRACE * 3).await;
        assert_eq!(waiting.await.expect("the task ends"), Some(()));
    }
}
