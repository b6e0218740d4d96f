//! The circuits of one endpoint, counted by state: it has one for each set of limits that it is requested with.
//! A change of a circuit that was never counted is ignored.

use super::breaker::Circuit;

/// How many circuits are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CircuitCounts {
    closed: u32,
    open: u32,
    probed: u32,
}

impl CircuitCounts {
    /// Counts that a circuit changed. `None` before: it is new; after: it is forgotten.
    pub const fn change(&mut self, before: Option<Circuit>, after: Option<Circuit>) {
        if let Some(before) = before {
            let count = self.of(before);
            *count = count.saturating_sub(1);
        }
        if let Some(after) = after {
            let count = self.of(after);
            *count = count.saturating_add(1);
        }
    }

    /// The worst state: open if one is open, otherwise probed if one is.
    #[must_use]
    pub const fn worst(&self) -> Circuit {
        match self {
            Self { open: 1.., .. } => Circuit::Open,
            Self { probed: 1.., .. } => Circuit::HalfOpen,
            _ => Circuit::Closed,
        }
    }

    /// The number of circuits.
    #[must_use]
    pub const fn all(&self) -> u32 {
        self.closed + self.open + self.probed
    }

    /// The number of closed circuits.
    #[must_use]
    pub const fn closed(&self) -> u32 {
        self.closed
    }

    /// Whether no circuit is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all() == 0
    }

    const fn of(&mut self, circuit: Circuit) -> &mut u32 {
        match circuit {
            Circuit::Closed => &mut self.closed,
            Circuit::Open => &mut self.open,
            Circuit::HalfOpen => &mut self.probed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATES: [Option<Circuit>; 4] = [None, Some(Circuit::Closed), Some(Circuit::HalfOpen), Some(Circuit::Open)];

    /// How bad a state is.
    fn rank(state: Option<Circuit>) -> usize {
        STATES.iter().position(|other| *other == state).expect("all are listed")
    }

    proptest! {
        #[test]
        fn the_worst_state_is_that_of_the_circuits_that_exist(changes in proptest::collection::vec((0_usize..3, 0_usize..4), 0..40)) {
            let (mut circuits, mut counts) = ([None; 3], CircuitCounts::default());
            for (circuit, state) in changes {
                counts.change(circuits[circuit], STATES[state]);
                circuits[circuit] = STATES[state];
                let worst = circuits.into_iter().max_by_key(|state| rank(*state)).flatten();
                prop_assert_eq!(counts.worst(), worst.unwrap_or(Circuit::Closed));
                prop_assert_eq!(counts.is_empty(), worst.is_none());
            }
        }
    }
}
