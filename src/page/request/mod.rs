//! The requests to nanoservices, and the cache keys made of them.
//! A key contains everything that the nanoservice is sent, except the trace and the remaining time.

pub mod defaults;
pub mod key;

pub mod address;

mod context;

pub mod fetch;

pub mod include;

pub mod bound;
