//! The tools that every parser needs: diagnostics with their positions, schemas, TOML tables, JSON, names, units.
//! A wrong value becomes a diagnostic; the rest is still read.

pub mod diagnostic;
pub mod map;
pub mod names;
pub mod reason;
pub mod units;
pub mod visible;

pub mod schema;

pub mod table;

pub mod json;
pub mod secret;
