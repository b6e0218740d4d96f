//! Where a rollout stands, for programs and for the console.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::page::policy::rollout::progress::State;
use crate::page::policy::rollout::side::Side;

/// A rollout, for programs and for the console.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The name of the nanoservice.
    pub name: String,
    /// The version before.
    pub stable: String,
    /// The new version.
    pub candidate: String,
    /// What became of it.
    pub state: State,
    /// The number of its step, from 1.
    pub step: usize,
    /// The number of its steps.
    pub steps: usize,
    /// How many of a hundred page views show the new version.
    pub share: u8,
    /// Since when it is in this step or state.
    pub since: Timestamp,
    /// Why it is in this state.
    pub why: Option<String>,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// What was seen of both versions.
    pub sides: Sides,
}

/// What was seen of both versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sides {
    /// Of the version before.
    pub stable: SideStatus,
    /// Of the new version.
    pub candidate: SideStatus,
}

/// What was seen of one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SideStatus {
    /// How many answers.
    pub requests: u64,
    /// How many of them were failures.
    pub faults: u64,
    /// The time within which 95 of 100 came, in milliseconds.
    pub p95_ms: Option<f64>,
}

impl From<&Side> for SideStatus {
    fn from(side: &Side) -> Self {
        let p95_ms = side.latencies.p95_ms().map(|ms| (ms * 10.0).round() / 10.0);
        Self { requests: side.requests, faults: side.faults, p95_ms }
    }
}
