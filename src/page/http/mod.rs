//! HTTP syntax: header fields (RFC 9110) and HTTP/1.1 framing (RFC 9112).
//! Bytes that do not follow the grammar are an error, never a guess.

pub mod fields;

pub mod coding;
pub mod query;

pub mod http1;
