//! The specification made runnable: one file a capability, each in its own way.
//! Pure parts are tested below their code; here are the storeys together.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

mod architecture;

mod composing;
mod conforming;
mod deadlines;
mod keeping;
mod layouts;

mod mistakes;
mod reloading;
mod rendering;
mod serving;
mod upstreams;

mod browser;
