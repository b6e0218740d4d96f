//! Integration tests: one file per capability. Unit tests of the pure code are beside that code.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

// `src/cli/report.rs`, which `fuzzing.rs` includes, refers to `crate::page`.
use pasteup::page;

mod support;

mod access_log;
mod architecture;

mod asking;
mod authentication;
mod boundaries;
mod caching;
mod closing;
mod cluster;
mod collapsing;
mod components;
mod composing;
mod conform;
mod connections;
mod deadlines;
mod declarations;
mod deferring;
mod discovery;
mod esi;
mod fallbacks;
mod faults;
mod finding;
mod frames;
mod fuzzing;
mod keys;
mod layouts;
mod lazy;
mod nesting;
mod page_cache;
mod programs;
mod public_files;
mod purging;
mod resilience;
mod reused_connections;
mod rollouts;
mod schedules;
mod status_pages;
mod store;
mod validation;
mod versions;

mod console;
mod console_in_trouble;
mod dev;
mod diagnostics;
mod explain;
mod lifecycle;
mod load;
mod logging;
mod observability;
mod one_day;
mod overlay;
mod overlay_controls;
mod reloading;
mod rendering;
mod serving;
mod streaming;
#[cfg(feature = "otlp")]
mod switching;
mod tracing;
mod upstreams;

mod browser;
mod late_in_browser;
