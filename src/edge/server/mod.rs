//! The public side: from a request to a page, and from a page to a response.
//! Whatever goes wrong is an error page that repeats nothing of what was sent.

mod body;
mod error_page;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::engine::fetch::Trace;
use crate::engine::port::Observer;
use crate::engine::{Compositor, Live, Page};
use crate::page::context::{Reader, Visit};
use crate::page::outcome::{Reason, Shown};
use crate::page::route;
use crate::page::site::Match;
use crate::page::verdict::Verdict;

use body::Chunks;
pub use error_page::html as error_page_html;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
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
    pub in_flight: Semaphore,
    /// Bytes of a request's target.
    pub max_uri_bytes: usize,
}

/// Content codings that pages may be sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Brotli.
    pub br: bool,
    /// Zstandard.
    pub zstd: bool,
    /// gzip.
    pub gzip: bool,
}

/// The public side as a service.
pub fn router(pages: Arc<Pages>, compression: Compression) -> Router {
    let compress = CompressionLayer::new().br(compression.br).zstd(compression.zstd).gzip(compression.gzip);
    Router::new().fallback(answer).with_state(pages).layer(compress).layer(CatchPanicLayer::custom(
        |_: Box<dyn std::any::Any + Send>| {
            tracing::error!("a request panicked");
            error(StatusCode::INTERNAL_SERVER_ERROR, Trace::new()).map(Body::new)
        },
    ))
}

async fn answer(State(pages): State<Arc<Pages>>, request: Request) -> Response {
    let began = Instant::now();
    let trace = Trace::new();
    // A body is never read: what a reader sends decides nothing.
    let (request, _) = request.into_parts();
    // `HEAD` is answered like `GET`: hyper leaves the body out and keeps its length.
    let mut response = pages.respond(&request, trace).await;
    if let Ok(id) = HeaderValue::from_str(&trace.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    pages.observer.answered(response.status(), began.elapsed());
    response
}

impl Pages {
    async fn respond(&self, request: &Parts, trace: Trace) -> Response {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return with_header(error(StatusCode::SERVICE_UNAVAILABLE, trace), RETRY_AFTER, "1");
        };
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return with_header(error(StatusCode::METHOD_NOT_ALLOWED, trace), ALLOW, "GET, HEAD");
        }
        let uri = &request.uri;
        let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
        if length > self.max_uri_bytes {
            return error(StatusCode::URI_TOO_LONG, trace);
        }
        let Ok(path) = route::normalise(uri.path()) else {
            return error(StatusCode::BAD_REQUEST, trace);
        };
        let snapshot = self.live.now();
        let Some(Match { template, pattern, parameters }) = snapshot.site.find(&path) else {
            return error(StatusCode::NOT_FOUND, trace);
        };
        let visit = Visit::new(pattern, parameters, uri.query(), &template.query, reader(&request.headers));
        let page = self.compositor.compose(template, &visit, &snapshot.defaults, trace, None).await;
        log(&page, pattern, trace);
        response(page, trace)
    }
}

/// What is known of a reader.
fn reader(headers: &HeaderMap) -> Reader {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let cookies = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Reader { cookies, headers: headers.clone(), ..Reader::default() }
}

/// One line a page that is not as it should be, each part of it with its reason.
fn log(page: &Page, pattern: &str, trace: Trace) {
    let degraded: Vec<String> = page
        .plan
        .template
        .fragments
        .iter()
        .zip(&page.outcomes)
        .filter_map(|(fragment, outcome)| {
            let outcome = outcome.as_ref()?;
            let reason = outcome.reason?;
            let expected = matches!(reason, Reason::Condition | Reason::Empty | Reason::Revalidating);
            (outcome.shown != Shown::Fresh && !expected)
                .then(|| format!("{}={} ({reason})", fragment.id, outcome.shown))
        })
        .collect();
    if !degraded.is_empty() {
        let file = page.plan.template.file.as_str();
        tracing::info!(%trace, page = pattern, layout = file, parts = degraded.join(", "), "page degraded");
    }
}

fn response(page: Page, trace: Trace) -> Response {
    let mut response = match page.verdict {
        Verdict::Error(status) => return error(status, trace),
        Verdict::Redirect(status, location) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            match HeaderValue::from_str(&location) {
                Ok(location) => response.headers_mut().insert(LOCATION, location),
                Err(_) => return error(StatusCode::BAD_GATEWAY, trace),
            };
            response
        }
        Verdict::Page(status) => {
            let mut response = Response::new(Body::new(Chunks::new(page.chunks)));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HTML);
            for (name, value) in &page.plan.template.headers {
                headers.insert(name.clone(), value.clone());
            }
            response
        }
    };
    if let Ok(value) = HeaderValue::from_str(&page.cache_control) {
        response.headers_mut().insert(CACHE_CONTROL, value);
    }
    response
}

fn error(status: StatusCode, trace: Trace) -> Response {
    let mut response = Response::new(Body::from(error_page::html(status, &trace.to_string())));
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
