//! From a plan to one outcome a fragment: all at once, and never an error.
//! What stands inside a fallback is asked for when that fallback is shown, within the same budget.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::page::answer::Content;
use crate::page::outcome::{Outcome, Reason, Shown};
use crate::page::plan::{Plan, Slot};
use crate::page::stitch::{Outcomes, needed, needed_at_once};

use super::compose::Compositor;
use super::lookup::Found;
use super::trace::Trace;

struct FanOut<'a> {
    engine: &'a Compositor,
    plan: &'a Plan,
    /// One lookup a fetch, however many fragments want it.
    found: Vec<OnceCell<Found>>,
    deadline: Instant,
    trace: &'a Trace,
}

impl Compositor {
    /// Fills a plan by a deadline.
    pub(super) async fn fan_out(&self, plan: &Plan, deadline: Instant, trace: &Trace) -> Outcomes {
        let found = plan.fetches.iter().map(|_| OnceCell::new()).collect();
        let fan_out = FanOut { engine: self, plan, found, deadline, trace };
        let mut outcomes: Outcomes = vec![None; plan.slots.len()];
        for (index, outcome) in fan_out.all(needed_at_once(plan)).await {
            outcomes[index] = Some(outcome);
        }
        outcomes
    }
}

impl FanOut<'_> {
    fn all(&self, slots: Vec<usize>) -> BoxFuture<'_, Vec<(usize, Outcome)>> {
        async move { join_all(slots.into_iter().map(|slot| self.one(slot))).await.into_iter().flatten().collect() }
            .boxed()
    }

    /// The outcome of one fragment, and of those in its fallback where that is shown.
    async fn one(&self, slot: usize) -> Vec<(usize, Outcome)> {
        let fragment = &self.plan.template.fragments[slot];
        let has_fallback = !fragment.fallback.is_empty();
        let outcome = match &self.plan.slots[slot] {
            Slot::Dropped => Outcome::nothing(Reason::Condition),
            Slot::Refused(reason) => Outcome::missing(*reason, has_fallback),
            Slot::Fetch(index) => {
                let look_up = || self.engine.look_up(&self.plan.fetches[*index], self.deadline, self.trace);
                outcome(self.found[*index].get_or_init(look_up).await, has_fallback)
            }
        };
        let shows_fallback = outcome.shown == Shown::Fallback;
        let mut outcomes = vec![(slot, outcome)];
        if shows_fallback {
            outcomes.extend(self.all(needed(&fragment.fallback, &self.plan.shown)).await);
        }
        outcomes
    }
}

fn outcome(found: &Found, has_fallback: bool) -> Outcome {
    let (answer, fresh) = match found {
        Found::Nothing(reason) => return Outcome::missing(*reason, has_fallback),
        Found::Fresh(answer, fresh_for) => (answer, Ok(*fresh_for)),
        Found::Stale(answer, reason) => (answer, Err(*reason)),
    };
    let answer = Arc::clone(answer);
    match (&answer.content, fresh) {
        (Content::Fragment(_), Ok(fresh_for)) => Outcome::fresh(answer, fresh_for),
        (Content::Fragment(_), Err(reason)) => Outcome::stale(answer, reason),
        (Content::Empty, fresh) => {
            let fresh_for = fresh.unwrap_or_default();
            Outcome { answer: Some(answer), fresh_for, ..Outcome::nothing(Reason::Empty) }
        }
        (Content::Gone(_) | Content::Redirect(..) | Content::Asset(..), _) => {
            Outcome { answer: Some(answer), ..Outcome::missing(Reason::Gone, has_fallback) }
        }
    }
}
