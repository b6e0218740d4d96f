//! How requests are sent to nanoservices.
//! Whatever goes wrong on the way is a failure with a reason.

mod client;
mod decoding;
mod public;

pub mod http;

pub mod probe;

pub mod tamper;
