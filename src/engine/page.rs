//! The values that pass through the engine: the request for a page, the composed page, and the outcomes of its parts.
//! They hold no handle to an adapter, so ports can name them.

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

/// A request for a page.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The template of the page, bound to the defaults in force.
    pub template: Arc<BoundTemplate>,
    /// The visit: what is known of the client's request.
    pub visit: Visit,
    /// The trace that the request belongs to.
    pub trace: Trace,
    /// The time of day at which conditions on the time are evaluated.
    pub at: Timestamp,
    /// How long until another layout replaces this one; `None` if none will.
    pub changes_in: Option<Duration>,
}

/// A composed page.
#[derive(Debug)]
pub struct Page {
    /// Whether it is a page, an error or a redirect, and its status.
    pub verdict: Verdict,
    /// The bytes, in order.
    pub chunks: Vec<Text>,
    /// Why it is an error although its parts are not.
    pub error: Option<PageTooLarge>,
    /// The headers that follow from its parts and its layout.
    pub headers: Headers,
    /// The plan that it was composed from.
    pub plan: Plan,
    /// The outcome of each part of the plan, if it is known.
    pub outcomes: Outcomes,
    /// When it was requested, and when its last part was known.
    pub times: (std::time::Instant, std::time::Instant),
    /// Its span in a trace.
    pub trace: Trace,
}

impl Page {
    /// The parts whose outcomes are known, with these outcomes.
    pub fn known(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        self.outcomes.iter().enumerate().filter_map(|(part, outcome)| Some((part, outcome.as_ref()?)))
    }

    /// The record of the page and of each of its parts.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::of(&self.plan, &self.outcomes, &self.verdict, self.times)
    }
}

/// A page has more bytes than `page.max_bytes` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page has more than {0} bytes")]
pub struct PageTooLarge(pub(super) u64);

/// The outcome of one part, as metrics and statistics count it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartOutcome {
    /// The name of the nanoservice that fills it; the host if a layout names the URL.
    pub nanoservice: Name,
    /// What the page shows in its place.
    pub shown: Shown,
    /// Why it is not fresh.
    pub reason: Option<Reason>,
    /// What the store did; `None` if nothing was looked up.
    pub cache: Option<Cache>,
}

impl PartOutcome {
    /// The outcome of a part of a plan.
    #[must_use]
    pub fn of(plan: &Plan, part: usize, outcome: &Outcome) -> Self {
        let nanoservice = plan.nanoservice_of(part);
        let cache = outcome.timing.as_ref().map(|timing| timing.cache);
        Self { nanoservice, shown: outcome.shown, reason: outcome.reason, cache }
    }

    /// The same outcome once the response is stale and shown while a new one is fetched.
    pub(super) fn stale_while_revalidating(&self) -> Self {
        let (shown, reason) = match self.shown {
            Shown::Fresh => (Shown::Stale, Some(Reason::Revalidating)),
            other => (other, self.reason),
        };
        Self { shown, reason, cache: Some(Cache::Stale), ..self.clone() }
    }
}

/// How often a cached page was served since this was last reported.
#[derive(Debug)]
pub struct CachedPageCounts<'a> {
    /// The pattern of its route.
    pub page: &'a str,
    /// How often it was served.
    pub times: u64,
    /// How often it was served without a fetch.
    pub without_fetch: u64,
    /// The variants of experiments that it was served for.
    pub variants: &'a [(String, String)],
    /// The outcomes of its parts, and how often each occurred.
    pub parts: &'a [(PartOutcome, u64)],
}
