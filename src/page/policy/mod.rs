//! Policies: what to do, decided from values alone. The engine only does it.

pub mod directives;
pub mod freshness;

pub mod backoff;
pub mod validation;

pub mod allowance;
pub mod breaker;
pub mod load;
