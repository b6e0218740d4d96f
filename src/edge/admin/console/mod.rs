//! The console: whether all is well, and what is live, slow or broken, as pages for a browser.
//! The server renders each screen and updates it over server-sent events. Without scripts a screen still works, but is not
//! updated. Nothing is loaded from another host.

mod cache;
mod errors;
mod format;
mod map;
mod navigation;
mod now;
mod pages;
mod problems;
mod services;
mod versions;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

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

use super::{Admin, Params, refuse};

/// How often an open screen is rendered again.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// The `Content-Security-Policy` of every screen.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);
/// What the templates write before and after the section of a screen that is updated.
const LIVE: (&str, &str) = ("<div id=\"live\">", "<!--/live-->");
/// What the templates write in place of the navigation.
const NAVIGATION: &str = "<!--navigation-->";

/// A file that the console loads.
struct Asset {
    path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 5] = [
    Asset {
        path: "/console/console.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("../../../../templates/console/console.css"),
    },
    Asset {
        path: "/console/console.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("../../../../templates/console/console.js"),
    },
    Asset {
        path: "/console/charts.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("../../../../templates/console/charts.js"),
    },
    Asset {
        path: "/console/uplot.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("../../../../templates/console/uplot.css"),
    },
    Asset {
        path: "/console/uplot.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("../../../../templates/console/uplot.js"),
    },
];

pub(super) fn router() -> Router<Arc<Admin>> {
    let mut router = Router::new().route("/console/live", get(live)).route("/api/map", get(map::as_json));
    for path in navigation::paths() {
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

/// Streams the navigation and the updated section of a screen, each as an event whenever it has changed.
async fn live(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    let of = query.value("of").to_owned();
    let stop = admin.stop.clone();
    let events = stream::unfold((admin, of, None::<[String; 2]>), |(admin, of, last)| async move {
        if last.is_some() {
            tokio::time::sleep(UPDATE_INTERVAL).await;
        }
        let (path, query) = of.split_once('?').unwrap_or((&of, ""));
        let query = Params(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        let html = render(&admin, path, &query, false).await.unwrap_or_default();
        let section = html.split_once(LIVE.0).and_then(|(_, rest)| rest.split_once(LIVE.1)).map(|(section, _)| section);
        let parts = [navigation::render(&admin, path).unwrap_or_default(), section.unwrap_or_default().to_owned()];
        // At least a comment, so that nothing on the way closes the connection as idle.
        let mut events = ": \n\n".to_owned();
        for (number, name) in ["navigation", "message"].into_iter().enumerate() {
            if last.as_ref().is_none_or(|last| last[number] != parts[number]) {
                let data = serde_json::to_string(&parts[number]).unwrap_or_default();
                events.push_str(&format!("event: {name}\ndata: {data}\n\n"));
            }
        }
        Some((Ok::<_, Infallible>(Bytes::from(events)), (admin, of, Some(parts))))
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
    let html = match path {
        "/" => now::render(admin),
        "/pages" => pages::all(admin, query),
        "/page" => pages::one(admin, query, whole).await,
        "/fragments" => services::all(admin, query),
        "/fragment" => services::one(admin, query),
        "/versions" => versions::render(admin),
        "/map" => map::render(admin, query),
        "/errors" => errors::render(admin),
        "/cache" => cache::render(admin, query),
        _ => problems::render(admin),
    }?;
    Ok(html.replacen(NAVIGATION, &navigation::render(admin, path)?, 1))
}
