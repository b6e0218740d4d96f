//! What overload, hung services, floods and readers who leave cost, in figures.
//!
//! `cargo bench --bench resilience` measures all of it in some minutes, `-- hung`, `tenfold`, `leavers`,
//! `reloads` or `flood` one. The compositor has the last core for itself; its services and its readers share the others:
//! `taskset -c 0 cargo bench …` keeps them off it.

#![expect(clippy::unwrap_used, reason = "a failure is a result, too")]

#[allow(dead_code, reason = "each bench uses its own part of it")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::response::IntoResponse as _;
use axum::routing::get;
use support::{Reader, Running, Site, ms, quantile, served};

/// What of a second a service that works takes.
const WORK: Duration = Duration::from_millis(50);

#[derive(serde::Deserialize)]
struct Asked {
    n: Option<u64>,
}

/// The services: `quick` answers at once, `works` after a while, `hangs` never while it is ill, `never`
/// never, and `keeps` what may be kept. It counts how often it was asked for the pages that are hot.
#[derive(Default)]
struct Services {
    ill: AtomicBool,
    hot: AtomicU64,
}

/// URLs that are in use all the time.
const HOT: u64 = 100;

/// Their addresses: that of the ones that are well, and that of the others.
async fn services(services: &Arc<Services>) -> [SocketAddr; 2] {
    let html = [("content-type", "text/html")];
    let (hangs, keeps) = (Arc::clone(services), Arc::clone(services));
    let router = axum::Router::new()
        .route("/quick", get(move || async move { (html, "<p>quick</p>") }))
        .route(
            "/works",
            get(move || async move {
                tokio::time::sleep(WORK).await;
                (html, "<p>worked</p>")
            }),
        )
        .route(
            "/keeps",
            get(move |Query(asked): Query<Asked>| async move {
                let n = asked.n.unwrap_or_default();
                if n < HOT {
                    keeps.hot.fetch_add(1, Ordering::Relaxed);
                }
                let text = format!("<p>{n}</p>{}", "x".repeat((n % 1_000) as usize));
                ([("content-type", "text/html"), ("cache-control", "max-age=3600")], text).into_response()
            }),
        );
    let ill = axum::Router::new()
        .route(
            "/hangs",
            get(move || async move {
                if hangs.ill.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                (html, "<p>well</p>")
            }),
        )
        .route("/never", get(std::future::pending::<()>));
    // What is ill stands on its own: others do not share its connections.
    [served(router).await, served(ill).await]
}

async fn start(settings: &str, layouts: &[(&str, &str)]) -> (Running, Arc<Services>) {
    let services = Arc::new(Services::default());
    let [well, ill] = self::services(&services).await;
    let site = Site::new(settings);
    for (name, address) in [("quick", well), ("works", well), ("keeps", well), ("hangs", ill), ("never", ill)] {
        let limits = if name == "works" { "[limits]\nconcurrency = 1000\n" } else { "" };
        site.fragment(name, address, &format!("{limits}[params.n]\ntype = \"integer\"\n"));
    }
    for (route, layout) in layouts {
        let name = route.trim_matches('/');
        site.write(
            &format!("layouts/{name}.html"),
            &format!("+++\nroute = \"{route}\"\nquery = [\"n\"]\n+++\n{layout}"),
        );
    }
    (site.serve(true), services)
}

/// What some readers saw, by status.
#[derive(Default)]
struct Seen {
    pages: Vec<Duration>,
    shed: Vec<Duration>,
    failed: u64,
}

/// Readers who ask at their own pace, whatever they are answered, for this long.
async fn readers(number: u32, pace: Duration, pages: SocketAddr, target: &'static str, long: Duration) -> Seen {
    let end = Instant::now() + long;
    let all: Vec<_> = (0..number)
        .map(|reader| {
            tokio::spawn(async move {
                let mut seen = Seen::default();
                let mut next = tokio::time::Instant::now() + pace * reader / number;
                let mut reader = None;
                while Instant::now() < end {
                    tokio::time::sleep_until(next).await;
                    // Not like clockwork, or else they meet always the same of what else happens; and who was
                    // kept waiting does not make up for it.
                    next = (next + pace.mul_f64(0.5 + fastrand::f64())).max(tokio::time::Instant::now());
                    let connected = match reader.take() {
                        Some(reader) => Ok(reader),
                        None => Reader::new(pages).await,
                    };
                    let Ok(mut asking) = connected else {
                        seen.failed += 1;
                        continue;
                    };
                    match asking.get(target, "").await {
                        Ok((200, took)) => seen.pages.push(took),
                        Ok((503, took)) => seen.shed.push(took),
                        _ => {
                            seen.failed += 1;
                            continue;
                        }
                    }
                    reader = Some(asking);
                }
                seen
            })
        })
        .collect();
    let mut seen = Seen::default();
    for one in futures::future::join_all(all).await {
        let one = one.unwrap();
        seen.pages.extend(one.pages);
        seen.shed.extend(one.shed);
        seen.failed += one.failed;
    }
    seen
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

/// 250 readers of pages with a service that hangs, and 250 of pages without it.
async fn hung() {
    let layouts = [
        ("/without", "<fragment name=quick />"),
        ("/with", "<fragment name=quick /><fragment name=hangs timeout=500ms />"),
    ];
    let (running, services) = start("[page]\nstream = false\n", &layouts).await;
    let mut rows = [const { (Vec::new(), Vec::new()) }; 2];
    // Who waits for the service that hangs keeps his pace, too: else all of them would come at once.
    let pace = Duration::from_secs(1);
    let both = async |long| {
        let with = readers(250, pace, running.pages, "/with", long);
        futures::future::join(readers(250, pace, running.pages, "/without", long), with).await
    };
    both(Duration::from_secs(3)).await;
    // In turns, so that whatever else the machine does meets both.
    for _ in 0..6 {
        for (index, ill) in [false, true].into_iter().enumerate() {
            services.ill.store(ill, Ordering::Relaxed);
            both(Duration::from_secs(6)).await;
            let (mut without, with) = both(Duration::from_secs(5)).await;
            assert_eq!((without.failed + with.failed, without.shed.len() + with.shed.len()), (0, 0));
            rows[index].0.push(quantile(&mut without.pages, 0.5).as_secs_f64() * 1e3);
            rows[index].1.push(quantile(&mut without.pages, 0.99).as_secs_f64() * 1e3);
        }
    }
    println!(
        "| pages without the service that hangs, 500 readers, medians of 6 rounds | p50 (ms) | p99 (ms) |\n|---|---|---|"
    );
    let mut ninety_nine = Vec::new();
    for (what, (p50, p99)) in ["all well", "it hangs"].into_iter().zip(&mut rows) {
        ninety_nine.push(median(p99));
        println!("| {what} | {:.2} | {:.2} |", median(p50), median(p99));
    }
    println!("| ratio | | {:.2} |\n", ninety_nine[1] / ninety_nine[0]);
}

/// As much as it can bear, and ten times that.
async fn tenfold() {
    const AT_ONCE: u32 = 50;
    let settings = format!("[server]\nmax_in_flight = {AT_ONCE}\n[page]\nstream = false\n");
    let (running, _) = start(&settings, &[("/page", "<fragment name=works />")]).await;
    let long = Duration::from_secs(5);
    let rate = |seen: &Seen| seen.pages.len() as f64 / long.as_secs_f64();
    readers(AT_ONCE, Duration::ZERO, running.pages, "/page", Duration::from_secs(2)).await;
    let (mut best, mut under) = (Vec::new(), Vec::new());
    let (mut shed, mut failed, mut asked) = (Vec::new(), 0, Vec::new());
    for _ in 0..5 {
        let peak = readers(AT_ONCE, Duration::ZERO, running.pages, "/page", long).await;
        best.push(rate(&peak));
        let times_ten = rate(&peak) * 10.0;
        let number = 1_000;
        let pace = Duration::from_secs_f64(f64::from(number) / times_ten);
        let mut much = readers(number, pace, running.pages, "/page", long).await;
        under.push(rate(&much));
        asked.push((much.pages.len() + much.shed.len()) as f64 / long.as_secs_f64());
        failed += much.failed + peak.failed;
        shed.append(&mut much.shed);
    }
    let (best, under, asked) = (median(&mut best), median(&mut under), median(&mut asked));
    println!("| load | asked (/s) | pages (/s) | of the peak |\n|---|---|---|---|");
    println!(
        "| as much as it can bear | | {best:.0} | 1 |\n| ten times that | {asked:.0} | {under:.0} | {:.2} |\n",
        under / best
    );
    let quantiles = [0.5, 0.99, 0.999].map(|share| ms(quantile(&mut shed, share)));
    println!(
        "shed: {} answers after {} ms at the median, p99 {}, p99.9 {}; {failed} failed\n",
        shed.len(),
        quantiles[0],
        quantiles[1],
        quantiles[2]
    );
}

/// Ten thousand readers who leave in the middle of a page.
async fn leavers() {
    let layout = "<p>head<fragment name=never data-n={n} />";
    let (running, _) = start("", &[("/page", layout)]).await;
    // What a metric costs is paid before.
    running.metric("pasteup_upstream_in_flight").await;
    let idle = running.held();
    let mut most = 0_f64;
    let began = Instant::now();
    for _ in 0..20 {
        let here: Vec<_> = (0..500)
            .map(|_| async {
                let mut reader = Reader::new(running.pages).await.unwrap();
                reader.ask(&format!("/page?n={}", fastrand::u32(..)), "").await.unwrap();
                reader.first().await.unwrap();
                reader
            })
            .collect();
        let here = futures::future::join_all(here).await;
        most = most.max(running.metric("pasteup_upstream_in_flight").await.iter().sum());
        drop(here);
    }
    let (left, limit) = (Instant::now(), Duration::from_secs(10));
    let quiet = loop {
        let in_flight: f64 = running.metric("pasteup_upstream_in_flight").await.iter().sum();
        if (in_flight == 0.0 && running.held().files <= idle.files + 1) || left.elapsed() > limit {
            break left.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let after = running.held();
    println!("| 10,000 readers who leave mid-page | |\n|---|---|");
    println!("| they came and went within | {:.1} s |", (left - began).as_secs_f64());
    println!("| in flight upstream, at most | {most} |");
    println!("| gauges and descriptors at their baseline after | {} ms |", ms(quiet));
    println!("| descriptors before, after | {}, {} |", idle.files, after.files);
    println!("| memory before, after (MiB) | {}, {} |\n", idle.memory / 1024, after.memory / 1024);
}

/// A thousand reloads and a stop, while readers ask without a pause, half of them over new connections.
async fn reloads() {
    let layout = |number: u32| format!("<p>{number}<fragment name=quick />");
    let (mut running, _) = start("[page]\nstream = false\n", &[("/page", &layout(0))]).await;
    let over = Arc::new(AtomicBool::new(false));
    let (url, answered) = (format!("http://{}/page", running.pages), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..16)
        .map(|reader| {
            let (over, url, answered) = (Arc::clone(&over), url.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let client = || reqwest::Client::builder().no_proxy().build().unwrap();
                let mut kept = client();
                loop {
                    if reader % 2 == 0 {
                        kept = client();
                    }
                    let answer = match kept.get(&url).send().await {
                        // Behind the stop nobody is there.
                        Err(error) if error.is_connect() && over.load(Ordering::Relaxed) => return 0,
                        Err(_) => return 1,
                        Ok(answer) => answer,
                    };
                    let text = answer.text().await.unwrap_or_default();
                    if !(text.starts_with("<p>") && text.ends_with("<p>quick</p>")) {
                        return 1;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for number in 1..=1_000 {
        running.site.write("layouts/page.html", &format!("+++\nroute = \"/page\"\n+++\n{}", layout(number)));
        let mut reader = Reader::new(running.pages).await.unwrap();
        let live = format!("<p>{number}<");
        while reader.get("/page", "").await.unwrap().0 != 200 || !reader.body().starts_with(live.as_bytes()) {}
    }
    over.store(true, Ordering::Relaxed);
    let id = running.process.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let failed: u32 = futures::future::join_all(readers).await.into_iter().map(Result::unwrap).sum();
    let ended = running.process.wait().unwrap();
    println!("| 1,000 reloads and a stop under load | |\n|---|---|");
    println!("| requests that were answered | {} |", answered.load(Ordering::Relaxed));
    println!("| requests that failed | {failed} |\n| how it ended | {ended} |\n");
}

/// A million URLs that nobody asks for twice, beside some that all ask for.
async fn flood(urls: u64) {
    let settings = "[cache]\nmemory = \"64MiB\"\n[page]\nstream = false\n";
    let (running, services) = start(settings, &[("/page", "<fragment name=keeps data-n={n} />")]).await;
    let mut first = Reader::new(running.pages).await.unwrap();
    first.get("/page?n=1", "").await.unwrap();
    let idle = running.held().memory;
    let next = Arc::new(AtomicU64::new(HOT));
    let asked_hot = Arc::new(AtomicU64::new(0));
    let pages = running.pages;
    let all: Vec<_> = (0..32)
        .map(|_| {
            let (next, asked_hot) = (Arc::clone(&next), Arc::clone(&asked_hot));
            tokio::spawn(async move {
                let mut reader = Reader::new(pages).await.unwrap();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= urls + HOT {
                        return;
                    }
                    assert_eq!(reader.get(&format!("/page?n={n}"), "").await.unwrap().0, 200);
                    if n % 10 == 0 {
                        asked_hot.fetch_add(1, Ordering::Relaxed);
                        let hot = fastrand::u64(0..HOT);
                        assert_eq!(reader.get(&format!("/page?n={hot}"), "").await.unwrap().0, 200);
                    }
                }
            })
        })
        .collect();
    let mut most = idle;
    while all.iter().any(|reader| !reader.is_finished()) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(running.held().memory);
    }
    let cache: f64 = running.metric("pasteup_cache_bytes").await.iter().sum();
    let (missed, asked) = (services.hot.load(Ordering::Relaxed), asked_hot.load(Ordering::Relaxed));
    println!("| a cache of 64 MiB, {urls} URLs that are asked for once | |\n|---|---|");
    println!("| idle (MiB) | {:.1} |\n| at most (MiB) | {:.1} |", idle as f64 / 1024.0, most as f64 / 1024.0);
    println!("| over idle (MiB); 80 is what may be | {:.1} |", (most - idle) as f64 / 1024.0);
    println!("| what the cache counts (MiB) | {:.1} |", cache / 1024.0 / 1024.0);
    println!(
        "| {HOT} hot URLs: asked for, of these from memory | {asked}, {:.2} % |\n",
        100.0 * (1.0 - missed as f64 / asked as f64)
    );
}

fn main() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let urls = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    runtime.block_on(async {
        if wanted("hung") {
            hung().await;
        }
        if wanted("tenfold") {
            tenfold().await;
        }
        if wanted("leavers") {
            leavers().await;
        }
        if wanted("reloads") {
            reloads().await;
        }
        if wanted("flood") {
            flood(urls).await;
        }
    });
}
