//! Limits what a service that fails or is slow costs: circuit breaker, load balancing, concurrency limit, retry budget.
//! Each policy decides only from the recorded results of earlier requests.

pub mod breaker;
pub mod circuits;

pub mod adaptive_limit;
pub mod latency;

pub mod retry_budget;

pub mod health;

use std::time::Duration;

use self::breaker::BreakerRules;

/// How requests to services that fail or are slow are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resilience {
    /// The number of times a request without a response is retried. All retries share its one timeout.
    pub retries: u32,
    /// When the circuit breaker of an endpoint opens.
    pub breaker: BreakerRules,
}

impl Default for Resilience {
    fn default() -> Self {
        let breaker = BreakerRules { failures: 5, pause: Duration::from_secs(1), max_pause: Duration::from_secs(30) };
        Self { retries: 1, breaker }
    }
}
