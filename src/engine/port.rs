//! The ports of the engine: upstreams, a store for responses, a clock, an observer.
//! Adapters implement these traits; the engine knows none of the adapters.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use crate::page::manifest::Manifest;
use crate::page::policy::cache::backoff::RefreshBackoff;
use crate::page::policy::cache::freshness::{EntryTimes, FreshnessRules};
use crate::page::policy::cluster::order::{Position, Purge, PurgeMode};
use crate::page::policy::naming::Place;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::policy::rollout::book::Book;
use crate::page::request::address::Address;
use crate::page::request::fetch::Fetch;
use crate::page::request::key::Key;
use crate::page::response::outcome::{Attempt, Span};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::page::{CachedPageCounts, Page};

/// The adapters that a compositor works with.
#[derive(Clone)]
pub struct Ports {
    /// Sends requests to nanoservices.
    pub upstream: Arc<dyn Upstream>,
    /// Stores responses.
    pub store: Arc<dyn Store>,
    /// Gives the time of day.
    pub clock: Arc<dyn Clock>,
    /// Counts and traces what happens.
    pub observer: Arc<dyn Observer>,
    /// Draws a random number from 0 up to 1, to spread events that would otherwise happen at the same moment.
    pub chance: fn() -> f64,
}

/// A request as it is sent to an upstream.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    /// The method.
    pub method: Method,
    /// The URL that it is sent to.
    pub address: Address,
    /// All headers except `Host` and the credentials of the manifest's `auth`.
    pub headers: HeaderMap,
    /// The body, which is empty for a `GET`.
    pub body: Bytes,
    /// The nanoservice that receives the request. `None`: a layout named the URL, and the address that its host resolves
    /// to is checked before a connection is opened.
    pub manifest: Option<Arc<Manifest>>,
    /// Whether the credentials of the manifest's `auth` are added. Requests for assets, which are public, go without.
    pub credentials: bool,
    /// Maximum number of bytes of the response's body, decoded. An encoded body is not read much further either.
    pub max_bytes: u64,
}

/// A response as it arrives.
pub struct UpstreamResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, with content codings undone. An error ends it.
    pub body: BoxStream<'static, Result<Bytes, Failure>>,
}

/// Keeps a nanoservice that runs on demand from being stopped for want of requests, until it is dropped.
pub type Lease = Box<dyn Any + Send + Sync>;

/// Sends requests to nanoservices. It has no deadline of its own: dropping the future ends the request.
pub trait Upstream: Send + Sync {
    /// Sends a request, and returns the head of the response with a stream of its body. A request that could not be sent,
    /// through no fault of the service, fails as `internal`.
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>>;

    /// The places of the host of an address that is looked up in DNS. Only the first look-up is waited for. The same list is the
    /// same value until it changes.
    fn places(&self, address: &Address) -> BoxFuture<'static, Result<Arc<[Place]>, Failure>> {
        let failure = Failure::new(Reason::Internal, format!("the host of {address} cannot be looked up"));
        Box::pin(std::future::ready(Err(failure)))
    }

    /// Waits until a nanoservice that runs on demand can be sent requests, and starts it if necessary. The start goes on if
    /// the future is dropped. `None`: the nanoservice does not run on demand.
    fn start(&self, _manifest: &Arc<Manifest>) -> Option<BoxFuture<'static, Result<Lease, Failure>>> {
        None
    }

    /// Whether the nanoservice is being started, so that requests wait for it.
    fn is_starting(&self, _manifest: &Manifest) -> bool {
        false
    }
}

/// How often the response under a key was used, while it was stored and refreshed. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Hits(Arc<AtomicU64>);

impl Hits {
    /// Counts that it was used this many times.
    pub(super) fn add(&self, times: u64) {
        self.0.fetch_add(times, Ordering::Relaxed);
    }

    /// How often it was used.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A response in the store.
#[derive(Debug, Clone)]
pub struct StoredResponse {
    /// The response.
    pub response: Arc<ParsedResponse>,
    /// When it arrived, and whether it was purged softly since.
    pub times: EntryTimes,
    /// Of the rules of all fetches that it was fetched for, those by which it may be used longest. Each page decides by its own
    /// rules how fresh it is; these decide how long it is stored.
    pub longest: FreshnessRules,
    /// The pause before it is refreshed again, if the last refresh failed.
    pub backoff: Option<RefreshBackoff>,
    /// The name of the nanoservice that sent it; a purge of this name matches it.
    pub nanoservice: Name,
    /// How often it was used. A response that takes its place counts on.
    pub hits: Hits,
}

impl StoredResponse {
    /// Whether a purge of this tag matches the response.
    #[must_use]
    pub fn is_tagged(&self, tag: &str) -> bool {
        *self.nanoservice == *tag || self.response.tags.iter().any(|known| **known == *tag)
    }
}

/// A value in the shared store.
#[derive(Debug, Clone)]
pub struct SharedValue {
    /// The value.
    pub bytes: Bytes,
    /// How long it is still of use.
    pub left: Duration,
}

/// A value that is encoded when it is written.
pub type Encode = Box<dyn FnOnce() -> Bytes + Send>;

/// What came of taking a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// It is taken.
    Taken,
    /// Somebody else holds it, with this note.
    Held(String),
    /// The store takes no writes now, because it is full or a copy, and is as good as before for look-ups.
    Refused,
}

/// Keeps values that several replicas share, each under the name of its response, and the leases of their fetches. It has no
/// deadline of its own: dropping a future ends the wait.
pub trait SharedStore: Send + Sync {
    /// The value under a name.
    fn get(&self, name: &str) -> BoxFuture<'static, Result<Option<SharedValue>, String>>;

    /// Whether the lease of a name is held, and the value. If it is not held and there is no value, its holder wrote none.
    fn look(&self, name: &str) -> BoxFuture<'static, Result<(bool, Option<SharedValue>), String>>;

    /// Writes a value, which is of no use after `useful`. What is written and given back afterwards comes after it.
    fn put(&self, name: String, encode: Encode, useful: Duration);

    /// Takes the lease of a name, for a time.
    fn lease(&self, name: &str, note: String, lasts: Duration) -> BoxFuture<'static, Result<Leased, String>>;

    /// Gives a lease back that was taken with a note.
    fn give_back(&self, name: String, note: String);

    /// Reports how often names were wanted.
    fn report_wanted(&self, counts: Vec<(String, u64)>);

    /// The values of the names that all replicas together want most.
    fn most_wanted(&self) -> BoxFuture<'static, Result<Vec<(String, SharedValue)>, String>>;
}

/// An entry of the stream of purges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// The name that its replica gave it.
    pub name: String,
    /// The purge. `None`: the entry only marks the beginning of the stream.
    pub purge: Option<(Purge, PurgeMode)>,
}

/// The stream of purges, and the list of replicas.
pub trait FleetStore: Send + Sync {
    /// Waits until the store can be asked.
    fn connected(&self) -> BoxFuture<'static, ()>;

    /// Adds an entry to the stream, and returns its position.
    fn append(&self, entry: &StreamEntry) -> BoxFuture<'static, Result<Position, String>>;

    /// The entries from a position on, itself included; all if none is given.
    fn entries_from(&self, from: Option<Position>) -> BoxFuture<'static, Result<Vec<(Position, StreamEntry)>, String>>;

    /// Waits for the entries after a position. None: for a while there were none.
    fn next_entries(&self, after: Position) -> BoxFuture<'static, Result<Vec<(Position, StreamEntry)>, String>>;

    /// The last entry.
    fn last_position(&self) -> BoxFuture<'static, Result<Option<Position>, String>>;

    /// Reports that a replica has done the purge at a position, and how many responses it met.
    fn report_done(&self, at: Position, replica: &str, purged: usize) -> BoxFuture<'static, Result<(), String>>;

    /// Which replicas have done the purge at a position.
    fn done(&self, at: Position) -> BoxFuture<'static, Result<BTreeMap<String, usize>, String>>;

    /// Reports that a replica is there, and returns all replicas, each with how long ago it was seen.
    fn beat(&self, replica: &str) -> BoxFuture<'static, Result<Vec<(String, Duration)>, String>>;

    /// Reports that a replica stops.
    fn leave(&self, replica: &str) -> BoxFuture<'static, Result<(), String>>;
}

/// A function that is called with the key of a response that changed.
pub type ChangeListener = Box<dyn Fn(&Key) + Send + Sync>;

/// Stores responses, and decides nothing about freshness.
pub trait Store: Send + Sync {
    /// The response that is stored under a key.
    fn get(&self, key: &Key) -> Option<StoredResponse>;

    /// Stores a response, which is of no use after `useful`.
    fn put(&self, key: &Key, stored: StoredResponse, useful: Duration);

    /// Changes a stored response atomically; how long it can be used stays as it was. Returns `false` if none is stored.
    fn change(&self, key: &Key, change: &mut dyn FnMut(&mut StoredResponse)) -> bool;

    /// Removes the response under a key. Returns `false` if none is stored.
    fn remove(&self, key: &Key) -> bool;

    /// The keys of all responses that a tag matches. The cost does not depend on the number of other responses.
    fn tagged(&self, tag: &str) -> Vec<Key>;

    /// The keys of all responses.
    fn keys(&self) -> Vec<Key>;

    /// Registers a listener for the key of each response that is replaced, changed, removed or evicted. It is called once
    /// [`Store::get`] shows the change.
    fn on_change(&self, listener: ChangeListener);
}

/// Keeps the book of versions, for the next start.
pub trait RolloutStore: Send + Sync {
    /// Keeps the book, as a whole or not at all. This may take a while.
    ///
    /// # Errors
    /// It could not be kept: why.
    fn keep(&self, book: &Book) -> Result<(), String>;
}

/// Keeps one value in which all replicas decide about rollouts together. It has no deadline of its own.
pub trait SharedRollouts: Send + Sync {
    /// The value, and the time of the store.
    fn read(&self) -> BoxFuture<'static, Result<(Option<Bytes>, Timestamp), String>>;

    /// Replaces the value if it is still this one. Returns `false` if it is not.
    fn replace(&self, before: Option<Bytes>, after: Bytes) -> BoxFuture<'static, Result<bool, String>>;
}

/// Gives the time of day. Time spans are measured by tokio's clock, which tests can pause.
pub trait Clock: Send + Sync {
    /// The present time of day.
    fn wall(&self) -> Timestamp;
}

/// A change of the circuit of an endpoint. An endpoint has one circuit for each set of limits that it is requested with.
#[derive(Debug)]
pub struct CircuitChange<'a> {
    /// The nanoservice whose requests it admits.
    pub nanoservice: &'a Name,
    /// The endpoint.
    pub upstream: &'a Name,
    /// Its state before; `None` if it is new.
    pub before: Option<Circuit>,
    /// Its state now; `None` if it is forgotten.
    pub after: Option<Circuit>,
    /// The failure that opened it.
    pub cause: Option<&'a Failure>,
}

/// Is notified of what happens, to count or to trace it.
pub trait Observer: Send + Sync {
    /// Called when a request to an upstream began (`true`) or ended.
    fn in_flight(&self, upstream: &str, began: bool);

    /// Called when the circuit of an endpoint is new, opened, is probed, closed, or is forgotten.
    fn circuit_changed(&self, change: &CircuitChange<'_>);

    /// Called when a page was composed.
    fn page_composed(&self, page: &Page);

    /// Called when a cached page was served.
    fn cached_page_served(&self, counts: &CachedPageCounts<'_>);

    /// Whether the observer needs each part of a page with this span. Such a page is composed and passed to
    /// [`Observer::page_composed`], even if everything except its holes is cached.
    fn needs_each_part(&self, _span: Span) -> bool {
        false
    }

    /// Called when responses with this status were sent to clients, each this long after its request arrived. For pages, `page`
    /// is the pattern of the route.
    fn responded(&self, page: Option<&str>, status: StatusCode, took: Duration, times: u64);

    /// Called when the program of a nanoservice became ready, this long after its start.
    fn program_started(&self, _manifest: &Manifest, _took: Duration) {}

    /// Called when an instance of the component of a nanoservice has ended, this long after its request came.
    fn component_ran(&self, _manifest: &Manifest, _took: Duration) {}

    /// Called when a fetch ended.
    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, attempt: &Attempt);

    /// Called when a page was personalised for a reader who sees these variants of experiments. Of all other pages, they are
    /// known from the page.
    fn variants_shown(&self, _variants: &[(String, String)]) {}

    /// Called when a request came for a path, normalised, that no layout has a route for.
    fn unrouted(&self, _path: &str) {}

    /// Called when a response of a nanoservice is used, but not as it was meant.
    fn warned(&self, _fragment: &Name, _warning: &'static str, _detail: &str) {}

    /// Called when another version of a nanoservice is shown to more or fewer readers; in words.
    fn version_changed(&self, _what: &str) {}

    /// Called about once a second, so that what depends on the passing of time is noticed although nothing happens.
    fn tick(&self) {}
}

/// An observer that ignores everything.
pub struct Unobserved;

impl Observer for Unobserved {
    fn in_flight(&self, _: &str, _: bool) {}
    fn circuit_changed(&self, _: &CircuitChange<'_>) {}
    fn page_composed(&self, _: &Page) {}
    fn cached_page_served(&self, _: &CachedPageCounts<'_>) {}
    fn responded(&self, _: Option<&str>, _: StatusCode, _: Duration, _: u64) {}
    fn fetched(&self, _: &Fetch, _: Result<&ParsedResponse, &Failure>, _: &Attempt) {}
}

/// Several observers that are notified of the same events.
pub struct Observers(pub Vec<Arc<dyn Observer>>);

impl Observer for Observers {
    fn in_flight(&self, upstream: &str, began: bool) {
        self.0.iter().for_each(|one| one.in_flight(upstream, began));
    }

    fn circuit_changed(&self, change: &CircuitChange<'_>) {
        self.0.iter().for_each(|one| one.circuit_changed(change));
    }

    fn page_composed(&self, page: &Page) {
        self.0.iter().for_each(|one| one.page_composed(page));
    }

    fn cached_page_served(&self, counts: &CachedPageCounts<'_>) {
        self.0.iter().for_each(|one| one.cached_page_served(counts));
    }

    fn needs_each_part(&self, span: Span) -> bool {
        self.0.iter().any(|one| one.needs_each_part(span))
    }

    fn responded(&self, page: Option<&str>, status: StatusCode, took: Duration, times: u64) {
        self.0.iter().for_each(|one| one.responded(page, status, took, times));
    }

    fn program_started(&self, manifest: &Manifest, took: Duration) {
        self.0.iter().for_each(|one| one.program_started(manifest, took));
    }

    fn component_ran(&self, manifest: &Manifest, took: Duration) {
        self.0.iter().for_each(|one| one.component_ran(manifest, took));
    }

    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, attempt: &Attempt) {
        self.0.iter().for_each(|one| one.fetched(fetch, result, attempt));
    }

    fn variants_shown(&self, variants: &[(String, String)]) {
        self.0.iter().for_each(|one| one.variants_shown(variants));
    }

    fn unrouted(&self, path: &str) {
        self.0.iter().for_each(|one| one.unrouted(path));
    }

    fn warned(&self, fragment: &Name, warning: &'static str, detail: &str) {
        self.0.iter().for_each(|one| one.warned(fragment, warning, detail));
    }

    fn version_changed(&self, what: &str) {
        self.0.iter().for_each(|one| one.version_changed(what));
    }

    fn tick(&self) {
        self.0.iter().for_each(|one| one.tick());
    }
}
