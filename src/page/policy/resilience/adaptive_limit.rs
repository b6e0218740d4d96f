//! Adapts the number of concurrent requests to an endpoint to how fast it responds.
//! The limit stays between `MIN` (or its maximum, if that is lower) and its maximum.

use std::time::Duration;

/// How many requests an endpoint may have in flight: more while it responds as fast as it usually does, fewer
/// when it slows down (in the manner of Netflix's Gradient2).
#[derive(Debug, Clone, Copy)]
pub struct AdaptiveLimit {
    max: f64,
    current: f64,
    /// The average latency in the long run, in seconds.
    long_average: f64,
    /// The average latency of the last responses, in seconds. A single response would prove nothing: a
    /// service may have fast and slow ones.
    short_average: f64,
    /// The number of responses that were recorded.
    recorded: u32,
}

/// The lowest limit, unless the maximum is lower.
const MIN: f64 = 4.0;
/// The factor by which the latest latency may exceed the usual one before it counts as slow.
const TOLERANCE: f64 = 2.0;
/// The weight of one response in the long average.
const LONG_WEIGHT: f64 = 0.002;
/// The weight of one response in the short average.
const SHORT_WEIGHT: f64 = 0.05;
/// The weight of one response in the limit.
const LIMIT_WEIGHT: f64 = 0.1;

impl AdaptiveLimit {
    /// A limit that starts at its maximum.
    #[must_use]
    pub fn new(max: u32) -> Self {
        let max = f64::from(max.max(1));
        Self { max, current: max, long_average: 0.0, short_average: 0.0, recorded: 0 }
    }

    /// The average latency of the last responses. `None` before the first one.
    #[must_use]
    pub fn recent_latency(&self) -> Option<Duration> {
        (self.recorded > 0).then(|| Duration::try_from_secs_f64(self.short_average).unwrap_or_default())
    }

    /// How many requests may be in flight.
    #[must_use]
    pub fn current(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and a u32")]
        let current = self.current as usize;
        current.max(1)
    }

    /// Records how long a response took, with this many requests in flight.
    pub fn record(&mut self, took: Duration, in_flight: usize) {
        let took = took.as_secs_f64().max(0.000_1);
        self.recorded = self.recorded.saturating_add(1);
        // At first each average is the plain mean of all responses, so that the first one does not dominate.
        let weight = |steady: f64| steady.max(1.0 / f64::from(self.recorded));
        let (long_weight, short_weight) = (weight(LONG_WEIGHT), weight(SHORT_WEIGHT));
        self.long_average += (took - self.long_average) * long_weight;
        self.short_average += (took - self.short_average) * short_weight;
        // After a slow period the long average recovers faster.
        if self.long_average > 2.0 * self.short_average {
            self.long_average *= 0.99;
        }
        #[expect(clippy::cast_precision_loss, reason = "there are never so many requests")]
        if (in_flight as f64) < self.current / 2.0 {
            // No request waits for the limit, so its effect cannot be measured.
            return;
        }
        let gradient = (TOLERANCE * self.long_average / self.short_average).clamp(0.5, 1.0);
        let wanted = self.current * gradient + self.current.sqrt();
        let smoothed = self.current + (wanted - self.current) * LIMIT_WEIGHT;
        self.current = smoothed.clamp(MIN.min(self.max), self.max);
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
    fn the_limit_falls_when_a_service_slows_down_and_rises_when_it_is_fast_again() {
        let mut limit = AdaptiveLimit::new(128);
        for _ in 0..200 {
            limit.record(ms(20), limit.current());
        }
        assert_eq!(limit.current(), 128);
        for _ in 0..100 {
            limit.record(ms(400), limit.current());
        }
        assert!(limit.current() < 40, "{}", limit.current());
        for _ in 0..200 {
            limit.record(ms(20), limit.current());
        }
        assert_eq!(limit.current(), 128);
    }

    #[test]
    fn fast_and_slow_responses_in_turn_do_not_lower_the_limit() {
        let mut limit = AdaptiveLimit::new(128);
        for number in 0..10_000 {
            limit.record(ms(if number % 2 == 0 { 1 } else { 400 }), limit.current());
            assert!(limit.current() > 100, "{}", limit.current());
        }
    }

    #[test]
    fn a_limit_that_is_not_reached_is_not_changed() {
        let mut limit = AdaptiveLimit::new(128);
        limit.record(ms(10), 1);
        for _ in 0..1_000 {
            limit.record(ms(5_000), 3);
        }
        assert_eq!(limit.current(), 128);
    }

    proptest! {
        #[test]
        fn a_limit_stays_within_its_bounds(max in 1_u32..300, responses in proptest::collection::vec((0_u64..10_000, 0_usize..400), 0..500)) {
            let mut limit = AdaptiveLimit::new(max);
            for (took, in_flight) in responses {
                limit.record(ms(took), in_flight);
                prop_assert!(limit.current() >= 4.min(max as usize) && limit.current() <= max as usize);
            }
        }
    }
}
