//! What the engine needs of the world: upstreams, a store, a wall clock, someone who counts.
//! Adapters implement these; the engine knows none of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use crate::page::manifest::Manifest;
use crate::page::policy::cache::backoff::RefreshBackoff;
use crate::page::policy::cache::freshness::EntryTimes;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::request::address::Address;
use crate::page::request::fetch::Fetch;
use crate::page::request::key::Key;
use crate::page::response::outcome::{Attempt, Span};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::names::Name;

use super::page::{CachedPageCounts, Page};

/// The adapters that a compositor works with.
#[derive(Clone)]
pub struct Ports {
    /// Asks nanoservices.
    pub upstream: Arc<dyn Upstream>,
    /// Keeps answers.
    pub store: Arc<dyn Store>,
    /// Says the time of day.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub observer: Arc<dyn Observer>,
    /// A number from 0 up to 1: spreads what would else happen at once.
    pub chance: fn() -> f64,
}

/// A request as it is sent to an upstream.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    /// The method.
    pub method: Method,
    /// Where it is sent.
    pub address: Address,
    /// All headers but `Host` and those that show who asks.
    pub headers: HeaderMap,
    /// The body; of a `GET` it is empty.
    pub body: Bytes,
    /// Whom the request goes to. `None`: a layout named the URL, and the address that its name resolves
    /// to is checked before it is connected to.
    pub manifest: Option<Arc<Manifest>>,
    /// It shows who asks. A public question, for an asset, does not.
    pub credentials: bool,
}

/// An answer as it comes in.
pub struct UpstreamResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, content codings undone. An error ends it.
    pub body: BoxStream<'static, Result<Bytes, Failure>>,
}

/// Asks nanoservices. Has no deadline of its own: dropping the future ends the request.
pub trait Upstream: Send + Sync {
    /// Sends a request and returns the head of the answer.
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>>;
}

/// An answer that is kept.
#[derive(Debug, Clone)]
pub struct StoredResponse {
    /// What was answered.
    pub response: Arc<ParsedResponse>,
    /// What happened to it since.
    pub times: EntryTimes,
    /// That refreshing it fails.
    pub backoff: Option<RefreshBackoff>,
    /// Who answered; a purge by this name meets it.
    pub nanoservice: Name,
}

impl StoredResponse {
    /// Whether a purge of this tag meets it.
    #[must_use]
    pub fn is_tagged(&self, tag: &str) -> bool {
        *self.nanoservice == *tag || self.response.tags.iter().any(|known| **known == *tag)
    }
}

/// Is called with the key of a response that changed.
pub type ChangeListener = Box<dyn Fn(&Key) + Send + Sync>;

/// Keeps answers, and decides nothing about how fresh they are.
pub trait Store: Send + Sync {
    /// What is kept under a key.
    fn get(&self, key: &Key) -> Option<StoredResponse>;

    /// Keeps something, which is of no use to anybody after `useful`.
    fn put(&self, key: &Key, stored: StoredResponse, useful: Duration);

    /// Changes an answer that is kept, at one stroke; how long it is of use stays as it was. `false`
    /// where there is none.
    fn change(&self, key: &Key, change: &mut dyn FnMut(&mut StoredResponse)) -> bool;

    /// Forgets what is kept under a key. `false` where no answer is.
    fn remove(&self, key: &Key) -> bool;

    /// The keys of all answers that a tag meets, at a cost that does not grow with those it does not.
    fn tagged(&self, tag: &str) -> Vec<Key>;

    /// The keys of everything.
    fn keys(&self) -> Vec<Key>;

    /// From now on calls a listener with the key of each response that was replaced, changed or removed, for whatever
    /// reason, once that can be seen.
    fn on_change(&self, listener: ChangeListener);
}

/// The time of day. Time spans are measured by tokio's clock, which tests can pause.
pub trait Clock: Send + Sync {
    /// Now.
    fn wall(&self) -> Timestamp;
}

/// Is told what happens, to count it.
pub trait Observer: Send + Sync {
    /// A request to an upstream began (`true`) or ended.
    fn in_flight(&self, upstream: &str, began: bool);

    /// An endpoint was shut out, is probed, or is let in again.
    fn circuit_changed(&self, upstream: &str, circuit: Circuit);

    /// A page was composed.
    fn page_composed(&self, page: &Page);

    /// A page that was kept was sent again.
    fn cached_page_served(&self, again: &CachedPageCounts<'_>);

    /// Whether each part of a page of this place in a trace is looked at. Then it is told by [`Observer::composed`].
    fn needs_each_part(&self, _span: Span) -> bool {
        false
    }

    /// So many requests of readers were answered with this status, this long after they came; for a page they were
    /// some, by the pattern of its route.
    fn responded(&self, page: Option<&str>, status: StatusCode, took: Duration, times: u64);

    /// A fetch ended.
    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, sent: &Attempt);
}

/// Counts nothing.
pub struct Unobserved;

impl Observer for Unobserved {
    fn in_flight(&self, _: &str, _: bool) {}
    fn circuit_changed(&self, _: &str, _: Circuit) {}
    fn page_composed(&self, _: &Page) {}
    fn cached_page_served(&self, _: &CachedPageCounts<'_>) {}
    fn responded(&self, _: Option<&str>, _: StatusCode, _: Duration, _: u64) {}
    fn fetched(&self, _: &Fetch, _: Result<&ParsedResponse, &Failure>, _: &Attempt) {}
}

/// Several who are told the same.
pub struct Observers(pub Vec<Arc<dyn Observer>>);

impl Observer for Observers {
    fn in_flight(&self, upstream: &str, began: bool) {
        self.0.iter().for_each(|one| one.in_flight(upstream, began));
    }

    fn circuit_changed(&self, upstream: &str, circuit: Circuit) {
        self.0.iter().for_each(|one| one.circuit_changed(upstream, circuit));
    }

    fn page_composed(&self, page: &Page) {
        self.0.iter().for_each(|one| one.page_composed(page));
    }

    fn cached_page_served(&self, again: &CachedPageCounts<'_>) {
        self.0.iter().for_each(|one| one.cached_page_served(again));
    }

    fn needs_each_part(&self, span: Span) -> bool {
        self.0.iter().any(|one| one.needs_each_part(span))
    }

    fn responded(&self, page: Option<&str>, status: StatusCode, took: Duration, times: u64) {
        self.0.iter().for_each(|one| one.responded(page, status, took, times));
    }

    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, sent: &Attempt) {
        self.0.iter().for_each(|one| one.fetched(fetch, result, sent));
    }
}
