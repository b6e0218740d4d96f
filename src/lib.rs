//! Pasteup composes a web page from the HTML fragments of many small services.
//!
//! There are three storeys, and each depends only on those below it (ARCHITECTURE.md explains why):
//!
//! - [`page`] is pure: text and values in, values out. It has no clock, no I/O and no randomness.
//! - [`engine`] is async but knows no protocol: fan-out, collapsing and deadlines, over ports.
//! - `edge` holds the adapters: HTTP, memory, files. Only `cli` wires them together.
//!
//! Without default features only the first two are built; that is what an embedder uses.

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
