//! What a release is built for: readers of all kinds ask for pages of all kinds, for a while. `make release` has a program
//! that notes what it does go through this, and builds the one to keep by these notes.
//!
//! `PASTEUP=/path/to/it cargo bench --profile dev --bench train`

#![expect(clippy::unwrap_used, reason = "a failure is a result, too")]

#[allow(dead_code, reason = "each bench uses its own part of it")]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, COOKIE, ETAG, IF_NONE_MATCH};
use support::{Running, Site, served};

/// How long each kind of page is asked for.
const LONG: Duration = Duration::from_secs(5);
/// Readers at once.
const READERS: usize = 16;

#[derive(serde::Deserialize)]
struct Asked {
    bytes: usize,
    age: u64,
}

/// Markup of about so many bytes.
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

async fn part(Query(asked): Query<Asked>) -> Response {
    let kept = format!("max-age={}", asked.age);
    ([("content-type", "text/html".to_owned()), ("cache-control", kept)], markup(asked.bytes)).into_response()
}

/// A part that is one reader's alone.
async fn own(headers: HeaderMap) -> Response {
    let who = headers.get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    ([("content-type", "text/html"), ("cache-control", "private")], markup(1_000) + &who).into_response()
}

/// What a page is made of.
struct Made {
    name: &'static str,
    parts: usize,
    /// Of each part, about.
    bytes: usize,
    /// Seconds that each part is kept.
    age: u64,
    /// Parts of its reader's own.
    own: usize,
}

const PAGES: [Made; 6] = [
    Made { name: "hot", parts: 10, bytes: 2_000, age: 3_600, own: 0 },
    Made { name: "wide", parts: 100, bytes: 1_000, age: 3_600, own: 0 },
    Made { name: "large", parts: 12, bytes: 10_000, age: 3_600, own: 0 },
    Made { name: "brief", parts: 10, bytes: 2_000, age: 1, own: 0 },
    Made { name: "personal", parts: 20, bytes: 2_000, age: 2, own: 1 },
    Made { name: "never", parts: 5, bytes: 2_000, age: 0, own: 2 },
];

fn site(services: SocketAddr) -> Running {
    let site = Site::new("[telemetry]\nlog = \"error\"\n");
    site.fragment(
        "part",
        services,
        "[params.bytes]\ntype = \"integer\"\n[params.age]\ntype = \"integer\"\n[params.n]\n",
    );
    site.fragment("own", services, "context = [\"cookie:uid\"]\n");
    for Made { name, parts, bytes, age, own } in PAGES {
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

async fn read(url: String, who: usize, until: Instant) -> usize {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let coding = [None, Some("gzip"), Some("gzip, deflate, br, zstd"), Some("gzip, deflate, br")][who % 4];
    let (mut pages, mut etag) = (0, None);
    while Instant::now() < until {
        let mut asked = client.get(&url).header(COOKIE, format!("uid=u{who}; theme=dark"));
        asked =
            asked.header("accept-language", "en-GB,en;q=0.9").header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
        if let Some(coding) = coding {
            asked = asked.header(ACCEPT_ENCODING, coding);
        }
        if let Some(etag) = etag.take_if(|_| pages % 10 == 9) {
            asked = asked.header(IF_NONE_MATCH, etag);
        }
        let answer = asked.send().await.unwrap();
        assert!(answer.status().is_success() || answer.status() == http::StatusCode::NOT_MODIFIED, "{answer:?}");
        etag = answer.headers().get(ETAG).cloned();
        answer.bytes().await.unwrap();
        pages += 1;
    }
    pages
}

async fn train() {
    let router = axum::Router::new().route("/part", get(part)).route("/own", get(own));
    let running = site(served(router).await);
    for Made { name, .. } in PAGES {
        let (url, until) = (format!("http://{}/{name}", running.pages), Instant::now() + LONG);
        let readers = (0..READERS).map(|who| tokio::spawn(read(url.clone(), who, until)));
        let pages = futures::future::join_all(readers).await.into_iter().map(Result::unwrap).sum::<usize>();
        println!("{name}: {pages} pages");
    }
}

fn main() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(train());
}
