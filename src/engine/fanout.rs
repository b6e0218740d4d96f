//! From a plan to one outcome a fragment: all at once, and never an error.
//! What stands inside a fallback is asked for when that fallback is shown, within the same budget.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
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

/// A plan that is being filled by a deadline.
pub(super) struct FanOut {
    shared: Arc<Shared>,
    outcomes: Outcomes,
    // One flat set, not a future inside a future for each fallback inside a fallback.
    under_way: FuturesUnordered<BoxFuture<'static, (usize, Outcome)>>,
}

struct Shared {
    engine: Compositor,
    plan: Arc<Plan>,
    /// One lookup a fetch, however many fragments want it.
    found: Vec<OnceCell<Found>>,
    deadline: Instant,
    trace: Trace,
}

impl FanOut {
    /// Asks for all that a page needs at once.
    pub(super) fn begin(engine: &Compositor, plan: &Arc<Plan>, deadline: Instant, trace: &Trace) -> Self {
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            plan: Arc::clone(plan),
            found: plan.fetches.iter().map(|_| OnceCell::new()).collect(),
            deadline,
            trace: trace.clone(),
        });
        let begun = Self { shared, outcomes: vec![None; plan.slots.len()], under_way: FuturesUnordered::new() };
        begun.ask(needed_at_once(plan));
        begun
    }

    fn ask(&self, slots: Vec<usize>) {
        for slot in slots {
            self.under_way.push(Arc::clone(&self.shared).one(slot).boxed());
        }
    }

    /// Waits for the next outcome. `false`: all are known.
    pub(super) async fn next(&mut self) -> bool {
        let Some((slot, outcome)) = self.under_way.next().await else { return false };
        if outcome.shown == Shown::Fallback {
            let plan = &self.shared.plan;
            self.ask(needed(&plan.template.fragments[slot].fallback, &plan.shown));
        }
        self.outcomes[slot] = Some(outcome);
        true
    }

    /// Whether all outcomes are known that the page needs.
    pub(super) fn is_complete(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The outcomes that are known.
    pub(super) const fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The plan that is being filled.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.shared.plan
    }

    /// The outcomes, when all are known.
    pub(super) fn finish(self) -> Outcomes {
        self.outcomes
    }
}

impl Shared {
    /// The outcome of one fragment.
    async fn one(self: Arc<Self>, slot: usize) -> (usize, Outcome) {
        let has_fallback = !self.plan.template.fragments[slot].fallback.is_empty();
        let outcome = match &self.plan.slots[slot] {
            Slot::Dropped => Outcome::nothing(Reason::Condition),
            Slot::Refused(reason) => Outcome::missing(*reason, has_fallback),
            Slot::Fetch(index) => {
                let look_up = || self.engine.look_up(&self.plan.fetches[*index], self.deadline, &self.trace);
                outcome(self.found[*index].get_or_init(look_up).await, has_fallback)
            }
        };
        (slot, outcome)
    }
}

fn outcome(found: &Found, has_fallback: bool) -> Outcome {
    let (answer, fresh) = match found {
        Found::Nothing(reason) => return Outcome::missing(*reason, has_fallback),
        Found::Fresh(answer, fresh_for) => (answer, Ok((Instant::now() + *fresh_for).into_std())),
        Found::Stale(answer, reason) => (answer, Err(*reason)),
    };
    let answer = Arc::clone(answer);
    match (&answer.content, fresh) {
        (Content::Fragment(_), Ok(until)) => Outcome::fresh(answer, until),
        (Content::Fragment(_), Err(reason)) => Outcome::stale(answer, reason),
        (Content::Empty, fresh) => {
            Outcome { answer: Some(answer), fresh_until: fresh.ok(), ..Outcome::nothing(Reason::Empty) }
        }
        (Content::Gone(_) | Content::Redirect(..) | Content::Asset(..), _) => {
            Outcome { answer: Some(answer), ..Outcome::missing(Reason::Gone, has_fallback) }
        }
    }
}
