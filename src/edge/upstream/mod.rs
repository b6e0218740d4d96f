//! How nanoservices are asked.
//! Everything that goes wrong on the way is a failure with a reason.

pub mod http;

pub mod probe;

pub mod tamper;
