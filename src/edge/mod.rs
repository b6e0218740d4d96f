//! Thin adapters between the engine and the world. None knows another; `cli` wires them together.

pub mod admin;
pub mod server;
pub mod tamper;

pub mod clock;
pub mod discovery;
pub mod files;
pub mod http;
pub mod listen;
pub mod memory;
pub mod probe;
pub mod telemetry;
#[cfg(feature = "otlp")]
pub mod traces;
