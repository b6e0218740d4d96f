//! The outcome of each part of a page, and the reason if it is not a fresh response.
//! Logs, metrics, `explain` and the console all use the words of this module.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::page::source::names::Name;
use crate::page::source::reason::{Reason, words};

use super::parsed::{Failure, ParsedResponse};

words! {
    /// What a part shows.
    Shown {
        /// A response that has just arrived, or a stored one that is fresh.
        Fresh = "fresh",
        /// A stored response that is stale, and may still be used.
        Stale = "stale",
        /// The content of the `<fragment>` element.
        Fallback = "fallback",
        /// Nothing.
        Omitted = "omitted",
    }
}

/// The outcome of one part of one page.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the part shows.
    pub shown: Shown,
    /// Why that is not a fresh response.
    pub reason: Option<Reason>,
    /// The response, if it decides what is shown or the status of the page.
    pub response: Option<Arc<ParsedResponse>>,
    /// Until when the response is fresh; `None` if it is not.
    pub fresh_until: Option<Instant>,
    /// Until when a lookup would have the same outcome; `None` if the response is not stored.
    pub unchanged_until: Option<Instant>,
    /// How the lookup went; `None` if there was none.
    pub timing: Option<Arc<LookupTiming>>,
}

words! {
    /// What the store did for a part.
    Cache {
        /// It had a fresh response.
        Hit = "hit",
        /// It had a stale response.
        Stale = "stale",
        /// It had no usable response, so one was fetched.
        Miss = "miss",
        /// It had no usable response, and one was being fetched already.
        Joined = "joined",
    }
}

/// How a lookup went, measured once, as it happened.
#[derive(Debug, Clone)]
pub struct LookupTiming {
    /// When it began.
    pub began: Instant,
    /// When its outcome was known.
    pub ended: Instant,
    /// What the store did.
    pub cache: Cache,
    /// The age of the stored response.
    pub age: Option<Duration>,
    /// The last request that was sent for it, if any.
    pub attempt: Option<Arc<Attempt>>,
    /// Its span in the page's trace, if a request was sent: the parent span in that request, unless another page had sent it.
    pub span: Option<Span>,
}

/// A span of a trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub id: u64,
    /// The span around it.
    pub parent: Option<u64>,
    /// Whether it is recorded.
    pub sampled: bool,
}

/// A request to a nanoservice and how it went, retries and hedges included.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it was sent.
    pub began: Instant,
    /// When the wait for the start of its program began, if there was one. It ended when the request was sent.
    pub start: Option<Instant>,
    /// When it was sent for the first time, once it had a free slot of its endpoint. `None`: it never was.
    pub sent: Option<Instant>,
    /// When it was sent for the last time, or to the endpoint that responded; later than `sent` if it was retried.
    pub last_sent: Option<Instant>,
    /// When the head of the response arrived.
    pub head: Option<Instant>,
    /// When the last byte arrived, or the request was given up.
    pub ended: Instant,
    /// The endpoint that it was sent to, or last sent to.
    pub upstream: Name,
    /// How often it was sent, retries and hedges included.
    pub tries: usize,
    /// The details of its failure, for those who run the site.
    pub failure: Option<String>,
    /// The status of its response; `None`: there was no response.
    pub status: Option<StatusCode>,
    /// The parent span that was sent with it.
    pub span: Span,
    /// Whether no page waited for it, because a stored response was shown that was stale, or was about to be.
    pub background: bool,
}

impl Attempt {
    /// Whether it never was one, because the circuit breaker refused it. `failure`: why it failed, if it did.
    #[must_use]
    pub fn was_refused(&self, failure: Option<&Failure>) -> bool {
        self.tries == 0 && failure.is_some_and(|failure| failure.reason == Reason::CircuitOpen)
    }
}

words! {
    /// The health of a part, for those who look after it.
    PartHealth {
        /// As it should be, even if that is nothing.
        Good = "good",
        /// A stale response.
        Old = "old",
        /// A fallback, or nothing although there should be something.
        Missing = "missing",
    }
}

impl PartHealth {
    /// The health of a part that shows this for this reason.
    #[must_use]
    pub const fn of(shown: Shown, reason: Option<Reason>) -> Self {
        match (shown, reason) {
            (Shown::Fresh, _) | (_, Some(Reason::Condition | Reason::Empty)) => Self::Good,
            (Shown::Stale, _) => Self::Old,
            (Shown::Fallback | Shown::Omitted, _) => Self::Missing,
        }
    }
}

/// Whether a part counts as degraded: it is not fresh because something went wrong.
#[must_use]
pub fn is_degraded(shown: Shown, reason: Option<Reason>) -> bool {
    shown != Shown::Fresh && reason.is_some_and(Reason::is_incident)
}

impl Outcome {
    const fn new(shown: Shown, reason: Option<Reason>, response: Option<Arc<ParsedResponse>>) -> Self {
        Self { shown, reason, response, fresh_until: None, unchanged_until: None, timing: None }
    }

    /// A response that is fresh until a moment.
    #[must_use]
    pub fn fresh(response: Arc<ParsedResponse>, until: Instant) -> Self {
        Self { fresh_until: Some(until), ..Self::new(Shown::Fresh, None, Some(response)) }
    }

    /// A stale response, shown for a reason.
    #[must_use]
    pub fn stale(response: Arc<ParsedResponse>, reason: Reason) -> Self {
        Self::new(Shown::Stale, Some(reason), Some(response))
    }

    /// No response: the part shows its fallback, or nothing if it has none.
    #[must_use]
    pub const fn missing(reason: Reason, has_fallback: bool) -> Self {
        Self::new(if has_fallback { Shown::Fallback } else { Shown::Omitted }, Some(reason), None)
    }

    /// Nothing, as it should be.
    #[must_use]
    pub const fn nothing(reason: Reason) -> Self {
        Self::new(Shown::Omitted, Some(reason), None)
    }
}
