//! The JSON API: explanations, pages, nanoservices, errors, diagnostics and the cache.
//! A page that no layout has a route for is a 404, an explanation that cannot be given a 400.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use semver::Version;
use serde::Serialize;

use crate::engine::inspection::CacheEntry;
use crate::engine::statistics::{
    Caching, FailureGroup, History, NanoserviceStatistics, PageStatistics, SiteChange, UnroutedStatistics,
};
use crate::engine::{Purge, RolloutStatus};
use crate::page::layout::Template;
use crate::page::manifest::{self, Manifest};
use crate::page::policy::supervision::status::{ComponentStatus, ProgramStatus};
use crate::page::source::diagnostic::{Diagnostic, Report};
use crate::page::source::names::Name;

use super::causes::{Cause, causes};
use super::{Admin, Params, now, refuse};

/// Maximum number of cached responses that the API lists.
const MAX_ENTRIES: usize = 1_000;
/// How far back histories go.
const HISTORY_SECONDS: i64 = 15 * 60;

/// A page that is live.
#[derive(Serialize)]
pub(super) struct Page {
    /// The pattern of its route.
    pub(super) route: String,
    /// The file of its layout.
    pub(super) layout: String,
    /// The text of its title.
    pub(super) title: Option<String>,
    /// The team that is responsible for it.
    pub(super) owner: Option<String>,
    /// The nanoservices that its layout names, each once.
    pub(super) fragments: Vec<String>,
    /// Its statistics of the last minute.
    #[serde(rename = "seen")]
    pub(super) statistics: PageStatistics,
}

/// A nanoservice of the catalogue, or a host that layouts name.
#[derive(Serialize)]
pub(super) struct Fragment {
    /// Its name in layouts.
    pub(super) name: String,
    /// Its version; `None` where layouts name its URL.
    pub(super) version: Option<String>,
    /// The team that is responsible for it.
    pub(super) owner: Option<String>,
    /// Its lifecycle as its manifest declares it, such as `production`.
    pub(super) lifecycle: Option<&'static str>,
    /// Until when an operator has switched it off; `None`: it is not switched off.
    pub(super) off_until: Option<Timestamp>,
    /// What to read when it is broken.
    pub(super) runbook: Option<String>,
    /// Its endpoints.
    pub(super) endpoints: Vec<Endpoint>,
    /// Its program, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<ProgramStatus>,
    /// Its component, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) component: Option<ComponentStatus>,
    /// The state of the circuit breaker of what runs on demand.
    #[serde(skip)]
    pub(super) circuit: &'static str,
    /// The patterns of the pages that use it.
    pub(super) pages: Vec<String>,
    /// The nanoservices whose fragments it may nest.
    pub(super) composes: Vec<String>,
    /// Its parameters, each with its type.
    pub(super) params: Vec<String>,
    /// The file or URL of its manifest.
    pub(super) manifest: Option<String>,
    /// Its statistics of the last minute, of all versions together.
    #[serde(rename = "seen")]
    pub(super) statistics: NanoserviceStatistics,
}

/// One endpoint of a nanoservice.
#[derive(Serialize)]
pub(super) struct Endpoint {
    /// Its URL.
    pub(super) url: String,
    /// Its scheme, host and port.
    #[serde(skip)]
    pub(super) origin: String,
    /// The state of its circuit breaker: `closed` (requests pass), `open` (none does) or `probing`.
    pub(super) circuit: &'static str,
}

/// Errors, and the changes that may explain them.
#[derive(Serialize)]
pub(super) struct Errors {
    /// Grouped by nanoservice and reason, the latest first.
    errors: Vec<FailureGroup>,
    /// The same, grouped by cause, the latest first.
    pub(super) causes: Vec<Cause>,
    /// The latest first.
    pub(super) changes: Vec<SiteChange>,
    /// Requests that no layout has a route for. They are no errors of the site, but of whoever links to it.
    pub(super) unrouted: UnroutedStatistics,
}

/// What the cache holds, and why responses of nanoservices are stored or not.
#[derive(Serialize)]
pub(super) struct CacheInspection {
    /// The number of stored responses that match.
    pub(super) count: usize,
    /// Those that are listed.
    #[serde(rename = "answers")]
    pub(super) entries: Vec<CacheEntry>,
    /// Nanoservices whose responses are not stored come first.
    pub(super) services: Vec<LastResponse>,
}

/// Whether the last response of a nanoservice was stored.
#[derive(Serialize)]
pub(super) struct LastResponse {
    /// The name of the nanoservice.
    pub(super) fragment: Name,
    /// The share of its parts, among those that were looked up, that were filled from a fresh cached response: 0 to 1.
    pub(super) hits: f64,
    #[serde(flatten)]
    pub(super) caching: Caching,
}

/// A history, with the changes of files that may explain it.
#[derive(Serialize)]
struct HistoryWithChanges {
    #[serde(flatten)]
    history: History,
    changes: Vec<Mark>,
}

/// A change of files.
#[derive(Serialize)]
struct Mark {
    seconds_ago: i64,
    what: String,
}

/// The number of responses that a purge would match.
#[derive(Serialize)]
struct Count {
    count: usize,
}

/// Who is touched when a nanoservice changes or goes, and how often each page is asked for.
async fn impact(State(admin): State<Arc<Admin>>, Query(params): Query<Params>) -> Response {
    let of = params.value("of");
    let (name, version) = match of.split_once('@') {
        Some((name, version)) => match version.parse::<Version>() {
            Ok(version) => (name, Some(version)),
            Err(_) => return refuse(StatusCode::BAD_REQUEST, "write it like `?of=weather` or `?of=weather@3.2.0`"),
        },
        None => (of, None),
    };
    let live = admin.live.now();
    let mut known = live.site.catalogue.versions(name);
    if !known.any(|one| version.as_ref().is_none_or(|version| one.version == *version)) {
        return refuse(StatusCode::NOT_FOUND, "no nanoservice of the catalogue has this name: see /api/fragments");
    }
    let mut impact = live.site.impact(name, version.as_ref());
    for page in &mut impact.pages {
        page.per_second = Some(admin.statistics.page(&page.route).per_second);
    }
    Json(impact).into_response()
}

/// The rollouts that run, and those that went back and are not tried again.
pub(super) fn rollouts(admin: &Admin) -> Vec<RolloutStatus> {
    admin.compositor.rollouts().statuses(admin.compositor.now())
}

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/explain", get(explain))
        .route("/api/pages", get(|State(admin): State<Arc<Admin>>| async move { Json(pages(&admin)) }))
        .route("/api/fragments", get(|State(admin): State<Arc<Admin>>| async move { Json(fragments(&admin)) }))
        .route("/api/impact", get(impact))
        .route("/api/rollouts", get(|State(admin): State<Arc<Admin>>| async move { Json(rollouts(&admin)) }))
        .route("/api/errors", get(|State(admin): State<Arc<Admin>>| async move { Json(errors(&admin)) }))
        .route("/api/problems", get(problems))
        .route("/api/history", get(history))
        .route("/api/now", get(|State(admin): State<Arc<Admin>>| async move { Json(now::now(&admin)) }))
        .route("/api/cluster", get(|State(admin): State<Arc<Admin>>| async move { Json((admin.cluster)()) }))
        .route("/api/cache", get(cache))
        .route("/api/cache/count", get(count))
}

async fn explain(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    match admin.explain(&query.0).await {
        Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "no layout has a route for it"),
        Ok(Some(record)) => Json(record).into_response(),
    }
}

/// The history of all pages, of one page (`page`) or of one nanoservice (`fragment`).
async fn history(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    let history = match (query.value("page"), query.value("fragment")) {
        ("", "") => admin.statistics.history(),
        ("", fragment) => admin.statistics.history_of_nanoservice(fragment),
        (page, _) => admin.statistics.history_of_page(page),
    };
    let now = admin.compositor.now();
    let age = |change: &SiteChange| now.duration_since(change.at).as_secs();
    let changes = admin.statistics.changes().into_iter().filter(|change| age(change) <= HISTORY_SECONDS);
    let changes = changes.map(|change| Mark { seconds_ago: age(&change), what: change.what }).collect();
    Json(HistoryWithChanges { history, changes }).into_response()
}

async fn problems(State(admin): State<Arc<Admin>>) -> Response {
    let live = admin.live.now();
    let problems: Vec<Report<'_>> = live.problems.iter().map(Diagnostic::report).collect();
    Json(problems).into_response()
}

async fn cache(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    Json(inspect_cache(&admin, query.value("text"), MAX_ENTRIES)).into_response()
}

async fn count(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    let keys = query.0.into_iter().filter(|(name, _)| name == "key").map(|(_, key)| key.into());
    Json(Count { count: admin.compositor.count_matches(&Purge::Tags(keys.collect())) }).into_response()
}

/// Inspects the cache: up to `at_most` responses, and all nanoservices, whose name, key or tag contains a text.
pub(super) fn inspect_cache(admin: &Admin, text: &str, at_most: usize) -> CacheInspection {
    admin.compositor.flush_counters();
    let (entries, count) = admin.compositor.cache_entries(text, at_most);
    let names = admin.statistics.nanoservices().into_iter().filter(|name| name.contains(text));
    let last_response = |fragment: Name| {
        let NanoserviceStatistics { hits, caching, .. } = admin.statistics.nanoservice(&fragment);
        Some(LastResponse { fragment, hits, caching: caching? })
    };
    let mut services: Vec<LastResponse> = names.filter_map(last_response).collect();
    services.sort_by_key(|one| one.caching.cached);
    CacheInspection { count, entries, services }
}

impl Fragment {
    /// What it runs on, in a word: the state of its program, or that of its endpoints' circuit breakers.
    pub(super) fn runs_on(&self) -> &'static str {
        self.process.as_ref().map_or_else(|| self.breaker(), |process| process.state.as_str())
    }

    /// Whether what it runs on needs attention.
    pub(super) fn is_disturbed(&self) -> bool {
        matches!(self.runs_on(), "open" | "probing" | "failed") || self.breaker() != "closed"
    }

    /// The worst state among the circuit breakers of its endpoints, or of what runs on demand.
    pub(super) fn breaker(&self) -> &'static str {
        let has = |state| self.circuit == state || self.endpoints.iter().any(|endpoint| endpoint.circuit == state);
        ["open", "probing"].into_iter().find(|state| has(*state)).unwrap_or("closed")
    }
}

/// All live pages, sorted by route.
pub(super) fn pages(admin: &Admin) -> Vec<Page> {
    admin.compositor.flush_counters();
    let live = admin.live.now();
    let page = |template: &Template, route: String| Page {
        statistics: admin.statistics.page(&route),
        route,
        layout: template.file.clone(),
        title: template.title.clone(),
        owner: template.owner.clone(),
        fragments: named(template).into_iter().map(str::to_owned).collect(),
    };
    let mut pages: Vec<Page> = routes(&live.site.templates).map(|(template, route)| page(template, route)).collect();
    pages.sort_by(|a, b| a.route.cmp(&b.route));
    pages
}

/// Every route of every layout, with its layout.
fn routes(templates: &[Arc<Template>]) -> impl Iterator<Item = (&Template, String)> {
    templates.iter().flat_map(|template| template.labels().map(|label| (&**template, label)))
}

/// The nanoservices that a layout names, and those named by the layouts that take its place at times.
fn named(template: &Template) -> BTreeSet<&str> {
    template.with_takeovers().flat_map(|template| &template.html.fragments).map(|one| one.nanoservice()).collect()
}

/// All nanoservices of the catalogue, and the hosts outside it that requests went to.
pub(super) fn fragments(admin: &Admin) -> Vec<Fragment> {
    admin.compositor.flush_counters();
    let live = admin.live.now();
    let mut used = Used::new();
    for (template, route) in routes(&live.site.templates) {
        // A nested fragment is on the page too.
        let nested = template.nested.manifests().iter().map(|manifest| &*manifest.name);
        for name in named(template).into_iter().chain(nested) {
            used.entry(name).or_default().insert(route.clone());
        }
    }
    let declared = live.site.catalogue.manifests();
    let mut all: Vec<Fragment> = declared.iter().map(|manifest| fragment(admin, manifest, &used)).collect();
    let known: BTreeSet<&str> = declared.iter().map(|manifest| &*manifest.name).collect();
    let others = admin.statistics.nanoservices().into_iter().filter(|name| !known.contains(&**name));
    all.extend(others.map(|name| Fragment {
        statistics: admin.statistics.nanoservice(&name),
        off_until: admin.compositor.switched_off_until(&name),
        pages: pages_of(&used, &name),
        name: name.to_string(),
        version: None,
        owner: None,
        lifecycle: None,
        runbook: None,
        endpoints: Vec::new(),
        process: None,
        component: None,
        circuit: "closed",
        composes: Vec::new(),
        params: Vec::new(),
        manifest: None,
    }));
    all
}

/// The patterns of the pages that use each nanoservice, by its name.
type Used<'a> = BTreeMap<&'a str, BTreeSet<String>>;

fn pages_of(used: &Used<'_>, name: &str) -> Vec<String> {
    used.get(name).into_iter().flatten().cloned().collect()
}

fn fragment(admin: &Admin, manifest: &Manifest, used: &Used<'_>) -> Fragment {
    let circuits = admin.statistics.circuits(&manifest.name);
    let endpoint = |endpoint: &manifest::Endpoint| Endpoint {
        url: endpoint.as_str().to_owned(),
        origin: endpoint.origin().to_owned(),
        circuit: circuits.get(endpoint.origin()).copied().unwrap_or("closed"),
    };
    let endpoints = if manifest.endpoints.iter().any(|endpoint| endpoint.naming().is_some()) {
        let fixed = manifest.endpoints.iter().filter(|endpoint| endpoint.naming().is_none());
        let origins: Vec<&str> = fixed.clone().map(manifest::Endpoint::origin).collect();
        // Those that are not written down were found.
        let found = circuits.iter().filter(|(upstream, _)| !origins.contains(&&***upstream));
        let found = found.map(|(upstream, circuit)| Endpoint {
            url: upstream.to_string(),
            origin: upstream.to_string(),
            circuit,
        });
        let mut all: Vec<Endpoint> = fixed.map(endpoint).chain(found).collect();
        if all.is_empty() {
            all.extend(manifest.endpoints.iter().map(endpoint));
        }
        all
    } else {
        manifest.endpoints.iter().map(endpoint).collect()
    };
    Fragment {
        name: manifest.name.to_string(),
        version: Some(manifest.version.to_string()),
        owner: manifest.owner.clone(),
        lifecycle: Some(manifest.lifecycle.as_str()),
        off_until: admin.compositor.switched_off_until(&manifest.name),
        runbook: manifest.runbook.clone(),
        endpoints,
        process: (admin.program)(manifest),
        component: (admin.component)(manifest),
        circuit: manifest
            .on_demand
            .as_ref()
            .and_then(|one| circuits.get(&**one.upstream()).copied())
            .unwrap_or("closed"),
        pages: pages_of(used, &manifest.name),
        composes: manifest.composes.clone(),
        params: manifest.params.iter().map(|param| format!("{}: {}", param.name, param.kind())).collect(),
        manifest: Some(manifest.at.source.file.clone()),
        statistics: admin.statistics.nanoservice(&manifest.name),
    }
}

/// The errors and changes since the start.
pub(super) fn errors(admin: &Admin) -> Errors {
    admin.compositor.flush_counters();
    let errors = admin.statistics.failures();
    Errors {
        causes: causes(&errors),
        errors,
        changes: admin.statistics.changes(),
        unrouted: admin.statistics.unrouted_requests(),
    }
}
