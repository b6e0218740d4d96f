//! One rollout: its step, what was seen of both versions, and what became of it.
//! A value: whoever keeps it changes a copy, and keeps that instead.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RolloutRules;
use super::decision::{Decision, Seen, decide, is_look_due};
use super::side::Side;

/// A rollout of a version of a nanoservice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The version before.
    pub stable: String,
    /// The new version.
    pub candidate: String,
    /// The checksum of the new version. With another one, it begins again.
    pub checksum: String,
    /// What became of it.
    pub state: State,
    /// The index of its step.
    pub step: usize,
    /// When the step began, or when it ended.
    pub since: Timestamp,
    /// How many answers of the new version there were when the step began.
    pub before_step: u64,
    /// How many answers of the new version were known at the last look at the bounds.
    pub looked_at: u64,
    /// The answers of the version before.
    pub stable_side: Side,
    /// The answers of the new version.
    pub candidate_side: Side,
    /// Why it is in this state, if nobody has to ask that of one that runs.
    pub why: Option<String>,
    /// How often it was tried before, and went back.
    #[serde(default)]
    pub round: u64,
    /// Why this replica shows it to nobody, until all replicas together have decided. `None`: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// What became of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It goes on by itself.
    Running,
    /// It stays at its step until somebody says otherwise, unless it has to go back.
    Paused,
    /// It broke a bound.
    RolledBack,
    /// Somebody ended it.
    Aborted,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::RolledBack, Self::Aborted];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::RolledBack => "rolled-back",
            Self::Aborted => "aborted",
        }
    }

    /// Whether some page views show the new version.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What somebody may ask of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To go on to the next step, from the last one to all page views.
    Promote,
    /// To stay at its step.
    Pause,
    /// To go on by itself again.
    Resume,
    /// To go back.
    Abort,
    /// To begin again after it went back.
    Retry,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 5] = [Self::Promote, Self::Pause, Self::Resume, Self::Abort, Self::Retry];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Retry => "retry",
        }
    }

    /// The action of a word. `None`: there is none.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// What happened to a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is at another step.
    Promoted,
    /// All page views show the new version: the rollout is over.
    Completed,
    /// No page view shows the new version any more.
    WentBack,
    /// It stays at its step, or goes on again.
    Held,
    /// It begins again at the first step.
    Began,
}

impl Rollout {
    /// A rollout at its first step.
    #[must_use]
    pub fn begin(stable: &str, candidate: &str, checksum: &str, now: Timestamp) -> Self {
        Self {
            stable: stable.to_owned(),
            candidate: candidate.to_owned(),
            checksum: checksum.to_owned(),
            state: State::Running,
            step: 0,
            since: now,
            before_step: 0,
            looked_at: 0,
            stable_side: Side::default(),
            candidate_side: Side::default(),
            why: None,
            round: 0,
            held: None,
        }
    }

    /// How many of a hundred page views show the new version.
    #[must_use]
    pub fn share(&self, rules: &RolloutRules) -> u8 {
        let last = rules.steps.last().copied().unwrap_or(100);
        if self.is_shown() { rules.steps.get(self.step).copied().unwrap_or(last) } else { 0 }
    }

    /// Whether some page views show the new version here.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.state.is_live() && self.held.is_none()
    }

    /// Holds the new version back, on this replica alone, if by what is known here it breaks a bound. Returns whether it does so
    /// from now on.
    pub fn hold_back_if_broken(&mut self, rules: &RolloutRules, now: Timestamp) -> bool {
        if !self.is_shown() {
            return false;
        }
        match self.look(rules, now) {
            Decision::RollBack(why) => {
                self.held = Some(why);
                true
            }
            Decision::Promote | Decision::Stay(_) => false,
        }
    }

    /// Counts an answer of one of the versions. Once it went back, nothing is counted.
    pub fn record(&mut self, is_candidate: bool, failed: bool, took: Duration) {
        if self.state.is_live() {
            let side = if is_candidate { &mut self.candidate_side } else { &mut self.stable_side };
            side.record(failed, took);
        }
    }

    /// Decides what to do, and does it. `None`: nothing.
    pub fn advance(&mut self, rules: &RolloutRules, now: Timestamp) -> Option<Event> {
        if !self.state.is_live() {
            return None;
        }
        match self.look(rules, now) {
            Decision::RollBack(why) => Some(self.go_back(State::RolledBack, why, now)),
            Decision::Promote if self.state == State::Running => Some(self.go_on(rules, now)),
            Decision::Promote | Decision::Stay(_) => None,
        }
    }

    /// Does what somebody asks.
    ///
    /// # Errors
    /// It cannot be done in this state: why, and what can be.
    pub fn act(&mut self, action: Action, rules: &RolloutRules, now: Timestamp) -> Result<Event, String> {
        match (action, self.state.is_live()) {
            (Action::Promote, true) => Ok(self.go_on(rules, now)),
            (Action::Pause, true) => {
                self.state = State::Paused;
                Ok(Event::Held)
            }
            (Action::Resume, true) => {
                self.state = State::Running;
                Ok(Event::Held)
            }
            (Action::Abort, true) => Ok(self.go_back(State::Aborted, "somebody aborted it".to_owned(), now)),
            // It has gone back already.
            (Action::Abort, false) => Ok(Event::Held),
            (Action::Retry, false) => {
                let begun = Self::begin(&self.stable, &self.candidate, &self.checksum, now);
                *self = Self { round: self.round + 1, ..begun };
                Ok(Event::Began)
            }
            (Action::Retry, true) => {
                Err(format!("the rollout of {} is {}: nothing is to be retried", self.candidate, self.state.as_str()))
            }
            (Action::Promote | Action::Pause | Action::Resume, false) => {
                Err(format!("{} is {}: `retry` begins again at the first step", self.candidate, self.state.as_str()))
            }
        }
    }

    /// What it waits for, in words. `None`: it waits for nobody, because it has gone back.
    #[must_use]
    pub fn waits_for(&self, rules: &RolloutRules, now: Timestamp) -> Option<String> {
        let decision = || match decide(rules, &self.seen(now)) {
            Decision::Stay(for_what) => Some(for_what),
            Decision::Promote | Decision::RollBack(_) => None,
        };
        match self.state {
            _ if self.held.is_some() && self.state.is_live() => {
                Some("the shared store, where all replicas decide together".to_owned())
            }
            State::Running => decision(),
            State::Paused => Some("somebody to resume or promote it".to_owned()),
            State::RolledBack | State::Aborted => None,
        }
    }

    /// Decides what to do, and notes that the bounds were looked at if they were.
    fn look(&mut self, rules: &RolloutRules, now: Timestamp) -> Decision {
        let (decision, look) = {
            let seen = self.seen(now);
            (decide(rules, &seen), is_look_due(rules, &seen))
        };
        if look {
            self.looked_at = self.candidate_side.requests;
        }
        decision
    }

    fn seen(&self, now: Timestamp) -> Seen<'_> {
        Seen {
            stable: &self.stable_side,
            candidate: &self.candidate_side,
            looked_at: self.looked_at,
            before_step: self.before_step,
            // A clock that was set back counts as no time.
            lasted: Duration::try_from(now.duration_since(self.since)).unwrap_or_default(),
        }
    }

    fn go_on(&mut self, rules: &RolloutRules, now: Timestamp) -> Event {
        self.step += 1;
        self.since = now;
        self.before_step = self.candidate_side.requests;
        if self.step < rules.steps.len() { Event::Promoted } else { Event::Completed }
    }

    fn go_back(&mut self, state: State, why: String, now: Timestamp) -> Event {
        self.state = state;
        self.since = now;
        self.why = Some(why);
        Event::WentBack
    }
}

#[cfg(test)]
mod tests {
    use super::super::decision::tests::rules;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_rollout_goes_through_its_steps_and_is_over() {
        let (rules, mut rollout) = (rules(), Rollout::begin("1.0.0", "2.0.0", "sha256:x", at(0)));
        let mut shares = Vec::new();
        for step in 1..=3 {
            shares.push(rollout.share(&rules));
            (0..49).for_each(|_| rollout.record(true, false, Duration::from_millis(1)));
            assert_eq!(rollout.advance(&rules, at(step * 60)), None);
            assert_eq!(rollout.waits_for(&rules, at(step * 60)).as_deref(), Some("49 of 50 answers"));
            rollout.record(true, false, Duration::from_millis(1));
            let event = rollout.advance(&rules, at(step * 60));
            assert_eq!(event, Some(if step == 3 { Event::Completed } else { Event::Promoted }));
        }
        assert_eq!(shares, [5, 25, 50]);
    }

    #[test]
    fn one_that_is_paused_stays_but_still_goes_back() {
        let (rules, mut rollout) = (rules(), Rollout::begin("1.0.0", "2.0.0", "sha256:x", at(0)));
        rollout.act(Action::Pause, &rules, at(0)).expect("it runs");
        (0..60).for_each(|_| rollout.record(true, false, Duration::from_millis(1)));
        assert_eq!(rollout.advance(&rules, at(600)), None);
        assert_eq!(rollout.act(Action::Promote, &rules, at(600)), Ok(Event::Promoted));
        assert_eq!((rollout.state, rollout.share(&rules)), (State::Paused, 25));
        (0..60).for_each(|_| rollout.record(true, true, Duration::from_millis(1)));
        assert_eq!(rollout.advance(&rules, at(600)), Some(Event::WentBack));
        assert_eq!((rollout.state, rollout.share(&rules)), (State::RolledBack, 0));
        rollout.act(Action::Promote, &rules, at(600)).expect_err("it went back");
        assert_eq!(rollout.act(Action::Retry, &rules, at(700)), Ok(Event::Began));
        assert_eq!((rollout.state, rollout.candidate_side.requests, rollout.step), (State::Running, 0, 0));
        rollout.act(Action::Retry, &rules, at(700)).expect_err("it runs");
        assert_eq!(rollout.act(Action::Abort, &rules, at(700)), Ok(Event::WentBack));
        assert_eq!(rollout.act(Action::Abort, &rules, at(700)), Ok(Event::Held));
    }
}
