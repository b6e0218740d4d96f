//! Reports the work of the engine: metrics, and traces if a collector is configured.
//! Reporting never delays a page.

pub mod line_file;
pub mod log;
pub mod metrics;
pub mod process;

mod components;
mod measured;
mod programs;
mod routes;
mod upstreams;

#[cfg(feature = "otlp")]
pub mod traces;

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod resource;
