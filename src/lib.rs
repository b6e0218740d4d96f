//! Pasteup composes a web page out of the HTML fragments of many small services.
//!
//! Three storeys, each of which sees only what is below it (ARCHITECTURE.md tells why):
//!
//! - [`page`] is pure: text and values in, values out. No clock, no I/O, no randomness.
//! - [`engine`] is async but knows no protocol: fan-out, collapsing, deadlines, over ports.
//! - `edge` holds the adapters: HTTP, memory, files. Only `cli` wires them together.
//!
//! Without default features only the first two are built, which is what an embedder uses.

pub mod page;

pub mod engine;

#[cfg(feature = "cli")]
pub mod config;
#[cfg(feature = "cli")]
pub mod edge;
#[cfg(feature = "cli")]
pub mod secrets;

#[cfg(feature = "cli")]
pub mod cli;
