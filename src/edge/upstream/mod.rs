//! Sends requests to nanoservices.
//! Every error on the way is a failure with a reason.

mod resolver;

pub mod names;

mod connection;

mod client;

mod decoding;

pub mod http;

pub mod process;

pub mod any;

pub mod probe;

pub mod tamper;
