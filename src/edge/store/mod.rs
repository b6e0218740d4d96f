//! Stores responses and pages.
//! A store decides nothing about freshness; when it is full, it evicts what is requested least.

mod index;
pub mod memory;

pub mod shared;
