//! What is reported of the engine's work: metrics, and traces where they are wanted.
//! Reporting never delays a page.

pub mod metrics;

#[cfg(feature = "otlp")]
pub mod traces;
