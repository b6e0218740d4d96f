//! The console: what is live, slow or broken, as pages for a browser.
//! The server renders each screen and updates it over server-sent events. Without scripts a screen still works, but is not
//! updated. Nothing is loaded from another host.

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

use crate::engine::statistics::{FailureGroup, NanoserviceStatistics, PageStatistics, SiteChange, UnroutedStatistics};
use crate::page::output::record::{self, Record};
use crate::page::policy::resilience::health::Health;
use crate::page::response::outcome::PartHealth;
use crate::page::source::units::show_ms;

use super::api::{self, CacheInspection, Fragment, Page};
use super::map::{self, Map};
use super::{Admin, Params, refuse};

/// The path and the name of each screen in the navigation.
pub(super) const SCREENS: [(&str, &str); 6] = [
    ("/", "Pages"),
    ("/fragments", "Nanoservices"),
    ("/map", "Map"),
    ("/errors", "Errors"),
    ("/cache", "Cache"),
    ("/problems", "Problems"),
];
/// How often an open screen is rendered again.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of cached responses that a screen lists.
const MAX_ENTRIES: usize = 200;
/// The `Content-Security-Policy` of every screen.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);
/// What the templates write before and after the section of a screen that is updated.
const LIVE: (&str, &str) = ("<div id=\"live\">", "<!--/live-->");

/// A file that the console loads.
struct Asset {
    path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 4] = [
    Asset {
        path: "/console/console.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("../../../templates/console/console.css"),
    },
    Asset {
        path: "/console/console.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("../../../templates/console/console.js"),
    },
    Asset {
        path: "/console/uplot.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("../../../templates/console/uplot.css"),
    },
    Asset {
        path: "/console/uplot.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("../../../templates/console/uplot.js"),
    },
];

pub(super) fn router() -> Router<Arc<Admin>> {
    let mut router = Router::new().route("/console/live", get(live)).route("/api/map", get(map::as_json));
    for (path, _) in SCREENS.iter().chain(&[("/page", ""), ("/fragment", "")]) {
        router = router.route(path, get(screen));
    }
    for Asset { path, media_type, content } in ASSETS {
        router = router.route(path, get(move || async move { respond(media_type, Body::from(content)) }));
    }
    router
}

async fn screen(State(admin): State<Arc<Admin>>, uri: http::Uri, Query(query): Query<Params>) -> Response {
    match render(&admin, uri.path(), &query, true).await {
        Ok(html) => respond("text/html; charset=utf-8", Body::from(html)),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Streams the updated section of a screen, as an event whenever it has changed.
async fn live(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    let of = query.value("of").to_owned();
    let stop = admin.stop.clone();
    let events = stream::unfold((admin, of, None::<String>), |(admin, of, last)| async move {
        if last.is_some() {
            tokio::time::sleep(UPDATE_INTERVAL).await;
        }
        let (path, query) = of.split_once('?').unwrap_or((&of, ""));
        let query = Params(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        let html = render(&admin, path, &query, false).await.unwrap_or_default();
        let section = html.split_once(LIVE.0).and_then(|(_, rest)| rest.split_once(LIVE.1)).map(|(section, _)| section);
        let section = section.unwrap_or_default().to_owned();
        let event = if last.as_ref() == Some(&section) {
            // A comment, so that nothing on the way closes the connection as idle.
            ": unchanged\n\n".to_owned()
        } else {
            format!("data: {}\n\n", serde_json::to_string(&section).unwrap_or_default())
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), (admin, of, Some(section))))
    });
    respond("text/event-stream", Body::from_stream(events.take_until(stop.cancelled_owned()).boxed()))
}

/// A response of the console, with the headers that all of its responses have.
fn respond(media_type: &'static str, body: Body) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, body).into_response()
}

/// Renders a screen. If it is not needed `whole`, but only its updated section, no page is composed for it.
async fn render(admin: &Arc<Admin>, path: &str, query: &Params, whole: bool) -> askama::Result<String> {
    match path {
        "/" => Pages { pages: api::pages(admin) }.render(),
        "/page" => one_page(admin, query, whole).await.render(),
        "/fragments" => {
            let fragments = api::fragments(admin);
            Fragments { duplicates: duplicates(admin, &fragments), now: admin.compositor.now(), fragments }.render()
        }
        "/fragment" => {
            let name = query.value("name").to_owned();
            let versions = api::fragments(admin).into_iter().filter(|one| one.name == name).collect();
            OneFragment { name, versions }.render()
        }
        "/map" => Map::new(admin, query.value("of")).render(),
        "/errors" => {
            let errors = api::errors(admin);
            Errors { unrouted: errors.unrouted.clone(), lines: lines(errors) }.render()
        }
        "/cache" => cache(admin, query.value("text")).render(),
        _ => {
            let live = admin.live.now();
            let problems = live.problems.iter().map(|problem| (admin.render_diagnostic)(problem)).collect();
            Problems { problems, last_good: live.site.last_good.clone() }.render()
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
    statistics: PageStatistics,
    record: Result<Record, String>,
}

impl OnePage {
    fn screen(&self) -> &'static str {
        "/"
    }
}

/// A part of a page, and its bars in a waterfall that is 200 wide.
struct Row<'a> {
    depth: usize,
    part: &'a record::PartRecord,
    class: &'static str,
    /// The start of the bar.
    from: f64,
    /// The width of the bar until the first byte.
    wait: f64,
    /// The position of the first byte.
    first: f64,
    /// The width of the bar from the first byte to the last.
    body: f64,
    /// Milliseconds from the request to the last byte.
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
        let placeholders: Vec<&str> = path.split('/').filter(|segment| segment.contains('{')).collect();
        Err(format!("Enter a real path for this route, with values in place of {}.", placeholders.join(" and ")))
    } else {
        let fields = [("path", &path), ("device", &device), ("locale", &locale)];
        let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<_> = given.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let record = admin.explain(&query).await;
        record.and_then(|record| record.ok_or_else(|| format!("No layout matches {path}.")))
    };
    OnePage { statistics: admin.statistics.page(&route), route, path, device, locale, record }
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
            class: match part.health {
                PartHealth::Good => "good",
                PartHealth::Old => "warn",
                PartHealth::Missing => "bad",
            },
            from: start * scale,
            wait: (first - start) * scale,
            first: first * scale,
            // At least 1, so that a part that took no time is visible.
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
    now: Timestamp,
    fragments: Vec<Fragment>,
    /// Groups of nanoservices that may be one nanoservice written twice, and why.
    duplicates: Vec<(Vec<String>, &'static str)>,
}

impl Fragments {
    fn screen(&self) -> &'static str {
        "/fragments"
    }
}

fn duplicates(admin: &Admin, fragments: &[Fragment]) -> Vec<(Vec<String>, &'static str)> {
    let same_bytes = admin.statistics.same_content().into_iter();
    let mut duplicates: Vec<(Vec<String>, &'static str)> = same_bytes
        .map(|names| (names.iter().map(ToString::to_string).collect(), "their last responses were the same"))
        .collect();
    let mut by_params: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    for one in fragments.iter().filter(|one| one.params.len() >= 2) {
        by_params.entry(one.params.clone()).or_default().insert(one.name.clone());
    }
    let groups = by_params.into_values().filter(|names| names.len() > 1);
    duplicates.extend(groups.map(|names| (names.into_iter().collect(), "they take the same parameters")));
    duplicates
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
    unrouted: UnroutedStatistics,
}

impl Errors {
    fn screen(&self) -> &'static str {
        "/errors"
    }
}

/// A line of the timeline of errors and changes.
enum Line {
    Error(FailureGroup),
    Change(SiteChange),
}

impl Line {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Error(error) => error.last,
            Self::Change(mark) => mark.at,
        }
    }
}

/// Merges errors and changes, the latest first.
fn lines(errors: api::Errors) -> Vec<Line> {
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
    inspection: CacheInspection,
}

impl Cache {
    fn screen(&self) -> &'static str {
        "/cache"
    }
}

fn cache(admin: &Admin, text: &str) -> Cache {
    let (bytes, entries) = (admin.usage)();
    #[expect(clippy::cast_precision_loss, reason = "one decimal place is shown")]
    let mib = format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    Cache { text: text.to_owned(), entries, mib, inspection: api::inspect_cache(admin, text, MAX_ENTRIES) }
}

#[derive(Template)]
#[template(path = "console/problems.html")]
struct Problems {
    problems: Vec<String>,
    /// The files whose last good version is live.
    last_good: Vec<String>,
}

impl Problems {
    fn screen(&self) -> &'static str {
        "/problems"
    }
}

/// Formats milliseconds, or a dash.
#[expect(clippy::ref_option, reason = "templates pass fields by reference")]
fn ms(ms: &Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), show_ms)
}

/// Formats a share from 0 to 1.
fn percent(share: &f64) -> String {
    if *share == 0.0 { "0%".to_owned() } else { format!("{:.1}%", share * 100.0) }
}

/// The CSS class of a state of health.
pub(super) const fn class(health: &Health) -> &'static str {
    match health {
        Health::Idle => "",
        Health::Healthy => "good",
        Health::Degraded => "warn",
        Health::Failing | Health::Down => "bad",
    }
}

/// Since when something is wrong with a nanoservice, in UTC: the time of day, with the date if that is another day.
fn trouble_since(statistics: &NanoserviceStatistics, now: &Timestamp) -> Option<String> {
    let since = statistics.since.filter(|_| statistics.health > Health::Healthy)?;
    let (since, today) = (time(&since), time(now));
    let same_day = since.split_once(' ').filter(|(day, _)| today.starts_with(day));
    Some(same_day.map_or(since.clone(), |(_, time)| time.to_owned()))
}

/// Formats a time in UTC, to the second.
fn time(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
