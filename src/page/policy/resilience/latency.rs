//! Estimates what one more request would cost at each of several endpoints, for the load balancer (peak EWMA).
//! An endpoint without any response yet is assumed to be fast, so that it is tried.

use std::time::{Duration, Instant};

/// How fast an endpoint responds: a peak counts at once, and fades slowly (peak EWMA).
#[derive(Debug, Clone, Copy)]
pub struct PeakLatency {
    seconds: f64,
    at: Instant,
}

/// The time constant of the average: after this time, a measurement has lost about two thirds of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// The latency in seconds that is assumed of an endpoint without any response yet, and the lowest one that
/// counts. It is close to zero, so that such an endpoint is tried.
const MIN_SECONDS: f64 = 0.001;

impl PeakLatency {
    /// The latency of an endpoint without any response yet.
    #[must_use]
    pub const fn unknown(now: Instant) -> Self {
        Self { seconds: MIN_SECONDS, at: now }
    }

    /// Records how long a response took.
    pub fn record(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let old = self.weight_of_old(now);
        self.seconds = if took > self.seconds { took } else { self.seconds * old + took * (1.0 - old) };
        self.at = now;
    }

    /// The cost of one more request, in seconds times requests, with this many in flight already.
    #[must_use]
    pub fn cost(&self, in_flight: usize, now: Instant) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "there are never so many requests")]
        let busy = (in_flight + 1) as f64;
        (self.seconds * self.weight_of_old(now)).max(MIN_SECONDS) * busy
    }

    fn weight_of_old(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_slow_response_counts_at_once_and_fades_slowly() {
        let now = Instant::now();
        let (mut slow, mut fast) = (PeakLatency::unknown(now), PeakLatency::unknown(now));
        fast.record(ms(20), now);
        slow.record(ms(20), now);
        slow.record(ms(500), now);
        assert!(slow.cost(0, now) > 10.0 * fast.cost(1, now), "one peak outweighs another request in flight");
        assert!(fast.cost(9, now) > fast.cost(8, now));
        slow.record(ms(20), now + DECAY);
        assert!(slow.cost(0, now + DECAY) < 0.25, "and it fades in time");
        assert!(slow.cost(0, now + 20 * DECAY) <= MIN_SECONDS, "so that it is tried again");
    }
}
