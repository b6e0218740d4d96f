//! The specification made runnable: one file a capability, each in its own way.
//! Pure parts are tested below their code; here are the storeys together.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

// `src/cli/report.rs`, which is read again for what fuzzing found, is below it.
use pasteup::page;

mod support;

mod architecture;

mod authenticating;
mod boundaries;
mod collapsing;
mod composing;
mod conforming;
mod connecting;
mod deadlines;
mod declaring;
mod deferring;
mod discovering;
mod esi;
mod faulting;
mod framing;
mod fuzzing;
mod heating;
mod keeping;
mod layouts;
mod lazy;
mod nesting;
mod purging;
mod scheduling;
mod storing;
mod validating;
mod withstanding;

mod console;
mod developing;
mod explaining;
mod living;
mod mistakes;
mod observing;
mod overlaying;
mod reloading;
mod rendering;
mod serving;
mod streaming;
#[cfg(feature = "otlp")]
mod tracing;
mod upstreams;

mod browser;
