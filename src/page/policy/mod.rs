//! Policies: pure functions and state machines that decide what the engine does next.
//! Time and random numbers are arguments.

pub mod cache;

pub mod naming;

pub mod resilience;

pub mod supervision;

pub mod rollout;

pub mod cluster;

#[cfg(test)]
mod random;
