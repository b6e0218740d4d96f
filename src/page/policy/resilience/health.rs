//! The health of a nanoservice, decided from what happened in the last minute.
//! A nanoservice that nobody asked is idle: nothing is known of it.

use crate::page::source::reason::words;

words! {
    /// The health of a nanoservice.
    Health {
        /// Nobody asked: no part was to be filled, and nothing was requested.
        Idle = "idle",
        /// Nothing went wrong.
        Healthy = "healthy",
        /// Something went wrong, or it is slow.
        Degraded = "degraded",
        /// Half or more of the requests failed, or a circuit is open.
        Failing = "failing",
        /// Every request failed, or the circuits of all endpoints are open.
        Down = "down",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that declares the words derives no default")]
impl Default for Health {
    fn default() -> Self {
        Self::Idle
    }
}

/// What happened in the last minute. Requests that a circuit breaker refused were never sent, and are not among the fetches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The parts of pages that it should have filled.
    pub parts: u64,
    /// The parts that were stale, a fallback or nothing because something went wrong.
    pub degraded: u64,
    /// The requests to it that have ended.
    pub fetches: u64,
    /// The requests that failed. 404 and 410 are answers, not failures.
    pub failures: u64,
    /// The requests that succeeded, but took more than half of their timeout.
    pub slow: u64,
    /// The requests that a circuit breaker refused.
    pub refusals: u64,
    /// The circuits of the endpoints that it was asked at, or would have been.
    pub circuits: u32,
    /// Those circuits that are open or being probed.
    pub open: u32,
}

impl Health {
    /// The health that follows from the evidence.
    #[must_use]
    pub const fn of(evidence: &Evidence) -> Self {
        let Evidence { parts, degraded, fetches, failures, slow, refusals, circuits, open } = *evidence;
        if parts == 0 && fetches == 0 && refusals == 0 {
            return Self::Idle;
        }
        let every_fetch_failed = fetches > 0 && failures >= fetches;
        if every_fetch_failed || (circuits > 0 && open >= circuits) {
            return Self::Down;
        }
        // The share is compared without a division, which would round.
        if open > 0 || (failures > 0 && failures >= fetches.saturating_sub(failures)) {
            return Self::Failing;
        }
        let is_slow = slow > 0 && slow >= fetches.saturating_sub(failures).saturating_sub(slow);
        if failures > 0 || degraded > 0 || refusals > 0 || is_slow {
            return Self::Degraded;
        }
        Self::Healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn health_follows_from_the_last_minute() {
        let none = Evidence::default();
        let cached = Evidence { parts: 100, ..none };
        let asked = Evidence { fetches: 100, circuits: 1, ..cached };
        for (evidence, health) in [
            (none, Health::Idle),
            // Its circuit may still be open, but nobody cares.
            (Evidence { circuits: 1, open: 1, ..none }, Health::Idle),
            (cached, Health::Healthy),
            (asked, Health::Healthy),
            (Evidence { parts: 0, ..asked }, Health::Healthy),
            (Evidence { slow: 49, ..asked }, Health::Healthy),
            (Evidence { slow: 50, ..asked }, Health::Degraded),
            (Evidence { failures: 1, ..asked }, Health::Degraded),
            (Evidence { failures: 49, ..asked }, Health::Degraded),
            (Evidence { degraded: 1, ..cached }, Health::Degraded),
            (Evidence { failures: 50, ..asked }, Health::Failing),
            (Evidence { failures: 99, ..asked }, Health::Failing),
            (Evidence { circuits: 2, open: 1, ..asked }, Health::Failing),
            (Evidence { failures: 100, ..asked }, Health::Down),
            (Evidence { open: 1, ..asked }, Health::Down),
            (Evidence { circuits: 2, open: 2, ..asked }, Health::Down),
            // Only refusals are left once the circuit is open.
            (Evidence { refusals: 700, circuits: 1, open: 1, parts: 700, degraded: 700, ..none }, Health::Down),
            (Evidence { refusals: 1, circuits: 1, ..none }, Health::Degraded),
        ] {
            assert_eq!(Health::of(&evidence), health, "{evidence:?}");
        }
    }

    prop_compose! {
        fn any_evidence()(
            (parts, degraded, refusals) in (0_u64..9, 0_u64..9, 0_u64..9),
            (succeeded, failures, slow) in (0_u64..9, 0_u64..9, 0_u64..9),
            (closed, open) in (0_u32..3, 0_u32..3),
        ) -> Evidence {
            Evidence {
                parts,
                degraded: degraded.min(parts),
                fetches: succeeded + failures,
                failures,
                slow: slow.min(succeeded),
                refusals,
                circuits: closed + open,
                open,
            }
        }
    }

    proptest! {
        #[test]
        fn more_trouble_never_looks_better(evidence in any_evidence()) {
            let health = Health::of(&evidence);
            let Evidence { parts, degraded, fetches, failures, slow, refusals, circuits, open } = evidence;
            let worse = [
                Evidence { degraded: (degraded + 1).min(parts), ..evidence },
                Evidence { fetches: fetches + 1, failures: failures + 1, ..evidence },
                Evidence { failures: (failures + 1).min(fetches - slow), ..evidence },
                Evidence { slow: (slow + 1).min(fetches - failures), ..evidence },
                Evidence { refusals: refusals + 1, ..evidence },
                Evidence { open: (open + 1).min(circuits), ..evidence },
            ];
            for worse in worse {
                prop_assert!(Health::of(&worse) >= health, "{evidence:?} is {health}, but {worse:?} {}", Health::of(&worse));
            }
        }

        #[test]
        fn it_is_idle_exactly_if_nobody_asked_and_healthy_only_if_nothing_went_wrong(evidence in any_evidence()) {
            let health = Health::of(&evidence);
            let is_asked = evidence.parts + evidence.fetches + evidence.refusals > 0;
            prop_assert_eq!(health == Health::Idle, !is_asked);
            let is_wrong = evidence.degraded + evidence.failures + evidence.refusals > 0 || evidence.open > 0;
            prop_assert!(!(health == Health::Healthy && is_wrong), "{evidence:?}");
            prop_assert!(health < Health::Failing || is_wrong, "{evidence:?}");
        }
    }
}
