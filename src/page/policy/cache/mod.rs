//! Decides how long a response may be reused (RFC 9111), how it is validated, and when a failed refresh is retried.
//! A response with doubtful headers is cached for the shorter time.

pub mod directives;

pub mod freshness;
pub mod validation;

pub mod content_hash;

pub mod backoff;
