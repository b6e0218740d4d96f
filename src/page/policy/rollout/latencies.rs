//! How long answers took, in steps of two per cent: enough to compare percentiles, and small enough to be kept in a file.
//! What takes longer than an hour counts as an hour, and what takes less than a tenth of a millisecond as that.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::Share;

/// The shortest time that is distinguished, in milliseconds.
const LEAST_MS: f64 = 0.1;
/// The longest time that is distinguished, in milliseconds.
const MOST_MS: f64 = 3_600_000.0;
/// How much longer the times of one step are than those of the one before.
const WIDTH: f64 = 1.02;

/// How many answers took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latencies(BTreeMap<u16, u64>);

impl Latencies {
    /// Counts an answer.
    pub fn record(&mut self, took: Duration) {
        *self.0.entry(step(took.as_secs_f64() * 1e3)).or_default() += 1;
    }

    /// Adds the answers of another count.
    pub fn add(&mut self, other: &Self) {
        for (step, count) in &other.0 {
            *self.0.entry(*step).or_default() += count;
        }
    }

    /// Takes away answers that are counted elsewhere.
    pub fn subtract(&mut self, other: &Self) {
        self.0.retain(|step, count| {
            *count = count.saturating_sub(other.0.get(step).copied().unwrap_or_default());
            *count > 0
        });
    }

    /// The time within which 95 of 100 answers came, in milliseconds. `None`: there were none.
    #[must_use]
    pub fn p95_ms(&self) -> Option<f64> {
        let all: u64 = self.0.values().sum();
        // Rounded up: the 95th of a hundred.
        let rank = (all * 95).div_ceil(100);
        let mut seen = 0;
        let reached = |(step, count): (&u16, &u64)| {
            seen += count;
            (seen >= rank).then_some(*step)
        };
        self.0.iter().find_map(reached).filter(|_| all > 0).map(middle_ms)
    }

    /// How many of the answers took longer than this.
    #[must_use]
    pub fn longer_than(&self, ms: f64) -> Share {
        let events = self.0.range(step(ms).saturating_add(1)..).map(|(_, count)| count).sum();
        Share { events, cases: self.0.values().sum() }
    }
}

/// The step of a time.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the logarithm is between 0 and 900")]
fn step(ms: f64) -> u16 {
    ((ms.clamp(LEAST_MS, MOST_MS) / LEAST_MS).ln() / WIDTH.ln()).round() as u16
}

/// The time in the middle of a step.
fn middle_ms(step: u16) -> f64 {
    LEAST_MS * WIDTH.powi(i32::from(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_within_two_per_cent() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.p95_ms(), None);
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let p95 = latencies.p95_ms().expect("there are answers");
        assert!((p95 / 950.0 - 1.0).abs() < 0.02, "{p95}");
        let Share { events, cases } = latencies.longer_than(900.0);
        assert!(cases == 1000 && events.abs_diff(100) < 20, "{events}");
        latencies.record(Duration::from_hours(48));
        latencies.record(Duration::ZERO);
        assert_eq!(latencies.longer_than(2_000_000.0).events, 1);
    }
}
