//! HTTP syntax: header fields (RFC 9110), hosts, origins and ranges, and HTTP/1.1 framing (RFC 9112).
//! Bytes that do not follow the grammar are an error, never a guess.

pub mod fields;

pub mod coding;
pub mod encoding;
pub mod origin;
pub mod query;

pub mod range;

pub mod http1;
