//! The actions that operators request by POST: to purge, to reload the site's files, to switch a nanoservice off, to probe it, to
//! issue a debug token, and to begin a load run, whose records are here too.
//! A request that is not JSON, or that cannot be carried out, is refused with problem details (RFC 9457).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::engine::{Purge, PurgeMode, Refused};
use crate::page::manifest::Manifest;
use crate::page::policy::rollout::progress::Action;
use crate::page::site::deploy::{Answer, Asked, PlaceAnswer};
use crate::page::source::diagnostic::Source;
use crate::page::source::names::Name;
use crate::secrets::load_token::load_token;

use super::{Admin, AllPurged, ProbeResult, refuse};

/// Maximum number of surrogate keys in one purge.
const MAX_KEYS: usize = 10_000;
/// Maximum number of keys of a purge that the log names, and of characters of each.
const MAX_LOGGED: usize = 10;
const MAX_LOGGED_KEY: usize = 100;
/// Longest lifetime of a debug token and of a switch, in minutes.
const MAX_MINUTES: u64 = 7 * 24 * 60;

/// The body of a purge: `{"keys": ["weather"], "soft": false}` or `{"all": true}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeRequest {
    /// Surrogate keys, and names of nanoservices.
    pub keys: Vec<String>,
    /// Single entries, by their names in `/api/cache`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<String>,
    /// Whether everything is purged.
    pub all: bool,
    /// Whether matching responses become stale instead of being removed.
    pub soft: bool,
}

/// The result of a purge.
#[derive(Debug, Serialize, Deserialize)]
pub struct PurgeResult {
    /// The number of responses that matched, on all replicas.
    pub purged: usize,
    /// The same for each replica, or `unreachable`. Left out if there is only this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<String, ReplicaPurge>,
}

/// What a purge did on one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReplicaPurge {
    /// The number of responses that matched.
    Purged(usize),
    /// The replica did not say, which is written as `unreachable`.
    Unreachable(String),
}

/// The result of a reload.
#[derive(Debug, Serialize)]
pub struct ReloadResult {
    /// The number of layouts that are live.
    pub pages: usize,
    /// The number of errors in the files. Each keeps its file's last good version live.
    pub errors: usize,
    /// The number of warnings.
    pub warnings: usize,
}

/// The body of a request for a debug token: `{"minutes": 60}`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TokenRequest {
    minutes: u64,
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self { minutes: 60 }
    }
}

/// A debug token, and the public path at which a browser exchanges it for a cookie.
#[derive(Debug, Serialize)]
struct DebugToken {
    token: String,
    path: String,
}

/// What is asked of a rollout: `{"action": "promote"}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// The action.
    pub action: String,
}

/// The question whether a version can go live.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The name of the nanoservice.
    pub name: String,
    /// The version.
    pub version: String,
    /// Its manifest, if the catalogue may not have it.
    #[serde(default)]
    pub manifest: Option<String>,
    /// The slots in the HTML of its examples, if they are known.
    #[serde(default)]
    pub slots: Option<BTreeSet<String>>,
}

/// What the places that use a nanoservice say to a version.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeployAnswer {
    /// The worst of what they say.
    pub verdict: Answer,
    /// What each of them says.
    pub places: Vec<PlaceAnswer>,
}

/// The body of a switch: `{"off": true, "minutes": 30}` or `{"off": false}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchRequest {
    off: bool,
    #[serde(default = "half_an_hour")]
    minutes: u64,
}

const fn half_an_hour() -> u64 {
    30
}

/// The body of a probe: `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeRequest {}

/// Whether a nanoservice is switched off, and until when.
#[derive(Debug, Serialize)]
struct SwitchResult {
    off: bool,
    until: Option<Timestamp>,
}

/// A load run that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoadRunStarted {
    /// Identifies it.
    pub run: String,
    /// What its requests carry, as `Pasteup-Load`.
    pub token: String,
}

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/fragments/{name}", post(switch))
        .route("/api/fragments/{name}/probe", post(probe))
        .route("/api/purge", post(purge))
        .route("/api/rollouts/{name}", post(roll_out))
        .route("/api/can-i-deploy", post(can_i_deploy))
        .route("/api/cluster/tell", post(tell))
        .route("/api/reload", post(reload))
        .route("/api/debug-token", post(debug_token))
        .route("/api/load-runs", post(begin_load_run))
        .route("/api/load-runs/{id}", get(load_run))
}

async fn purge(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let request: PurgeRequest = match parse(&headers, &body) {
        Ok(request) => request,
        Err((status, why)) => return refuse(status, &why),
    };
    let given = [request.all, !request.keys.is_empty(), !request.entries.is_empty()];
    if given.into_iter().filter(|is_given| *is_given).count() != 1 {
        return refuse(
            StatusCode::BAD_REQUEST,
            "send either {\"keys\": [\"…\"]}, {\"entries\": [\"…\"]} or {\"all\": true}",
        );
    }
    if request.keys.len().max(request.entries.len()) > MAX_KEYS {
        return refuse(StatusCode::BAD_REQUEST, "too many keys: a purge takes at most 10000");
    }
    let manner = if request.soft { PurgeMode::Soft } else { PurgeMode::Hard };
    let what = if request.all {
        Purge::All
    } else {
        Purge::Tags(request.keys.iter().map(|key| Name::from(key.as_str())).collect())
    };
    // A task of its own: it is finished even if whoever asked does not wait.
    let purged = tokio::spawn(async move {
        let AllPurged { purged, replicas } = match request.entries.is_empty() {
            true => (admin.purge)(what, manner).await,
            // Their names mean something in this process only.
            false => {
                let names = request.entries.iter().cloned().collect();
                AllPurged { purged: admin.compositor.purge_entries(&names), ..AllPurged::default() }
            }
        };
        let named = if request.keys.is_empty() { &request.entries } else { &request.keys };
        tracing::info!(keys = some_of(named), all = request.all, soft = request.soft, purged, "purged");
        let row = |(name, purged): (String, Option<usize>)| {
            (name, purged.map_or_else(|| ReplicaPurge::Unreachable("unreachable".to_owned()), ReplicaPurge::Purged))
        };
        PurgeResult { purged, replicas: replicas.into_iter().map(row).collect() }
    });
    match purged.await {
        Ok(result) => Json(result).into_response(),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the purge crashed"),
    }
}

/// Another replica tells something.
async fn tell(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    match parse::<serde_json::Value>(&headers, &body)
        .and_then(|told| (admin.tell)(told).map_err(|why| (StatusCode::BAD_REQUEST, why)))
    {
        Ok(heard) => Json(heard).into_response(),
        Err((status, why)) => refuse(status, &why),
    }
}

/// The first keys of a purge, for the log: a purge can have as many as fill a disk if there are many purges.
fn some_of(keys: &[String]) -> String {
    let some = keys.get(..MAX_LOGGED).unwrap_or(keys).iter().map(|key| key.chars().take(MAX_LOGGED_KEY).collect());
    let more = keys.len().saturating_sub(MAX_LOGGED);
    let more = (more > 0).then(|| format!("and {more} more"));
    some.chain(more).collect::<Vec<String>>().join(" ")
}

/// Reads all files again, and responds once that is done.
async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    let (sender, result) = oneshot::channel();
    let sent = admin.reload.send(sender).await;
    match (sent, result.await) {
        (Ok(()), Ok(result)) => Json(result).into_response(),
        _ => refuse(StatusCode::SERVICE_UNAVAILABLE, "the files are no longer read: the compositor is stopping"),
    }
}

/// Switches a nanoservice off for a time, or on again.
async fn switch(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: SwitchRequest = match parse(&headers, &body) {
        Ok(request) => request,
        Err((status, why)) => return refuse(status, &why),
    };
    let live = admin.live.now();
    let is_declared = live.site.catalogue.versions(&name).next().is_some();
    if !is_declared && !admin.statistics.nanoservices().iter().any(|known| **known == *name) {
        return refuse(StatusCode::NOT_FOUND, "no nanoservice of the catalogue has this name: see /api/fragments");
    }
    if request.minutes == 0 || request.minutes > MAX_MINUTES {
        return refuse(StatusCode::BAD_REQUEST, "a nanoservice is switched off for 1 minute to 7 days (10080 minutes)");
    }
    let SwitchRequest { off, minutes } = request;
    let until = if off {
        let until = admin.compositor.switch_off(&Name::from(name.as_str()), Duration::from_mins(minutes));
        tracing::info!(fragment = name, minutes, "switched off");
        admin.statistics.record_change(format!("Switched off {name} for {minutes} minutes"));
        Some(until)
    } else {
        if admin.compositor.switch_on(&name) {
            tracing::info!(fragment = name, "switched on again");
            admin.statistics.record_change(format!("Switched {name} on again"));
        }
        None
    };
    Json(SwitchResult { off, until }).into_response()
}

/// Does what an operator asks of the rollouts of a nanoservice.
async fn roll_out(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: RolloutRequest = match parse(&headers, &body) {
        Ok(request) => request,
        Err((status, why)) => return refuse(status, &why),
    };
    let Some(action) = Action::of(&request.action) else {
        let known = Action::ALL.map(Action::as_str).join(", ");
        return refuse(StatusCode::BAD_REQUEST, &format!("`{}` is not one of {known}", request.action));
    };
    match admin.compositor.rollouts().act(&name, action, admin.compositor.now()).await {
        Ok(all) => Json(all).into_response(),
        Err(why @ Refused::Unknown(_)) => refuse(StatusCode::NOT_FOUND, &why.to_string()),
        Err(why @ Refused::Impossible(_)) => refuse(StatusCode::CONFLICT, &why.to_string()),
        Err(why @ Refused::Away(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    }
}

/// What the pages of the live site say to a version. Nothing is changed.
async fn can_i_deploy(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let request: DeployRequest = match parse(&headers, &body) {
        Ok(request) => request,
        Err((status, why)) => return refuse(status, &why),
    };
    // On the blocking pool: a large site takes a while.
    let answered = tokio::task::spawn_blocking(move || {
        let live = admin.live.now();
        let DeployRequest { name, version, manifest, slots } = request;
        let is_it = |manifest: &Manifest| *manifest.name == *name && manifest.version.to_string() == version;
        let found = match manifest {
            Some(text) => Manifest::parse(&Source::new("the manifest", text)).0.map(Arc::new).filter(|one| is_it(one)),
            None => live.site.catalogue.versions(&name).find(|one| is_it(one)).cloned(),
        };
        let asked = Asked { slots, ..Asked::default() };
        let locales = live.readers.locales.len();
        found.map(|manifest| live.site.deploy(&manifest, &asked, &live.site.defaults, locales))
    });
    match answered.await {
        Ok(Some(places)) => {
            let verdict = Answer::of(&places);
            Json(DeployAnswer { verdict, places }).into_response()
        }
        Ok(None) => refuse(StatusCode::NOT_FOUND, "the catalogue has no such version: send its manifest"),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the check crashed"),
    }
}

/// Sends one request to each endpoint of a nanoservice, past its circuit breaker. If one answers, the next request of a page
/// is let through.
async fn probe(State(admin): State<Arc<Admin>>, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err((status, why)) = parse::<ProbeRequest>(&headers, &body) {
        return refuse(status, &why);
    }
    let live = admin.live.now();
    let versions: Vec<Arc<Manifest>> = live.site.catalogue.versions(&name).cloned().collect();
    if versions.is_empty() {
        return refuse(StatusCode::NOT_FOUND, "no nanoservice of the catalogue has this name: see /api/fragments");
    }
    let results: Vec<ProbeResult> = join_all(versions.into_iter().map(|one| (admin.probe)(one))).await.concat();
    if results.iter().any(|result| result.ok) {
        admin.compositor.end_pauses(&name);
    }
    Json(results).into_response()
}

async fn debug_token(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let request: TokenRequest = match parse(&headers, &body) {
        Ok(request) => request,
        Err((status, why)) => return refuse(status, &why),
    };
    if request.minutes == 0 || request.minutes > MAX_MINUTES {
        return refuse(StatusCode::BAD_REQUEST, "a debug token is valid for 1 minute to 7 days (10080 minutes)");
    }
    let token = admin.debug_tokens.issue(admin.compositor.now(), Duration::from_mins(request.minutes));
    tracing::info!(minutes = request.minutes, "issued a debug token");
    let path = format!("/_pasteup/debug?token={token}");
    Json(DebugToken { token, path }).into_response()
}

/// Begins a load run. It needs no body; the records of the run before are forgotten.
async fn begin_load_run(State(admin): State<Arc<Admin>>) -> Response {
    let token = match load_token() {
        Ok(token) => token,
        Err(why) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &why),
    };
    let run = format!("{:016x}", fastrand::u64(..));
    admin.load_runs.begin(run.clone(), token.clone(), admin.compositor.now());
    tracing::info!(run, "began a load run");
    Json(LoadRunStarted { run, token }).into_response()
}

/// What was recorded for a load run so far.
async fn load_run(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    match admin.load_runs.report(&id) {
        Some(report) => Json(report).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "there is no such load run: a new one forgets the one before"),
    }
}

/// Reads the JSON body of a request.
fn parse<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, (StatusCode, String)> {
    // Another site can make an operator's browser submit a form here, but not send JSON.
    let json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if json.split(';').next().map(str::trim) != Some("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send it as Content-Type: application/json".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_some_keys_of_a_purge() {
        let keys = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(some_of(&keys(0)), "");
        assert_eq!(some_of(&keys(10)), "0 1 2 3 4 5 6 7 8 9");
        assert_eq!(some_of(&keys(10_000)), "0 1 2 3 4 5 6 7 8 9 and 9990 more");
        assert_eq!(some_of(&["é".repeat(1_000)]).chars().count(), 100);
    }
}
