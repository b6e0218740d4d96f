//! Where responses and pages are stored.
//! A store decides nothing about freshness, and a full store evicts what is asked for least.

pub mod memory;
