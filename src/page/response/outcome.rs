//! What filled a part of a page, and why it was not something better.
//! The same words stand in logs, metrics, explain and the console.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::page::source::names::Name;
use crate::page::source::reason::{Reason, words};

use super::parsed::ParsedResponse;

words! {
    /// What stands in a fragment's place.
    Shown {
        /// From the service now, or a fresh copy.
        Fresh = "fresh",
        /// An old copy within its allowance.
        Stale = "stale",
        /// What the layout holds inside `<fragment>`.
        Fallback = "fallback",
        /// Nothing.
        Omitted = "omitted",
    }
}

/// What became of one fragment of one page.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What stands in its place.
    pub shown: Shown,
    /// Why it is not fresh.
    pub reason: Option<Reason>,
    /// What was answered, where it decides what is shown or which status the page gets.
    pub answer: Option<Arc<ParsedResponse>>,
    /// Until when it stays fresh; `None` where it is not.
    pub fresh_until: Option<Instant>,
    /// Until when it is kept and looking it up comes to the same; `None` where it is not kept.
    pub steady_until: Option<Instant>,
    /// How it came to be; `None` where nothing was looked up.
    pub course: Option<Arc<LookupTiming>>,
}

words! {
    /// What the store did for a part.
    Cache {
        /// It held a fresh copy.
        Hit = "hit",
        /// It held an old copy.
        Stale = "stale",
        /// It held nothing of use, and the service was asked.
        Miss = "miss",
        /// The same, and somebody else had asked already.
        Joined = "joined",
    }
}

/// How an outcome came to be: measured once, as it happened.
#[derive(Debug, Clone)]
pub struct LookupTiming {
    /// When it was looked up.
    pub began: Instant,
    /// When its outcome was known.
    pub ended: Instant,
    /// What the store did.
    pub cache: Cache,
    /// How long ago a kept answer came in.
    pub age: Option<Duration>,
    /// The last request that was made for it, where there was one.
    pub sent: Option<Arc<Attempt>>,
    /// Its place in the page's trace, where a nanoservice was asked; that is the parent that the nanoservice was told,
    /// unless somebody else had asked already.
    pub span: Option<Span>,
}

/// A place in a trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub id: u64,
    /// The span that it is part of.
    pub parent: Option<u64>,
    /// Whether somebody records it.
    pub sampled: bool,
}

/// A request to a nanoservice, and what became of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it was sent.
    pub began: Instant,
    /// When the head of the answer came.
    pub head: Option<Instant>,
    /// When the last byte came, or it was given up.
    pub ended: Instant,
    /// Which endpoint was asked, or asked last.
    pub upstream: Name,
    /// How often it was asked, retries and hedges included.
    pub tries: usize,
    /// What went wrong, for those who run the site.
    pub failure: Option<String>,
    /// The parent that the nanoservice was told.
    pub span: Span,
    /// Nobody waited for it: an old copy was shown, or one that was soon to be old.
    pub ahead: bool,
}

words! {
    /// How a part is, as those who look after it see it.
    Standing {
        /// As it should be, be it nothing.
        Good = "good",
        /// An old copy.
        Old = "old",
        /// Not what it should be: a fallback, or nothing.
        Missing = "missing",
    }
}

impl Standing {
    /// Of a part that shows this, for this reason.
    #[must_use]
    pub const fn of(shown: Shown, reason: Option<Reason>) -> Self {
        match (shown, reason) {
            (Shown::Fresh, _) | (_, Some(Reason::Condition | Reason::Empty)) => Self::Good,
            (Shown::Stale, _) => Self::Old,
            (Shown::Fallback | Shown::Omitted, _) => Self::Missing,
        }
    }
}

/// Whether a part counts as degraded. An old copy while a new one is fetched does not.
#[must_use]
pub fn is_degraded(shown: Shown, reason: Option<Reason>) -> bool {
    Standing::of(shown, reason) != Standing::Good && reason != Some(Reason::Revalidating)
}

impl Outcome {
    const fn new(shown: Shown, reason: Option<Reason>, answer: Option<Arc<ParsedResponse>>) -> Self {
        Self { shown, reason, answer, fresh_until: None, steady_until: None, course: None }
    }

    /// A fresh copy.
    #[must_use]
    pub fn fresh(answer: Arc<ParsedResponse>, until: Instant) -> Self {
        Self { fresh_until: Some(until), ..Self::new(Shown::Fresh, None, Some(answer)) }
    }

    /// An old copy.
    #[must_use]
    pub fn stale(answer: Arc<ParsedResponse>, reason: Reason) -> Self {
        Self::new(Shown::Stale, Some(reason), Some(answer))
    }

    /// What the layout holds, or nothing where it holds nothing.
    #[must_use]
    pub const fn missing(reason: Reason, has_fallback: bool) -> Self {
        Self::new(if has_fallback { Shown::Fallback } else { Shown::Omitted }, Some(reason), None)
    }

    /// Nothing, and that is as it should be.
    #[must_use]
    pub const fn nothing(reason: Reason) -> Self {
        Self::new(Shown::Omitted, Some(reason), None)
    }
}
