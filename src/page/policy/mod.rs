//! Policies: pure functions and state machines that decide what the engine does next.
//! Time and random numbers are arguments.

pub mod cache;

pub mod resilience;

pub mod supervision;
