//! What protects services that fail or are slow: the circuit breaker, the load balancer, the retry budget.

pub mod breaker;

pub mod load;

pub mod retry_budget;
