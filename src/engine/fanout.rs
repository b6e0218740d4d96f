//! From a plan to one outcome a fragment: all at once, and never an error.
//! What stands inside a fallback is asked for when that fallback is shown, within the same budget.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
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
        // One flat set, not a future inside a future for each fallback inside a fallback.
        let mut under_way: FuturesUnordered<_> =
            needed_at_once(plan).into_iter().map(|slot| fan_out.one(slot)).collect();
        while let Some((slot, outcome)) = under_way.next().await {
            if outcome.shown == Shown::Fallback {
                let inside = needed(&plan.template.fragments[slot].fallback, &plan.shown);
                under_way.extend(inside.into_iter().map(|slot| fan_out.one(slot)));
            }
            outcomes[slot] = Some(outcome);
        }
        outcomes
    }
}

impl FanOut<'_> {
    /// The outcome of one fragment.
    async fn one(&self, slot: usize) -> (usize, Outcome) {
        let has_fallback = !self.plan.template.fragments[slot].fallback.is_empty();
        let outcome = match &self.plan.slots[slot] {
            Slot::Dropped => Outcome::nothing(Reason::Condition),
            Slot::Refused(reason) => Outcome::missing(*reason, has_fallback),
            Slot::Fetch(index) => {
                let look_up = || self.engine.look_up(&self.plan.fetches[*index], self.deadline, self.trace);
                outcome(self.found[*index].get_or_init(look_up).await, has_fallback)
            }
        };
        (slot, outcome)
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
