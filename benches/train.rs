//! The load for which a release is optimised: various clients request various pages for a while. `make release` runs an
//! instrumented program under this load, and builds the release from the recorded profile.
//!
//! `PASTEUP=/path/to/it cargo bench --profile dev --bench train`

#![expect(clippy::unwrap_used, reason = "a panic ends the run")]

#[allow(dead_code, reason = "each bench uses its own part of it")]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, COOKIE, ETAG, IF_NONE_MATCH};
use support::{Running, Site, serve_router};

/// How long each kind of page is requested.
const LONG: Duration = Duration::from_secs(5);
/// The number of simultaneous clients.
const CLIENTS: usize = 16;

#[derive(serde::Deserialize)]
struct PartQuery {
    bytes: usize,
    age: u64,
}

/// Markup of about this many bytes.
fn markup(bytes: usize) -> String {
    let mut text = String::from("<section class=\"box\"><h2>Today</h2><ul>");
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        text += &format!(
            "<li id=\"i{number}\"><a href=\"/news/{number}?from=box&amp;x=1\">No {number} of many</a> &middot; told<br></li>"
        );
    }
    text + "</ul></section>"
}

async fn part(Query(query): Query<PartQuery>) -> Response {
    let cache_control = format!("max-age={}", query.age);
    ([("content-type", "text/html".to_owned()), ("cache-control", cache_control)], markup(query.bytes)).into_response()
}

/// A personal part, which contains the client's cookie.
async fn own(headers: HeaderMap) -> Response {
    let cookie = headers.get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    ([("content-type", "text/html"), ("cache-control", "private")], markup(1_000) + &cookie).into_response()
}

/// The composition of a page.
struct Composition {
    name: &'static str,
    /// The number of shared parts.
    parts: usize,
    /// The approximate size of each shared part.
    bytes: usize,
    /// Seconds for which each shared part is fresh.
    age: u64,
    /// The number of personal parts.
    own: usize,
}

const PAGES: [Composition; 6] = [
    Composition { name: "hot", parts: 10, bytes: 2_000, age: 3_600, own: 0 },
    Composition { name: "wide", parts: 100, bytes: 1_000, age: 3_600, own: 0 },
    Composition { name: "large", parts: 12, bytes: 10_000, age: 3_600, own: 0 },
    Composition { name: "brief", parts: 10, bytes: 2_000, age: 1, own: 0 },
    Composition { name: "personal", parts: 20, bytes: 2_000, age: 2, own: 1 },
    Composition { name: "never", parts: 5, bytes: 2_000, age: 0, own: 2 },
];

fn site(services: SocketAddr) -> Running {
    let site = Site::new("[telemetry]\nlog = \"error\"\n");
    site.fragment(
        "part",
        services,
        "[params.bytes]\ntype = \"integer\"\n[params.age]\ntype = \"integer\"\n[params.n]\n",
    );
    site.fragment("own", services, "context = [\"cookie:uid\"]\n");
    for Composition { name, parts, bytes, age, own } in PAGES {
        let part =
            |n| format!("<fragment name=part data-bytes={bytes} data-age={age} data-n=\"{name}{n}\">none</fragment>\n");
        let own = "<fragment name=own>none</fragment>".repeat(own);
        let parts: String = (0..parts).map(part).collect();
        let front =
            format!("+++\nroute = \"/{name}\"\n+++\n<!doctype html><html><head><title>{name}</title></head><body>");
        site.write(&format!("layouts/{name}.html"), &format!("{front}<main>{own}{parts}</main></body></html>"));
    }
    site.serve(false)
}

/// Requests a page until a time. Returns the number of responses.
async fn run_client(url: String, number: usize, until: Instant) -> usize {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let coding = [None, Some("gzip"), Some("gzip, deflate, br, zstd"), Some("gzip, deflate, br")][number % 4];
    let (mut pages, mut etag) = (0, None);
    while Instant::now() < until {
        let mut request = client.get(&url).header(COOKIE, format!("uid=u{number}; theme=dark"));
        request =
            request.header("accept-language", "en-GB,en;q=0.9").header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
        if let Some(coding) = coding {
            request = request.header(ACCEPT_ENCODING, coding);
        }
        if let Some(etag) = etag.take_if(|_| pages % 10 == 9) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.unwrap();
        assert!(response.status().is_success() || response.status() == http::StatusCode::NOT_MODIFIED, "{response:?}");
        etag = response.headers().get(ETAG).cloned();
        response.bytes().await.unwrap();
        pages += 1;
    }
    pages
}

async fn train() {
    let router = axum::Router::new().route("/part", get(part)).route("/own", get(own));
    let running = site(serve_router(router).await);
    for Composition { name, .. } in PAGES {
        let (url, until) = (format!("http://{}/{name}", running.pages), Instant::now() + LONG);
        let clients = (0..CLIENTS).map(|number| tokio::spawn(run_client(url.clone(), number, until)));
        let pages = futures::future::join_all(clients).await.into_iter().map(Result::unwrap).sum::<usize>();
        println!("{name}: {pages} pages");
    }
}

fn main() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(train());
}
