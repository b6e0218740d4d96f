//! What a nanoservice is sent: the request, and the cache key made of it.
//! Nothing reaches a nanoservice that its key does not hold, except the trace and the time that is left.

pub mod defaults;
pub mod key;

pub mod address;

mod context;

pub mod fetch;

pub mod include;

pub mod bound;
