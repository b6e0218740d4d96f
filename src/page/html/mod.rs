//! HTML as bytes with places: what is a tag, and what only looks like one.

pub mod balance;
mod elements;
pub mod open;
pub mod tokens;
