//! How much is asked beyond what readers ask: retries and hedges together, a tenth at most.
//! Not tower's budget, which allows some each second whatever the load is: a service that is in trouble
//! and has few readers would be asked twice by each.

/// What of each request may be spent on others.
const SHARE: f64 = 0.1;
/// The most that is saved up.
const MOST: f64 = 10.0;

/// What is left to spend.
#[derive(Debug, Clone, Copy)]
pub struct RetryBudget {
    left: f64,
}

impl Default for RetryBudget {
    /// One is lent, so that the first request of a day may be tried again.
    fn default() -> Self {
        Self { left: 1.0 }
    }
}

impl RetryBudget {
    /// A reader's request is sent.
    pub fn earn(&mut self) {
        self.left = (self.left + SHARE).min(MOST);
    }

    /// Whether one more may be sent; then it is spent.
    pub fn spend(&mut self) -> bool {
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
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
        fn no_more_than_a_tenth_is_asked_beside(wants in proptest::collection::vec(any::<bool>(), 0..2_000)) {
            let mut allowance = RetryBudget::default();
            let mut spent = 0_u32;
            for (number, wanted) in (1_u32..).zip(&wants) {
                allowance.earn();
                spent += u32::from(*wanted && allowance.spend());
                prop_assert!(spent <= 1 + number / 10);
            }
        }
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let mut allowance = RetryBudget::default();
        (0..100_000).for_each(|_| allowance.earn());
        assert_eq!((0..100).filter(|_| allowance.spend()).count(), 10);
    }
}
