//! Decides how long a refresh that failed is left alone, while its old copy is shown.
//! The pause doubles with each failure in a row, up to a bound.

use std::time::{Duration, Instant};

use crate::page::source::reason::Reason;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest; an old copy with a long allowance is still looked after twice a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// That refreshing a kept answer fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshBackoff {
    /// How often in a row.
    failures: u32,
    /// Why, the last time.
    pub reason: Reason,
    until: Instant,
}

impl RefreshBackoff {
    /// One more failure. `chance`, from 0 up to 1, spreads the ends of the pauses.
    #[must_use]
    pub fn after(previous: Option<Self>, reason: Reason, now: Instant, chance: f64) -> Self {
        let failures = previous.map_or(0, |trouble| trouble.failures).saturating_add(1);
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST);
        let pause = doubled.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
        Self { failures, reason, until: now + pause }
    }

    /// Whether the service is left alone for now.
    #[must_use]
    pub fn pauses(&self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_up_to_a_bound(failures in 1_u32..60, chance in 0.0..1.0) {
            let now = Instant::now();
            let trouble = (0..failures).fold(None, |trouble, _| Some(RefreshBackoff::after(trouble, Reason::Connect, now, chance)));
            let trouble = trouble.expect("one failure at least");
            let full = FIRST.as_secs_f64() * 2_f64.powi(i32::try_from(failures).expect("few") - 1);
            let full = Duration::from_secs_f64(full.min(LONGEST.as_secs_f64()));
            prop_assert!(trouble.pauses(now + full.mul_f64(0.49)));
            prop_assert!(!trouble.pauses(now + full));
        }
    }
}
