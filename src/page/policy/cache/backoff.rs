//! Decides how long to wait after a failed refresh before the next one, while the stale response is shown.
//! The pause doubles with each consecutive failure, up to a bound.

use std::time::{Duration, Instant};

use crate::page::source::reason::Reason;

/// The longest pause after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause after any number of failures: a stale response with a long allowance is still
/// refreshed at least twice a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// The state of a cached response whose refreshes fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshBackoff {
    /// The number of consecutive failures.
    failures: u32,
    /// Why the last refresh failed.
    pub reason: Reason,
    until: Instant,
}

impl RefreshBackoff {
    /// Counts one more failure. `jitter`, from 0 to 1, spreads the ends of the pauses: a pause lasts
    /// between half of its full length and all of it.
    #[must_use]
    pub fn after(previous: Option<Self>, reason: Reason, now: Instant, jitter: f64) -> Self {
        let failures = previous.map_or(0, |backoff| backoff.failures).saturating_add(1);
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST);
        let pause = doubled.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        Self { failures, reason, until: now + pause }
    }

    /// Whether the pause is not over yet, so that no refresh is sent.
    #[must_use]
    pub fn is_active(&self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_up_to_a_bound(failures in 1_u32..60, jitter in 0.0..1.0) {
            let now = Instant::now();
            let backoff = (0..failures).fold(None, |backoff, _| Some(RefreshBackoff::after(backoff, Reason::Connect, now, jitter)));
            let backoff = backoff.expect("there is at least one failure");
            let full = FIRST.as_secs_f64() * 2_f64.powi(i32::try_from(failures).expect("there are fewer than 60") - 1);
            let full = Duration::from_secs_f64(full.min(LONGEST.as_secs_f64()));
            prop_assert!(backoff.is_active(now + full.mul_f64(0.49)));
            prop_assert!(!backoff.is_active(now + full));
        }
    }
}
