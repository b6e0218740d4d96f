//! The admin listener: health, metrics, purges, the JSON API and the console.
//! Everything except health requires the admin token if one is set; without one, only requests for this machine's own names
//! are handled. Only a POST changes anything; a GET never does, and neither does a page of another site.

mod actions;
mod api;
mod authorise;
mod causes;
mod console;
mod metrics;
mod now;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::BoxFuture;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::engine::load::LoadRuns;
use crate::engine::{self, Compositor, Live, Purge, PurgeMode, Snapshot, Statistics};
use crate::page::manifest::Manifest;
use crate::page::output::record::Record;
use crate::page::policy::cluster::report::ClusterReport;
use crate::page::policy::supervision::status::{ComponentStatus, ProgramStatus};
use crate::page::source::diagnostic::Diagnostic;
use crate::secrets::Secret;
use crate::secrets::debug_tokens::DebugTokens;

use authorise::{authorise, refuse_foreign};

pub use actions::{
    DeployAnswer, DeployRequest, LoadRunStarted, PurgeRequest, PurgeResult, ReloadResult, ReplicaPurge, RolloutRequest,
};

/// Builds the page request that a query string describes, from a snapshot, at a time.
/// Returns `None` if no layout has a route for the path.
pub type ReadQuery =
    dyn Fn(&[(String, String)], &Snapshot, Timestamp) -> Result<Option<engine::PageRequest>, String> + Send + Sync;

/// Shows the program of a nanoservice. Returns `None` if it has none.
pub type ShowProgram = dyn Fn(&Manifest) -> Option<ProgramStatus> + Send + Sync;

/// Shows the component of a nanoservice. Returns `None` if it has none that can be run.
pub type ShowComponent = dyn Fn(&Manifest) -> Option<ComponentStatus> + Send + Sync;

/// What a purge did on all replicas, as the one that was asked sees it.
#[derive(Debug, Default)]
pub struct AllPurged {
    /// The number of responses that matched.
    pub purged: usize,
    /// The same for each replica, if there may be several; `None`: it did not say.
    pub replicas: BTreeMap<String, Option<usize>>,
}

/// Purges on all replicas.
pub type PurgeAll = dyn Fn(Purge, PurgeMode) -> BoxFuture<'static, AllPurged> + Send + Sync;

/// Hears what another replica tells, and returns the answer.
pub type Tell = dyn Fn(serde_json::Value) -> Result<serde_json::Value, String> + Send + Sync;

/// Sends one request to each endpoint of a nanoservice.
pub type ProbeEndpoints = dyn Fn(Arc<Manifest>) -> BoxFuture<'static, Vec<ProbeResult>> + Send + Sync;

/// How an endpoint answered a probe.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeResult {
    /// The version that was probed.
    pub version: String,
    /// The URL that was requested.
    pub url: String,
    /// Whether it answered with a success.
    pub ok: bool,
    /// What happened, in words.
    pub what: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// What the handlers of the admin listener share.
pub struct Admin {
    /// Whether layouts are loaded and the server is not stopping.
    pub ready: Arc<AtomicBool>,
    /// The snapshot that is live.
    pub live: Arc<Live>,
    /// Composes pages to be explained, and purges.
    pub compositor: Compositor,
    /// Recent statistics of pages and nanoservices.
    pub statistics: Arc<Statistics>,
    /// Reads which page, and for which client, an explanation is wanted.
    pub read_query: Box<ReadQuery>,
    /// The load runs.
    pub load_runs: Arc<LoadRuns>,
    /// Signs debug tokens.
    pub debug_tokens: Arc<DebugTokens>,
    /// Renders a diagnostic as plain text.
    pub render_diagnostic: fn(&Diagnostic) -> String,
    /// Returns what is used of each limit.
    pub load: Box<dyn Fn() -> Load + Send + Sync>,
    /// The program that runs.
    pub about: About,
    /// Asks for a reload of the site's files; the result is sent back.
    pub reload: mpsc::Sender<oneshot::Sender<ReloadResult>>,
    /// Returns the state of a nanoservice's program; `None` if it has none.
    pub program: Box<ShowProgram>,
    /// Returns what is known of a nanoservice's component; `None` if it has none that can be run.
    pub component: Box<ShowComponent>,
    /// Purges on all replicas.
    pub purge: Box<PurgeAll>,
    /// Hears what other replicas tell.
    pub tell: Box<Tell>,
    /// Returns the state of the replicas and of the store that they share.
    pub cluster: Box<dyn Fn() -> ClusterReport + Send + Sync>,
    /// The token of the replicas, which is good for purges and what concerns the replicas.
    pub cluster_token: Option<Secret>,
    /// Sends one request to each endpoint of a nanoservice, past everything that the engine does with requests.
    pub probe: Box<ProbeEndpoints>,
    /// Is cancelled when this listener stops.
    pub stop: CancellationToken,
    /// Renders all metrics as OpenMetrics text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// The token that every request except health must bring; `None` if none is required.
    pub token: Option<Secret>,
    /// The address that the admin listener listens on.
    pub listens_on: IpAddr,
}

/// What is used of each limit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Load {
    /// The memory that the process takes; `None`: the system does not say.
    pub memory_bytes: Option<u64>,
    /// The most memory that it may take: that of its container, or of the machine.
    pub memory_limit_bytes: Option<u64>,
    /// The bytes that the cache holds.
    pub cache_bytes: u64,
    /// The most bytes that it may hold.
    pub cache_limit_bytes: u64,
    /// The responses and pages that it holds.
    pub cache_entries: u64,
    /// How many had to leave it for others since the start.
    pub cache_evictions: u64,
    /// The requests of clients in progress.
    pub in_flight: u64,
    /// The most requests that may be in progress.
    pub in_flight_limit: u64,
}

/// The program that runs.
#[derive(Debug, Clone, Serialize)]
pub struct About {
    /// Its version.
    pub version: &'static str,
    /// How it was built: `release` or `debug`.
    pub build: &'static str,
    /// The name of this replica: that of its machine or container, and the number of its process.
    pub replica: String,
    /// When it started.
    pub started: Timestamp,
}

impl Admin {
    /// Composes the page that a query describes, and records what happened to each part. The page is sent to no client, and not
    /// counted. Returns `None` if no layout has a route for it.
    async fn explain(&self, query: &[(String, String)]) -> Result<Option<Record>, String> {
        let live = self.live.now();
        match (self.read_query)(query, &live, self.compositor.now())? {
            Some(request) => Ok(Some(self.compositor.preview(request).await.record())),
            None => Ok(None),
        }
    }
}

/// The parameters of a query string, in their order.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Params(Vec<(String, String)>);

impl Params {
    /// The first value of a parameter; empty if it is not given.
    fn value(&self, wanted: &str) -> &str {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// The routes of the admin listener. A panic in one of them becomes a 500, so that the connection stays usable.
pub fn router(admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics::metrics))
        .merge(actions::router())
        .merge(api::router())
        .merge(console::router())
        .layer(from_fn_with_state(Arc::clone(&admin), authorise));
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .layer(from_fn_with_state(Arc::clone(&admin), refuse_foreign))
        .with_state(admin)
        .layer(CatchPanicLayer::new())
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Problem details, as in RFC 9457.
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
