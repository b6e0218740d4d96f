//! What every parser needs: diagnostics with their places, schemas, TOML tables, JSON, names, units.
//! A wrong value becomes a diagnostic; the rest is read all the same.

pub mod diagnostic;
pub mod map;
pub mod names;
pub mod reason;
pub mod units;

pub mod schema;

pub mod table;

pub mod json;
pub mod secret;
