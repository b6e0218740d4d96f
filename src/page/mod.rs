//! Everything about pages that needs no I/O: layouts, plans, freshness, stitching. All of it is pure.
//! Time and jitter arrive as arguments; nothing here waits, reads a clock or does I/O.
//!
//! The folders are listed ground first. A folder may import only folders that are listed before it
//! (`tests/it/architecture.rs` checks this).

pub mod source;

pub mod http;

pub mod html;

pub mod policy;

pub mod visit;

pub mod manifest;

pub mod esi;

pub mod browser;

pub mod layout;

pub mod request;

pub mod response;

pub mod site;

pub mod plan;

pub mod output;

pub mod conform;
