//! The operators' side: health, metrics, purges, the catalogue. A mutation is a POST; a GET never
//! changes anything.

mod console;
mod map;
mod seen;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::engine::{self, Compositor, Live, Manner, Purge, Snapshot, Statistics};
use crate::page::output::record::Record;
use crate::page::source::diagnostic::Diagnostic;
use crate::page::source::names::Name;
use crate::secrets::passes::Passes;

/// Surrogate keys of one purge, at most.
const MAX_KEYS: usize = 10_000;
/// The longest that a debug token is good for.
const MAX_MINUTES: u64 = 7 * 24 * 60;

/// The request for what a query asks, of what is live, at a time. `None`: no layout has a route for it.
pub type Asked =
    dyn Fn(&[(String, String)], &Snapshot, Timestamp) -> Result<Option<engine::PageRequest>, String> + Send + Sync;

/// What the admin side works with.
pub struct Admin {
    /// Whether layouts are loaded and the server is not stopping.
    pub ready: Arc<AtomicBool>,
    /// What is live.
    pub live: Arc<Live>,
    /// Composes, and purges.
    pub compositor: Compositor,
    /// What became of pages and nanoservices lately.
    pub board: Arc<Statistics>,
    /// Reads for which page and reader somebody wants an explanation.
    pub asked: Box<Asked>,
    /// Signs debug tokens.
    pub passes: Arc<Passes>,
    /// Draws a mistake for people.
    pub drawn: fn(&Diagnostic) -> String,
    /// Bytes and entries that the cache holds.
    pub usage: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
    /// Ends when this side stops.
    pub stop: CancellationToken,
    /// All metrics as OpenMetrics text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// What a request must bring for all but health; nothing where there is none.
    pub token: Option<String>,
}

impl Admin {
    /// What becomes of the page that a query asks for, just now; nobody's page, it counts nowhere. `None`: no layout has
    /// a route for it.
    async fn explain(&self, query: &[(String, String)]) -> Result<Option<Record>, String> {
        let live = self.live.now();
        match (self.asked)(query, &live, self.compositor.now())? {
            Some(request) => Ok(Some(self.compositor.examine(request).await.record())),
            None => Ok(None),
        }
    }
}

/// What a URL asks, in its order.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Params(Vec<(String, String)>);

impl Params {
    /// A value, or nothing.
    fn value(&self, wanted: &str) -> &str {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// The admin side as a service.
pub fn router(admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/api/purge", post(purge))
        .route("/api/debug-token", post(debug_token))
        .merge(seen::router())
        .merge(console::router())
        .layer(from_fn_with_state(Arc::clone(&admin), authorise));
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .with_state(admin)
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    admin.compositor.tell();
    let text = (admin.metrics)();
    let wanted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if wanted.contains("application/openmetrics-text") {
        return ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response();
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], without_exemplars(&text)).into_response()
}

/// Prometheus' own text knows no exemplars.
fn without_exemplars(text: &str) -> String {
    let plain = |line: &str| match line.split_once(" # {") {
        Some((count, _)) if !line.starts_with('#') => format!("{count}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(plain).collect()
}

/// What is to be purged: `{"keys": ["weather"], "soft": false}` or `{"all": true}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeOrder {
    /// Surrogate keys, and names of nanoservices.
    pub keys: Vec<String>,
    /// Everything.
    pub all: bool,
    /// It becomes stale instead of going.
    pub soft: bool,
}

/// What was purged.
#[derive(Debug, Serialize, Deserialize)]
pub struct PurgeDone {
    /// How many answers it met.
    pub purged: usize,
}

async fn purge(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let order: PurgeOrder = match ordered(&headers, &body) {
        Ok(order) => order,
        Err((status, why)) => return refuse(status, &why),
    };
    if order.all != order.keys.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "say either {\"keys\": [\"…\"]} or {\"all\": true}");
    }
    if order.keys.len() > MAX_KEYS {
        return refuse(StatusCode::BAD_REQUEST, "too many keys at once: 10000 are the most");
    }
    let manner = if order.soft { Manner::Soft } else { Manner::Hard };
    let what = if order.all {
        Purge::All
    } else {
        Purge::Tags(order.keys.iter().map(|key| Name::from(key.as_str())).collect())
    };
    // Everything may be much.
    let purged = tokio::task::spawn_blocking(move || {
        let purged = admin.compositor.purge(&what, manner);
        tracing::info!(keys = order.keys.join(" "), all = order.all, soft = order.soft, purged, "purged");
        purged
    });
    match purged.await {
        Ok(purged) => Json(PurgeDone { purged }).into_response(),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the purge crashed"),
    }
}

/// How long a debug token is wanted for: `{"minutes": 60}`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TokenOrder {
    minutes: u64,
}

impl Default for TokenOrder {
    fn default() -> Self {
        Self { minutes: 60 }
    }
}

/// A debug token, and where a browser brings it to on the public side.
#[derive(Debug, Serialize)]
struct TokenDone {
    token: String,
    path: String,
}

async fn debug_token(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let order: TokenOrder = match ordered(&headers, &body) {
        Ok(order) => order,
        Err((status, why)) => return refuse(status, &why),
    };
    if order.minutes == 0 || order.minutes > MAX_MINUTES {
        return refuse(StatusCode::BAD_REQUEST, "a debug token is good for 1 minute to 7 days (10080 minutes)");
    }
    let token = admin.passes.issue(admin.compositor.now(), Duration::from_mins(order.minutes));
    tracing::info!(minutes = order.minutes, "a debug token was issued");
    let path = format!("/_pasteup/debug?token={token}");
    Json(TokenDone { token, path }).into_response()
}

/// What is ordered by a POST.
fn ordered<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, (StatusCode, String)> {
    // A form of another site can be sent from an operator's browser, but not as JSON.
    let json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if json.split(';').next().map(str::trim) != Some("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send it as Content-Type: application/json".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

fn refuse(status: StatusCode, detail: &str) -> Response {
    let problem = Problem { title: status.canonical_reason().unwrap_or_default(), status: status.as_u16(), detail };
    (status, [(CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
}

async fn authorise(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if admin.token.as_ref().is_none_or(|token| given.is_some_and(|given| brings(given, token))) {
        return next.run(request).await;
    }
    // Browsers ask people for a name and a password by `Basic`: any name will do.
    let challenges = [(WWW_AUTHENTICATE, "Bearer"), (WWW_AUTHENTICATE, "Basic realm=\"Pasteup\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, AppendHeaders(challenges), "this needs the admin token\n").into_response()
}

/// Whether `Authorization` holds the token, as such (RFC 6750) or as a password (RFC 7617).
fn brings(given: &str, token: &str) -> bool {
    if let Some(given) = given.strip_prefix("Bearer ") {
        return same(given, token);
    }
    let pair = given.strip_prefix("Basic ").and_then(|pair| STANDARD.decode(pair).ok());
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    pair.as_deref().and_then(|pair| pair.split_once(':')).is_some_and(|(_, password)| same(password, token))
}

/// Compares in a time that does not depend on where the texts differ.
fn same(given: &str, token: &str) -> bool {
    given.len() == token.len() && given.bytes().zip(token.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
