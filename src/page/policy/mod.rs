//! Policies: each decides from values alone what the engine then does.
//! Time and random numbers are arguments.

pub mod cache;

pub mod resilience;
