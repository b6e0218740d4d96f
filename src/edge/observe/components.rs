//! The metrics of components that run on demand.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::page::manifest::Manifest;

use super::programs::ByProgram;

/// Upper bounds of the histogram, in seconds. Most instances take less than a millisecond.
const SECONDS: [f64; 16] =
    [0.00005, 0.0001, 0.00015, 0.00025, 0.0004, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The metrics of components.
#[derive(Debug)]
pub(super) struct ComponentMetrics {
    duration: Family<ByProgram, Histogram, fn() -> Histogram>,
}

impl ComponentMetrics {
    /// Registers them.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let duration = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        registry.register(
            "pasteup_component_duration_seconds",
            "Seconds from a request to a component to the end of its instance",
            duration.clone(),
        );
        Self { duration }
    }

    /// Counts an instance that has ended.
    pub(super) fn ran(&self, manifest: &Manifest, took: Duration) {
        self.duration.get_or_create_owned(&ByProgram::of(manifest)).observe(took.as_secs_f64());
    }
}
