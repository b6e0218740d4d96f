//! What protects services that fail or are slow: the circuit breaker, the load balancer, the retry budget.

pub mod breaker;

pub mod load;

pub mod retry_budget;

use std::time::Duration;

use self::breaker::BreakerRules;

/// What is done about services that fail or are slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resilience {
    /// How many times a request without a response is retried, all within its one timeout.
    pub retries: u32,
    /// When the circuit breaker of an endpoint opens.
    pub breaker: BreakerRules,
}

impl Default for Resilience {
    fn default() -> Self {
        let breaker = BreakerRules { failures: 5, pause: Duration::from_secs(1), longest: Duration::from_secs(30) };
        Self { retries: 1, breaker }
    }
}
