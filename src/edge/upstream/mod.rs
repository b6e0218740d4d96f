//! Sends requests to nanoservices.
//! Every error on the way is a failure with a reason.

mod client;
mod decoding;
mod public;

pub mod http;

pub mod probe;

pub mod tamper;
