//! The one picture: plan, fan out, stitch. A page always comes of it, by its budget.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::page::output::headers::Headers;
use crate::page::output::verdict::{Verdict, is_settled, verdict};
use crate::page::plan::plan;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::is_degraded;

use super::fanout::FanOut;
use super::flush::{FlushDeadline, SchedulingDelay};
use super::inspection::{self, CacheEntry};
use super::lookup::{Ahead, Looked, Lookup, LookupResult};
use super::page::{Page, PageRequest, PageTooLarge};
use super::page_cache::{CachedPage, EncodedPage, Encoding, PageCache, PageKey, PageStore, PersonalisedPage};
use super::personalise::Personaliser;
use super::port::Ports;
use super::purge::{Purge, PurgeMode};
use super::stitching::{all, finish, stream};
use super::trace::Trace;

/// Composes pages. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Compositor {
    lookup: Arc<Lookup>,
    pages: Arc<PageCache>,
    turns: Arc<SchedulingDelay>,
}

/// A page whose head is known.
pub enum Served {
    /// It was kept whole.
    Cached(Arc<CachedPage>),
    /// It was kept but for what is its reader's own.
    Personalised(PersonalisedPage),
    /// All of it is.
    Whole(Box<Page>),
    /// Its parts follow in document order, as they come in.
    Streaming {
        /// Its status.
        status: StatusCode,
        /// LookupOutcome it says of itself.
        headers: HeaderMap,
        /// Its bytes. An error breaks it off: half a page is none.
        body: BoxStream<'static, Result<Bytes, PageTooLarge>>,
    },
}

/// A page that is kept.
pub enum CacheHit {
    /// Whole.
    Whole(Arc<CachedPage>),
    /// But for what is its reader's own.
    Skeleton(SkeletonHit),
}

/// A page that is kept but for what is its reader's own, and that one asks for.
pub struct SkeletonHit {
    page: Arc<CachedPage>,
    asked: PageKey,
    began: Instant,
}

impl Compositor {
    /// A compositor over adapters; `pages` has room for whole pages.
    #[must_use]
    pub fn new(ports: Ports, pages: Arc<dyn PageStore>) -> Self {
        let pages = PageCache::new(pages, Arc::clone(&ports.store), Arc::clone(&ports.observer));
        Self { lookup: Arc::new(Lookup::new(ports)), pages, turns: Arc::default() }
    }

    /// The time of day, by which layouts take turns and conditions hold.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.lookup.ports().clock.wall()
    }

    /// LookupOutcome draws lots.
    #[must_use]
    pub fn chance(&self) -> fn() -> f64 {
        self.lookup.ports().chance
    }

    /// The page as it is kept, or else composed; then it is kept, where it may be. `stream`: it may be sent
    /// before all of it is known.
    pub async fn serve(&self, request: PageRequest, stream: bool) -> Served {
        let began = Instant::now();
        match self.find(&request, began) {
            Ok(CacheHit::Whole(page)) => {
                page.count_served(began.into_std());
                Served::Cached(page)
            }
            Ok(CacheHit::Skeleton(open)) => self.complete(request, open, stream).await,
            Err(asked) => self.compose_anew(request, asked, (began, Ahead::default()), stream).await,
        }
    }

    /// The page as it is kept at a moment, where it is. Whoever sends it says so.
    #[must_use]
    pub fn ready(&self, request: &PageRequest, now: std::time::Instant) -> Option<CacheHit> {
        self.find(request, now.into()).ok()
    }

    /// Asks for what a page that is kept leaves open. Where that changes more of it, it is composed. `stream`: it may be
    /// sent before all of it is known.
    pub async fn complete(&self, request: PageRequest, open: SkeletonHit, stream: bool) -> Served {
        let SkeletonHit { page, asked, began } = open;
        let filled = self.personaliser().fill(&page, &request, began, stream).await;
        page.record_attempt(filled.is_ok());
        match filled {
            Ok(filled) => Served::Personalised(filled),
            Err(ahead) => self.compose_anew(request, asked, (began, ahead), stream).await,
        }
    }

    fn personaliser(&self) -> Personaliser<'_> {
        Personaliser { lookup: &self.lookup, turns: &self.turns }
    }

    fn find(&self, request: &PageRequest, began: Instant) -> Result<CacheHit, PageKey> {
        let mut asked = PageKey::new(request, began.into_std());
        let page = self.pages.get(&mut asked, request);
        for fetch in page.iter().flat_map(|page| page.due(began.into_std())) {
            // It is shown as it is; what comes of the look takes its place. Without the part it is no more.
            if let Looked::ToAsk(_) = self.lookup.look(fetch, &request.trace, began) {
                self.pages.changed(&fetch.key);
            }
        }
        match page {
            Some(page) if page.is_whole() => Ok(CacheHit::Whole(page)),
            // LookupOutcome is followed is composed: nobody could tell its parts from a page that is kept.
            Some(page) if !self.lookup.ports().observer.needs_each_part(request.trace.span()) && page.is_worth_it() => {
                Ok(CacheHit::Skeleton(SkeletonHit { page, asked, began }))
            }
            _ => Err(asked),
        }
    }

    async fn compose_anew(
        &self,
        request: PageRequest,
        asked: PageKey,
        before: (Instant, Ahead),
        stream: bool,
    ) -> Served {
        if stream {
            return self.begin_as(request, Some(asked), before).await;
        }
        let trace = request.trace.clone();
        let page = finish(all(self.plan(request, before)).await, &trace);
        Served::Whole(Box::new(self.send(page, Some(&asked))))
    }

    /// Keeps a form of a page that is kept, of one with gaps each span of its own; `None`: it is of no use.
    pub fn store_encoding(
        &self,
        page: &Arc<CachedPage>,
        form: Encoding,
        made: Option<EncodedPage>,
    ) -> Arc<EncodedPage> {
        self.pages.keep(page, form, made)
    }

    /// Forgets the pages that are kept whole, which are of what was live before.
    pub fn clear_pages(&self) {
        self.pages.clear();
    }

    /// Tells the observer how often pages were sent that are kept whole.
    pub fn flush_counters(&self) {
        self.pages.flush_counters();
    }

    /// Composes a page. Ends by the page's budget, whatever hangs.
    pub async fn compose(&self, request: PageRequest) -> Page {
        self.send(self.preview(request).await, None)
    }

    /// Composes a page for somebody who looks into it: it is no reader's, and counts as none's.
    pub async fn preview(&self, request: PageRequest) -> Page {
        let trace = request.trace.clone();
        finish(all(self.plan(request, (Instant::now(), Ahead::default()))).await, &trace)
    }

    /// Composes a page as far as its head: until the status of all that is `required` is known, and no
    /// later than its budget.
    pub async fn begin(&self, request: PageRequest) -> Served {
        self.begin_as(request, None, (Instant::now(), Ahead::default())).await
    }

    async fn begin_as(&self, request: PageRequest, asked: Option<PageKey>, before: (Instant, Ahead)) -> Served {
        let trace = request.trace.clone();
        let began = before.0;
        let mut patience = None;
        let mut fan_out = self.plan(request, before);
        loop {
            // Whether the head is known is a question to all parts: it is put once for all that is there.
            fan_out.take_ready();
            if fan_out.is_complete() {
                return Served::Whole(Box::new(self.send(finish(fan_out, &trace), asked.as_ref())));
            }
            if !is_settled(fan_out.plan(), fan_out.outcomes()) {
                fan_out.next().await;
                continue;
            }
            let Verdict::Page(status) = verdict(fan_out.plan(), fan_out.outcomes()) else {
                // The other parts are of no use to anybody.
                return Served::Whole(Box::new(self.send(finish(fan_out, &trace), None)));
            };
            let patience = match &mut patience {
                Some(patience) => patience,
                none => none.insert(FlushDeadline::with(fan_out.usual_alone(), began, &self.turns).await),
            };
            if patience.wait(pin!(fan_out.next())).await.is_none() {
                let now = Instant::now().into_std();
                let headers = Headers::of(fan_out.plan(), fan_out.outcomes(), false, now).at(now);
                return Served::Streaming { status, headers, body: self.stream(fan_out, trace, asked) };
            }
        }
    }

    /// Plans a page, and asks for what it needs. `before`: when it was asked for, and what it asked for already.
    fn plan(&self, request: PageRequest, (began, ahead): (Instant, Ahead)) -> FanOut {
        let PageRequest { template, visit, trace, at, changes_in } = request;
        let mut plan = plan(&template, visit, at);
        plan.changes_in = plan.changes_in.into_iter().chain(changes_in).min();
        FanOut::begin(&self.lookup, plan, began, ahead, &trace)
    }

    /// The rest of a page whose head has left.
    fn stream(
        &self,
        fan_out: FanOut,
        trace: Trace,
        asked: Option<PageKey>,
    ) -> BoxStream<'static, Result<Bytes, PageTooLarge>> {
        let engine = self.clone();
        stream(fan_out, trace, move |page| drop(engine.send(page, asked.as_ref())))
    }

    /// Tells of a page that a reader gets, and offers it to be kept whole where it was asked for as such.
    fn send(&self, page: Page, asked: Option<&PageKey>) -> Page {
        self.lookup.ports().observer.page_composed(&page);
        tell(&page);
        if let Some(asked) = asked {
            self.pages.offer(asked, &page);
        }
        page
    }

    /// Fetches what a page loads beside its HTML, from the store where it is fresh.
    pub async fn asset(&self, fetch: Fetch, trace: &Trace) -> LookupResult {
        let deadline = Instant::now() + fetch.timeout;
        self.lookup.look_up(&Arc::new(fetch), deadline, trace).await
    }

    /// Purges, and says how many answers it met.
    pub fn purge(&self, purge: &Purge, manner: PurgeMode) -> usize {
        let met = self.lookup.purge(purge, manner);
        if (purge, manner) == (&Purge::All, PurgeMode::Hard) {
            // Pages that are made of no answer go too.
            self.pages.clear();
        }
        met
    }

    /// Answers that are kept whose nanoservice, tags or key hold a text; so many of them, and how many there are.
    #[must_use]
    pub fn cache_entries(&self, text: &str, at_most: usize) -> (Vec<CacheEntry>, usize) {
        inspection::entries(&*self.lookup.ports().store, text, at_most)
    }

    /// How many answers a purge would meet just now.
    #[must_use]
    pub fn count_matches(&self, purge: &Purge) -> usize {
        inspection::count_matches(&*self.lookup.ports().store, purge)
    }

    /// Waits for the fetches that outlived their requests.
    pub async fn drain(&self) {
        self.lookup.drain().await;
    }

    /// How many fetches are under way that others could join.
    #[must_use]
    pub fn fetches_in_flight(&self) -> usize {
        self.lookup.flights()
    }
}

/// One line a page that is not as it should be, each part of it with its reason.
fn tell(page: &Page) {
    let parts = page.plan.holes.iter().zip(&page.outcomes);
    let degraded: Vec<String> = parts
        .filter_map(|(hole, outcome)| {
            let outcome = outcome.as_ref()?;
            let reason = outcome.reason?;
            is_degraded(outcome.shown, outcome.reason).then(|| format!("{}={} ({reason})", hole.id, outcome.shown))
        })
        .collect();
    if !degraded.is_empty() {
        let layout = page.plan.template.file.as_str();
        tracing::info!(trace = %page.trace, page = page.plan.visit.pattern, layout, parts = degraded.join(", "), "page degraded");
    }
}
