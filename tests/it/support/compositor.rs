//! A compositor whose nanoservices are closures: no socket, so that time can be paused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::header::ETAG;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use pasteup::engine::load::{LoadRun, MeasuredRequest};
use pasteup::engine::page::{CachedPageCounts, Page, PartOutcome};
use pasteup::engine::page_cache::{PageSlot, PageStore};
use pasteup::engine::port::{
    ChangeListener, CircuitChange, Clock, Observer, Observers, Store, StoredResponse, Upstream, UpstreamRequest,
    UpstreamResponse,
};
use pasteup::engine::{Compositor, PersonalisedPage, Ports, Purge, PurgeMode, Served, Shared, Trace};
use pasteup::page::browser::lazy_address::{AddressKey, LazyAddress};
use pasteup::page::html::text::concat;
use pasteup::page::output::record::Record;
use pasteup::page::output::verdict::Verdict;
use pasteup::page::output::waterfall::PageKind;
use pasteup::page::request::defaults::Defaults;
use pasteup::page::request::fetch::Fetch;
use pasteup::page::request::key::Key;
use pasteup::page::response::outcome::Shown;
use pasteup::page::response::parsed::Failure;
use pasteup::page::site::{BoundSite, Files, Match, Site, SiteLimits};
use pasteup::page::source::diagnostic::Source;
use pasteup::page::source::names::Name;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::Reader;
use tokio::time::Instant;

pub(crate) type ResponseFuture = BoxFuture<'static, Result<UpstreamResponse, Failure>>;
type Behaviour = Box<dyn Fn(UpstreamRequest) -> ResponseFuture + Send + Sync>;

/// A compositor for tests: first layouts, then nanoservices, then [`TestCompositor::start`], then requests.
#[derive(Default)]
pub(crate) struct TestCompositor {
    files: Files,
    services: InProcessServices,
    defaults: Arc<Defaults>,
    limits: SiteLimits,
    chance: Option<fn() -> f64>,
    counts: Arc<Counts>,
    observers: Vec<Arc<dyn Observer>>,
    clock: PausedClock,
    shared: Option<Arc<Shared>>,
    engine: Option<(Compositor, BoundSite)>,
}

#[derive(Default, Clone)]
struct InProcessServices {
    behaviours: Arc<Mutex<HashMap<String, Arc<Behaviour>>>>,
    calls: Arc<Mutex<HashMap<String, usize>>>,
    requests: Arc<Mutex<Vec<UpstreamRequest>>>,
}

impl Upstream for InProcessServices {
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let host = request.address.base().host_str().unwrap().to_owned();
        *self.calls.lock().unwrap().entry(host.clone()).or_default() += 1;
        self.requests.lock().unwrap().push(request.clone());
        let behaviour = self.behaviours.lock().unwrap().get(&host).map(Arc::clone);
        match behaviour {
            Some(behaviour) => behaviour(request),
            None => async { Err(Failure::new(Reason::Connect, "there is no such nanoservice")) }.boxed(),
        }
    }
}

/// A table that stores each value for its lifetime.
struct Table<T>(Mutex<HashMap<Key, (T, Instant)>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Table<T> {
    fn get(&self, key: &Key) -> Option<T> {
        let stored = self.0.lock().unwrap().get(key).cloned();
        stored.filter(|(_, until)| Instant::now() < *until).map(|(value, _)| value)
    }

    fn put(&self, key: &Key, value: T, useful: Duration) {
        self.0.lock().unwrap().insert(key.clone(), (value, Instant::now() + useful));
    }
}

/// Stores everything, and reports each response that changes.
#[derive(Default)]
struct UnboundedStore {
    responses: Table<StoredResponse>,
    pages: Table<Arc<PageSlot>>,
    listener: OnceLock<ChangeListener>,
}

impl UnboundedStore {
    fn changed(&self, key: &Key) {
        self.listener.get().expect("the compositor has set its listener")(key);
    }
}

impl Store for UnboundedStore {
    fn get(&self, key: &Key) -> Option<StoredResponse> {
        self.responses.get(key)
    }

    fn put(&self, key: &Key, stored: StoredResponse, useful: Duration) {
        self.responses.put(key, stored, useful);
        self.changed(key);
    }

    fn change(&self, key: &Key, change: &mut dyn FnMut(&mut StoredResponse)) -> bool {
        let exists = self.responses.0.lock().unwrap().get_mut(key).map(|(stored, _)| change(stored)).is_some();
        self.changed(key);
        exists
    }

    fn remove(&self, key: &Key) -> bool {
        let existed = self.responses.0.lock().unwrap().remove(key).is_some();
        self.changed(key);
        existed
    }

    fn tagged(&self, tag: &str) -> Vec<Key> {
        let responses = self.responses.0.lock().unwrap();
        responses.iter().filter(|(_, (stored, _))| stored.is_tagged(tag)).map(|(key, _)| key.clone()).collect()
    }

    fn keys(&self) -> Vec<Key> {
        self.responses.0.lock().unwrap().keys().cloned().collect()
    }

    fn on_change(&self, listener: ChangeListener) {
        assert!(self.listener.set(listener).is_ok(), "there is one listener");
    }
}

impl PageStore for UnboundedStore {
    fn get(&self, key: &Key) -> Option<Arc<PageSlot>> {
        self.pages.get(key)
    }

    fn put(&self, key: &Key, slot: Arc<PageSlot>, useful: Duration) {
        self.pages.put(key, slot, useful);
    }

    fn clear(&self) {
        self.pages.0.lock().unwrap().clear();
    }
}

/// Counts requests in flight, and the outcomes of parts.
#[derive(Default)]
struct Counts {
    in_flight: Mutex<HashMap<String, i64>>,
    parts: Mutex<HashMap<PartOutcome, u64>>,
}

impl Observer for Counts {
    fn in_flight(&self, upstream: &str, began: bool) {
        *self.in_flight.lock().unwrap().entry(upstream.to_owned()).or_default() += if began { 1 } else { -1 };
    }

    fn page_composed(&self, page: &Page) {
        let mut parts = self.parts.lock().unwrap();
        for (hole, outcome) in page.outcomes.iter().enumerate() {
            if let Some(outcome) = outcome {
                *parts.entry(PartOutcome::of(&page.plan, hole, outcome)).or_default() += 1;
            }
        }
    }

    fn cached_page_served(&self, again: &CachedPageCounts<'_>) {
        let mut parts = self.parts.lock().unwrap();
        for (part, times) in again.parts {
            *parts.entry(part.clone()).or_default() += times;
        }
    }

    fn circuit_changed(&self, _: &CircuitChange<'_>) {}
    fn responded(&self, _: Option<&str>, _: StatusCode, _: Duration, _: u64) {}
    fn fetched(
        &self,
        _: &Fetch,
        _: Result<&pasteup::page::response::parsed::ParsedResponse, &Failure>,
        _: &pasteup::page::response::outcome::Attempt,
    ) {
    }
}

/// A wall clock that runs with tokio's.
#[derive(Clone, Copy)]
struct PausedClock(Instant);

impl Default for PausedClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for PausedClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + self.0.elapsed()
    }
}

impl TestCompositor {
    /// A compositor without retries, which have tests of their own.
    pub(crate) fn new() -> Self {
        Self::default().defaults(|defaults| defaults.resilience.retries = 0)
    }

    /// Adds `layouts/NAME`.
    pub(crate) fn layout(mut self, name: &str, text: &str) -> Self {
        self.files.layouts.push(Source::new(format!("layouts/{name}"), text));
        self
    }

    /// Adds a page at `/`.
    pub(crate) fn front(self, html: &str) -> Self {
        self.layout("front.html", &format!("+++\nroute = \"/\"\n+++\n{html}"))
    }

    /// Adds a nanoservice of this name with this behaviour.
    pub(crate) fn fragment(
        self,
        name: &str,
        behaviour: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
    ) -> Self {
        self.fragment_with(name, "", behaviour)
    }

    /// Adds a manifest file.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.manifests.push(Source::new(name, text));
        self
    }

    /// Adds a manifest with a name, a version and these lines.
    pub(crate) fn manifest(mut self, name: &str, lines: &str) -> Self {
        let text = format!("name = \"{name}\"\nversion = \"1.0.0\"\n{lines}");
        self.files.manifests.push(Source::new(format!("fragments/{name}/fragment.toml"), text));
        self
    }

    /// The same, with more lines for its manifest.
    pub(crate) fn fragment_with(
        self,
        name: &str,
        manifest: &str,
        behaviour: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
    ) -> Self {
        let site = self.manifest(name, &format!("endpoint = \"http://{name}.test/x\"\n{manifest}"));
        site.set_behaviour(name, behaviour);
        site
    }

    pub(crate) fn defaults(mut self, change: impl FnOnce(&mut Defaults)) -> Self {
        change(Arc::make_mut(&mut self.defaults));
        self
    }

    /// Adds an observer.
    pub(crate) fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// The time of day.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock)
    }

    /// Lets the observers notice that time has passed.
    pub(crate) fn tick(&self) {
        self.engine.as_ref().expect("start comes first").0.flush_counters();
    }

    /// Explains a page, as the admin listener does.
    pub(crate) async fn explain(&self, target: &str) -> Record {
        let page = self.request_page(target, Reader::default(), async |engine, request| engine.preview(request).await);
        page.await.record()
    }

    /// Allows an upstream.
    pub(crate) fn allow(mut self, upstream: &str) -> Self {
        self.limits.allowed.push(upstream.parse().unwrap());
        self
    }

    /// Puts a shared store behind the store.
    pub(crate) fn shared(mut self, shared: &Arc<Shared>) -> Self {
        self.shared = Some(Arc::clone(shared));
        self
    }

    /// Sets the source of random numbers; without it they are 0.
    pub(crate) fn chance(mut self, chance: fn() -> f64) -> Self {
        self.chance = Some(chance);
        self
    }

    /// Changes the behaviour of a nanoservice.
    pub(crate) fn set_behaviour(
        &self,
        name: &str,
        behaviour: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
    ) {
        let behaviour: Behaviour = Box::new(behaviour);
        self.services.behaviours.lock().unwrap().insert(format!("{name}.test"), Arc::new(behaviour));
    }

    /// Builds the site, which must have no errors.
    pub(crate) fn start(mut self) -> Self {
        let site = Site::build(&self.files, &self.limits, None);
        let errors: Vec<_> = site.problems.iter().filter(|p| p.is_error()).map(|p| &p.message).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let store = Arc::new(UnboundedStore::default());
        let ports = Ports {
            upstream: Arc::new(self.services.clone()),
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: self.clock(),
            observer: Arc::new(Observers([&self.observers[..], &[Arc::clone(&self.counts) as _]].concat())),
            chance: self.chance.unwrap_or(|| 0.0),
        };
        let site = BoundSite::bind(site, Arc::clone(&self.defaults));
        self.engine = Some((Compositor::with_shared(ports, store, self.shared.clone()), site));
        self
    }

    /// The diagnostics of the files: `CODE: MESSAGE`.
    pub(crate) fn problems(&self) -> Vec<String> {
        let site = Site::build(&self.files, &self.limits, None);
        site.problems.iter().map(|problem| format!("{}: {}", problem.code.as_str(), problem.message)).collect()
    }

    /// Whether a path has a page.
    pub(crate) fn has_route(&self, path: &str) -> bool {
        let (engine, site) = self.engine.as_ref().expect("start comes first");
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        site.find(path, query, engine.now()).is_ok()
    }

    /// The addresses of the lazy parts on a page.
    pub(crate) async fn lazy_addresses(&self, target: &str, reader: Reader) -> Vec<String> {
        lazy_addresses(&self.get_as(target, reader).await.html())
    }

    /// Composes a page.
    pub(crate) async fn get(&self, target: &str) -> ComposedPage {
        self.get_as(target, Reader::default()).await
    }

    /// Composes a page for a client.
    pub(crate) async fn get_as(&self, target: &str, reader: Reader) -> ComposedPage {
        let page = self.request_page(target, reader, async |engine, request| engine.compose(request).await).await;
        let headers = page.headers.at(Instant::now().into_std());
        ComposedPage(page, headers)
    }

    /// Composes a page as far as its head.
    pub(crate) async fn begin(&self, target: &str) -> Served {
        self.request_page(target, Reader::default(), async |engine, request| engine.begin(request).await).await
    }

    /// Serves a page as the server does, from the cache if it is there: its headers, its bytes, and where they came from.
    pub(crate) async fn serve(&self, target: &str, reader: Reader) -> (HeaderMap, Bytes, ServedFrom) {
        let now = || Instant::now().into_std();
        match self.serve_as(target, reader, false).await {
            Served::Cached(whole) => (whole.headers(now()), concat(&whole.plain.chunks).into(), ServedFrom::CachedPage),
            Served::Personalised(filled) => {
                let bytes = concat(&filled.chunks()).into();
                let PersonalisedPage { skeleton, etag, .. } = filled;
                let mut headers = skeleton.headers(now());
                headers.extend(etag.map(|tag| (ETAG, tag)));
                (headers, bytes, ServedFrom::Skeleton)
            }
            Served::Whole(page) => (page.headers.at(now()), concat(&page.chunks).into(), ServedFrom::Composition),
            Served::Streaming { .. } => unreachable!("streaming was not requested"),
        }
    }

    /// The same, as it is served. `stream`: it may be sent before all of it is known.
    pub(crate) async fn serve_as(&self, target: &str, reader: Reader, stream: bool) -> Served {
        self.request_page(target, reader, async |engine, request| engine.serve(request, stream).await).await
    }

    /// Serves a page as the server does to a request of a load run.
    pub(crate) async fn serve_measured(&self, target: &str, reader: Reader, run: &Arc<LoadRun>) {
        let began = Instant::now();
        self.request_page(target, reader, async |engine, mut request| {
            let trace = request.trace.span().trace;
            let measured = Arc::new(MeasuredRequest::new(Arc::clone(run), target, trace, began.into_std()));
            request.trace = request.trace.measured_by(Arc::clone(&measured));
            match engine.serve(request, false).await {
                Served::Cached(_) => run.cached(target, trace, began.elapsed(), PageKind::HIT),
                _ => measured.answered(),
            }
        })
        .await;
    }

    async fn request_page<T>(
        &self,
        target: &str,
        reader: Reader,
        handle: impl AsyncFnOnce(&Compositor, pasteup::engine::PageRequest) -> T,
    ) -> T {
        let (engine, site) = self.engine.as_ref().expect("start comes first");
        // `//HOST/PATH` is a request to another host.
        let (host, target) = match target.strip_prefix("//").and_then(|rest| rest.find('/').map(|at| rest.split_at(at)))
        {
            Some((host, target)) => (host, target),
            None => ("courier.test", target),
        };
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let at = engine.now();
        let Match { template, changes_in, pattern, parameters, .. } = site.find(path, query, at).expect("a route");
        let visit = template.visit(&pattern, parameters, query, reader, host.to_owned());
        let (template, trace) = (Arc::clone(template), Trace::new());
        handle(engine, pasteup::engine::PageRequest { template, visit, trace, at, changes_in }).await
    }

    /// The number of requests to a nanoservice.
    pub(crate) fn calls(&self, name: &str) -> usize {
        self.services.calls.lock().unwrap().get(&format!("{name}.test")).copied().unwrap_or_default()
    }

    /// All requests to nanoservices, in order.
    pub(crate) fn requests(&self) -> Vec<UpstreamRequest> {
        self.services.requests.lock().unwrap().clone()
    }

    /// The numbers of requests in flight by upstream, without zeros.
    pub(crate) fn in_flight(&self) -> HashMap<String, i64> {
        let mut counts = self.counts.in_flight.lock().unwrap().clone();
        counts.retain(|_, count| *count != 0);
        counts
    }

    /// The outcomes of parts of pages that were served, and how often each occurred.
    pub(crate) fn parts(&self) -> HashMap<PartOutcome, u64> {
        self.engine.as_ref().expect("start comes first").0.flush_counters();
        self.counts.parts.lock().unwrap().clone()
    }

    /// The number of collapsed fetches in flight.
    pub(crate) fn flights(&self) -> usize {
        self.engine.as_ref().expect("start comes first").0.fetches_in_flight()
    }

    /// Purges, and returns how many responses matched.
    pub(crate) fn purge(&self, tags: &[&str], mode: PurgeMode) -> usize {
        let tags = tags.iter().map(|tag| Name::from(*tag)).collect();
        self.engine.as_ref().expect("start comes first").0.purge(&Purge::Tags(tags), mode)
    }

    /// The compositor itself.
    pub(crate) fn compositor(&self) -> &Compositor {
        &self.engine.as_ref().expect("start comes first").0
    }

    /// Waits for the fetches that outlived their requests.
    pub(crate) async fn drain(&self) {
        self.engine.as_ref().expect("start comes first").0.drain().await;
    }
}

/// The addresses of the lazy parts in HTML.
pub(crate) fn lazy_addresses(html: &str) -> Vec<String> {
    let elements = html.split("<pasteup-lazy src=\"").skip(1);
    elements.map(|rest| rest.split('"').next().expect("an address").replace("&amp;", "&")).collect()
}

/// The address of a lazy part without conditions, as a page writes it.
pub(crate) fn lazy_address(name: &str, version: &str, parameters: &[(&str, &str)]) -> String {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let address =
        LazyAddress { name: name.to_owned(), version: version.to_owned(), parameters, ..LazyAddress::default() };
    address.write(&AddressKey::default())
}

/// Where a page came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServedFrom {
    /// From its parts, stitched for this request.
    Composition,
    /// From the page cache, as a cached page.
    CachedPage,
    /// From the page cache, as a skeleton whose holes were filled.
    Skeleton,
}

/// A composed page, and its headers at that moment.
pub(crate) struct ComposedPage(pub(crate) Page, pub(crate) HeaderMap);

impl ComposedPage {
    pub(crate) fn html(&self) -> String {
        String::from_utf8(concat(&self.0.chunks)).unwrap()
    }

    /// The value of a header; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.1.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn verdict(&self) -> &Verdict {
        &self.0.verdict
    }

    /// Outcome and reason of the fragment with this id.
    pub(crate) fn outcome(&self, id: &str) -> (Shown, Option<Reason>) {
        let index = self.0.plan.parts.iter().position(|hole| &*hole.id == id).expect("a fragment");
        let outcome = self.0.outcomes[index].as_ref().expect("it was needed");
        (outcome.shown, outcome.reason)
    }
}

/// Responds with this HTML at once.
pub(crate) fn html(text: &str) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static + use<> {
    responds(200, &[("content-type", "text/html")], text)
}

/// Responds with this status, these headers and this body at once.
pub(crate) fn responds(
    status: u16,
    headers: &[(&'static str, &str)],
    body: &str,
) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static + use<> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
    responds_with(status, headers, body)
}

/// The same, with headers that may occur more than once.
pub(crate) fn responds_with(
    status: u16,
    headers: HeaderMap,
    body: &str,
) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static + use<> {
    let body = Bytes::from(body.to_owned());
    move |_| {
        let (status, headers, body) = (StatusCode::from_u16(status).unwrap(), headers.clone(), body.clone());
        async move { Ok(UpstreamResponse { status, headers, body: stream::iter([Ok(body)]).boxed() }) }.boxed()
    }
}

/// Responds with HTML and this `Cache-Control`.
pub(crate) fn html_cached(
    text: &str,
    cache_control: &str,
) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static + use<> {
    responds(200, &[("content-type", "text/html"), ("cache-control", cache_control)], text)
}

/// Delays another behaviour.
pub(crate) fn after(
    pause: Duration,
    then: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    let then = Arc::new(then);
    move |request| {
        let then = Arc::clone(&then);
        async move {
            tokio::time::sleep(pause).await;
            then(request).await
        }
        .boxed()
    }
}

/// Never responds.
pub(crate) fn hangs() -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    |_| futures::future::pending().boxed()
}

/// Sends a head and half of a body, and then nothing more.
pub(crate) fn stalls() -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    |_| {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, "text/html".parse().unwrap())]);
        let body = stream::iter([Ok(Bytes::from_static(b"<p>half"))]).chain(stream::pending()).boxed();
        async move { Ok(UpstreamResponse { status: StatusCode::OK, headers, body }) }.boxed()
    }
}

/// Fails for this reason.
pub(crate) fn fails(reason: Reason) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    move |_| async move { Err(Failure::new(reason, "simulated by the test")) }.boxed()
}

/// Responds with the number of the request, starting with 1.
pub(crate) fn counts(
    cache_control: &'static str,
) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    let count = AtomicUsize::new(0);
    move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        html_cached(&number.to_string(), cache_control)(request)
    }
}

/// The chunks of a page, joined as they came, each with its time.
pub(crate) async fn timed_chunks(site: &TestCompositor) -> Result<Vec<(u64, String)>, Verdict> {
    let began = Instant::now();
    let mut seen: Vec<(u64, String)> = Vec::new();
    let at = || u64::try_from(began.elapsed().as_millis()).unwrap();
    match site.begin("/").await {
        Served::Whole(page) if page.verdict == Verdict::Page(StatusCode::OK) => {
            seen.push((at(), String::from_utf8(concat(&page.chunks)).unwrap()));
        }
        Served::Whole(page) => return Err(page.verdict),
        Served::Cached(_) | Served::Personalised(_) => unreachable!("`begin` composes every page"),
        Served::Streaming { status, headers, mut body } => {
            assert_eq!((status, &headers["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
            assert!(!headers.contains_key("etag"));
            seen.push((at(), String::new()));
            while let Some(chunk) = body.next().await {
                let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
                match seen.last_mut() {
                    Some((then, before)) if *then == at() => before.push_str(&text),
                    _ => seen.push((at(), text)),
                }
            }
        }
    }
    Ok(seen)
}

pub(crate) fn assert_chunks(seen: &[(u64, String)], expected: &[(u64, &str)]) {
    let seen: Vec<(u64, &str)> = seen.iter().map(|(at, text)| (*at, text.as_str())).collect();
    assert_eq!(seen, expected);
}
