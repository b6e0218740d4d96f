//! What was seen of one version while it is rolled out, or while another one takes over from it.
//! Answers that were never asked for, such as copies from the cache, are not counted by whoever uses it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::Share;
use super::latencies::Latencies;

/// The answers of one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// How many there were.
    pub requests: u64,
    /// How many of them were failures.
    pub faults: u64,
    /// How long they took.
    pub latencies: Latencies,
}

impl Side {
    /// Counts an answer.
    pub fn record(&mut self, failed: bool, took: Duration) {
        self.requests += 1;
        self.faults += u64::from(failed);
        self.latencies.record(took);
    }

    /// Adds the answers of another count.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.faults += other.faults;
        self.latencies.add(&other.latencies);
    }

    /// Takes away answers that are counted elsewhere.
    pub fn subtract(&mut self, other: &Self) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.faults = self.faults.saturating_sub(other.faults);
        self.latencies.subtract(&other.latencies);
    }

    /// The share of failures.
    #[must_use]
    pub const fn faulty(&self) -> Share {
        Share { events: self.faults, cases: self.requests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_of_several_replicas_are_those_of_one_that_saw_it_all(answers in proptest::collection::vec((0_u8..3, any::<bool>(), 0_u64..5_000), 0..60)) {
            let (mut whole, mut parts) = (Side::default(), [Side::default(), Side::default(), Side::default()]);
            for (replica, failed, ms) in answers {
                let took = Duration::from_millis(ms);
                whole.record(failed, took);
                parts[usize::from(replica)].record(failed, took);
            }
            let mut sum = Side::default();
            parts.iter().for_each(|part| sum.add(part));
            prop_assert_eq!(&sum, &whole);
            sum.subtract(&parts[0]);
            parts[1].add(&parts[2].clone());
            prop_assert_eq!(&sum, &parts[1]);
        }
    }
}
