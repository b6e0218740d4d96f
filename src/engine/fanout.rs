//! Fans out a plan: starts all lookups at once, and collects one outcome per part, never an error.
//! Fragments inside a fallback are looked up once that fallback is shown, and fragments that a response includes once it has
//! arrived, within the same budget.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::time::Instant;

use crate::page::layout::FragmentUse;
use crate::page::plan::{Outcomes, PartSource, Plan};
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::response::parsed::Content;
use crate::page::source::reason::Reason;

use super::lookup::{Lookup, LookupOutcome, LookupResult, PageLimits, StartedLookups};
use super::trace::Trace;

/// A result that is known, or a future that all parts with the same fetch wait for.
type ReadyOrShared = Result<LookupResult, Shared<BoxFuture<'static, LookupResult>>>;

/// A plan whose outcomes are being collected.
pub(super) struct FanOut {
    lookup: Arc<Lookup>,
    plan: Plan,
    /// The outcomes so far, by part.
    outcomes: Outcomes,
    /// The parts whose outcomes were requested.
    requested: Vec<bool>,
    /// Lookups that were started before the plan was made.
    started: StartedLookups,
    /// The lookup of each fetch of the plan, once it is started.
    lookups: Vec<Option<ReadyOrShared>>,
    began: Instant,
    limits: PageLimits,
    trace: Trace,
    /// Outcomes that are known but were not taken yet.
    ready: VecDeque<(usize, Outcome)>,
    // One flat set, not a nested future for each fallback inside a fallback.
    pending: FuturesUnordered<BoxFuture<'static, (usize, Outcome)>>,
}

impl FanOut {
    /// Starts all lookups that a page needs at once, except those that were started before. The page was requested at
    /// `began`.
    pub(super) fn begin(
        lookup: &Arc<Lookup>,
        plan: Plan,
        began: Instant,
        started: StartedLookups,
        trace: &Trace,
    ) -> Self {
        let deadline = began + plan.budget;
        // What the page has waited for the shared store already counts.
        let limits = match &started.limits {
            Some(limits) => PageLimits { deadline, ..limits.clone() },
            None => lookup.limits(deadline),
        };
        let mut fan_out = Self {
            lookup: Arc::clone(lookup),
            plan,
            outcomes: Vec::new(),
            requested: Vec::new(),
            lookups: Vec::new(),
            started,
            began,
            limits,
            trace: trace.clone(),
            ready: VecDeque::new(),
            pending: FuturesUnordered::new(),
        };
        fan_out.request(fan_out.plan.needed_first());
        fan_out
    }

    fn request(&mut self, parts: Vec<usize>) {
        self.outcomes.resize(self.plan.parts.len(), None);
        self.requested.resize(self.plan.parts.len(), false);
        self.lookups.resize_with(self.plan.fetches.len(), || None);
        if parts.is_empty() {
            return;
        }
        // One instant for all lookups that start together.
        let now = Instant::now();
        for part in parts {
            if !std::mem::replace(&mut self.requested[part], true) {
                self.request_one(part, now);
            }
        }
    }

    /// Requests the outcome of one part.
    fn request_one(&mut self, part: usize, now: Instant) {
        let fragment = &self.plan.parts[part].fragment;
        let known = match &self.plan.parts[part].source {
            // A lazy fragment is never looked up here; its placeholder is shown.
            PartSource::Dropped | PartSource::Lazy(_) => Outcome::nothing(Reason::Condition),
            PartSource::Refused(reason) => missing(*reason, fragment),
            PartSource::Fetch(index) if self.is_switched_off(*index) => missing(Reason::SwitchedOff, fragment),
            PartSource::Fetch(index) => match self.look_up(*index, now) {
                Ok(result) => outcome(&result, &self.plan.parts[part].fragment),
                Err(pending) => {
                    let fragment = Arc::clone(&self.plan.parts[part].fragment);
                    let outcome = async move { (part, outcome(&pending.await, &fragment)) };
                    self.pending.push(unconstrained(outcome).boxed());
                    return;
                }
            },
        };
        self.ready.push_back((part, known));
    }

    /// Whether an operator has switched off the nanoservice of a fetch.
    fn is_switched_off(&self, index: usize) -> bool {
        self.lookup.switches().is_off(&self.plan.fetches[index].nanoservice)
    }

    /// Looks up a fetch of the plan, once for all parts that it fills.
    fn look_up(&mut self, index: usize, now: Instant) -> ReadyOrShared {
        let lookup = &mut self.lookups[index];
        if lookup.is_none() {
            let fetch = &self.plan.fetches[index];
            let started = self.started.take(fetch);
            let result = started.unwrap_or_else(|| self.lookup.start(fetch, &self.limits, &self.trace, now));
            *lookup = Some(result.map_err(FutureExt::shared));
        }
        lookup.clone().expect("the lookup was started above")
    }

    /// Waits for the next outcome. `false`: all are known.
    pub(super) async fn next(&mut self) -> bool {
        // Lets other tasks run between the parts of a large page. If each part's future did this on its own, tokio would wake
        // and poll all remaining ones each time.
        consume_budget().await;
        let next = match self.ready.pop_front() {
            Some(known) => Some(known),
            None => self.pending.next().await,
        };
        let Some((part, outcome)) = next else { return false };
        self.plan.fill(part, &outcome);
        self.request(self.plan.needed_after(part, &outcome));
        let failed = !matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        self.outcomes[part] = Some(outcome);
        if failed {
            self.request(self.plan.needed_instead(&self.outcomes));
        }
        true
    }

    /// Takes all outcomes that are ready, without waiting.
    pub(super) fn take_ready(&mut self) {
        while self.next().now_or_never() == Some(true) {}
    }

    /// The longest usual latency of the pending parts that make the page uncacheable downstream. `None`: there is no such
    /// part, or its latency is unknown.
    pub(super) fn unshared_latency(&self) -> Option<Duration> {
        let is_pending = |part: &usize| self.requested[*part] && self.outcomes[*part].is_none();
        let now = Instant::now();
        let fetches = (0..self.requested.len()).filter(is_pending).filter_map(|part| self.plan.fetch_of(part));
        fetches.filter_map(|fetch| self.lookup.latency_if_unshared(fetch, now)).max()
    }

    /// Whether all outcomes that the page needs are known.
    pub(super) fn is_complete(&self) -> bool {
        self.ready.is_empty() && self.pending.is_empty()
    }

    /// The outcomes so far.
    pub(super) const fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The plan.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When the page was requested.
    pub(super) fn began(&self) -> std::time::Instant {
        self.began.into_std()
    }

    /// The plan and its outcomes.
    pub(super) fn finish(self) -> (Plan, Outcomes) {
        (self.plan, self.outcomes)
    }
}

/// The outcome of a part that shows its fallback for a reason, or nothing if it has none for that.
fn missing(reason: Reason, fragment: &FragmentUse) -> Outcome {
    Outcome::missing(reason, !fragment.fallback_for(Some(reason)).is_empty())
}

/// The outcome of a part with this lookup result.
fn outcome(result: &LookupResult, fragment: &FragmentUse) -> Outcome {
    let timing = Some(Arc::clone(&result.timing));
    let (response, fresh, lead) = match &result.outcome {
        LookupOutcome::Unavailable(reason) => return Outcome { timing, ..missing(*reason, fragment) },
        LookupOutcome::Fresh(response, left, lead) => (response, Ok(result.timing.ended + *left), *lead),
        LookupOutcome::Stale(response, reason) => (response, Err(*reason), None),
    };
    let response = Arc::clone(response);
    let unchanged_until = lead.and_then(|lead| fresh.ok()?.checked_sub(lead));
    let outcome = match (&response.content, fresh) {
        (Content::Fragment(_), Ok(until)) => Outcome::fresh(response, until),
        (Content::Fragment(_), Err(reason)) => Outcome::stale(response, reason),
        (Content::Empty, fresh) => {
            Outcome { response: Some(response), fresh_until: fresh.ok(), ..missing(Reason::Empty, fragment) }
        }
        (Content::Gone(_) | Content::Redirect(..) | Content::Asset(..), fresh) => {
            Outcome { response: Some(response), fresh_until: fresh.ok(), ..missing(Reason::Gone, fragment) }
        }
    };
    Outcome { unchanged_until, timing, ..outcome }
}
