//! A soak test: minutes of mixed load with random faults and reloads. It checks every byte, and looks for leaks.
//!
//! `cargo bench --bench soak -- 15` runs for fifteen minutes; the last report is in `docs/soak.md`.

#![expect(clippy::unwrap_used, reason = "a panic ends the run")]

#[allow(dead_code, reason = "each bench uses its own part of it")]
mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode};
use support::{Resources, Running, Site, serve_router};
use tokio::io::AsyncReadExt as _;

/// The faults of the nanoservices at the moment.
#[derive(Default)]
struct FaultRate {
    /// The percentage of responses with a fault.
    percent: AtomicU64,
}

#[derive(serde::Deserialize)]
struct PartQuery {
    n: Option<String>,
}

/// A part that contains its parameter, and sometimes has a fault.
async fn part(faults: Arc<FaultRate>, name: &'static str, Query(query): Query<PartQuery>) -> Response {
    let n = query.n.unwrap_or_default();
    let html = [("content-type", "text/html"), ("cache-control", "max-age=2, stale-while-revalidate=5")];
    if fastrand::u64(0..100) < faults.percent.load(Ordering::Relaxed) {
        match fastrand::u8(0..5) {
            0 => return (StatusCode::INTERNAL_SERVER_ERROR, "<p>trace").into_response(),
            1 => tokio::time::sleep(Duration::from_secs(2)).await,
            2 => return (html, format!("</main><textarea><!--[{name}:{n}]")).into_response(),
            3 => return (StatusCode::OK, "{}").into_response(),
            _ => return (html, "x".repeat(2_000_000)).into_response(),
        }
    }
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..15))).await;
    (html, format!("[{name}:{n}]")).into_response()
}

/// A personal part, which contains the client's cookie.
async fn own(headers: HeaderMap) -> Response {
    let cookie = headers.get("cookie").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    ([("content-type", "text/html"), ("cache-control", "private")], format!("[{cookie}]")).into_response()
}

const LAYOUT: &str = "query = [\"n\"]\nbudget = \"1s\"\n+++\n<!doctype html><title>s</title><main>\
    <fragment name=a timeout=300ms data-n={n}>(a)</fragment><fragment name=b timeout=300ms data-n={n} load=defer>(b)</fragment>\
    <fragment name=own timeout=300ms>(own)</fragment></main><p>end";

/// Starts the compositor and its nanoservices, whose fault rate can be changed.
async fn start(settings: &str) -> (Running, Arc<FaultRate>) {
    let faults = Arc::new(FaultRate::default());
    let service = |name: &'static str| {
        let faults = Arc::clone(&faults);
        get(move |query| part(Arc::clone(&faults), name, query))
    };
    let router = axum::Router::new().route("/a", service("a")).route("/b", service("b")).route("/own", get(own));
    let address = serve_router(router).await;
    let site = Site::new(settings);
    for name in ["a", "b", "own"] {
        let context = if name == "own" { "context = [\"cookie:who\"]\n" } else { "[params.n]\n" };
        site.fragment(name, address, context);
    }
    site.write("layouts/p.html", &format!("+++\nroute = \"/\"\n{LAYOUT}"));
    (site.serve(false), faults)
}

/// Whether this client may get this page: complete, and without parts of other requests.
fn is_correct(html: &str, n: u64, number: u64) -> bool {
    let Some(rest) = html.strip_prefix("<!doctype html><title>s</title><main>") else { return false };
    let own = [format!("[who={number}]"), "(own)".to_owned()];
    let others = rest.match_indices("[who=").all(|(at, _)| rest[at..].starts_with(&own[0]));
    let parts = ["a", "b"].iter().all(|name| {
        let marks = format!("[{name}:");
        let mine = format!("[{name}:{n}]");
        rest.match_indices(&marks).all(|(at, _)| rest[at..].starts_with(&mine))
    });
    others && parts && rest.contains("</main><p>end") && own.iter().any(|own| rest.contains(own))
}

#[derive(Default)]
struct Counts {
    pages: AtomicU64,
    wrong: AtomicU64,
    left: AtomicU64,
    failed: AtomicU64,
}

/// Requests random pages until the end of the run, and checks each one.
async fn run_client(pages: SocketAddr, number: u64, is_over: Arc<AtomicBool>, counts: Arc<Counts>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    while !is_over.load(Ordering::Relaxed) {
        let n = if fastrand::bool() { fastrand::u64(0..20) } else { fastrand::u64(..) };
        let request = client.get(format!("http://{pages}/?n={n}")).header("cookie", format!("who={number}; other={n}"));
        let response =
            request.header("accept-encoding", ["identity", "gzip", "zstd", "br"][fastrand::usize(0..4)]).send();
        if fastrand::u8(0..10) == 0 {
            // Some clients leave before the response.
            let pause = Duration::from_millis(fastrand::u64(0..100));
            let _left = tokio::time::timeout(pause, async { response.await.ok()?.bytes().await.ok() }).await;
            counts.left.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match response.await {
            Ok(response) if response.status() == StatusCode::OK => match text(response).await {
                Ok(html) if is_correct(&html, n, number) => _ = counts.pages.fetch_add(1, Ordering::Relaxed),
                Ok(html) => {
                    eprintln!("wrong: {:?}", &html[..html.len().min(500)]);
                    counts.wrong.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => _ = counts.failed.fetch_add(1, Ordering::Relaxed),
            },
            _ => _ = counts.failed.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// The text of a page, decoded.
async fn text(response: reqwest::Response) -> Result<String, std::io::Error> {
    let coding = response.headers().get("content-encoding").cloned();
    let body = response.bytes().await.map_err(std::io::Error::other)?;
    let (body, mut text) = (&*body, String::new());
    match coding.as_ref().map(HeaderValue::as_bytes) {
        Some(b"gzip") => GzipDecoder::new(body).read_to_string(&mut text).await,
        Some(b"br") => BrotliDecoder::new(body).read_to_string(&mut text).await,
        Some(b"zstd") => {
            let mut decoder = ZstdDecoder::new(body);
            decoder.multiple_members(true);
            decoder.read_to_string(&mut text).await
        }
        _ => (&mut { body }).read_to_string(&mut text).await,
    }?;
    Ok(text)
}

async fn soak(minutes: u64) -> String {
    let (running, faults) = start("[cache]\nmemory = \"16MiB\"\n[fragment]\nhtml = \"balanced\"\n").await;
    let (is_over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
    let idle = running.resources();
    let clients: Vec<_> = (0..16)
        .map(|number| tokio::spawn(run_client(running.pages, number, Arc::clone(&is_over), Arc::clone(&counts))))
        .collect();
    let (began, end) = (Instant::now(), Duration::from_secs(60 * minutes));
    let (mut rows, mut reloads) = (String::new(), 0_u64);
    let mut next = Duration::from_secs(30);
    while began.elapsed() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        faults.percent.store([0, 0, 5, 30, 100][fastrand::usize(0..5)], Ordering::Relaxed);
        reloads += 1;
        // Clients get the same page from a file that has changed.
        running.site.write("layouts/p.html", &format!("+++\n# {reloads}\nroute = \"/\"\n{LAYOUT}"));
        if began.elapsed() >= next {
            next += Duration::from_secs(60);
            let Resources { memory, files, threads } = running.resources();
            let minute = began.elapsed().as_secs_f64() / 60.0;
            writeln!(rows, "| {minute:.1} | {} | {files} | {threads} |", memory / 1024).unwrap();
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    faults.percent.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let after = running.resources();
    let in_flight = running.metric("pasteup_upstream_in_flight").await;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    format!(
        "| | |\n|---|---|\n| minutes | {minutes} |\n| pages, each checked byte by byte for parts of others | {} |\n| wrong | {} |\n\
         | requests that failed | {} |\n| clients that left midway | {} |\n| reloads | {reloads} |\n\
         | idle: memory (MiB), files, threads | {}, {}, {} |\n| afterwards | {}, {}, {} |\n| in flight afterwards | {} |\n\n\
         | minute | memory (MiB) | files | threads |\n|---|---|---|---|\n{rows}",
        count(&counts.pages),
        count(&counts.wrong),
        count(&counts.failed),
        count(&counts.left),
        idle.memory / 1024,
        idle.files,
        idle.threads,
        after.memory / 1024,
        after.files,
        after.threads,
        in_flight.iter().map(f64::to_string).collect::<Vec<_>>().join(", "),
    )
}

fn main() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match std::env::args().find_map(|argument| argument.parse().ok()) {
        Some(minutes) => print!("{}", runtime.block_on(soak(minutes))),
        None => println!("`cargo bench --bench soak -- 15` runs for fifteen minutes"),
    }
}
