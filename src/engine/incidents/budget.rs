//! Limits lines of the log: a burst of them, and after it a few a minute.

use std::time::Duration;

use tokio::time::Instant;

/// How long something must not happen to count as over, and how often what has no lines of its own is summed up.
pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// How many lines may be written.
pub(super) struct LineBudget {
    burst: u32,
    /// The time that one line takes.
    interval: Duration,
    /// When all lines that were written have been paid for. `None`: there was none yet.
    paid: Option<Instant>,
}

impl LineBudget {
    pub(super) const fn new(burst: u32, per_minute: u32) -> Self {
        Self { burst, interval: Duration::from_secs(MINUTE.as_secs() / per_minute as u64), paid: None }
    }

    /// Whether a line may be written now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let paid = self.paid.map_or(now, |paid| paid.max(now));
        let may = paid.saturating_duration_since(now) < self.interval * self.burst;
        if may {
            self.paid = Some(paid + self.interval);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_minute_after_a_burst_has_more_lines_than_allowed(gaps in proptest::collection::vec(0_u64..2_000, 1..400)) {
            let (mut budget, mut now) = (LineBudget::new(20, 4), Instant::now());
            let began = now;
            let mut written = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if budget.take(now) {
                    written.push(now);
                }
            }
            for (index, line) in written.iter().enumerate() {
                let minute = written[index..].iter().take_while(|other| **other < *line + MINUTE).count();
                prop_assert!(minute <= 24, "{minute}");
                let allowed = 20 + (*line - began).as_secs() / 15 + 1;
                prop_assert!((index as u64) < allowed, "line {index} after {:?}", *line - began);
            }
        }
    }
}
