//! From a plan to one outcome a fragment: all at once, and never an error.
//! LookupOutcome stands inside a fallback is asked for when that fallback is shown, and what an answer asks for
//! when that has come, within the same budget.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::time::Instant;

use crate::page::plan::{Outcomes, Plan, Slot};
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::response::parsed::Content;
use crate::page::source::reason::Reason;

use super::lookup::{Ahead, Lookup, LookupOutcome, LookupResult};
use super::trace::Trace;

/// A plan that is being filled by a deadline.
pub(super) struct FanOut {
    lookup: Arc<Lookup>,
    plan: Plan,
    outcomes: Outcomes,
    asked: Vec<bool>,
    /// LookupOutcome was asked for before.
    ahead: Ahead,
    /// One lookup a fetch, however many fragments want it.
    found: Vec<Option<Result<LookupResult, Shared<BoxFuture<'static, LookupResult>>>>>,
    began: Instant,
    deadline: Instant,
    trace: Trace,
    /// Outcomes that need not be waited for.
    at_hand: VecDeque<(usize, Outcome)>,
    // One flat set, not a future inside a future for each fallback inside a fallback.
    under_way: FuturesUnordered<BoxFuture<'static, (usize, Outcome)>>,
}

impl FanOut {
    /// Asks for all that a page needs at once, but for what was asked for before. The page was asked for at `began`.
    pub(super) fn begin(lookup: &Arc<Lookup>, plan: Plan, began: Instant, ahead: Ahead, trace: &Trace) -> Self {
        let deadline = began + plan.budget;
        let mut begun = Self {
            lookup: Arc::clone(lookup),
            plan,
            outcomes: Vec::new(),
            asked: Vec::new(),
            found: Vec::new(),
            ahead,
            began,
            deadline,
            trace: trace.clone(),
            at_hand: VecDeque::new(),
            under_way: FuturesUnordered::new(),
        };
        begun.ask(begun.plan.needed_at_once());
        begun
    }

    fn ask(&mut self, holes: Vec<usize>) {
        self.outcomes.resize(self.plan.holes.len(), None);
        self.asked.resize(self.plan.holes.len(), false);
        self.found.resize_with(self.plan.fetches.len(), || None);
        if holes.is_empty() {
            return;
        }
        // One moment for all that is looked up together.
        let now = Instant::now();
        for hole in holes {
            if !std::mem::replace(&mut self.asked[hole], true) {
                self.ask_for(hole, now);
            }
        }
    }

    /// Asks for the outcome of one fragment.
    fn ask_for(&mut self, hole: usize, now: Instant) {
        let has_fallback = !self.plan.holes[hole].fragment.fallback.is_empty();
        let known = match &self.plan.holes[hole].slot {
            // A lazy one is never asked for: what stands in its place is.
            Slot::Dropped | Slot::Lazy(_) => Outcome::nothing(Reason::Condition),
            Slot::Refused(reason) => Outcome::missing(*reason, has_fallback),
            Slot::Fetch(index) => match self.look(*index, now) {
                Ok(found) => outcome(&found, has_fallback),
                Err(asked) => {
                    self.under_way
                        .push(unconstrained(async move { (hole, outcome(&asked.await, has_fallback)) }).boxed());
                    return;
                }
            },
        };
        self.at_hand.push_back((hole, known));
    }

    /// LookupOutcome a fetch came to, where that is known at once.
    fn look(&mut self, index: usize, now: Instant) -> Result<LookupResult, Shared<BoxFuture<'static, LookupResult>>> {
        let found = &mut self.found[index];
        if found.is_none() {
            let fetch = &self.plan.fetches[index];
            let looking = self.ahead.take(fetch);
            let looking = looking.unwrap_or_else(|| self.lookup.looking(fetch, self.deadline, &self.trace, now));
            *found = Some(looking.map_err(FutureExt::shared));
        }
        found.clone().expect("it was looked up")
    }

    /// Waits for the next outcome. `false`: all are known.
    pub(super) async fn next(&mut self) -> bool {
        // Others have their turn between the parts of a page that has many. tokio would ask each part on its own to wait
        // for that, and then all that are left are polled anew each time.
        consume_budget().await;
        let next = match self.at_hand.pop_front() {
            Some(known) => Some(known),
            None => self.under_way.next().await,
        };
        let Some((hole, outcome)) = next else { return false };
        self.plan.take(hole, &outcome);
        self.ask(self.plan.needed_then(hole, &outcome));
        let failed = !matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        self.outcomes[hole] = Some(outcome);
        if failed {
            self.ask(self.plan.needed_instead(&self.outcomes));
        }
        true
    }

    /// Takes the outcomes that need not be waited for.
    pub(super) fn take_ready(&mut self) {
        while self.next().now_or_never() == Some(true) {}
    }

    /// The longest that a part takes that is waited for and would not let the page be kept downstream, as far as known.
    pub(super) fn usual_alone(&self) -> Option<Duration> {
        let waited = |hole: &usize| self.asked[*hole] && self.outcomes[*hole].is_none();
        let now = Instant::now();
        let fetches = (0..self.asked.len()).filter(waited).filter_map(|hole| self.plan.of(hole));
        fetches.filter_map(|fetch| self.lookup.usual_alone(fetch, now)).max()
    }

    /// Whether all outcomes are known that the page needs.
    pub(super) fn is_complete(&self) -> bool {
        self.at_hand.is_empty() && self.under_way.is_empty()
    }

    /// The outcomes that are known.
    pub(super) const fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The plan that is being filled.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When it was asked for.
    pub(super) fn began(&self) -> std::time::Instant {
        self.began.into_std()
    }

    /// The plan and its outcomes, when all are known.
    pub(super) fn finish(self) -> (Plan, Outcomes) {
        (self.plan, self.outcomes)
    }
}

/// LookupOutcome a hole shows for what was found.
fn outcome(found: &LookupResult, has_fallback: bool) -> Outcome {
    let course = Some(Arc::clone(&found.timing));
    let (answer, fresh, early) = match &found.outcome {
        LookupOutcome::Unavailable(reason) => {
            return Outcome { timing: course, ..Outcome::missing(*reason, has_fallback) };
        }
        LookupOutcome::Fresh(answer, left, early) => (answer, Ok(found.timing.ended + *left), *early),
        LookupOutcome::Stale(answer, reason) => (answer, Err(*reason), None),
    };
    let answer = Arc::clone(answer);
    let steady_until = early.and_then(|early| fresh.ok()?.checked_sub(early));
    let outcome = match (&answer.content, fresh) {
        (Content::Fragment(_), Ok(until)) => Outcome::fresh(answer, until),
        (Content::Fragment(_), Err(reason)) => Outcome::stale(answer, reason),
        (Content::Empty, fresh) => {
            Outcome { response: Some(answer), fresh_until: fresh.ok(), ..Outcome::nothing(Reason::Empty) }
        }
        (Content::Gone(_) | Content::Redirect(..) | Content::Asset(..), _) => {
            Outcome { response: Some(answer), ..Outcome::missing(Reason::Gone, has_fallback) }
        }
    };
    Outcome { unchanged_until: steady_until, timing: course, ..outcome }
}
