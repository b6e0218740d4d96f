//! Which of several endpoints has the least to do, and how much one can bear at once.

use std::time::{Duration, Instant};

/// How fast an endpoint answers: the peak counts at once, and is forgotten slowly (peak EWMA).
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    seconds: f64,
    at: Instant,
}

/// In this time two thirds of what was known is forgotten.
const MEMORY: Duration = Duration::from_secs(10);
/// What is assumed of an endpoint that nobody knows: hardly anything, so that it is tried.
const UNKNOWN: f64 = 0.001;

impl Latency {
    /// Of an endpoint that nobody knows.
    #[must_use]
    pub const fn unknown(now: Instant) -> Self {
        Self { seconds: UNKNOWN, at: now }
    }

    /// It took this long.
    pub fn saw(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let old = (-now.saturating_duration_since(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.seconds = if took > self.seconds { took } else { self.seconds * old + took * (1.0 - old) };
        self.at = now;
    }

    /// What one more request would cost there, with so many in flight.
    #[must_use]
    pub fn cost(&self, in_flight: usize, now: Instant) -> f64 {
        let old = (-now.saturating_duration_since(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp();
        #[expect(clippy::cast_precision_loss, reason = "nobody has that many")]
        let busy = (in_flight + 1) as f64;
        (self.seconds * old).max(UNKNOWN) * busy
    }
}

/// How many requests an endpoint bears at once: more while it answers as fast as ever, fewer when it
/// slows down (in the manner of Netflix's Gradient2).
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    most: f64,
    now: f64,
    /// How long answers take in the long run and just now, in seconds. One answer says nothing: a service
    /// may have fast and slow ones.
    usual: (f64, f64),
    /// Answers that were seen.
    seen: u32,
}

/// The fewest at once.
const FEWEST: f64 = 4.0;
/// How much slower than usual is not slow.
const TOLERANCE: f64 = 2.0;
/// What one answer changes in the long run, in the short run, and of the limit.
const LONG: f64 = 0.002;
const SHORT: f64 = 0.05;
const SMOOTH: f64 = 0.1;

impl Limit {
    /// At most so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        let most = f64::from(most.max(1));
        Self { most, now: most, usual: (0.0, 0.0), seen: 0 }
    }

    /// How long answers take just now; `None` while none was seen.
    #[must_use]
    pub fn usual(&self) -> Option<Duration> {
        (self.seen > 0).then(|| Duration::try_from_secs_f64(self.usual.1).unwrap_or_default())
    }

    /// How many may be in flight.
    #[must_use]
    pub fn width(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
        let width = self.now as usize;
        width.max(1)
    }

    /// An answer came after this long, with so many in flight.
    pub fn saw(&mut self, took: Duration, in_flight: usize) {
        let took = took.as_secs_f64().max(0.000_1);
        self.seen = self.seen.saturating_add(1);
        // The first ones count as much as any: what is usual is their mean at first.
        let share = |least: f64| least.max(1.0 / f64::from(self.seen));
        let (usual, lately) = (share(LONG), share(SHORT));
        self.usual.0 += (took - self.usual.0) * usual;
        self.usual.1 += (took - self.usual.1) * lately;
        let (usual, lately) = (&mut self.usual.0, self.usual.1);
        // After a slow time what is usual comes down faster.
        if *usual > 2.0 * lately {
            *usual *= 0.99;
        }
        let usual = *usual;
        #[expect(clippy::cast_precision_loss, reason = "nobody has that many")]
        if (in_flight as f64) < self.now / 2.0 {
            // It is not what holds anybody up.
            return;
        }
        let gradient = (TOLERANCE * usual / lately).clamp(0.5, 1.0);
        let wanted = self.now * gradient + self.now.sqrt();
        self.now = (self.now + (wanted - self.now) * SMOOTH).clamp(FEWEST.min(self.most), self.most);
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
    fn a_slow_answer_counts_at_once_and_is_forgotten_slowly() {
        let now = Instant::now();
        let (mut slow, mut fast) = (Latency::unknown(now), Latency::unknown(now));
        fast.saw(ms(20), now);
        slow.saw(ms(20), now);
        slow.saw(ms(500), now);
        assert!(slow.cost(0, now) > 10.0 * fast.cost(1, now), "one peak outweighs what else is in flight");
        assert!(fast.cost(9, now) > fast.cost(8, now));
        slow.saw(ms(20), now + MEMORY);
        assert!(slow.cost(0, now + MEMORY) < 0.25, "and it is forgotten in time");
        assert!(slow.cost(0, now + 20 * MEMORY) <= UNKNOWN, "so that it is tried again");
    }

    #[test]
    fn a_service_that_slows_down_gets_less_to_do_at_once_and_more_when_it_is_fast_again() {
        let mut limit = Limit::new(128);
        for _ in 0..200 {
            limit.saw(ms(20), limit.width());
        }
        assert_eq!(limit.width(), 128);
        for _ in 0..100 {
            limit.saw(ms(400), limit.width());
        }
        assert!(limit.width() < 40, "{}", limit.width());
        for _ in 0..200 {
            limit.saw(ms(20), limit.width());
        }
        assert_eq!(limit.width(), 128);
    }

    #[test]
    fn a_service_with_fast_and_slow_answers_is_well() {
        let mut limit = Limit::new(128);
        for number in 0..10_000 {
            limit.saw(ms(if number % 2 == 0 { 1 } else { 400 }), limit.width());
            assert!(limit.width() > 100, "{}", limit.width());
        }
    }

    #[test]
    fn what_holds_nobody_up_is_not_changed() {
        let mut limit = Limit::new(128);
        limit.saw(ms(10), 1);
        for _ in 0..1_000 {
            limit.saw(ms(5_000), 3);
        }
        assert_eq!(limit.width(), 128);
    }

    proptest! {
        #[test]
        fn a_limit_keeps_its_bounds(most in 1_u32..300, answers in proptest::collection::vec((0_u64..10_000, 0_usize..400), 0..500)) {
            let mut limit = Limit::new(most);
            for (took, in_flight) in answers {
                limit.saw(ms(took), in_flight);
                prop_assert!(limit.width() >= 4.min(most as usize) && limit.width() <= most as usize);
            }
        }
    }
}
