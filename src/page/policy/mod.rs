//! Policies: what to do, decided from values alone. The engine only does it.

pub mod cache;

pub mod resilience;
