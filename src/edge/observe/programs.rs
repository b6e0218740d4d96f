//! The metrics of programs that are started on demand.
//! A program that is declared no longer is shown as down, and its counters stay, as those of a restarted process would.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::page::manifest::Manifest;
use crate::page::policy::supervision::status::{ProgramState, ProgramStatus};

/// Upper bounds of the histogram of starts, in seconds.
const START_SECONDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByProgram {
    fragment: Arc<str>,
    version: String,
}

impl ByProgram {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self { fragment: Arc::clone(&manifest.name), version: manifest.version.to_string() }
    }
}

/// The starts and crashes of a program that were shown.
type Shown = HashMap<ByProgram, (u64, u64)>;

/// The metrics of programs.
#[derive(Debug)]
pub(super) struct ProgramMetrics {
    up: Family<ByProgram, Gauge<i64, AtomicI64>>,
    starts: Family<ByProgram, Counter>,
    crashes: Family<ByProgram, Counter>,
    memory: Family<ByProgram, Gauge<i64, AtomicI64>>,
    start_duration: Histogram,
    /// What was counted of each program when it was shown last.
    shown: Mutex<Shown>,
}

impl ProgramMetrics {
    /// Registers them.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: Family::default(),
            starts: Family::default(),
            crashes: Family::default(),
            memory: Family::default(),
            start_duration: Histogram::new(START_SECONDS),
            shown: Mutex::default(),
        };
        registry.register("pasteup_process_up", "Whether the program answers: 1, or 0", metrics.up.clone());
        registry.register("pasteup_process_starts", "Starts of the program", metrics.starts.clone());
        registry.register(
            "pasteup_process_crashes",
            "Times that the program ended while it should run",
            metrics.crashes.clone(),
        );
        registry.register(
            "pasteup_process_start_duration_seconds",
            "Seconds from the start of a program until it is ready",
            metrics.start_duration.clone(),
        );
        registry.register(
            "pasteup_process_memory_bytes",
            "Memory of all processes of the program: the sum of their proportional set sizes",
            metrics.memory.clone(),
        );
        metrics
    }

    /// Counts a start.
    pub(super) fn started(&self, took: Duration) {
        self.start_duration.observe(took.as_secs_f64());
    }

    /// Shows these programs as they are now.
    pub(super) fn show(&self, programs: impl Iterator<Item = (Arc<Manifest>, ProgramStatus)>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Shown = shown.clone();
        for (manifest, status) in programs {
            let labels = ByProgram::of(&manifest);
            missing.remove(&labels);
            let (starts, crashes) = shown.entry(labels.clone()).or_default();
            // The counts begin anew when a program is removed and declared again.
            self.starts.get_or_create_owned(&labels).inc_by(increase(starts, status.starts));
            self.crashes.get_or_create_owned(&labels).inc_by(increase(crashes, status.crashes));
            let is_up = i64::from(status.state == ProgramState::Running);
            self.up.get_or_create_owned(&labels).set(is_up);
            let memory = status.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or_default();
            self.memory.get_or_create_owned(&labels).set(memory);
        }
        for labels in missing.into_keys() {
            self.up.get_or_create_owned(&labels).set(0);
            self.memory.get_or_create_owned(&labels).set(0);
            // Its next count begins at zero.
            shown.insert(labels, (0, 0));
        }
    }
}

/// How much a count has grown since it was shown last.
fn increase(last: &mut u64, now: u64) -> u64 {
    let before = std::mem::replace(last, now);
    now.checked_sub(before).unwrap_or(now)
}
