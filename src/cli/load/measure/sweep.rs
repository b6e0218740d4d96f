//! The search for the highest rate that a site bears: the rate is doubled until a bound is passed, and then the gap halved.

/// The gap between the last good and the first bad rate at which the search ends, as a share of the good one.
const CLOSE: f64 = 0.15;
/// The rate from which on rates are whole numbers.
const WHOLE_FROM: f64 = 20.0;
/// The share of errors that a good step may have.
pub(crate) const MAX_ERRORS: f64 = 0.01;

/// The search for the knee.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    from: f64,
    to: f64,
    good: Option<f64>,
    bad: Option<f64>,
}

impl Sweep {
    /// A search between two rates.
    pub(crate) const fn new(from: f64, to: f64) -> Self {
        Self { from, to, good: None, bad: None }
    }

    /// The rate of the next step. `None`: the search has ended.
    pub(crate) fn next_rate(&self) -> Option<f64> {
        match (self.good, self.bad) {
            (None, None) => Some(self.from),
            // Not even the lowest rate is good.
            (None, Some(_)) => None,
            (Some(good), None) => (good < self.to).then(|| (good * 2.0).min(self.to)),
            (Some(good), Some(bad)) => ((bad - good) / good >= CLOSE).then(|| match f64::midpoint(good, bad) {
                // There is always a whole number in the middle half of such a gap.
                rate if good >= WHOLE_FROM => rate.round(),
                rate => rate,
            }),
        }
    }

    /// Notes whether a rate was good.
    pub(crate) fn note(&mut self, rate: f64, is_good: bool) {
        match is_good {
            true => self.good = Some(rate),
            false => self.bad = Some(rate),
        }
    }

    /// The highest rate that was good. `None`: none was.
    pub(crate) const fn knee(&self) -> Option<f64> {
        self.good
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rates that are tried if those up to `capacity` are good, and the knee.
    fn search(from: f64, to: f64, capacity: f64) -> (Vec<f64>, Option<f64>) {
        let (mut sweep, mut rates) = (Sweep::new(from, to), Vec::new());
        while let Some(rate) = sweep.next_rate() {
            rates.push(rate);
            assert!(rates.len() < 100, "{rates:?}");
            sweep.note(rate, rate <= capacity);
        }
        (rates, sweep.knee())
    }

    #[test]
    fn the_rate_is_doubled_and_then_the_gap_is_halved() {
        assert_eq!(
            search(100.0, 5_000.0, 900.0),
            (vec![100.0, 200.0, 400.0, 800.0, 1_600.0, 1_200.0, 1_000.0, 900.0], Some(900.0))
        );
        assert_eq!(search(100.0, 500.0, 900.0), (vec![100.0, 200.0, 400.0, 500.0], Some(500.0)));
        assert_eq!(search(100.0, 500.0, 50.0), (vec![100.0], None));
    }

    proptest! {
        #[test]
        fn the_knee_is_close_to_the_capacity(from in 1_u32..1_000, factor in 1_u32..200, part in 1.0..3.0_f64) {
            let (from, capacity) = (f64::from(from), f64::from(from) * part);
            let to = from * f64::from(factor);
            let (_, knee) = search(from, to, capacity);
            let knee = knee.expect("the lowest rate is good");
            prop_assert!(knee <= capacity && (knee * (1.0 + CLOSE) + 1.0 >= capacity.min(to)), "{knee} of {capacity}");
        }
    }
}
