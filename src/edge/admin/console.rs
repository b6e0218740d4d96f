//! The console: what is live, slow or broken, as pages for a browser. Each screen is rendered here, is renewed over
//! server-sent events, and works without scripts; nothing comes from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::engine::statistics::{Mark, PageSeen, Trouble};
use crate::page::output::record::{self, Record};
use crate::page::response::outcome::Standing;
use crate::page::source::units::show_ms;

use super::map::{self, Map};
use super::seen::{self, Fragment, Page, Stock};
use super::{Admin, Params, refuse};

/// The screens, and what they are called.
pub(super) const SCREENS: [(&str, &str); 6] = [
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
    let mut router = Router::new().route("/console/live", get(live)).route("/api/map", get(map::as_json));
    for (path, _) in SCREENS.iter().chain(&[("/page", ""), ("/fragment", "")]) {
        router = router.route(path, get(screen));
    }
    for Asset(path, media_type, text) in ASSETS {
        router = router.route(path, get(move || async move { with(media_type, Body::from(text)) }));
    }
    router
}

async fn screen(State(admin): State<Arc<Admin>>, uri: http::Uri, Query(query): Query<Params>) -> Response {
    match render(&admin, uri.path(), &query, true).await {
        Ok(html) => with("text/html; charset=utf-8", Body::from(html)),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// What changes of a screen, whenever it does.
async fn live(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    let of = query.value("of").to_owned();
    let stop = admin.stop.clone();
    let events = stream::unfold((admin, of, None::<String>), |(admin, of, last)| async move {
        if last.is_some() {
            tokio::time::sleep(RENEWED).await;
        }
        let (path, query) = of.split_once('?').unwrap_or((&of, ""));
        let query = Params(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
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
async fn render(admin: &Arc<Admin>, path: &str, query: &Params, whole: bool) -> askama::Result<String> {
    match path {
        "/" => Pages { pages: seen::pages(admin) }.render(),
        "/page" => one_page(admin, query, whole).await.render(),
        "/fragments" => {
            let fragments = seen::fragments(admin);
            Fragments { alike: alike(admin, &fragments), fragments }.render()
        }
        "/fragment" => {
            let name = query.value("name").to_owned();
            let versions = seen::fragments(admin).into_iter().filter(|one| one.name == name).collect();
            OneFragment { name, versions }.render()
        }
        "/map" => Map::new(admin, query.value("of")).render(),
        "/errors" => Errors { lines: lines(seen::errors(admin)) }.render(),
        "/cache" => cache(admin, query.value("text")).render(),
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
}

impl OnePage {
    fn screen(&self) -> &'static str {
        "/"
    }
}

/// A part of a page, and where it stands in the waterfall, of 200.
struct Row<'a> {
    depth: usize,
    part: &'a record::PartRecord,
    class: &'static str,
    from: f64,
    wait: f64,
    first: f64,
    body: f64,
    took: Option<f64>,
}

async fn one_page(admin: &Arc<Admin>, query: &Params, whole: bool) -> OnePage {
    let route = query.value("route").to_owned();
    let path = match query.value("path") {
        "" => route.clone(),
        path => path.to_owned(),
    };
    let (device, locale) = (query.value("device").to_owned(), query.value("locale").to_owned());
    let record = if !whole {
        Err(String::new())
    } else if path.contains('{') {
        Err("Give a path that this page answers, with its parameters filled in, to see what becomes of it.".to_owned())
    } else {
        let said = [("path", &path), ("device", &device), ("locale", &locale)];
        let said = said.into_iter().filter(|(_, value)| !value.is_empty());
        let asked: Vec<_> = said.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let record = admin.explain(&asked).await;
        record.and_then(|record| record.ok_or_else(|| format!("No layout has a route for {path}.")))
    };
    OnePage { seen: admin.board.page(&route), route, path, device, locale, record }
}

fn rows(record: &Record) -> Vec<Row<'_>> {
    let scale = 200.0 / record.all().filter_map(|part| part.end_ms).fold(record.took_ms, f64::max).max(0.01);
    let mut rows = Vec::new();
    rows_of(&record.parts, 0, scale, &mut rows);
    rows
}

fn rows_of<'a>(parts: &'a [record::PartRecord], depth: usize, scale: f64, rows: &mut Vec<Row<'a>>) {
    for part in parts {
        let (start, end) = (part.start_ms.unwrap_or_default(), part.end_ms.unwrap_or_default());
        let first = part.first_byte_ms.unwrap_or(end).clamp(start, end.max(start));
        rows.push(Row {
            depth: depth.min(4),
            class: match part.standing {
                Standing::Good => "good",
                Standing::Old => "warn",
                Standing::Missing => "bad",
            },
            from: start * scale,
            wait: (first - start) * scale,
            first: first * scale,
            // Whatever took no time is seen all the same.
            body: if part.start_ms.is_some() { ((end - first) * scale).max(1.0) } else { 0.0 },
            took: part.start_ms.map(|_| end - start),
            part,
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
    stock: Stock,
}

impl Cache {
    fn screen(&self) -> &'static str {
        "/cache"
    }
}

fn cache(admin: &Admin, text: &str) -> Cache {
    let (bytes, entries) = (admin.usage)();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mib = format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    Cache { text: text.to_owned(), entries, mib, stock: seen::stock(admin, text, LISTED) }
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
pub(super) fn class(health: &str) -> &'static str {
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
