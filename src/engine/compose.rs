//! The one picture: plan, fan out, stitch. A page always comes of it, by its budget.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::page::html::text::{Text, length};
use crate::page::layout::Template;
use crate::page::output::headers::Headers;
use crate::page::output::record::Record;
use crate::page::output::stitch::{Stitcher, gathered, stitch};
use crate::page::output::verdict::{Verdict, is_settled, verdict};
use crate::page::plan::{Outcomes, Plan, plan};
use crate::page::request::defaults::Defaults;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Outcome, is_degraded};
use crate::page::visit::context::Visit;

use super::collapse::Flights;
use super::fanout::FanOut;
use super::flush::{FlushDeadline, SchedulingDelay};
use super::hit_for_miss::HitForMiss;
use super::lookup::{Found, Landing, Looked};
use super::page_cache::{CachedPage, EncodedPage, Encoding, Hot, PageKey, PersonalisedPage};
use super::personalise::Ahead;
use super::port::{Clock, Observer, Store, Upstream};
use super::purge::Purges;
use super::trace::Trace;
use super::upstream::Services;

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

/// Composes pages. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Compositor {
    pub(super) ports: Ports,
    pub(super) flights: Arc<Flights<Landing>>,
    pub(super) services: Arc<Services>,
    pub(super) purges: Arc<Purges>,
    pub(super) apart: Arc<HitForMiss>,
    pub(super) hot: Arc<Hot>,
    pub(super) turns: Arc<SchedulingDelay>,
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
pub struct TooLarge(u64);

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
        /// What it says of itself.
        headers: HeaderMap,
        /// Its bytes. An error breaks it off: half a page is none.
        body: BoxStream<'static, Result<Bytes, TooLarge>>,
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

/// Whose page it is, and by when.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The layout.
    pub template: Arc<Template>,
    /// The reader's request.
    pub visit: Visit,
    /// What holds where neither layout nor manifest says.
    pub defaults: Arc<Defaults>,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// The time that conditions are judged at.
    pub at: Timestamp,
    /// How long until another layout takes this one's place.
    pub changes_in: Option<Duration>,
}

impl Compositor {
    /// A compositor over adapters.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        let hot = Arc::<Hot>::default();
        let told = Arc::downgrade(&hot);
        ports.store.when_gone(Box::new(move |key| {
            if let Some(hot) = told.upgrade() {
                hot.changed(key);
            }
        }));
        Self {
            ports,
            flights: Arc::default(),
            services: Arc::default(),
            purges: Arc::default(),
            apart: Arc::default(),
            hot,
            turns: Arc::default(),
        }
    }

    /// The time of day, by which layouts take turns and conditions hold.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.ports.clock.wall()
    }

    /// What draws lots.
    #[must_use]
    pub fn chance(&self) -> fn() -> f64 {
        self.ports.chance
    }

    /// The page as it is kept, or else composed; then it is kept, where it may be. `stream`: it may be sent
    /// before all of it is known.
    pub async fn serve(&self, request: PageRequest, stream: bool) -> Served {
        let began = Instant::now();
        match self.find(&request, began) {
            Ok(CacheHit::Whole(page)) => {
                page.sent(began.into_std());
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
        let filled = self.fill(&page, &request, began, stream).await;
        page.note(filled.is_ok());
        match filled {
            Ok(filled) => Served::Personalised(filled),
            Err(ahead) => self.compose_anew(request, asked, (began, ahead), stream).await,
        }
    }

    fn find(&self, request: &PageRequest, began: Instant) -> Result<CacheHit, PageKey> {
        let mut asked = PageKey::new(request, began.into_std());
        let page = self.hot.get(&*self.ports.store, &mut asked, request);
        for fetch in page.iter().flat_map(|page| page.due(began.into_std())) {
            // It is shown as it is; what comes of the look takes its place. Without the part it is no more.
            if let Looked::ToAsk(_) = self.look(fetch, &request.trace, began) {
                self.hot.changed(&fetch.key);
            }
        }
        match page {
            Some(page) if page.is_whole() => Ok(CacheHit::Whole(page)),
            // What is followed is composed: nobody could tell its parts from a page that is kept.
            Some(page) if !self.ports.observer.follows(request.trace.span()) && page.is_worth_it() => {
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
    pub fn keep_form(&self, page: &Arc<CachedPage>, form: Encoding, made: Option<EncodedPage>) -> Arc<EncodedPage> {
        self.hot.keep(&*self.ports.store, page, form, made)
    }

    /// Forgets the pages that are kept whole, which are of what was live before.
    pub fn forget_pages(&self) {
        self.hot.clear(&*self.ports.store);
    }

    /// Tells the observer how often pages were sent that are kept whole.
    pub fn tell(&self) {
        self.hot.tell();
    }

    /// Composes a page. Ends by the page's budget, whatever hangs.
    pub async fn compose(&self, request: PageRequest) -> Page {
        self.send(self.examine(request).await, None)
    }

    /// Composes a page for somebody who looks into it: it is no reader's, and counts as none's.
    pub async fn examine(&self, request: PageRequest) -> Page {
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
        let PageRequest { template, visit, defaults, trace, at, changes_in } = request;
        let mut plan = plan(&template, visit, &defaults, at);
        plan.changes_in = plan.changes_in.into_iter().chain(changes_in).min();
        FanOut::begin(self, plan, began, ahead, &trace)
    }

    /// The rest of a page whose head has left.
    fn stream(
        &self,
        fan_out: FanOut,
        trace: Trace,
        asked: Option<PageKey>,
    ) -> BoxStream<'static, Result<Bytes, TooLarge>> {
        // Not fastrand: nanoservices see numbers of its making, and could tell the next one.
        let salt = RandomState::new().hash_one(trace.to_string());
        let stitcher = Stitcher::streaming(fan_out.plan(), salt);
        let most = fan_out.plan().max_bytes;
        let engine = self.clone();
        stream::unfold(Some((fan_out, stitcher)), move |state| {
            let (engine, trace, asked) = (engine.clone(), trace.clone(), asked.clone());
            async move {
                let (mut fan_out, mut stitcher) = state?;
                loop {
                    fan_out.take_ready();
                    let chunks = stitcher.advance(fan_out.plan(), fan_out.outcomes());
                    if stitcher.is_done() {
                        engine.send(finish(fan_out, &trace), asked.as_ref());
                        return Some((gathered(&chunks).pieces, None));
                    }
                    if !chunks.is_empty() {
                        return Some((gathered(&chunks).pieces, Some((fan_out, stitcher))));
                    }
                    // Where it does not hold, the reader's connection breaks: half a page is none.
                    assert!(fan_out.next().await, "a page whose outcomes are known comes to its end");
                }
            }
        })
        .flat_map(stream::iter)
        .scan(0_u64, move |sent, chunk| {
            // Behind what breaks it off comes nothing.
            let before = *sent;
            *sent = sent.saturating_add(chunk.len() as u64);
            let too_large = *sent > most;
            futures::future::ready(
                (before <= most).then(|| if too_large { Err(TooLarge(most)) } else { Ok(chunk.bytes()) }),
            )
        })
        // Compression asks once more after the end.
        .fuse()
        .boxed()
    }

    /// Tells of a page that a reader gets, and offers it to be kept whole where it was asked for as such.
    fn send(&self, page: Page, asked: Option<&PageKey>) -> Page {
        self.ports.observer.composed(&page);
        tell(&page);
        if let Some(asked) = asked {
            self.hot.offer(&self.ports, asked, &page);
        }
        page
    }

    /// Fetches what a page loads beside its HTML, from the store where it is fresh.
    pub async fn asset(&self, fetch: Fetch, trace: &Trace) -> Found {
        let deadline = Instant::now() + fetch.timeout;
        self.look_up(&Arc::new(fetch), deadline, trace).await
    }

    /// Waits for the fetches that outlived their requests.
    pub async fn drain(&self) {
        self.flights.drain().await;
    }

    /// How many fetches are under way that others could join.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.flights.len()
    }
}

/// Waits for all that a page asks for.
async fn all(mut fan_out: FanOut) -> FanOut {
    while fan_out.next().await {}
    fan_out
}

/// Stitches a page.
fn finish(fan_out: FanOut, trace: &Trace) -> Page {
    let complete = fan_out.is_complete();
    let began = fan_out.began();
    let (plan, outcomes) = fan_out.finish();
    let mut verdict = verdict(&plan, &outcomes);
    let mut chunks = if complete { stitch(&plan, &outcomes) } else { Vec::new() };
    if length(&chunks) as u64 > plan.max_bytes {
        tracing::error!(%trace, page = plan.visit.pattern, "{}", TooLarge(plan.max_bytes));
        (verdict, chunks) = (Verdict::Error(StatusCode::BAD_GATEWAY), Vec::new());
    }
    let now = Instant::now().into_std();
    Page {
        verdict,
        chunks,
        headers: Headers::of(&plan, &outcomes, complete, now),
        plan,
        outcomes,
        times: (began, now),
        trace: trace.clone(),
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
