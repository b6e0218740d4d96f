//! Bounds of confidence for shares: the Wilson score interval of one share, and how much larger one share is than another.
//! Nothing is known of a share without answers, so its interval is everything from 0 to 1.

/// The quantile of the normal distribution for an interval of 99.9 % confidence.
const Z: f64 = 3.290_526_731_491_89;

/// A number of events among a number of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How often the event happened.
    pub events: u64,
    /// How often it could have happened.
    pub cases: u64,
}

impl Share {
    /// The share that was seen; 0 if there were no cases.
    #[must_use]
    pub fn seen(self) -> f64 {
        if self.cases == 0 { 0.0 } else { float(self.events) / float(self.cases) }
    }

    /// The least and the largest value that the true share may have (Wilson 1927).
    #[must_use]
    pub fn wilson(self) -> (f64, f64) {
        if self.cases == 0 {
            return (0.0, 1.0);
        }
        let (cases, seen) = (float(self.cases), self.seen());
        let spread = Z * Z / cases;
        let centre = (seen + spread / 2.0) / (1.0 + spread);
        let half = Z * (seen * (1.0 - seen) / cases + spread / (4.0 * cases)).sqrt() / (1.0 + spread);
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }

    /// The least by which the true share exceeds another one: the bounds of both, combined (Newcombe 1998, method 10). It is
    /// less than 0 while it is unknown whether it exceeds it at all.
    #[must_use]
    pub fn least_excess(self, other: Self) -> f64 {
        let (own, others) = (self.seen(), other.seen());
        let ((least, _), (_, most)) = (self.wilson(), other.wilson());
        (own - others) - (own - least).hypot(most - others)
    }
}

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 would take ages")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_interval_is_that_of_the_literature() {
        // For no events the interval has a simple form: 0 to z²/(n + z²).
        let (least, most) = Share { events: 0, cases: 100 }.wilson();
        assert!(least.abs() < 1e-12 && (most - Z * Z / (100.0 + Z * Z)).abs() < 1e-12, "{least} {most}");
        let (least, most) = Share { events: 50, cases: 100 }.wilson();
        assert!((least + most - 1.0).abs() < 1e-12 && (most - 0.656).abs() < 1e-3, "{least} {most}");
        assert_eq!(Share { events: 0, cases: 0 }.wilson(), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn what_was_seen_is_between_the_bounds(events in 0_u64..500, more in 0_u64..500) {
            let share = Share { events, cases: events + more };
            let (least, most) = share.wilson();
            prop_assert!((0.0..=1.0).contains(&least) && (0.0..=1.0).contains(&most));
            prop_assert!(least <= share.seen() + 1e-12 && share.seen() <= most + 1e-12);
        }

        #[test]
        fn more_of_the_same_never_says_less(events in 0_u64..50, more in 1_u64..50, others in 0_u64..50, rest in 1_u64..50) {
            let times = |n: u64| (Share { events: events * n, cases: (events + more) * n }, Share { events: others * n, cases: (others + rest) * n });
            let ((few, base), (many, same)) = (times(1), times(4));
            prop_assert!(few.least_excess(base) <= many.least_excess(same) + 1e-12);
        }
    }
}
