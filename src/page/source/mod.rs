//! What every reader of text needs: diagnostics with their places, TOML tables, JSON, names, units.
//! A wrong value becomes a diagnostic; it never ends the reading of the rest.

pub mod diagnostic;
pub mod map;
pub mod names;
pub mod reason;
pub mod units;

pub mod table;

pub mod json;
pub mod secret;
