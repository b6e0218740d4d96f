//! HTML as bytes with places: what is a tag, and what only looks like one.

pub mod balance;
pub mod open;
pub mod tokens;
