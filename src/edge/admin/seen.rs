//! What is live and how it is, as JSON: explanations, pages, nanoservices, troubles, mistakes in files.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;

use crate::engine::Purge;
use crate::engine::board::{Mark, PageSeen, ServiceSeen, Trouble};
use crate::engine::stock::Kept;
use crate::page::diagnostic::{Diagnostic, Told};
use crate::page::layout::Template;
use crate::page::manifest::Manifest;

use super::{Admin, refuse};

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

async fn explain(State(admin): State<Arc<Admin>>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let live = admin.live.now();
    match (admin.asked)(&query, &live, admin.compositor.now()) {
        Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "no layout has a route for it"),
        Ok(Some(request)) => Json(admin.compositor.compose(request).await.record()).into_response(),
    }
}

async fn problems(State(admin): State<Arc<Admin>>) -> Response {
    let live = admin.live.now();
    let told: Vec<Told<'_>> = live.problems.iter().map(Diagnostic::told).collect();
    Json(told).into_response()
}

/// What is kept, and how many answers there are of it.
#[derive(Serialize)]
struct Stock {
    count: usize,
    answers: Vec<Kept>,
}

/// Answers of the cache that are told, at most.
const TOLD: usize = 1_000;

async fn cache(State(admin): State<Arc<Admin>>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let text = query.iter().find(|(name, _)| name == "text").map(|(_, text)| text.as_str()).unwrap_or_default();
    let (answers, count) = admin.compositor.kept(text, TOLD);
    Json(Stock { count, answers }).into_response()
}

/// How many answers a purge would meet.
#[derive(Serialize)]
struct Count {
    count: usize,
}

async fn count(State(admin): State<Arc<Admin>>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let keys = query.into_iter().filter(|(name, _)| name == "key").map(|(_, key)| key.into());
    Json(Count { count: admin.compositor.would_meet(&Purge::Tags(keys.collect())) }).into_response()
}

/// All pages, by route.
pub(super) fn pages(admin: &Admin) -> Vec<Page> {
    admin.compositor.tell();
    let live = admin.live.now();
    let page = |template: &Template, route: String| {
        let mut fragments: Vec<String> = template
            .with_takeovers()
            .flat_map(|template| &template.html.fragments)
            .map(|one| one.asks().to_owned())
            .collect();
        fragments.sort();
        fragments.dedup();
        Page {
            seen: admin.board.page(&route),
            route,
            layout: template.file.clone(),
            title: template.title.clone(),
            owner: template.owner.clone(),
            fragments,
        }
    };
    let routes = live.site.templates.iter().flat_map(|template| {
        template.routes.iter().map(|route| page(template, route.value.to_string())).collect::<Vec<_>>()
    });
    let mut pages: Vec<Page> = routes.collect();
    pages.sort_by(|a, b| a.route.cmp(&b.route));
    pages
}

/// All nanoservices of the catalogue, and the hosts that were asked without being in it.
pub(super) fn fragments(admin: &Admin) -> Vec<Fragment> {
    admin.compositor.tell();
    let live = admin.live.now();
    let circuits = admin.board.circuits();
    let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in pages(admin) {
        for name in page.fragments {
            used.entry(name).or_default().push(page.route.clone());
        }
    }
    // What answers ask for is on their pages too.
    for template in &live.site.templates {
        for manifest in template.nested.manifests() {
            let pages = used.entry(manifest.name.to_string()).or_default();
            pages.extend(template.routes.iter().map(|route| route.value.to_string()));
            pages.sort();
            pages.dedup();
        }
    }
    let declared = live.site.catalogue.manifests();
    let mut all: Vec<Fragment> = declared.iter().map(|manifest| fragment(admin, manifest, &used, &circuits)).collect();
    let known: Vec<String> = all.iter().map(|one| one.name.clone()).collect();
    let others = admin.board.services().into_iter().map(|name| name.to_string()).filter(|name| !known.contains(name));
    all.extend(others.map(|name| Fragment {
        seen: admin.board.service(&name),
        pages: used.get(&name).cloned().unwrap_or_default(),
        name,
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

fn fragment(
    admin: &Admin,
    manifest: &Manifest,
    used: &BTreeMap<String, Vec<String>>,
    circuits: &BTreeMap<String, &'static str>,
) -> Fragment {
    let endpoint = |endpoint: &crate::page::manifest::Endpoint| Endpoint {
        url: endpoint.as_str().to_owned(),
        circuit: circuits.get(endpoint.origin()).copied().unwrap_or("closed"),
    };
    Fragment {
        name: manifest.name.to_string(),
        version: Some(manifest.version.to_string()),
        owner: manifest.owner.clone(),
        lifecycle: Some(manifest.lifecycle.as_str()),
        runbook: manifest.runbook.clone(),
        endpoints: manifest.endpoints.iter().map(endpoint).collect(),
        pages: used.get(&*manifest.name).cloned().unwrap_or_default(),
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
