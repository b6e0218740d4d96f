//! How long a page's head waits for parts that are nearly there, once it could leave: a page that is whole may be kept
//! downstream, and one that is streamed may not. Where it may not anyhow, and a part is known to take longer, it does not
//! wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::page::source::units;

/// As long as that.
const NEARLY: Duration = Duration::from_millis(10);
/// Timers count milliseconds. One that comes later than this had to wait for others.
const LATE: Duration = Duration::from_millis(2);
/// So long it is known how long a turn takes, in milliseconds.
const KNOWN: u64 = 20;
/// How often a question and its answer wait for their turn on this machine, about.
const TURNS: u32 = 4;

/// By when a head leaves.
#[derive(Debug)]
pub(super) struct FlushDeadline {
    /// `None`: at once.
    until: Option<Instant>,
    /// It is put off no more.
    is_last: bool,
}

impl FlushDeadline {
    /// It waits for what is nearly there, unless a part that would not let the page be kept takes longer.
    pub(super) async fn with(part_takes: Option<Duration>, began: Instant, turns: &SchedulingDelay) -> Self {
        let until = match part_takes.filter(|takes| *takes > NEARLY) {
            None => Some(began + NEARLY),
            // Where this machine is late, all parts look slow.
            Some(takes) => (takes <= NEARLY + TURNS * turns.takes().await).then(|| Instant::now() + NEARLY),
        };
        Self { until, is_last: false }
    }

    /// Waits for something. `None`: the head leaves.
    pub(super) async fn wait<T>(&mut self, mut something: impl Future<Output = T> + Unpin) -> Option<T> {
        let Some(until) = self.until else { return something.now_or_never() };
        let until = until.max(Instant::now());
        if let Ok(there) = timeout_at(until, &mut something).await {
            return Some(there);
        }
        let late = until.elapsed();
        if late <= LATE || std::mem::replace(&mut self.is_last, true) {
            return None;
        }
        // This machine is busy: what is waited for may have come long since, or still waits for its turns. To send the page in
        // two goes takes more work than to send it at once, and a machine that is late would become later by it.
        let until = Instant::now() + NEARLY + TURNS * late;
        self.until = Some(until);
        timeout_at(until, something).await.ok()
    }
}

/// How long it takes until all that is ready had its turn.
#[derive(Debug)]
pub(super) struct SchedulingDelay {
    since: Instant,
    /// When that was measured last, in milliseconds since then, and what came of it, in microseconds.
    last: AtomicU64,
}

/// Bits of these microseconds.
const BITS: u32 = 24;

impl Default for SchedulingDelay {
    fn default() -> Self {
        Self { since: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl SchedulingDelay {
    async fn takes(&self) -> Duration {
        let at = |now: Instant| units::milliseconds(now.duration_since(self.since)) + 1;
        let (before, last) = (Instant::now(), self.last.load(Ordering::Relaxed));
        // To be measured takes a page as long as a turn takes.
        if last > 0 && at(before).saturating_sub(last >> BITS) <= KNOWN {
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
    async fn a_head_waits_for_what_is_nearly_there() {
        let began = Instant::now();
        let mut patience = FlushDeadline::with(Some(NEARLY / 2), began, &SchedulingDelay::default()).await;
        assert_eq!(patience.wait(sleep(NEARLY / 2).map(|()| 1).boxed()).await, Some(1));
        assert_eq!(patience.wait(pending::<()>()).await, None);
        assert!(began.elapsed() <= NEARLY + LATE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_does_not_wait_for_a_part_that_takes_longer() {
        let began = Instant::now();
        let mut patience = FlushDeadline::with(Some(NEARLY * 2), began, &SchedulingDelay::default()).await;
        assert_eq!(patience.wait(ready(1)).await, Some(1));
        assert_eq!(patience.wait(pending::<()>()).await, None);
        assert!(began.elapsed() <= LATE);
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_busy_machine_parts_look_slow_and_are_waited_for() {
        let turns = Arc::new(SchedulingDelay::default());
        let with = |turns: Arc<SchedulingDelay>| async move {
            FlushDeadline::with(Some(NEARLY * 2), Instant::now(), &turns).await
        };
        let patience = tokio::spawn(with(Arc::clone(&turns)));
        // It has its turn, and then this one, which takes its time.
        yield_now().await;
        advance(NEARLY).await;
        assert!(patience.await.expect("it ends").until.is_some());
        assert!(with(Arc::clone(&turns)).now_or_never().expect("that is known").until.is_some());
        advance(Duration::from_millis(KNOWN + 1)).await;
        assert!(with(turns).await.until.is_none(), "it is busy no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_comes_late_is_no_reason_to_send_a_page_in_two_goes() {
        let mut patience = FlushDeadline::with(None, Instant::now(), &SchedulingDelay::default()).await;
        let waiting = tokio::spawn(async move { patience.wait(sleep(NEARLY * 4).boxed()).await });
        // Others have their turn meanwhile.
        yield_now().await;
        advance(NEARLY * 3).await;
        assert_eq!(waiting.await.expect("it ends"), Some(()));
    }
}
