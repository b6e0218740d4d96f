//! What is live and how it is, as JSON: explanations, pages, nanoservices, troubles, mistakes in files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;

use crate::engine::Purge;
use crate::engine::inspection::CacheEntry;
use crate::engine::statistics::{Keeping, Mark, PageSeen, ServiceSeen, Trouble};
use crate::page::layout::Template;
use crate::page::manifest::Manifest;
use crate::page::source::diagnostic::{Diagnostic, Told};
use crate::page::source::names::Name;

use super::{Admin, Params, refuse};

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/explain", get(explain))
        .route("/api/pages", get(|State(admin): State<Arc<Admin>>| async move { Json(pages(&admin)) }))
        .route("/api/fragments", get(|State(admin): State<Arc<Admin>>| async move { Json(fragments(&admin)) }))
        .route("/api/errors", get(|State(admin): State<Arc<Admin>>| async move { Json(errors(&admin)) }))
        .route("/api/problems", get(problems))
        .route("/api/history", get(|State(admin): State<Arc<Admin>>| async move { Json(admin.board.history()) }))
        .route("/api/cache", get(cache))
        .route("/api/cache/count", get(count))
}

/// A page that is live.
#[derive(Serialize)]
pub(super) struct Page {
    /// The pattern of its route.
    pub(super) route: String,
    /// Its layout's file.
    pub(super) layout: String,
    /// Text of its title.
    pub(super) title: Option<String>,
    /// Who is told.
    pub(super) owner: Option<String>,
    /// The nanoservices that its layout names, each once.
    pub(super) fragments: Vec<String>,
    /// How it was in the last minute.
    pub(super) seen: PageSeen,
}

/// A nanoservice of the catalogue, or a host that layouts name.
#[derive(Serialize)]
pub(super) struct Fragment {
    /// What layouts call it.
    pub(super) name: String,
    /// Its version; none where layouts name its URL.
    pub(super) version: Option<String>,
    /// Who is told.
    pub(super) owner: Option<String>,
    /// How far it is in its life.
    pub(super) lifecycle: Option<&'static str>,
    /// What to read when it is broken.
    pub(super) runbook: Option<String>,
    /// Where it answers.
    pub(super) endpoints: Vec<Endpoint>,
    /// The patterns of the pages that use it.
    pub(super) pages: Vec<String>,
    /// The nanoservices that it may ask for.
    pub(super) composes: Vec<String>,
    /// What it may be asked, each with its type.
    pub(super) params: Vec<String>,
    /// Where it was declared.
    pub(super) manifest: Option<String>,
    /// How it was in the last minute, all versions together.
    pub(super) seen: ServiceSeen,
}

impl Fragment {
    /// The worst state of its endpoints' breakers.
    pub(super) fn breaker(&self) -> &'static str {
        let has = |state| self.endpoints.iter().any(|endpoint| endpoint.circuit == state);
        ["open", "probing"].into_iter().find(|state| has(*state)).unwrap_or("closed")
    }
}

/// One of a nanoservice's endpoints.
#[derive(Serialize)]
pub(super) struct Endpoint {
    /// Where.
    pub(super) url: String,
    /// Its scheme, host and port.
    #[serde(skip)]
    pub(super) origin: String,
    /// `closed`: it is asked; `open`: it is shut out; `probing`.
    pub(super) circuit: &'static str,
}

/// What went wrong, and what changed before that.
#[derive(Serialize)]
pub(super) struct Errors {
    /// By cause, the latest first.
    pub(super) errors: Vec<Trouble>,
    /// The latest first.
    pub(super) changes: Vec<Mark>,
}

async fn explain(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    match admin.explain(&query.0).await {
        Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "no layout has a route for it"),
        Ok(Some(record)) => Json(record).into_response(),
    }
}

async fn problems(State(admin): State<Arc<Admin>>) -> Response {
    let live = admin.live.now();
    let told: Vec<Told<'_>> = live.problems.iter().map(Diagnostic::told).collect();
    Json(told).into_response()
}

/// What is kept, how many answers there are of it, and what is made of nanoservices' answers.
#[derive(Serialize)]
pub(super) struct Stock {
    pub(super) count: usize,
    pub(super) answers: Vec<CacheEntry>,
    /// What is not kept comes first.
    pub(super) services: Vec<Keeper>,
}

/// What was made of a nanoservice's last answer.
#[derive(Serialize)]
pub(super) struct Keeper {
    pub(super) fragment: Name,
    /// Of its parts that were looked up, how many a fresh kept copy filled, from 0 to 1.
    pub(super) hits: f64,
    #[serde(flatten)]
    pub(super) keeping: Keeping,
}

/// Answers of the cache that are told, at most.
const TOLD: usize = 1_000;

async fn cache(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    Json(stock(&admin, query.value("text"), TOLD)).into_response()
}

/// What is kept of those whose name, key or tag holds a text: so many answers, and all nanoservices.
pub(super) fn stock(admin: &Admin, text: &str, at_most: usize) -> Stock {
    admin.compositor.tell();
    let (answers, count) = admin.compositor.kept(text, at_most);
    let names = admin.board.services().into_iter().filter(|name| name.contains(text));
    let keeper = |fragment: Name| {
        let ServiceSeen { hits, keeping, .. } = admin.board.service(&fragment);
        Some(Keeper { fragment, hits, keeping: keeping? })
    };
    let mut services: Vec<Keeper> = names.filter_map(keeper).collect();
    services.sort_by_key(|one| one.keeping.kept);
    Stock { count, answers, services }
}

/// How many answers a purge would meet.
#[derive(Serialize)]
struct Count {
    count: usize,
}

async fn count(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    let keys = query.0.into_iter().filter(|(name, _)| name == "key").map(|(_, key)| key.into());
    Json(Count { count: admin.compositor.would_meet(&Purge::Tags(keys.collect())) }).into_response()
}

/// All pages, by route.
pub(super) fn pages(admin: &Admin) -> Vec<Page> {
    admin.compositor.tell();
    let live = admin.live.now();
    let page = |template: &Template, route: String| Page {
        seen: admin.board.page(&route),
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

/// Each route of some layouts.
fn routes(templates: &[Arc<Template>]) -> impl Iterator<Item = (&Template, String)> {
    templates.iter().flat_map(|template| template.routes.iter().map(|route| (&**template, route.value.to_string())))
}

/// What a layout asks for, and those that take its place at times.
fn named(template: &Template) -> BTreeSet<&str> {
    template.with_takeovers().flat_map(|template| &template.html.fragments).map(|one| one.asks()).collect()
}

/// All nanoservices of the catalogue, and the hosts that were asked without being in it.
pub(super) fn fragments(admin: &Admin) -> Vec<Fragment> {
    admin.compositor.tell();
    let live = admin.live.now();
    let circuits = admin.board.circuits();
    let mut used = Used::new();
    for (template, route) in routes(&live.site.templates) {
        // What answers ask for is on their pages too.
        let nested = template.nested.manifests().iter().map(|manifest| &*manifest.name);
        for name in named(template).into_iter().chain(nested) {
            used.entry(name).or_default().insert(route.clone());
        }
    }
    let declared = live.site.catalogue.manifests();
    let mut all: Vec<Fragment> = declared.iter().map(|manifest| fragment(admin, manifest, &used, &circuits)).collect();
    let known: BTreeSet<&str> = declared.iter().map(|manifest| &*manifest.name).collect();
    let others = admin.board.services().into_iter().filter(|name| !known.contains(&**name));
    all.extend(others.map(|name| Fragment {
        seen: admin.board.service(&name),
        pages: pages_of(&used, &name),
        name: name.to_string(),
        version: None,
        owner: None,
        lifecycle: None,
        runbook: None,
        endpoints: Vec::new(),
        composes: Vec::new(),
        params: Vec::new(),
        manifest: None,
    }));
    all
}

/// The patterns of the pages that use each nanoservice.
type Used<'a> = BTreeMap<&'a str, BTreeSet<String>>;

fn pages_of(used: &Used<'_>, name: &str) -> Vec<String> {
    used.get(name).into_iter().flatten().cloned().collect()
}

fn fragment(
    admin: &Admin,
    manifest: &Manifest,
    used: &Used<'_>,
    circuits: &BTreeMap<String, &'static str>,
) -> Fragment {
    let endpoint = |endpoint: &crate::page::manifest::Endpoint| Endpoint {
        url: endpoint.as_str().to_owned(),
        origin: endpoint.origin().to_owned(),
        circuit: circuits.get(endpoint.origin()).copied().unwrap_or("closed"),
    };
    Fragment {
        name: manifest.name.to_string(),
        version: Some(manifest.version.to_string()),
        owner: manifest.owner.clone(),
        lifecycle: Some(manifest.lifecycle.as_str()),
        runbook: manifest.runbook.clone(),
        endpoints: manifest.endpoints.iter().map(endpoint).collect(),
        pages: pages_of(used, &manifest.name),
        composes: manifest.composes.clone(),
        params: manifest.params.iter().map(|param| format!("{}: {}", param.name, param.kind())).collect(),
        manifest: Some(manifest.at.source.file.clone()),
        seen: admin.board.service(&manifest.name),
    }
}

/// What went wrong since the start.
pub(super) fn errors(admin: &Admin) -> Errors {
    admin.compositor.tell();
    Errors { errors: admin.board.troubles(), changes: admin.board.marks() }
}
