//! Measures the cost of hanging nanoservices, overload, floods of URLs, clients that leave, and reloads.
//!
//! `cargo bench --bench resilience` measures all of them in some minutes; `-- hung`, `tenfold`, `leavers`, `reloads` or
//! `flood` measures one. The compositor has the last core to itself; `taskset -c 0 cargo bench …` restricts the
//! nanoservices and the clients to another one.

#![expect(clippy::unwrap_used, reason = "a panic ends the measurement")]

#[allow(dead_code, reason = "each bench uses its own part of it")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::response::IntoResponse as _;
use axum::routing::get;
use support::{Client, Running, Site, ms, quantile, serve_router};

/// How long the nanoservice `works` takes to respond.
const WORK: Duration = Duration::from_millis(50);

#[derive(serde::Deserialize)]
struct PartQuery {
    n: Option<u64>,
}

/// The state of the nanoservices. `quick` responds at once, `works` after a while, `hangs` not while it is hanging, and
/// `never` never; the responses of `keeps` are cacheable.
#[derive(Default)]
struct Services {
    /// Whether `hangs` is hanging.
    is_hanging: AtomicBool,
    /// The number of requests to `keeps` for popular URLs.
    popular: AtomicU64,
}

/// The number of URLs that are requested all the time.
const POPULAR: u64 = 100;

/// Starts the nanoservices. Returns the address of the healthy ones, and that of `hangs` and `never`.
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
            get(move |Query(query): Query<PartQuery>| async move {
                let n = query.n.unwrap_or_default();
                if n < POPULAR {
                    keeps.popular.fetch_add(1, Ordering::Relaxed);
                }
                let text = format!("<p>{n}</p>{}", "x".repeat((n % 1_000) as usize));
                ([("content-type", "text/html"), ("cache-control", "max-age=3600")], text).into_response()
            }),
        );
    let failing = axum::Router::new()
        .route(
            "/hangs",
            get(move || async move {
                if hangs.is_hanging.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                (html, "<p>well</p>")
            }),
        )
        .route("/never", get(std::future::pending::<()>));
    // The failing ones have their own listener, so that the others do not share its connections.
    [serve_router(router).await, serve_router(failing).await]
}

async fn start(settings: &str, layouts: &[(&str, &str)]) -> (Running, Arc<Services>) {
    let services = Arc::new(Services::default());
    let [healthy, failing] = self::services(&services).await;
    let site = Site::new(settings);
    for (name, address) in
        [("quick", healthy), ("works", healthy), ("keeps", healthy), ("hangs", failing), ("never", failing)]
    {
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

/// The results of some clients.
#[derive(Default)]
struct Results {
    /// The response times of pages.
    pages: Vec<Duration>,
    /// The response times of 503.
    shed: Vec<Duration>,
    failed: u64,
}

/// Runs clients that send requests at a fixed pace, whatever the responses, for this long.
async fn clients(number: u32, pace: Duration, pages: SocketAddr, target: &'static str, long: Duration) -> Results {
    let end = Instant::now() + long;
    let all: Vec<_> = (0..number)
        .map(|index| {
            tokio::spawn(async move {
                let mut results = Results::default();
                let mut next = tokio::time::Instant::now() + pace * index / number;
                let mut client = None;
                while Instant::now() < end {
                    tokio::time::sleep_until(next).await;
                    // The pace varies at random, so that clients do not stay in step with periodic work of the machine;
                    // a client that had to wait does not catch up.
                    next = (next + pace.mul_f64(0.5 + fastrand::f64())).max(tokio::time::Instant::now());
                    let connected = match client.take() {
                        Some(client) => Ok(client),
                        None => Client::new(pages).await,
                    };
                    let Ok(mut connection) = connected else {
                        results.failed += 1;
                        continue;
                    };
                    match connection.get(target, "").await {
                        Ok((200, took)) => results.pages.push(took),
                        Ok((503, took)) => results.shed.push(took),
                        _ => {
                            results.failed += 1;
                            continue;
                        }
                    }
                    client = Some(connection);
                }
                results
            })
        })
        .collect();
    let mut results = Results::default();
    for one in futures::future::join_all(all).await {
        let one = one.unwrap();
        results.pages.extend(one.pages);
        results.shed.extend(one.shed);
        results.failed += one.failed;
    }
    results
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

/// 250 clients request a page with a nanoservice that hangs, and 250 a page without it.
async fn hung() {
    let layouts = [
        ("/without", "<fragment name=quick />"),
        ("/with", "<fragment name=quick /><fragment name=hangs timeout=500ms />"),
    ];
    let (running, services) = start("[page]\nstream = false\n", &layouts).await;
    let mut rows = [const { (Vec::new(), Vec::new()) }; 2];
    // Clients of the page that hangs keep their pace, too; otherwise all of them would send requests at once.
    let pace = Duration::from_secs(1);
    let both = async |long| {
        let with = clients(250, pace, running.pages, "/with", long);
        futures::future::join(clients(250, pace, running.pages, "/without", long), with).await
    };
    both(Duration::from_secs(3)).await;
    // In turns, so that other work on the machine affects both equally.
    for _ in 0..6 {
        for (index, is_hanging) in [false, true].into_iter().enumerate() {
            services.is_hanging.store(is_hanging, Ordering::Relaxed);
            both(Duration::from_secs(6)).await;
            let (mut without, with) = both(Duration::from_secs(5)).await;
            assert_eq!((without.failed + with.failed, without.shed.len() + with.shed.len()), (0, 0));
            rows[index].0.push(quantile(&mut without.pages, 0.5).as_secs_f64() * 1e3);
            rows[index].1.push(quantile(&mut without.pages, 0.99).as_secs_f64() * 1e3);
        }
    }
    println!(
        "| pages without the hanging nanoservice, 500 clients, medians of 6 rounds | p50 (ms) | p99 (ms) |\n|---|---|---|"
    );
    let mut ninety_nine = Vec::new();
    for (what, (p50, p99)) in ["all healthy", "one hangs"].into_iter().zip(&mut rows) {
        ninety_nine.push(median(p99));
        println!("| {what} | {:.2} | {:.2} |", median(p50), median(p99));
    }
    println!("| ratio | | {:.2} |\n", ninety_nine[1] / ninety_nine[0]);
}

/// The peak load, and ten times that.
async fn tenfold() {
    const AT_ONCE: u32 = 50;
    let settings = format!("[server]\nmax_in_flight = {AT_ONCE}\n[page]\nstream = false\n");
    let (running, _) = start(&settings, &[("/page", "<fragment name=works />")]).await;
    let long = Duration::from_secs(5);
    let rate = |results: &Results| results.pages.len() as f64 / long.as_secs_f64();
    clients(AT_ONCE, Duration::ZERO, running.pages, "/page", Duration::from_secs(2)).await;
    let (mut best, mut under) = (Vec::new(), Vec::new());
    let (mut shed, mut failed, mut offered) = (Vec::new(), 0, Vec::new());
    for _ in 0..5 {
        let peak = clients(AT_ONCE, Duration::ZERO, running.pages, "/page", long).await;
        best.push(rate(&peak));
        let times_ten = rate(&peak) * 10.0;
        let number = 1_000;
        let pace = Duration::from_secs_f64(f64::from(number) / times_ten);
        let mut much = clients(number, pace, running.pages, "/page", long).await;
        under.push(rate(&much));
        offered.push((much.pages.len() + much.shed.len()) as f64 / long.as_secs_f64());
        failed += much.failed + peak.failed;
        shed.append(&mut much.shed);
    }
    let (best, under, offered) = (median(&mut best), median(&mut under), median(&mut offered));
    println!("| load | requests (/s) | pages (/s) | of the peak |\n|---|---|---|---|");
    println!("| peak | | {best:.0} | 1 |\n| ten times that | {offered:.0} | {under:.0} | {:.2} |\n", under / best);
    let quantiles = [0.5, 0.99, 0.999].map(|share| ms(quantile(&mut shed, share)));
    println!(
        "shed: {} responses after {} ms at the median, p99 {}, p99.9 {}; {failed} failed\n",
        shed.len(),
        quantiles[0],
        quantiles[1],
        quantiles[2]
    );
}

/// Ten thousand clients that leave in the middle of a page.
async fn leavers() {
    let layout = "<p>head<fragment name=never data-n={n} />";
    let (running, _) = start("", &[("/page", layout)]).await;
    // The first request for the metrics allocates memory, so it comes before the baseline.
    running.metric("pasteup_upstream_in_flight").await;
    let idle = running.resources();
    let mut most = 0_f64;
    let began = Instant::now();
    for _ in 0..20 {
        let here: Vec<_> = (0..500)
            .map(|_| async {
                let mut client = Client::new(running.pages).await.unwrap();
                client.send(&format!("/page?n={}", fastrand::u32(..)), "").await.unwrap();
                client.first_bytes().await.unwrap();
                client
            })
            .collect();
        let here = futures::future::join_all(here).await;
        most = most.max(running.metric("pasteup_upstream_in_flight").await.iter().sum());
        drop(here);
    }
    let (left, limit) = (Instant::now(), Duration::from_secs(10));
    let quiet = loop {
        let in_flight: f64 = running.metric("pasteup_upstream_in_flight").await.iter().sum();
        if (in_flight == 0.0 && running.resources().files <= idle.files + 1) || left.elapsed() > limit {
            break left.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let after = running.resources();
    println!("| 10,000 clients that leave mid-page | |\n|---|---|");
    println!("| all of them within | {:.1} s |", (left - began).as_secs_f64());
    println!("| in flight upstream, at most | {most} |");
    println!("| gauges and descriptors at their baseline after | {} ms |", ms(quiet));
    println!("| descriptors before, after | {}, {} |", idle.files, after.files);
    println!("| memory before, after (MiB) | {}, {} |\n", idle.memory / 1024, after.memory / 1024);
}

/// A thousand reloads and a stop, while clients send requests without a pause, half of them over new connections.
async fn reloads() {
    let layout = |number: u32| format!("<p>{number}<fragment name=quick />");
    let (mut running, _) = start("[page]\nstream = false\n", &[("/page", &layout(0))]).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let (url, succeeded) = (format!("http://{}/page", running.pages), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..16)
        .map(|index| {
            let (is_over, url, succeeded) = (Arc::clone(&is_over), url.clone(), Arc::clone(&succeeded));
            tokio::spawn(async move {
                let new_client = || reqwest::Client::builder().no_proxy().build().unwrap();
                let mut client = new_client();
                loop {
                    if index % 2 == 0 {
                        client = new_client();
                    }
                    let response = match client.get(&url).send().await {
                        // After the stop, connections are refused.
                        Err(error) if error.is_connect() && is_over.load(Ordering::Relaxed) => return 0,
                        Err(_) => return 1,
                        Ok(response) => response,
                    };
                    let text = response.text().await.unwrap_or_default();
                    if !(text.starts_with("<p>") && text.ends_with("<p>quick</p>")) {
                        return 1;
                    }
                    succeeded.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for number in 1..=1_000 {
        running.site.write("layouts/page.html", &format!("+++\nroute = \"/page\"\n+++\n{}", layout(number)));
        let mut client = Client::new(running.pages).await.unwrap();
        let live = format!("<p>{number}<");
        while client.get("/page", "").await.unwrap().0 != 200 || !client.body().starts_with(live.as_bytes()) {}
    }
    is_over.store(true, Ordering::Relaxed);
    let id = running.process.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let failed: u32 = futures::future::join_all(clients).await.into_iter().map(Result::unwrap).sum();
    let exit_status = running.process.wait().unwrap();
    println!("| 1,000 reloads and a stop under load | |\n|---|---|");
    println!("| requests with a response | {} |", succeeded.load(Ordering::Relaxed));
    println!("| requests that failed | {failed} |\n| end of the process | {exit_status} |\n");
}

/// A million URLs that are requested once, beside some popular ones.
async fn flood(urls: u64) {
    let settings = "[cache]\nmemory = \"64MiB\"\n[page]\nstream = false\n";
    let (running, services) = start(settings, &[("/page", "<fragment name=keeps data-n={n} />")]).await;
    let mut first = Client::new(running.pages).await.unwrap();
    first.get("/page?n=1", "").await.unwrap();
    let idle = running.resources().memory;
    let next = Arc::new(AtomicU64::new(POPULAR));
    let popular_requests = Arc::new(AtomicU64::new(0));
    let pages = running.pages;
    let all: Vec<_> = (0..32)
        .map(|_| {
            let (next, popular_requests) = (Arc::clone(&next), Arc::clone(&popular_requests));
            tokio::spawn(async move {
                let mut client = Client::new(pages).await.unwrap();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= urls + POPULAR {
                        return;
                    }
                    assert_eq!(client.get(&format!("/page?n={n}"), "").await.unwrap().0, 200);
                    if n % 10 == 0 {
                        popular_requests.fetch_add(1, Ordering::Relaxed);
                        let popular = fastrand::u64(0..POPULAR);
                        assert_eq!(client.get(&format!("/page?n={popular}"), "").await.unwrap().0, 200);
                    }
                }
            })
        })
        .collect();
    let mut most = idle;
    while all.iter().any(|client| !client.is_finished()) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(running.resources().memory);
    }
    let cache: f64 = running.metric("pasteup_cache_bytes").await.iter().sum();
    let (missed, requests) = (services.popular.load(Ordering::Relaxed), popular_requests.load(Ordering::Relaxed));
    println!("| a cache of 64 MiB, {urls} URLs that are requested once | |\n|---|---|");
    println!("| idle (MiB) | {:.1} |\n| at most (MiB) | {:.1} |", idle as f64 / 1024.0, most as f64 / 1024.0);
    println!("| over idle (MiB); at most 80 are allowed | {:.1} |", (most - idle) as f64 / 1024.0);
    println!("| counted by the cache (MiB) | {:.1} |", cache / 1024.0 / 1024.0);
    println!(
        "| {POPULAR} popular URLs: requests, of these from the cache | {requests}, {:.2} % |\n",
        100.0 * (1.0 - missed as f64 / requests as f64)
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
