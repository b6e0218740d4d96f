//! Minutes of mixed load with random faults and reloads: is a byte wrong, is anything left behind?
//!
//! `cargo bench --bench soak -- 15` runs a quarter of an hour and writes `docs/soak.md`; `-- flood` asks for
//! a million answers of other URLs instead (`-- flood 100000` for fewer), with a cache of 64 MiB, and tells what that costs in memory.

#![expect(clippy::unwrap_used, reason = "a failure is a result, too")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use tempfile::TempDir;

/// How the services are just now.
#[derive(Default)]
struct Mood {
    /// Of a hundred answers so many are wrong in some way.
    ill: AtomicU64,
    /// Answers are kept for long.
    keeps: AtomicBool,
}

#[derive(serde::Deserialize)]
struct Asked {
    n: Option<String>,
}

/// A part that says what it was asked for, and sometimes goes wrong.
async fn part(mood: Arc<Mood>, name: &'static str, Query(asked): Query<Asked>) -> Response {
    let n = asked.n.unwrap_or_default();
    let keeps = mood.keeps.load(Ordering::Relaxed);
    let cache = if keeps { "max-age=3600" } else { "max-age=2, stale-while-revalidate=5" };
    let html = [("content-type", "text/html"), ("cache-control", cache)];
    if fastrand::u64(0..100) < mood.ill.load(Ordering::Relaxed) {
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

/// A part that is one reader's alone.
async fn own(headers: HeaderMap) -> Response {
    let cookie = headers.get("cookie").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    ([("content-type", "text/html"), ("cache-control", "private")], format!("[{cookie}]")).into_response()
}

const LAYOUT: &str = "query = [\"n\"]\nbudget = \"1s\"\n+++\n<!doctype html><title>s</title><main>\
    <fragment name=a timeout=300ms data-n={n}>(a)</fragment><fragment name=b timeout=300ms data-n={n} load=defer>(b)</fragment>\
    <fragment name=own timeout=300ms>(own)</fragment></main><p>end";

fn write(site: &Path, name: &str, text: &str) {
    let path = site.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The compositor under test, its addresses, and its site.
struct Running {
    process: Child,
    pages: String,
    admin: String,
    site: TempDir,
    mood: Arc<Mood>,
}

async fn start(settings: &str) -> Running {
    let mood = Arc::new(Mood::default());
    let service = |name: &'static str| {
        let mood = Arc::clone(&mood);
        get(move |asked| part(Arc::clone(&mood), name, asked))
    };
    let router = axum::Router::new().route("/a", service("a")).route("/b", service("b")).route("/own", get(own));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let site = tempfile::tempdir().unwrap();
    for name in ["a", "b", "own"] {
        let context = if name == "own" { "context = [\"cookie:who\"]\n" } else { "[params.n]\n" };
        let manifest =
            format!("name = \"{name}\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/{name}\"\n{context}");
        write(site.path(), &format!("fragments/{name}/fragment.toml"), &manifest);
    }
    write(site.path(), "layouts/p.html", &format!("+++\nroute = \"/\"\n{LAYOUT}"));
    write(site.path(), "pasteup.toml", settings);
    let mut process = Command::new(env!("CARGO_BIN_EXE_pasteup"))
        .arg("--site")
        .arg(site.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut address = || lines.next().unwrap().unwrap().rsplit(' ').next().unwrap().to_owned();
    let (pages, admin) = (address(), address());
    Running { process, pages, admin, site, mood }
}

/// Resident memory in KiB, open files, threads.
fn measured(process: &Child) -> (u64, usize, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let files = std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count();
    (field("VmRSS:"), files, field("Threads:"))
}

/// Whether a page is one of those that a reader may get.
fn is_right(html: &str, n: u64, who: u64) -> bool {
    let Some(rest) = html.strip_prefix("<!doctype html><title>s</title><main>") else { return false };
    let own = [format!("[who={who}]"), "(own)".to_owned()];
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

async fn read(url: String, who: u64, over: Arc<AtomicBool>, counts: Arc<Counts>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    while !over.load(Ordering::Relaxed) {
        let n = if fastrand::bool() { fastrand::u64(0..20) } else { fastrand::u64(..) };
        let asked = client.get(format!("{url}/?n={n}")).header("cookie", format!("who={who}; other={n}")).send();
        if fastrand::u8(0..10) == 0 {
            // Some leave before they are answered.
            let pause = Duration::from_millis(fastrand::u64(0..100));
            let _left = tokio::time::timeout(pause, async { asked.await.ok()?.text().await.ok() }).await;
            counts.left.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match asked.await {
            Ok(answer) if answer.status() == StatusCode::OK => match answer.text().await {
                Ok(html) if is_right(&html, n, who) => _ = counts.pages.fetch_add(1, Ordering::Relaxed),
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

async fn soak(minutes: u64) -> String {
    let mut running = start("[cache]\nmemory = \"16MiB\"\n[fragment]\nhtml = \"balanced\"\n").await;
    let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
    let idle = measured(&running.process);
    let readers: Vec<_> = (0..16)
        .map(|who| tokio::spawn(read(running.pages.clone(), who, Arc::clone(&over), Arc::clone(&counts))))
        .collect();
    let (began, end) = (Instant::now(), Duration::from_secs(60 * minutes));
    let (mut rows, mut reloads) = (String::new(), 0_u64);
    let mut next = Duration::from_secs(30);
    while began.elapsed() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        running.mood.ill.store([0, 0, 5, 30, 100][fastrand::usize(0..5)], Ordering::Relaxed);
        reloads += 1;
        // The same page for readers, and another file for the compositor.
        write(running.site.path(), "layouts/p.html", &format!("+++\n# {reloads}\nroute = \"/\"\n{LAYOUT}"));
        if began.elapsed() >= next {
            next += Duration::from_secs(60);
            let (memory, files, threads) = measured(&running.process);
            let minute = began.elapsed().as_secs_f64() / 60.0;
            writeln!(rows, "| {minute:.1} | {} | {files} | {threads} |", memory / 1024).unwrap();
        }
    }
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    running.mood.ill.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let after = measured(&running.process);
    let metrics = reqwest::get(format!("{}/metrics", running.admin)).await.unwrap().text().await.unwrap();
    let in_flight: Vec<&str> = metrics.lines().filter(|line| line.starts_with("pasteup_upstream_in_flight{")).collect();
    running.process.kill().unwrap();
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    format!(
        "| | |\n|---|---|\n| minutes | {minutes} |\n| pages, each looked at byte by byte for what is another's | {} |\n| wrong | {} |\n\
         | requests that failed | {} |\n| readers who left midway | {} |\n| reloads | {reloads} |\n\
         | idle: memory (MiB), files, threads | {}, {}, {} |\n| afterwards | {}, {}, {} |\n| in flight afterwards | {} |\n\n\
         | minute | memory (MiB) | files | threads |\n|---|---|---|---|\n{rows}",
        count(&counts.pages),
        count(&counts.wrong),
        count(&counts.failed),
        count(&counts.left),
        idle.0 / 1024,
        idle.1,
        idle.2,
        after.0 / 1024,
        after.1,
        after.2,
        in_flight.iter().map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>().join(", "),
    )
}

async fn flood(answers: u64) -> String {
    let mut running = start("[cache]\nmemory = \"64MiB\"\n[page]\nstream = false\n").await;
    running.mood.keeps.store(true, Ordering::Relaxed);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let hot =
        async |n: u64| client.get(format!("{}/?n={n}", running.pages)).send().await.unwrap().text().await.unwrap();
    hot(0).await;
    let (idle, ..) = measured(&running.process);
    let next = Arc::new(AtomicU64::new(1));
    let readers: Vec<_> = (0..32)
        .map(|_| {
            let (client, url, next) = (client.clone(), running.pages.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n > answers / 2 {
                        return;
                    }
                    let _page = client.get(format!("{url}/?n={n}")).send().await.unwrap().text().await;
                }
            })
        })
        .collect();
    let mut most = idle;
    while readers.iter().any(|reader| !reader.is_finished()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        most = most.max(measured(&running.process).0);
    }
    let metrics = reqwest::get(format!("{}/metrics", running.admin)).await.unwrap().text().await.unwrap();
    let cache = metrics.lines().find(|line| line.starts_with("pasteup_cache_bytes ")).unwrap_or_default();
    running.process.kill().unwrap();
    format!(
        "| | MiB |\n|---|---|\n| idle | {} |\n| at most, while {answers} answers of unique URLs came in | {} |\n| over idle | {} |\n\n{cache}\n",
        idle / 1024,
        most / 1024,
        (most - idle) / 1024
    )
}

fn main() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let is_flood = std::env::args().any(|argument| argument == "flood");
    match (is_flood, std::env::args().find_map(|argument| argument.parse().ok())) {
        (true, answers) => print!("{}", runtime.block_on(flood(answers.unwrap_or(1_000_000)))),
        (false, Some(minutes)) => print!("{}", runtime.block_on(soak(minutes))),
        (false, None) => println!("`cargo bench --bench soak -- 15` runs a quarter of an hour"),
    }
}
