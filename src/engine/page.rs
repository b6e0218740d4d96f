//! The values that pass through the engine: what is asked for, and the page that comes of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::page::html::text::Text;
use crate::page::output::headers::Headers;
use crate::page::output::record::Record;
use crate::page::output::verdict::Verdict;
use crate::page::plan::{Outcomes, Plan};
use crate::page::request::bound::BoundTemplate;
use crate::page::response::outcome::{Cache, Outcome, Shown};
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::visit::context::Visit;

use super::trace::Trace;

/// Whose page it is, and by when.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The template of the page, bound to the defaults in force.
    pub template: Arc<BoundTemplate>,
    /// The reader's request.
    pub visit: Visit,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// The time that conditions are judged at.
    pub at: Timestamp,
    /// How long until another layout takes this one's place.
    pub changes_in: Option<Duration>,
}

/// A page, composed.
#[derive(Debug)]
pub struct Page {
    /// What it is.
    pub verdict: Verdict,
    /// Its bytes, in order.
    pub chunks: Vec<Text>,
    /// What its parts and its layout let it say of itself.
    pub headers: Headers,
    /// What it was made from.
    pub plan: Plan,
    /// What became of each hole of the plan.
    pub outcomes: Outcomes,
    /// When it was planned, and when its last part was there.
    pub times: (std::time::Instant, std::time::Instant),
    /// Its place in a trace.
    pub trace: Trace,
}

impl Page {
    /// The holes of its plan whose outcomes are known.
    pub fn known(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        self.outcomes.iter().enumerate().filter_map(|(hole, outcome)| Some((hole, outcome.as_ref()?)))
    }

    /// What happened to it and to each of its parts.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::of(&self.plan, &self.outcomes, &self.verdict, self.times)
    }
}

/// A page has more bytes than it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page has more than {0} bytes")]
pub struct PageTooLarge(pub(super) u64);

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartOutcome {
    /// What metrics call it.
    pub fragment: Name,
    /// The nanoservice that fills it.
    pub service: Name,
    /// What stands in its place.
    pub shown: Shown,
    /// Why.
    pub reason: Option<Reason>,
    /// What the store did for it; `None` where nothing was looked up.
    pub cache: Option<Cache>,
}

impl PartOutcome {
    /// What became of a hole of a plan.
    #[must_use]
    pub fn of(plan: &Plan, hole: usize, outcome: &Outcome) -> Self {
        let (fragment, service) = (plan.holes[hole].label(), plan.service_name(hole));
        let cache = outcome.timing.as_ref().map(|course| course.cache);
        Self { fragment, service, shown: outcome.shown, reason: outcome.reason, cache }
    }

    /// The same, shown while a new one is fetched.
    #[must_use]
    pub(super) fn grown_old(&self) -> Self {
        let (shown, reason) = match self.shown {
            Shown::Fresh => (Shown::Stale, Some(Reason::Revalidating)),
            other => (other, self.reason),
        };
        Self { shown, reason, cache: Some(Cache::Stale), ..self.clone() }
    }
}

/// Pages that were sent of one that is kept.
#[derive(Debug)]
pub struct CachedPageCounts<'a> {
    /// The pattern of its route.
    pub page: &'a str,
    /// How often it was sent.
    pub times: u64,
    /// How often of these without anybody being asked.
    pub kept: u64,
    /// Its parts, and how often each was so.
    pub parts: &'a [(PartOutcome, u64)],
}
