//! The console: what is live, slow or broken, as pages for a browser. Each screen is rendered here, is renewed over
//! server-sent events, and works without scripts; nothing comes from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use crate::engine::board::{Mark, PageSeen, Trouble};
use crate::engine::stock::Kept;
use crate::page::record::{self, Record};
use crate::page::units::show_ms;

use super::seen::{self, Fragment, Page};
use super::{Admin, refuse};

/// The screens, and what they are called.
const SCREENS: [(&str, &str); 6] = [
    ("/", "Pages"),
    ("/fragments", "Nanoservices"),
    ("/map", "Map"),
    ("/errors", "Errors"),
    ("/cache", "Cache"),
    ("/problems", "Problems"),
];
/// How often a screen is looked at anew.
const RENEWED: Duration = Duration::from_secs(1);
/// Answers of the cache that are listed, at most.
const LISTED: usize = 200;
/// What a screen may do.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);
/// What stands around what is renewed.
const LIVE: (&str, &str) = ("<div id=\"live\">", "<!--/live-->");

/// A file of the console's own.
struct Asset(&'static str, &'static str, &'static str);

const ASSETS: [Asset; 4] = [
    Asset("/console/console.css", "text/css; charset=utf-8", include_str!("../../../templates/console/console.css")),
    Asset(
        "/console/console.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../templates/console/console.js"),
    ),
    Asset("/console/uplot.css", "text/css; charset=utf-8", include_str!("../../../templates/console/uplot.css")),
    Asset("/console/uplot.js", "text/javascript; charset=utf-8", include_str!("../../../templates/console/uplot.js")),
];

pub(super) fn router() -> Router<Arc<Admin>> {
    let mut router = Router::new().route("/console/live", get(live)).route("/api/map", get(map_as_json));
    for (path, _) in SCREENS.iter().chain(&[("/page", ""), ("/fragment", "")]) {
        router = router.route(path, get(screen));
    }
    for Asset(path, media_type, text) in ASSETS {
        router = router.route(path, get(move || async move { with(media_type, Body::from(text)) }));
    }
    router
}

/// What a screen is asked with.
type Asked = Vec<(String, String)>;

fn value<'a>(query: &'a Asked, wanted: &str) -> &'a str {
    query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).unwrap_or_default()
}

async fn screen(State(admin): State<Arc<Admin>>, uri: http::Uri, Query(query): Query<Asked>) -> Response {
    match render(&admin, uri.path(), &query, true).await {
        Ok(html) => with("text/html; charset=utf-8", Body::from(html)),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// What changes of a screen, whenever it does.
async fn live(State(admin): State<Arc<Admin>>, Query(query): Query<Asked>) -> Response {
    let of = value(&query, "of").to_owned();
    let stop = admin.stop.clone();
    let events = stream::unfold((admin, of, None::<String>), |(admin, of, last)| async move {
        if last.is_some() {
            tokio::time::sleep(RENEWED).await;
        }
        let (path, query) = of.split_once('?').unwrap_or((&of, ""));
        let query: Asked = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let html = render(&admin, path, &query, false).await.unwrap_or_default();
        let part = html.split_once(LIVE.0).and_then(|(_, rest)| rest.split_once(LIVE.1)).map(|(part, _)| part);
        let part = part.unwrap_or_default().to_owned();
        let event = if last.as_ref() == Some(&part) {
            // What nobody hears of for long looks dead.
            ": as it was\n\n".to_owned()
        } else {
            format!("data: {}\n\n", serde_json::to_string(&part).unwrap_or_default())
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), (admin, of, Some(part))))
    });
    with("text/event-stream", Body::from_stream(events.take_until(stop.cancelled_owned()).boxed()))
}

fn with(media_type: &'static str, body: Body) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, body).into_response()
}

/// A screen. `whole`: with what is not renewed too, and takes more than a look.
async fn render(admin: &Arc<Admin>, path: &str, query: &Asked, whole: bool) -> askama::Result<String> {
    match path {
        "/" => Pages { pages: seen::pages(admin) }.render(),
        "/page" => one_page(admin, query, whole).await.render(),
        "/fragments" => {
            let fragments = seen::fragments(admin);
            Fragments { alike: alike(admin, &fragments), fragments }.render()
        }
        "/fragment" => {
            let name = value(query, "name").to_owned();
            let versions = seen::fragments(admin).into_iter().filter(|one| one.name == name).collect();
            OneFragment { name, versions }.render()
        }
        "/map" => map(admin, value(query, "of")).render(),
        "/errors" => Errors { lines: lines(seen::errors(admin)) }.render(),
        "/cache" => cache(admin, value(query, "text")).render(),
        _ => {
            let live = admin.live.now();
            let problems = live.problems.iter().map(|problem| (admin.drawn)(problem)).collect();
            Problems { problems, stays: live.site.kept.clone() }.render()
        }
    }
}

#[derive(Template)]
#[template(path = "console/pages.html")]
struct Pages {
    pages: Vec<Page>,
}

impl Pages {
    fn screen(&self) -> &'static str {
        "/"
    }
}

#[derive(Template)]
#[template(path = "console/page.html")]
struct OnePage {
    route: String,
    path: String,
    device: String,
    locale: String,
    seen: PageSeen,
    record: Result<Record, String>,
    took: Option<f64>,
    budget: Option<f64>,
    rows: Vec<Row>,
}

impl OnePage {
    fn screen(&self) -> &'static str {
        "/"
    }
}

/// A part of a page, and where it stands in the waterfall, of 200.
struct Row {
    depth: usize,
    part: record::Part,
    class: &'static str,
    from: f64,
    wait: f64,
    first: f64,
    body: f64,
    took: Option<f64>,
}

async fn one_page(admin: &Arc<Admin>, query: &Asked, whole: bool) -> OnePage {
    let route = value(query, "route").to_owned();
    let path = match value(query, "path") {
        "" => route.clone(),
        path => path.to_owned(),
    };
    let (device, locale) = (value(query, "device").to_owned(), value(query, "locale").to_owned());
    let record = if !whole {
        Err(String::new())
    } else if path.contains('{') {
        Err("Give a path that this page answers, with its parameters filled in, to see what becomes of it.".to_owned())
    } else {
        let said = [("path", &path), ("device", &device), ("locale", &locale)];
        let asked: Asked =
            said.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| ((*n).into(), (*v).clone())).collect();
        match (admin.asked)(&asked, &admin.live.now(), admin.compositor.now()) {
            Err(why) => Err(why),
            Ok(None) => Err(format!("No layout has a route for {path}.")),
            Ok(Some(request)) => Ok(admin.compositor.compose(request).await.record()),
        }
    };
    let mut rows = Vec::new();
    if let Ok(record) = &record {
        let scale = 200.0 / record.all().filter_map(|part| part.end_ms).fold(record.took_ms, f64::max).max(0.01);
        rows_of(&record.parts, 0, scale, &mut rows);
    }
    let (took, budget) = record.as_ref().map(|record| (record.took_ms, record.budget_ms)).ok().unzip();
    OnePage { seen: admin.board.page(&route), route, path, device, locale, record, took, budget, rows }
}

fn rows_of(parts: &[record::Part], depth: usize, scale: f64, rows: &mut Vec<Row>) {
    for part in parts {
        let (start, end) = (part.start_ms.unwrap_or_default(), part.end_ms.unwrap_or_default());
        let first = part.first_byte_ms.unwrap_or(end).clamp(start, end.max(start));
        rows.push(Row {
            depth: depth.min(4),
            class: match (part.outcome, part.reason) {
                ("fresh", _) | (_, Some("condition" | "empty" | "revalidating")) => "good",
                ("stale", _) => "warn",
                _ => "bad",
            },
            from: start * scale,
            wait: (first - start) * scale,
            first: first * scale,
            // Whatever took no time is seen all the same.
            body: if part.start_ms.is_some() { ((end - first) * scale).max(1.0) } else { 0.0 },
            took: part.start_ms.map(|_| end - start),
            part: part.clone(),
        });
        rows_of(&part.parts, depth + 1, scale, rows);
    }
}

#[derive(Template)]
#[template(path = "console/fragments.html")]
struct Fragments {
    fragments: Vec<Fragment>,
    /// Groups that may be one nanoservice written twice, and why.
    alike: Vec<(Vec<String>, &'static str)>,
}

impl Fragments {
    fn screen(&self) -> &'static str {
        "/fragments"
    }
}

fn alike(admin: &Admin, fragments: &[Fragment]) -> Vec<(Vec<String>, &'static str)> {
    let same = admin.board.same().into_iter();
    let mut alike: Vec<(Vec<String>, &'static str)> =
        same.map(|names| (names.iter().map(ToString::to_string).collect(), "they showed the same bytes")).collect();
    let mut by_params: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    for one in fragments.iter().filter(|one| one.params.len() >= 2) {
        by_params.entry(one.params.clone()).or_default().insert(one.name.clone());
    }
    let groups = by_params.into_values().filter(|names| names.len() > 1);
    alike.extend(groups.map(|names| (names.into_iter().collect(), "they take the same parameters")));
    alike
}

#[derive(Template)]
#[template(path = "console/fragment.html")]
struct OneFragment {
    name: String,
    versions: Vec<Fragment>,
}

impl OneFragment {
    fn screen(&self) -> &'static str {
        "/fragments"
    }
}

#[derive(Template)]
#[template(path = "console/map.html")]
struct Map {
    of: String,
    columns: [Column; 3],
}

impl Map {
    fn screen(&self) -> &'static str {
        "/map"
    }
}

/// Pages, nanoservices, or teams.
#[derive(Serialize)]
struct Column {
    title: &'static str,
    items: Vec<Item>,
}

/// One of them.
#[derive(Serialize)]
struct Item {
    name: String,
    words: String,
    #[serde(skip)]
    class: &'static str,
    /// Names of what is linked to it.
    links: Vec<String>,
}

async fn map_as_json(State(admin): State<Arc<Admin>>, Query(query): Query<Asked>) -> Response {
    Json(map(&admin, value(&query, "of")).columns).into_response()
}

/// What is linked to something, or everything.
fn map(admin: &Admin, of: &str) -> Map {
    let (pages, fragments) = (seen::pages(admin), seen::fragments(admin));
    let mut links: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut link = |a, b| {
        links.entry(a).or_default().insert(b);
        links.entry(b).or_default().insert(a);
    };
    for one in &fragments {
        one.pages.iter().for_each(|page| link(page, &one.name));
        one.composes.iter().for_each(|other| link(&one.name, other));
        one.owner.iter().for_each(|owner| link(&one.name, owner));
    }
    // A page's teams are those of its nanoservices.
    for one in &fragments {
        if let Some(owner) = &one.owner {
            one.pages.iter().for_each(|page| link(page, owner));
        }
    }
    let none = BTreeSet::new();
    let linked = |name: &str| links.get(name).unwrap_or(&none);
    let is_shown = |name: &str| of.is_empty() || name == of || linked(of).contains(name);
    let item = |name: &str, words: String, class| Item {
        name: name.to_owned(),
        words,
        class,
        links: linked(name).iter().map(ToString::to_string).collect(),
    };
    let shown_pages = pages.iter().filter(|page| is_shown(&page.route));
    let mut names: BTreeMap<&str, &Fragment> = BTreeMap::new();
    for one in fragments.iter().filter(|one| is_shown(&one.name)) {
        names.entry(&one.name).or_insert(one);
    }
    let mut teams: BTreeMap<&str, usize> = BTreeMap::new();
    for one in fragments.iter() {
        if let Some(owner) = one.owner.as_deref().filter(|owner| is_shown(owner)) {
            *teams.entry(owner).or_default() += 1;
        }
    }
    let page_class = |page: &Page| match page.seen.degraded {
        _ if page.seen.per_second == 0.0 => "",
        degraded if degraded > 0.0 => "warn",
        _ => "good",
    };
    Map {
        of: of.to_owned(),
        columns: [
            Column {
                title: "Pages",
                items: shown_pages
                    .map(|page| item(&page.route, format!("{}/s", page.seen.per_second), page_class(page)))
                    .collect(),
            },
            Column {
                title: "Nanoservices",
                items: names
                    .values()
                    .map(|one| {
                        item(
                            &one.name,
                            format!("{}/s, {}", one.seen.per_second, one.seen.health),
                            class(one.seen.health),
                        )
                    })
                    .collect(),
            },
            Column {
                title: "Teams",
                items: teams
                    .into_iter()
                    .map(|(owner, count)| {
                        item(
                            owner,
                            if count == 1 { "1 nanoservice".to_owned() } else { format!("{count} nanoservices") },
                            "",
                        )
                    })
                    .collect(),
            },
        ],
    }
}

#[derive(Template)]
#[template(path = "console/errors.html")]
struct Errors {
    lines: Vec<Line>,
}

impl Errors {
    fn screen(&self) -> &'static str {
        "/errors"
    }
}

/// A line of the timeline.
enum Line {
    Error(Trouble),
    Change(Mark),
}

impl Line {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Error(trouble) => trouble.last,
            Self::Change(mark) => mark.at,
        }
    }
}

/// The latest first.
fn lines(errors: seen::Errors) -> Vec<Line> {
    let errors_and_changes =
        errors.errors.into_iter().map(Line::Error).chain(errors.changes.into_iter().map(Line::Change));
    let mut lines: Vec<Line> = errors_and_changes.collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.at()));
    lines
}

#[derive(Template)]
#[template(path = "console/cache.html")]
struct Cache {
    text: String,
    entries: u64,
    mib: String,
    count: usize,
    kept: Vec<Kept>,
}

impl Cache {
    fn screen(&self) -> &'static str {
        "/cache"
    }
}

fn cache(admin: &Admin, text: &str) -> Cache {
    let (bytes, entries) = (admin.usage)();
    let (kept, count) = admin.compositor.kept(text, LISTED);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mib = format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    Cache { text: text.to_owned(), entries, mib, count, kept }
}

#[derive(Template)]
#[template(path = "console/problems.html")]
struct Problems {
    problems: Vec<String>,
    /// Files whose last good state is live.
    stays: Vec<String>,
}

impl Problems {
    fn screen(&self) -> &'static str {
        "/problems"
    }
}

/// Milliseconds, as a person reads them.
#[expect(clippy::ref_option, reason = "so templates hand it over")]
fn ms(ms: &Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), show_ms)
}

/// A share from 0 to 1.
fn percent(share: &f64) -> String {
    if *share == 0.0 { "0 %".to_owned() } else { format!("{:.1} %", share * 100.0) }
}

/// How a state of health is drawn.
fn class(health: &str) -> &'static str {
    match health {
        "well" => "good",
        "degraded" => "warn",
        "failing" => "bad",
        _ => "",
    }
}

/// A time, to the second.
fn time(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
