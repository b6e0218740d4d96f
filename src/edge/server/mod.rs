//! The public side: from a request to a page, and from a page to a response.
//! Whatever goes wrong is an error page that repeats nothing of what was sent.

mod assets;
mod body;
mod coding;
pub mod dev;
mod error_page;
pub mod overlay;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::future::{BoxFuture, Either};
use futures::{FutureExt as _, StreamExt as _};
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, ETAG, IF_NONE_MATCH, LOCATION,
    RETRY_AFTER, SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::engine::page_cache::ResponseHead;
use crate::engine::port::Observer;
use crate::engine::{
    self, CacheHit, CachedPage, Compositor, EncodedPage, Live, Page, PersonalisedPage, Served, Snapshot, Trace,
};
use crate::page::browser::scripts::{self, Script};
use crate::page::html::text::Text;
use crate::page::http::http1;
use crate::page::output::headers::SURROGATE_KEY;
use crate::page::output::record::Record;
use crate::page::output::stitch::gathered;
use crate::page::output::verdict::Verdict;
use crate::page::policy::cache::validation::is_not_modified;
use crate::page::site::Match;
use crate::page::visit::context::Dimension;
use crate::page::visit::experiment::{Assignment, assign_variants};
use crate::page::visit::route;

pub use body::Chunks;
use coding::Coding;
pub use coding::Compression;
use dev::Dev;
pub use error_page::html as error_page_html;
use overlay::{Drawing, Overlay};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The compositor's own paths.
const OWN: &str = "/_pasteup/";
/// Where the merged catalogue is.
const CATALOGUE: &str = "/.well-known/fragments.json";
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What the public side works with.
pub struct Pages {
    /// What is live.
    pub live: Arc<Live>,
    /// Composes.
    pub compositor: Compositor,
    /// Counts.
    pub observer: Arc<dyn Observer>,
    /// Requests at once; past them, 503 at once.
    pub in_flight: Arc<Semaphore>,
    /// Bytes of a request's target.
    pub max_uri_bytes: usize,
    /// Content codings that pages may be sent in.
    pub compression: Compression,
    /// Who sees the overlay.
    pub overlay: Overlay,
    /// What is there only while the site is being developed.
    pub dev: Option<Dev>,
}

/// The public side as a service.
pub fn router(pages: Arc<Pages>) -> Router {
    let compress = pages.compression.layer();
    Router::new()
        .fallback(answer)
        .with_state(pages)
        .layer(compress)
        .layer(MapRequestLayer::new(coding::acceptable))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked()))
}

/// What a mistake of ours comes to.
fn panicked() -> Response {
    tracing::error!("a request panicked");
    error(StatusCode::INTERNAL_SERVER_ERROR, &Trace::new())
}

async fn answer(State(pages): State<Arc<Pages>>, request: Request) -> Response {
    let began = Instant::now();
    // A body is never read: what a reader sends decides nothing.
    let (request, _) = request.into_parts();
    let snapshot = pages.live.now();
    let peer = request.extensions.get().map(|ConnectInfo(peer)| *peer);
    let (trusted, trace) = seen(&request, peer, &snapshot);
    // `HEAD` is answered like `GET`: hyper leaves the body out and keeps its length.
    let mut page = None;
    let mut response = pages.respond(&request, &snapshot, trusted, &trace, &mut page).await;
    sign(response.headers_mut(), &trace);
    pages.observer.responded(page.as_deref(), response.status(), began.elapsed(), 1);
    response
}

/// RFC 9110, 15.4.5: nothing is said of the bytes of a page that is not sent.
fn unsay(headers: &mut HeaderMap) {
    headers.remove(CONTENT_TYPE);
    headers.remove(CONTENT_ENCODING);
}

/// What every answer has.
fn sign(headers: &mut HeaderMap, trace: &Trace) {
    if let Ok(id) = HeaderValue::from_bytes(&trace.id()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Whether what a request says of its reader counts, and the trace that it belongs to.
fn seen(request: &Parts, peer: Option<SocketAddr>, snapshot: &Snapshot) -> (bool, Trace) {
    let trusted = peer.is_some_and(|peer| snapshot.readers.trusts(peer.ip()));
    // Anybody could send a trace, and have its requests recorded.
    (trusted, Some(&request.headers).filter(|_| trusted).and_then(Trace::from_headers).unwrap_or_default())
}

/// A page that is kept, for who asks for it.
enum Hit {
    /// All of it is there.
    Whole(Whole),
    /// What it leaves open is being asked for.
    Later(Later),
}

/// A page that is kept whole, for who asks for it.
struct Whole {
    said: Arc<ResponseHead>,
    /// `None`: he has it already.
    chunks: Option<Chunks>,
    trace: Trace,
}

/// An answer that is waited for.
pub type Later = BoxFuture<'static, Response>;

/// Which fields are there that decide how a page is sent: one look at all takes less time than to look for each.
#[derive(Default)]
struct There {
    coding: bool,
    /// A debug token may be.
    token: bool,
    etag: bool,
}

impl There {
    fn among(headers: &HeaderMap) -> Self {
        let mut there = Self::default();
        for name in headers.keys() {
            there.coding |= *name == ACCEPT_ENCODING;
            there.token |= *name == COOKIE || *name == overlay::TOKEN;
            there.etag |= *name == IF_NONE_MATCH;
        }
        there
    }

    /// What a reader says of the forms that he takes and of what he holds.
    fn told(&self, headers: &HeaderMap) -> HeaderMap {
        let mut told = HeaderMap::new();
        for (there, name) in [(self.coding, ACCEPT_ENCODING), (self.etag, IF_NONE_MATCH)] {
            for value in headers.get_all(&name).iter().filter(|_| there) {
                told.append(&name, value.clone());
            }
        }
        told
    }
}

/// Bytes of what is said in a head of one answer alone.
const ROOM: usize = 128;

/// A page that is asked for.
struct Wanted {
    request: engine::PageRequest,
    part: Assignment,
    /// It may be sent before all of it is known.
    stream: bool,
}

impl Pages {
    /// The answer to a request for a page that is kept, there or waited for. `None`: it is for the router.
    #[must_use]
    pub fn at_once(
        self: &Arc<Self>,
        request: &Parts,
        peer: SocketAddr,
    ) -> Option<Either<http::Response<Chunks>, Later>> {
        let Whole { said, chunks, trace } = match self.hit(request, peer)? {
            Hit::Whole(whole) => whole,
            Hit::Later(later) => return Some(Either::Right(later)),
        };
        let mut headers = said.headers.clone();
        sign(&mut headers, &trace);
        let mut response = http::Response::new(chunks);
        if response.body().is_none() {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            unsay(&mut headers);
        }
        *response.headers_mut() = headers;
        Some(Either::Left(response.map(Option::unwrap_or_default)))
    }

    /// The same over HTTP/1.1: the head, but for its date and the empty line, and the body.
    #[must_use]
    pub fn at_once_written(
        self: &Arc<Self>,
        request: &Parts,
        peer: SocketAddr,
    ) -> Option<Either<(Vec<u8>, Chunks), Later>> {
        let Whole { said, chunks, trace } = match self.hit(request, peer)? {
            Hit::Whole(whole) => whole,
            Hit::Later(later) => return Some(Either::Right(later)),
        };
        let mut head = match chunks {
            Some(_) => {
                let mut head = Vec::with_capacity(said.head.len() + ROOM);
                head.extend_from_slice(&said.head);
                head
            }
            None => {
                let mut headers = said.headers.clone();
                unsay(&mut headers);
                http1::head(StatusCode::NOT_MODIFIED, &headers, None)
            }
        };
        http1::write_field(&mut head, &REQUEST_ID, &trace.id());
        Some(Either::Left((head, chunks.unwrap_or_default())))
    }

    // It passes by all layers: what they would do is done here, or is not needed for such a page.
    fn hit(self: &Arc<Self>, request: &Parts, peer: SocketAddr) -> Option<Hit> {
        let began = Instant::now();
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().ok()?;
        let there = There::among(&request.headers);
        let coding = match there.coding {
            true => coding::negotiated(&request.headers, self.compression)?,
            false => Coding::Identity,
        };
        if self.overlay.is_for_all() || there.token && self.overlay.is_for(&request.headers, || self.compositor.now()) {
            return None;
        }
        let snapshot = self.live.now();
        let path = self.path(request).ok().filter(|path| !path.starts_with(OWN) && path != CATALOGUE)?;
        let (trusted, trace) = seen(request, Some(peer), &snapshot);
        let wanted = self.wanted(&path, request, &snapshot, trusted, &trace)?;
        if wanted.part.is_drawn {
            return None;
        }
        let whole = match self.compositor.ready(&wanted.request, began)? {
            CacheHit::Whole(whole) => whole,
            CacheHit::Skeleton(open) => {
                let headers = there.told(&request.headers);
                let pages = Arc::clone(self);
                let Wanted { request, part, stream } = wanted;
                let (reads, pattern) = (request.template.reads.clone(), request.visit.pattern.clone());
                let answer = async move {
                    let begun = pages.compositor.complete(request, open, stream).await;
                    let reader = For { snapshot: &snapshot, trace: &trace, headers: &headers, drawing: None };
                    pages.completed(begun, &reader, Waited { reads, part, pattern, coding, began }, permit).await
                };
                let answer =
                    AssertUnwindSafe(answer).catch_unwind().map(|answer| answer.unwrap_or_else(|_| panicked()));
                return Some(Hit::Later(answer.boxed()));
            }
        };
        let coded = match coding {
            Coding::Identity => Arc::clone(&whole.plain),
            Coding::Form(form) => coding::form(&self.compositor, &whole, form)?,
        };
        let said = self.said(&whole, &coded, &snapshot, began);
        let known = there.etag && said.headers.get(ETAG).is_some_and(|tag| has(&request.headers, tag));
        whole.count_served(began);
        whole.count_response(known, began.elapsed());
        Some(Hit::Whole(Whole {
            said,
            chunks: (!known).then(|| Chunks::held(Arc::clone(&coded.chunks), permit)),
            trace,
        }))
    }

    /// What is said of a page that is kept.
    fn said(&self, page: &CachedPage, coded: &EncodedPage, snapshot: &Snapshot, now: Instant) -> Arc<ResponseHead> {
        page.head(coded, now, |headers| {
            headers.entry(CONTENT_TYPE).or_insert(HTML);
            headers.extend(coded.encoding.map(|form| (CONTENT_ENCODING, coding::name(form))));
            let coded = self.compression.any().then(|| HeaderValue::from_static("accept-encoding"));
            for vary in coded.into_iter().chain(snapshot.readers.vary(&page.dimensions)) {
                headers.append(VARY, vary);
            }
        })
    }

    /// The normalised path of a request that may be answered, or else the status and what it needs.
    fn path(&self, request: &Parts) -> Result<String, StatusCode> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let length = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if length > self.max_uri_bytes {
            return Err(StatusCode::URI_TOO_LONG);
        }
        route::normalise(request.uri.path()).map_err(|_| StatusCode::BAD_REQUEST)
    }

    /// The page at a path. `None`: there is none.
    fn wanted(&self, path: &str, request: &Parts, snapshot: &Snapshot, trusted: bool, trace: &Trace) -> Option<Wanted> {
        let at = self.compositor.now();
        let Match { template, changes_in, pattern, parameters } = snapshot.site.find(path, at)?;
        let mut reader = snapshot.readers.reader(&template.reads, &request.headers, trusted);
        let part = assign_variants(
            &template.experiments,
            &template.reads,
            &request.headers,
            self.compositor.chance(),
            &mut reader,
        );
        let host = if template.reads_host { host(request) } else { String::new() };
        let visit = template.visit(pattern, parameters, request.uri.query(), reader, host);
        // Before HTTP/1.1 nothing tells a body that broke off from one that ended.
        let stream = snapshot.stream && template.alone.is_none() && request.version >= Version::HTTP_11;
        let (template, trace) = (Arc::clone(template), trace.clone());
        let request = engine::PageRequest { template, visit, trace, at, changes_in };
        Some(Wanted { request, part, stream })
    }

    /// `page`: what it is counted as, where it is one.
    async fn respond(
        &self,
        request: &Parts,
        snapshot: &Snapshot,
        trusted: bool,
        trace: &Trace,
        page: &mut Option<String>,
    ) -> Response {
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            let busy = error_with(StatusCode::SERVICE_UNAVAILABLE, error_page::BUSY.clone());
            return with_header(busy, RETRY_AFTER, "1");
        };
        if let Some(response) = self.dev.as_ref().and_then(|dev| dev.respond(request.uri.path(), request)) {
            return response;
        }
        let drawing = self
            .overlay
            .is_for(&request.headers, || self.compositor.now())
            .then(|| Drawing::new(self.dev.as_ref().map(Dev::version)));
        let path = match self.path(request) {
            Ok(path) => path,
            Err(StatusCode::METHOD_NOT_ALLOWED) => {
                return with_header(error(StatusCode::METHOD_NOT_ALLOWED, trace), ALLOW, "GET, HEAD");
            }
            Err(status) => return error(status, trace),
        };
        if path.starts_with(assets::PREFIX) {
            return assets::respond(self, &path, request, snapshot, trace).await;
        }
        if let Some(script) = scripts::at(&path) {
            return self::script(script);
        }
        if path == CATALOGUE {
            return catalogue(snapshot);
        }
        if path == overlay::ENTRANCE {
            return self
                .overlay
                .enter(request, self.compositor.now())
                .unwrap_or_else(|| error(StatusCode::NOT_FOUND, trace));
        }
        let Some(Wanted { request: wanted, part, stream }) = self.wanted(&path, request, snapshot, trusted, trace)
        else {
            let missing = error_page::html(StatusCode::NOT_FOUND, &trace.to_string());
            return match drawing {
                Some(drawing) => {
                    let answer = error_with(StatusCode::NOT_FOUND, Bytes::new());
                    overlaid(answer, vec![missing.into()], None, &drawing, permit)
                }
                None => error_with(StatusCode::NOT_FOUND, missing.into()),
            };
        };
        *page = Some(wanted.visit.pattern.clone());
        // Who is put into a variant now holds no copy of the page as it is there.
        let nothing = HeaderMap::new();
        let headers = if part.is_drawn { &nothing } else { &request.headers };
        let reads = wanted.template.reads.clone();
        let begun = match &drawing {
            Some(_) => Served::Whole(Box::new(self.compositor.compose(wanted).await)),
            None => self.compositor.serve(wanted, stream).await,
        };
        self.begun(begun, &For { snapshot, trace, headers, drawing: drawing.as_ref() }, reads, part, permit)
    }

    /// The answer with a page. `reads`: what it varies on at most, where it is still to come.
    fn begun(
        &self,
        begun: Served,
        reader: &For<'_>,
        reads: Vec<Dimension>,
        part: Assignment,
        permit: OwnedSemaphorePermit,
    ) -> Response {
        let For { snapshot, trace, headers: held, drawing } = *reader;
        let mut dimensions = reads;
        let mut response = match begun {
            Served::Cached(whole) => {
                dimensions.clone_from(&whole.dimensions);
                let body = || Body::new(Chunks::held(Arc::clone(&whole.plain.chunks), permit));
                answered(StatusCode::OK, whole.headers(Instant::now()), body, held)
            }
            Served::Personalised(page) => {
                dimensions.clone_from(&page.skeleton.dimensions);
                let mut headers = page.skeleton.headers(Instant::now());
                headers.extend(page.etag.clone().map(|tag| (ETAG, tag)));
                answered(StatusCode::OK, headers, || Body::new(Chunks::held(page.chunks().into(), permit)), held)
            }
            Served::Whole(page) => {
                dimensions.clone_from(&page.plan.dimensions);
                match drawing {
                    Some(drawing) => explained(*page, drawing, trace, permit),
                    None => response(*page, held, trace, permit),
                }
            }
            Served::Streaming { status, headers, body } => {
                let body = body.map(move |chunk| {
                    // The request is under way until its last byte.
                    let _permit = &permit;
                    chunk
                });
                self::page(status, headers, Body::from_stream(body))
            }
        };
        if let Some(vary) = snapshot.readers.vary(&dimensions) {
            response.headers_mut().append(VARY, vary);
        }
        // Another reader with the same cookies may see another page.
        if part.is_drawn {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
            response.headers_mut().remove(ETAG);
        }
        for cookie in part.cookies {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// The answer with a page that was kept open, past all layers.
    async fn completed(
        &self,
        begun: Served,
        reader: &For<'_>,
        waited: Waited,
        permit: OwnedSemaphorePermit,
    ) -> Response {
        let Waited { reads, part, pattern, coding, began } = waited;
        let mut response = match begun {
            Served::Personalised(page) => self.filled(&page, reader, coding, began, permit).await,
            begun => {
                let response = self.begun(begun, reader, reads, part, permit);
                self.observer.responded(Some(&pattern), response.status(), began.elapsed(), 1);
                self.compression.sent(response, reader.headers).await
            }
        };
        sign(response.headers_mut(), reader.trace);
        response
    }

    /// The answer with a page whose gaps are filled.
    async fn filled(
        &self,
        page: &PersonalisedPage,
        reader: &For<'_>,
        coding: Coding,
        began: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Response {
        let said = |coded: &EncodedPage| {
            let mut headers = self.said(&page.skeleton, coded, reader.snapshot, Instant::now()).headers.clone();
            headers.extend(page.etag.clone().map(|tag| (ETAG, tag)));
            headers
        };
        let answer = |headers: HeaderMap, chunks: Vec<Text>| {
            let mut response = Response::new(Body::new(Chunks::held(chunks.into(), permit)));
            *response.headers_mut() = headers;
            response
        };
        let known = page.etag.as_ref().is_some_and(|tag| has(reader.headers, tag));
        page.skeleton.count_response(known, began.elapsed());
        if known {
            let mut headers = said(&page.skeleton.plain);
            unsay(&mut headers);
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.headers_mut() = headers;
            return response;
        }
        if let Some((coded, chunks)) = coding::filled(&self.compositor, page, coding, reader.headers, self.compression)
        {
            return answer(said(&coded), chunks);
        }
        let plain = answer(said(&page.skeleton.plain), page.chunks());
        match reader.headers.contains_key(ACCEPT_ENCODING) {
            true => self.compression.sent(plain, reader.headers).await,
            false => plain,
        }
    }
}

/// Whom an answer is for.
#[derive(Clone, Copy)]
struct For<'a> {
    snapshot: &'a Snapshot,
    trace: &'a Trace,
    /// What he says of what he takes and holds.
    headers: &'a HeaderMap,
    /// He sees the overlay.
    drawing: Option<&'a Drawing>,
}

/// What else is known of a page that is waited for past all layers.
struct Waited {
    /// What it varies on at most.
    reads: Vec<Dimension>,
    part: Assignment,
    pattern: String,
    /// In what it would be sent were it kept whole.
    coding: Coding,
    began: Instant,
}

/// A page with the overlay.
fn explained(page: Page, drawing: &Drawing, trace: &Trace, permit: OwnedSemaphorePermit) -> Response {
    let record = page.record();
    let (chunks, answer) = match &page.verdict {
        Verdict::Redirect(..) => return response(page, &HeaderMap::new(), trace, permit),
        Verdict::Error(status) => {
            (vec![error_page::html(*status, &trace.to_string()).into()], error_with(*status, Bytes::new()))
        }
        Verdict::Page(status) => {
            (drawing.marked(&page), self::page(*status, page.headers.at(Instant::now()), Body::empty()))
        }
    };
    overlaid(answer, chunks, Some(&record), drawing, permit)
}

fn overlaid(
    response: Response,
    chunks: Vec<Bytes>,
    record: Option<&Record>,
    drawing: &Drawing,
    permit: OwnedSemaphorePermit,
) -> Response {
    let mut response = response
        .map(|_| Body::new(Chunks::held(drawing.over(chunks, record).into_iter().map(Text::from).collect(), permit)));
    overlay::adapt(response.headers_mut(), record);
    response
}

/// The host that was asked (RFC 9110, 7.2).
fn host(request: &Parts) -> String {
    let named = request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    request.uri.authority().map(http::uri::Authority::as_str).or(named).unwrap_or_default().to_owned()
}

fn response(page: Page, request: &HeaderMap, trace: &Trace, permit: OwnedSemaphorePermit) -> Response {
    let Page { verdict, chunks, headers, .. } = page;
    let headers = headers.at(Instant::now());
    match verdict {
        Verdict::Error(status) => error(status, trace),
        Verdict::Redirect(status, location) => {
            let Ok(location) = HeaderValue::from_str(&location) else { return error(StatusCode::BAD_GATEWAY, trace) };
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            for name in [CACHE_CONTROL, VARY, SURROGATE_KEY, SET_COOKIE] {
                for value in headers.get_all(&name) {
                    response.headers_mut().append(&name, value.clone());
                }
            }
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Verdict::Page(status) => {
            answered(status, headers, || Body::new(Chunks::held(gathered(&chunks).pieces.into(), permit)), request)
        }
    }
}

/// Whether the reader who asks has the page with this `ETag` already.
fn has(request: &HeaderMap, tag: &HeaderValue) -> bool {
    tag.to_str().is_ok_and(|tag| is_not_modified(request, tag))
}

/// A page that is whole, or that the reader has it already.
fn answered(status: StatusCode, headers: HeaderMap, body: impl FnOnce() -> Body, request: &HeaderMap) -> Response {
    if status != StatusCode::OK || !headers.get(ETAG).is_some_and(|tag| has(request, tag)) {
        return page(status, headers, body());
    }
    // RFC 9110, 15.4.5: what is said of the page, and nothing of its bytes.
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    // As its 200 has it, which may be sent in any coding.
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    response.headers_mut().extend(headers);
    response
}

fn page(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response.headers_mut().extend(headers);
    response
}

/// One of the compositor's own scripts, which never changes under its name.
fn script(script: &'static Script) -> Response {
    let mut response = Response::new(Body::from(script.text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    with_header(response, X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// All nanoservices that pages can ask for, in the form in which they tell of themselves.
fn catalogue(snapshot: &Snapshot) -> Response {
    let mut response = Response::new(Body::from(snapshot.site.catalogue.to_json().to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=10"));
    response
}

fn error(status: StatusCode, trace: &Trace) -> Response {
    error_with(status, error_page::html(status, &trace.to_string()).into())
}

fn error_with(status: StatusCode, page: Bytes) -> Response {
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    headers.insert(http::header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn with_header(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
