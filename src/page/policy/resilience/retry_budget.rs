//! Limits retries and hedges together to a tenth of the requests that clients cause.
//! Not tower's budget, which allows some retries each second regardless of load: a failing service with few
//! requests would then get every one of them twice.

/// The share of a retry or hedge that each request pays into the budget.
const SHARE: f64 = 0.1;
/// The largest balance, in retries and hedges.
const MAX_BALANCE: f64 = 10.0;

/// The balance of retries and hedges that may be sent.
#[derive(Debug, Clone, Copy)]
pub struct RetryBudget {
    balance: f64,
}

impl Default for RetryBudget {
    /// A balance of one, so that even the very first request may be retried.
    fn default() -> Self {
        Self { balance: 1.0 }
    }
}

impl RetryBudget {
    /// Adds the share of one request that a client caused.
    pub fn deposit(&mut self) {
        self.balance = (self.balance + SHARE).min(MAX_BALANCE);
    }

    /// Takes one retry or hedge from the balance. `false` if the balance does not suffice; it is then
    /// unchanged.
    pub fn withdraw(&mut self) -> bool {
        let enough = self.balance >= 1.0;
        if enough {
            self.balance -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retries_and_hedges_are_at_most_a_tenth_of_all_requests(wants in proptest::collection::vec(any::<bool>(), 0..2_000)) {
            let mut budget = RetryBudget::default();
            let mut sent = 0_u32;
            for (number, wanted) in (1_u32..).zip(&wants) {
                budget.deposit();
                sent += u32::from(*wanted && budget.withdraw());
                prop_assert!(sent <= 1 + number / 10);
            }
        }
    }

    #[test]
    fn the_balance_is_bounded() {
        let mut budget = RetryBudget::default();
        (0..100_000).for_each(|_| budget.deposit());
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
    }
}
