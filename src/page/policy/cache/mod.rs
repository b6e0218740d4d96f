//! How long a response may be reused (RFC 9111), how it is validated, and when a failed refresh is tried again.

pub mod directives;

pub mod freshness;
pub mod validation;

pub mod backoff;
