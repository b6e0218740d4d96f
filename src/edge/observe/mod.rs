//! Reports the work of the engine: metrics, and traces if a collector is configured.
//! Reporting never delays a page.

pub mod log;
pub mod metrics;

#[cfg(feature = "otlp")]
pub mod traces;
