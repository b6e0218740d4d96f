//! How long one page view waits for the shared store: for all look-ups together, those that run side by side once.
//! A page view that has no time left does not ask.

use std::time::{Duration, Instant};

/// The time that a page view has left for the shared store.
#[derive(Debug)]
pub struct WaitBudget {
    left: Duration,
    /// How many look-ups run, and since when there is one.
    running: usize,
    since: Instant,
}

impl WaitBudget {
    /// The time for a page view.
    #[must_use]
    pub const fn new(left: Duration, now: Instant) -> Self {
        Self { left, running: 0, since: now }
    }

    /// Begins a look-up: until when it may take. `None`: there is no time left.
    pub fn begin(&mut self, now: Instant) -> Option<Instant> {
        if self.running == 0 {
            self.since = now;
        }
        let until = self.since + self.left;
        if until <= now {
            return None;
        }
        self.running += 1;
        Some(until)
    }

    /// Ends a look-up.
    pub fn end(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0 {
            self.left = self.left.saturating_sub(now.saturating_duration_since(self.since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn look_ups_side_by_side_take_their_time_once() {
        let now = Instant::now();
        let mut budget = WaitBudget::new(ms(20), now);
        assert_eq!(budget.begin(now), Some(now + ms(20)));
        assert_eq!(budget.begin(now + ms(5)), Some(now + ms(20)));
        budget.end(now + ms(6));
        budget.end(now + ms(8));
        assert_eq!(
            budget.begin(now + ms(100)),
            Some(now + ms(112)),
            "what was waited for something else does not count"
        );
        budget.end(now + ms(112));
        assert_eq!(budget.begin(now + ms(200)), None);
    }

    proptest! {
        #[test]
        fn no_page_view_waits_longer_than_its_time(steps in proptest::collection::vec((0u64..30, any::<bool>()), 0..40)) {
            let mut now = Instant::now();
            let mut budget = WaitBudget::new(ms(20), now);
            let (mut ends, mut waited): (Vec<Instant>, Duration) = (Vec::new(), Duration::ZERO);
            for (pause, begins) in steps {
                // Whoever waits ends at its own time at the latest.
                let then = now + ms(pause);
                ends.sort();
                while let Some(end) = ends.first().copied().filter(|end| *end <= then) {
                    waited += end.saturating_duration_since(now);
                    now = now.max(end);
                    budget.end(now);
                    ends.remove(0);
                }
                if !ends.is_empty() {
                    waited += then.saturating_duration_since(now);
                }
                now = then;
                if begins {
                    ends.extend(budget.begin(now));
                } else if !ends.is_empty() {
                    ends.remove(0);
                    budget.end(now);
                }
            }
            prop_assert!(waited <= ms(20), "{waited:?}");
        }
    }
}
