//! The decision about a rollout: to stay at a step, to go on to the next one, or to go back.
//! It depends on counts, latencies and the time only. Without answers it is always to stay.

use std::time::Duration;

use crate::page::source::units;

use super::RolloutRules;
use super::bounds::float;
use super::side::Side;

/// After so many answers that are all failures nothing more has to be known.
const ALL_FAILED: u64 = 5;
/// What is slower by less than this is not slow.
const LEAST_SLOWER_MS: f64 = 10.0;
/// The share of answers beyond the 95th percentile.
const BEYOND_P95: f64 = 0.05;

/// What is known of a rollout.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The answers of the version before, since the rollout began.
    pub stable: &'a Side,
    /// The answers of the new version, since the rollout began.
    pub candidate: &'a Side,
    /// How many answers of the new version were known at the last look at the bounds.
    pub looked_at: u64,
    /// How many answers of the new version there were when this step began.
    pub before_step: u64,
    /// How long this step has lasted.
    pub lasted: Duration,
}

/// What to do with a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet; the text states what it waits for.
    Stay(String),
    /// To go on to the next step, from the last one to all page views.
    Promote,
    /// To go back; the text states why.
    RollBack(String),
}

/// Decides about a rollout.
#[must_use]
pub fn decide(rules: &RolloutRules, seen: &Seen<'_>) -> Decision {
    let answers = seen.candidate.requests;
    if answers >= ALL_FAILED && seen.candidate.faults == answers {
        return Decision::RollBack(format!("all of its first {answers} answers were failures"));
    }
    if let Some(why) = is_look_due(rules, seen).then(|| broken(rules, seen)).flatten() {
        return Decision::RollBack(why);
    }
    let of_step = answers - seen.before_step.min(answers);
    if of_step < rules.min_requests {
        return Decision::Stay(format!("{of_step} of {} answers", rules.min_requests));
    }
    if seen.lasted < rules.interval {
        let left = (rules.interval - seen.lasted).max(Duration::from_secs(1));
        let left = Duration::from_secs(left.as_secs());
        return Decision::Stay(format!("{} of {}", units::show(left), units::show(rules.interval)));
    }
    match broken(rules, seen) {
        // It is not gone back outside a look, since more looks would be more mistakes.
        Some(why) => Decision::Stay(format!("{} answers, because {why}", next_look(rules, answers))),
        None => Decision::Promote,
    }
}

/// Whether the bounds are to be looked at now: when `min_requests`, twice, four times … as many answers are known.
#[must_use]
pub fn is_look_due(rules: &RolloutRules, seen: &Seen<'_>) -> bool {
    seen.candidate.requests >= next_look(rules, seen.looked_at)
}

/// The number of answers at the look after the one at `looked_at`.
fn next_look(rules: &RolloutRules, looked_at: u64) -> u64 {
    let mut next = rules.min_requests.max(1);
    while next <= looked_at {
        next = next.saturating_mul(2);
    }
    next
}

/// The bound that is broken for certain, in words. `None`: none is.
fn broken(rules: &RolloutRules, Seen { stable, candidate, .. }: &Seen<'_>) -> Option<String> {
    let (own, before) = (candidate.faulty(), stable.faulty());
    // A version that nobody had to ask shows its copies, which never fail.
    let excess = if before.cases == 0 { own.wilson().0 } else { own.least_excess(before) };
    if excess > rules.max_fault_excess {
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        return Some(format!(
            "{} of its answers were failures, of the version before {}; {} more are allowed",
            percent(own.seen()),
            percent(before.seen()),
            percent(rules.max_fault_excess),
        ));
    }
    let (own_p95, before_p95) = (candidate.latencies.p95_ms()?, stable.latencies.p95_ms()?);
    let limit = (before_p95 * rules.max_p95_ratio).max(before_p95 + LEAST_SLOWER_MS);
    let slow = candidate.latencies.longer_than(limit);
    // As many of the version before would be slow if it were slower by what is allowed.
    let mut allowed = stable.latencies.longer_than(before_p95);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a part of a count")]
    let beyond = (float(allowed.cases) * BEYOND_P95).ceil() as u64;
    allowed.events = allowed.events.max(beyond);
    (slow.least_excess(allowed) > 0.0).then(|| {
        format!(
            "its p95 is {}, that of the version before {}; {} times as much is allowed",
            units::show_ms(own_p95),
            units::show_ms(before_p95),
            rules.max_p95_ratio,
        )
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn rules() -> RolloutRules {
        RolloutRules {
            steps: vec![5, 25, 50],
            interval: Duration::from_mins(1),
            min_requests: 50,
            max_fault_excess: 0.01,
            max_p95_ratio: 1.5,
            sticky: false,
        }
    }

    fn side(requests: u64, faults: u64, ms: u64) -> Side {
        let mut side = Side::default();
        (0..requests).for_each(|one| side.record(one < faults, Duration::from_millis(ms)));
        side
    }

    #[track_caller]
    fn check(stable: &Side, candidate: &Side, lasted: u64, expected: &str) {
        let lasted = Duration::from_secs(lasted);
        let seen = Seen { stable, candidate, looked_at: 0, before_step: 0, lasted };
        let found = match decide(&rules(), &seen) {
            Decision::Stay(for_what) => format!("stay: {for_what}"),
            Decision::Promote => "promote".to_owned(),
            Decision::RollBack(why) => format!("back: {why}"),
        };
        assert!(found.starts_with(expected), "{found}");
    }

    #[test]
    fn a_step_is_never_passed_by_silence_or_by_time_alone() {
        check(&side(0, 0, 20), &side(0, 0, 20), 1_000_000, "stay: 0 of 50 answers");
        check(&side(1_000, 0, 20), &side(49, 0, 20), 1_000_000, "stay: 49 of 50 answers");
        check(&side(1_000, 0, 20), &side(50, 0, 20), 20, "stay: 40s of 1m");
        check(&side(1_000, 0, 20), &side(50, 0, 20), 60, "promote");
        check(&side(0, 0, 20), &side(50, 0, 20), 60, "promote");
    }

    #[test]
    fn what_fails_or_is_slow_goes_back_and_says_why() {
        check(&side(0, 0, 20), &side(4, 4, 20), 0, "stay: 4 of 50");
        check(&side(0, 0, 20), &side(5, 5, 20), 0, "back: all of its first 5 answers were failures");
        check(
            &side(950, 9, 20),
            &side(50, 15, 20),
            0,
            "back: 30.0% of its answers were failures, of the version before 0.9%",
        );
        check(&side(0, 0, 20), &side(50, 25, 20), 0, "back: 50.0%");
        check(&side(950, 9, 20), &side(50, 1, 20), 60, "promote");
        check(&side(950, 0, 20), &side(50, 0, 60), 60, "back: its p95 is 60 ms, that of the version before 20 ms");
        check(&side(950, 0, 2), &side(50, 0, 11), 60, "promote");
    }

    #[test]
    fn it_is_looked_at_when_as_many_answers_are_known_and_twice_as_many() {
        let looks = |looked_at, requests| {
            let (stable, candidate) = (side(0, 0, 1), side(requests, 0, 1));
            let seen =
                Seen { stable: &stable, candidate: &candidate, looked_at, before_step: 0, lasted: Duration::ZERO };
            is_look_due(&rules(), &seen)
        };
        assert_eq!([looks(0, 49), looks(0, 50), looks(50, 99), looks(50, 100)], [false, true, false, true]);
        assert_eq!([looks(100, 199), looks(100, 250), looks(250, 399), looks(250, 400)], [false, true, false, true]);
    }
}
