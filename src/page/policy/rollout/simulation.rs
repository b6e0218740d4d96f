//! Simulated rollouts, thousands of them, each with its own seed: how soon a bad version goes back, and how rarely a good one
//! does. The limits are those that `docs/versions.md` states.

use std::time::Duration;

use jiff::Timestamp;

use super::super::random::Random;
use super::RolloutRules;
use super::decision::tests::rules;
use super::progress::{Event, Rollout, State};

/// A version: how often it fails, and the median of its latencies in milliseconds.
#[derive(Clone, Copy)]
struct Version {
    faults: f64,
    median_ms: f64,
}

/// What became of a rollout, and how many answers of the new version there were by then.
#[derive(Debug, PartialEq)]
enum End {
    WentBack(u64),
    Completed,
    Running,
}

/// Simulates page views, one a second, each of which asks one of the versions.
fn simulate(rules: &RolloutRules, (stable, candidate): (Version, Version), most: u64, seed: u64) -> End {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut rollout = Rollout::begin("1.0.0", "2.0.0", "", Timestamp::UNIX_EPOCH);
    for view in 0_i64.. {
        let now = Timestamp::from_second(view).expect("a time");
        let is_candidate = random.fraction() * 100.0 < f64::from(rollout.share(rules));
        let side = if is_candidate { candidate } else { stable };
        let failed = random.fraction() < side.faults;
        let took = Duration::from_secs_f64(side.median_ms * (0.3 * random.normal()).exp() / 1e3);
        rollout.record(is_candidate, failed, took);
        // Answers of the version before are no reason to decide: nothing depends on their number alone.
        if !is_candidate {
            continue;
        }
        match rollout.advance(rules, now) {
            Some(Event::WentBack) => return End::WentBack(rollout.candidate_side.requests),
            Some(Event::Completed) => return End::Completed,
            _ if rollout.candidate_side.requests > most => return End::Running,
            _ => {}
        }
    }
    End::Running
}

/// How many of some runs went back within so many answers of the new version.
fn went_back(rules: &RolloutRules, versions: (Version, Version), within: u64, runs: u64) -> usize {
    let ends = (1..=runs).map(|seed| simulate(rules, versions, within, seed));
    ends.filter(|end| matches!(end, End::WentBack(answers) if *answers <= within)).count()
}

const GOOD: Version = Version { faults: 0.01, median_ms: 20.0 };

#[test]
fn twenty_per_cent_of_faults_instead_of_one_go_back_within_a_hundred_answers() {
    let bad = Version { faults: 0.2, ..GOOD };
    let count = went_back(&rules(), (GOOD, bad), 100, 1_000);
    assert!(count >= 990, "{count} of 1,000");
}

#[test]
fn six_per_cent_of_faults_instead_of_one_go_back_within_1600_answers() {
    let rules = RolloutRules { min_requests: 600, ..rules() };
    let bad = Version { faults: 0.06, ..GOOD };
    let count = went_back(&rules, (GOOD, bad), 1_600, 100);
    assert!(count >= 95, "{count} of 100");
}

#[test]
fn twice_as_slow_goes_back_within_400_answers() {
    let slow = Version { median_ms: 40.0, ..GOOD };
    let count = went_back(&rules(), (GOOD, slow), 400, 1_000);
    assert!(count >= 950, "{count} of 1,000");
}

#[test]
fn the_same_version_twice_goes_back_once_in_a_thousand_runs_at_most() {
    let count = went_back(&rules(), (GOOD, GOOD), u64::MAX, 1_000);
    assert!(count <= 1, "{count} of 1,000");
}

#[test]
fn a_version_that_often_fails_does_not_go_back_because_its_successor_does() {
    let often = Version { faults: 0.1, ..GOOD };
    let count = went_back(&rules(), (often, often), u64::MAX, 1_000);
    assert!(count <= 1, "{count} of 1,000");
}

#[test]
fn a_version_that_always_fails_is_gone_after_its_fifth_answer() {
    let broken = Version { faults: 1.0, ..GOOD };
    for seed in 0..1_000 {
        assert_eq!(simulate(&rules(), (GOOD, broken), 100, seed), End::WentBack(5));
    }
}

#[test]
fn without_traffic_nothing_is_promoted_and_nothing_goes_back() {
    let (rules, mut rollout) = (rules(), Rollout::begin("1.0.0", "2.0.0", "", Timestamp::UNIX_EPOCH));
    for second in 0..100_000 {
        let now = Timestamp::from_second(second * 60).expect("a time");
        assert_eq!(rollout.advance(&rules, now), None);
    }
    assert_eq!((rollout.step, rollout.state), (0, State::Running));
}
