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

    /// The share of failures.
    #[must_use]
    pub const fn faulty(&self) -> Share {
        Share { events: self.faults, cases: self.requests }
    }
}
