//! Rollouts: how a new version of a nanoservice takes over from the one before, step by step, and when it goes back.
//! Whatever cannot be decided yet is a reason to wait, never to go on.

pub mod bounds;

pub mod latencies;

pub mod side;

pub mod decision;

pub mod progress;

pub mod book;

pub mod fleet;

pub mod replica;

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod fleet_simulation;

use std::time::Duration;

/// How a version takes over.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutRules {
    /// The shares of page views that show it, in per cent, step by step. After the last step all do. There is at least one.
    pub steps: Vec<u8>,
    /// The shortest duration of a step.
    pub interval: Duration,
    /// The least number of its answers in a step.
    pub min_requests: u64,
    /// How much more often it may fail than the version before: 0.01 is one in a hundred answers more.
    pub max_fault_excess: f64,
    /// How many times as slow its 95th percentile may be.
    pub max_p95_ratio: f64,
    /// Whether a client stays with one version.
    pub sticky: bool,
}
