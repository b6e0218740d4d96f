//! The compositor: takes a page from the cache, or plans it, fans out, and stitches it.
//! A page is always finished within its budget; parts that are missing then have the outcome for that.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::page::output::headers::Headers;
use crate::page::output::verdict::{Verdict, is_final, verdict};
use crate::page::plan::plan;
use crate::page::request::defaults::Defaults;
use crate::page::request::fetch::Fetch;
use crate::page::source::names::Name;

use super::examples::{self, Turns};
use super::fanout::FanOut;
use super::flush::{FlushDeadline, SchedulingDelay};
use super::inspection::{self, CacheEntry};
use super::lookup::{Lookup, LookupResult, StartedLookups, StoreLookup};
use super::page::{Page, PageRequest, PageTooLarge};
use super::page_cache::{CachedPage, EncodedPage, Encoding, PageCache, PageKey, PageStore, PersonalisedPage};
use super::personalise::Personaliser;
use super::port::Ports;
use super::purge::{Purge, PurgeMode};
use super::rollouts::Rollouts;
use super::shared::Shared;
use super::stitching::{finish, stream, wait_for_all};
use super::trace::Trace;

/// Composes pages. A clone is another handle to the same compositor.
#[derive(Clone)]
pub struct Compositor {
    lookup: Arc<Lookup>,
    pages: Arc<PageCache>,
    delay: Arc<SchedulingDelay>,
    /// Which example of a version that is rolled out is asked next.
    turns: Arc<Mutex<Turns>>,
}

/// A page whose head is known.
pub enum Served {
    /// A cached page without holes.
    Cached(Arc<CachedPage>),
    /// A cached skeleton with its holes filled.
    Personalised(PersonalisedPage),
    /// A page that was composed as a whole.
    Whole(Box<Page>),
    /// A page whose body follows in document order, as its parts arrive.
    Streaming {
        /// The status.
        status: StatusCode,
        /// The headers.
        headers: HeaderMap,
        /// The bytes. After an error, the connection must be closed: half a page must not look complete.
        body: BoxStream<'static, Result<Bytes, PageTooLarge>>,
    },
}

/// What the page cache has for a request.
pub enum CacheLookup {
    /// A page without holes. The caller counts it with [`CachedPage::count_served`].
    Whole(Arc<CachedPage>),
    /// A skeleton or nothing: the page is finished by [`Compositor::complete`].
    Unfinished(Unfinished),
}

/// A page that was looked up in the cache, and is not whole there.
pub struct Unfinished {
    skeleton: Option<Arc<CachedPage>>,
    /// The keys under which the page is offered to the cache if it is composed.
    key: PageKey,
    /// When the page was requested.
    began: Instant,
}

/// The state of a request before its page is planned.
struct Start {
    /// When the page was requested.
    began: Instant,
    /// The lookups that were started already.
    lookups: StartedLookups,
    /// The keys under which the page is offered to the cache; `None` if it is not.
    key: Option<PageKey>,
    /// The time that is left for the page, if that may be less than its budget.
    left: Option<Duration>,
}

impl Start {
    fn now() -> Self {
        Self { began: Instant::now(), lookups: StartedLookups::default(), key: None, left: None }
    }
}

impl Compositor {
    /// A compositor over adapters. `pages` stores whole pages.
    #[must_use]
    pub fn new(ports: Ports, pages: Arc<dyn PageStore>) -> Self {
        Self::with_shared(ports, pages, None)
    }

    /// The same, with a second layer behind the store.
    #[must_use]
    pub fn with_shared(ports: Ports, pages: Arc<dyn PageStore>, shared: Option<Arc<Shared>>) -> Self {
        let pages = PageCache::new(pages, Arc::clone(&ports.store), Arc::clone(&ports.observer));
        Self { lookup: Arc::new(Lookup::new(ports, shared)), pages, delay: Arc::default(), turns: Arc::default() }
    }

    /// The time of day, by which layouts are chosen and conditions of time are evaluated.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.lookup.ports().clock.wall()
    }

    /// The source of random numbers from 0 up to 1.
    #[must_use]
    pub fn chance(&self) -> fn() -> f64 {
        self.lookup.ports().chance
    }

    /// Serves a page from the cache, or composes it and offers it to the cache. `stream`: whether the page may be sent
    /// before it is complete.
    pub async fn serve(&self, request: PageRequest, stream: bool) -> Served {
        let began = Instant::now().into_std();
        match self.look_up(&request, began) {
            CacheLookup::Whole(page) => {
                page.count_served(began);
                Served::Cached(page)
            }
            CacheLookup::Unfinished(unfinished) => self.complete(request, unfinished, stream).await,
        }
    }

    /// Looks for the page of a request in the cache. `began`: when it was requested.
    #[must_use]
    pub fn look_up(&self, request: &PageRequest, began: std::time::Instant) -> CacheLookup {
        let mut key = PageKey::new(request, began);
        let page = self.pages.get(&mut key, request);
        for fetch in page.iter().flat_map(|page| page.due(began)) {
            // The page is served as it is; the response of the refresh will replace it. If a part cannot even be shown stale,
            // the page is served for the last time.
            if let StoreLookup::Miss(_) = self.lookup.check_store(fetch, &request.trace, began.into(), false) {
                self.pages.invalidate(&fetch.key);
            }
        }
        let skeleton = match page {
            Some(page) if page.is_whole() => return CacheLookup::Whole(page),
            // If an observer needs each part, the page is composed: a skeleton does not know its parts.
            page => page.filter(|page| {
                !self.lookup.ports().observer.needs_each_part(request.trace.span()) && page.is_worth_personalising()
            }),
        };
        CacheLookup::Unfinished(Unfinished { skeleton, key, began: began.into() })
    }

    /// Finishes a page that is not whole in the cache: personalises its skeleton or, if there is none or if that takes more
    /// than filling its holes, composes it and offers it to the cache. `stream`: whether the page may be sent before it is
    /// complete.
    pub async fn complete(&self, request: PageRequest, unfinished: Unfinished, stream: bool) -> Served {
        let Unfinished { skeleton, key, began } = unfinished;
        let lookups = match skeleton {
            None => StartedLookups::default(),
            Some(page) => {
                let personaliser = Personaliser { lookup: &self.lookup, delay: &self.delay };
                let personalised = personaliser.personalise(&page, &request, began, stream).await;
                page.record_attempt(personalised.is_ok());
                match personalised {
                    Ok(personalised) => {
                        let variants = &request.visit.reader.variants;
                        if !variants.is_empty() {
                            self.lookup.ports().observer.variants_shown(variants);
                        }
                        return Served::Personalised(personalised);
                    }
                    Err(lookups) => lookups,
                }
            }
        };
        self.compose_from(request, Start { began, lookups, key: Some(key), left: None }, stream).await
    }

    /// Composes a page. It is finished within the page's budget, whatever hangs.
    pub async fn compose(&self, request: PageRequest) -> Page {
        self.report(self.preview(request).await, None)
    }

    /// Composes a page instead of another one, in the time that was left for that.
    pub async fn compose_instead(&self, request: PageRequest, left: Duration) -> Page {
        let trace = request.trace.clone();
        let start = Start { left: Some(left), ..Start::now() };
        self.report(finish(wait_for_all(self.fan_out(request, start).0).await, &trace), None)
    }

    /// Composes a page for inspection: it is reported to no observer, and not cached.
    pub async fn preview(&self, request: PageRequest) -> Page {
        let trace = request.trace.clone();
        finish(wait_for_all(self.fan_out(request, Start::now()).0).await, &trace)
    }

    /// Composes a page as far as its head: until the outcomes of all `required` parts are known, and no longer than its
    /// budget. The page is not cached.
    pub async fn begin(&self, request: PageRequest) -> Served {
        self.compose_to_head(request, Start::now()).await
    }

    /// Stores an encoding of a cached page; of a skeleton, an encoding of each span between its holes. `None`: the encoding
    /// is not worthwhile, and the page is sent without.
    pub fn store_encoding(
        &self,
        page: &Arc<CachedPage>,
        encoding: Encoding,
        encoded: Option<EncodedPage>,
    ) -> Arc<EncodedPage> {
        self.pages.store_encoding(page, encoding, encoded)
    }

    /// Removes all cached pages, after the live state was replaced.
    pub fn clear_pages(&self) {
        self.pages.clear();
    }

    /// Reports to the observer how often cached pages were served since the last time, and that time has passed.
    pub fn flush_counters(&self) {
        let shared = self.lookup.shared();
        self.pages.flush_counters(&mut |key, times| {
            if let Some(shared) = shared {
                shared.want(key, times);
            }
        });
        self.lookup.ports().observer.tick();
    }

    /// Fetches an asset, from the store if it is fresh there.
    pub async fn asset(&self, fetch: Fetch, trace: &Trace) -> LookupResult {
        let deadline = Instant::now() + fetch.timeout;
        self.lookup.look_up(&Arc::new(fetch), self.lookup.limits(deadline), trace).await
    }

    /// Purges, and returns how many responses matched.
    pub fn purge(&self, purge: &Purge, mode: PurgeMode) -> usize {
        let matched = self.lookup.purge(purge, mode);
        if (purge, mode) == (&Purge::All, PurgeMode::Hard) {
            // This includes pages without any part, of which the store reports no change.
            self.pages.clear();
        }
        matched
    }

    /// Removes single responses, by the names of their entries as [`Self::cache_entries`] lists them. Returns how many there
    /// were.
    pub fn purge_entries(&self, names: &HashSet<String>) -> usize {
        self.lookup.purge_entries(names)
    }

    /// Switches a nanoservice off for a time: its parts show their fallbacks, and it is not asked. Cached pages with its
    /// responses are composed again; with a fallback for it, none is cached. Returns when the switch ends.
    pub fn switch_off(&self, nanoservice: &Name, lasts: Duration) -> Timestamp {
        let until = self.lookup.switches().turn_off(nanoservice, lasts, self.now());
        // Once the switch ends, its responses are checked before they are used for long.
        self.lookup.purge(&Purge::Tags(vec![Arc::clone(nanoservice)]), PurgeMode::Soft);
        until
    }

    /// Ends a switch. `false`: the nanoservice was not switched off.
    pub fn switch_on(&self, nanoservice: &str) -> bool {
        self.lookup.switches().turn_on(nanoservice)
    }

    /// Ends the pauses of a nanoservice's open circuits: its next request tests whether it has recovered.
    pub fn end_pauses(&self, nanoservice: &str) {
        self.lookup.end_pauses(nanoservice);
    }

    /// When the switch of a nanoservice ends. `None`: it is not switched off.
    #[must_use]
    pub fn switched_off_until(&self, nanoservice: &str) -> Option<Timestamp> {
        self.lookup.switches().ends(nanoservice)
    }

    /// The versions that are rolled out.
    #[must_use]
    pub fn rollouts(&self) -> &Rollouts {
        self.lookup.rollouts()
    }

    /// Goes on with rollouts whose time has come, and asks their examples. It is called about once a second.
    pub fn tick_rollouts(&self, defaults: &Defaults) {
        self.lookup.rollouts().tick(self.now());
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).next();
        if let Some(turn) = turn {
            examples::ask(&self.lookup, defaults, turn);
        }
    }

    /// The stored responses whose nanoservice, tags or key contain a text: at most `limit` of them, and their total
    /// number.
    #[must_use]
    pub fn cache_entries(&self, text: &str, limit: usize) -> (Vec<CacheEntry>, usize) {
        inspection::entries(&*self.lookup.ports().store, text, limit)
    }

    /// The number of stored responses that a purge would match now.
    #[must_use]
    pub fn count_matches(&self, purge: &Purge) -> usize {
        inspection::count_matches(&*self.lookup.ports().store, purge)
    }

    /// Waits for the fetches that outlived their requests.
    pub async fn drain(&self) {
        self.lookup.drain().await;
    }

    /// How many fetches are in progress that others could join.
    #[must_use]
    pub fn fetches_in_flight(&self) -> usize {
        self.lookup.fetches_in_flight()
    }

    async fn compose_from(&self, request: PageRequest, start: Start, stream: bool) -> Served {
        if stream {
            return self.compose_to_head(request, start).await;
        }
        let trace = request.trace.clone();
        let (fan_out, key) = self.fan_out(request, start);
        let page = finish(wait_for_all(fan_out).await, &trace);
        Served::Whole(Box::new(self.report(page, key.as_ref())))
    }

    async fn compose_to_head(&self, request: PageRequest, start: Start) -> Served {
        let (trace, began) = (request.trace.clone(), start.began);
        let mut flush = None;
        let (mut fan_out, key) = self.fan_out(request, start);
        loop {
            // Whether the head is final depends on all parts, so it is checked once for all outcomes that are ready.
            fan_out.take_ready();
            if fan_out.is_complete() {
                return Served::Whole(Box::new(self.report(finish(fan_out, &trace), key.as_ref())));
            }
            if !is_final(fan_out.plan(), fan_out.outcomes()) {
                fan_out.next().await;
                continue;
            }
            let Verdict::Page(status) = verdict(fan_out.plan(), fan_out.outcomes()) else {
                // For an error or a redirect the other parts do not matter.
                return Served::Whole(Box::new(self.report(finish(fan_out, &trace), None)));
            };
            let flush = match &mut flush {
                Some(flush) => flush,
                none => none.insert(FlushDeadline::new(fan_out.unshared_latency(), began, &self.delay).await),
            };
            if flush.wait(pin!(fan_out.next())).await.is_none() {
                let now = Instant::now().into_std();
                let headers = Headers::of(fan_out.plan(), fan_out.outcomes(), false, now).at(now);
                let compositor = self.clone();
                let body = stream(fan_out, trace, move |page| drop(compositor.report(page, key.as_ref())));
                return Served::Streaming { status, headers, body };
            }
        }
    }

    /// Plans a page, and starts the lookups that it needs at once.
    fn fan_out(&self, request: PageRequest, start: Start) -> (FanOut, Option<PageKey>) {
        let PageRequest { template, visit, trace, at, changes_in } = request;
        let Start { began, lookups, key, left } = start;
        let mut plan = plan(&template, visit, at);
        plan.budget = left.unwrap_or(plan.budget).min(plan.budget);
        plan.changes_in = plan.changes_in.into_iter().chain(changes_in).min();
        (FanOut::begin(&self.lookup, plan, began, lookups, &trace), key)
    }

    /// Reports a page that is sent to a client, and offers it to the cache under a key.
    fn report(&self, page: Page, key: Option<&PageKey>) -> Page {
        self.lookup.ports().observer.page_composed(&page);
        if let Some(measured) = page.trace.measured() {
            measured.composed(&page.plan, &page.outcomes, page.times.0);
        }
        if let Some(key) = key {
            self.pages.offer(key, &page);
        }
        page
    }
}
