//! Resilience: nanoservices that fail get fewer requests, clients wait no longer than they must, and no other nanoservice is
//! affected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use pasteup::engine::port::{UpstreamRequest, UpstreamResponse};
use pasteup::page::response::outcome::Shown;
use pasteup::page::response::parsed::Failure;
use pasteup::page::source::reason::Reason;
use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep};

use crate::support::compositor::{ResponseFuture, TestCompositor, after, counts, fails, hangs, html, responds, stalls};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A page of one nanoservice, which each client requests anew.
fn one(behaviour: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static) -> TestCompositor {
    TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=1s data-n={n}>F</fragment>",
        )
        .fragment("a", behaviour)
}

#[tokio::test(start_paused = true)]
async fn a_client_who_repeats_a_bad_value_takes_the_nanoservice_from_nobody() {
    let site = one(|request| {
        let is_bad = request.address.as_str().contains("n=bad");
        if is_bad { responds(500, &[], "")(request) } else { html("good")(request) }
    })
    .start();
    assert_eq!(site.get("/?n=first").await.html(), "good");
    // For half a minute, twenty bad pages a second beside ten good ones.
    for number in 0..900 {
        advance(ms(33)).await;
        let (page, expected) =
            if number % 3 == 0 { (format!("/?n={number}"), "good") } else { ("/?n=bad".to_owned(), "F") };
        assert_eq!(site.get(&page).await.html(), expected, "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_circuit_of_a_nanoservice_that_only_fails_opens_after_five_requests_and_is_then_probed() {
    for behaviour in [
        Box::new(fails(Reason::Connect)) as Box<dyn Fn(UpstreamRequest) -> ResponseFuture + Send + Sync>,
        Box::new(responds(500, &[], "")),
        Box::new(responds(503, &[("content-type", "text/html")], "<p>busy")),
        Box::new(hangs()),
        Box::new(stalls()),
    ] {
        let site = one(behaviour).start();
        for number in 0..5 {
            site.get(&format!("/?n={number}")).await;
        }
        let began = Instant::now();
        let page = site.get("/?n=5").await;
        assert_eq!((page.html().as_str(), page.outcome("a")), ("F", (Shown::Fallback, Some(Reason::CircuitOpen))));
        assert_eq!((site.calls("a"), began.elapsed()), (5, ms(0)), "no page waits for it");
        // Ten minutes with a client every 100 ms: only probes are sent.
        for number in 0..6_000 {
            advance(ms(100)).await;
            site.get(&format!("/?n={number}")).await;
        }
        let probes = site.calls("a") - 5;
        assert!((15..40).contains(&probes), "{probes}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_failure_that_opens_a_circuit_is_the_reason_and_not_the_refusal_of_its_retry() {
    let site = one(fails(Reason::Connect)).defaults(|defaults| {
        defaults.resilience.retries = 1;
        defaults.resilience.breaker.failures = 1;
    });
    let site = site.start();
    let page = site.get("/?n=0").await;
    assert_eq!((page.outcome("a"), site.calls("a")), ((Shown::Fallback, Some(Reason::Connect)), 1));
    assert_eq!(site.get("/?n=1").await.outcome("a"), (Shown::Fallback, Some(Reason::CircuitOpen)));
}

#[tokio::test(start_paused = true)]
async fn responses_other_than_server_errors_do_not_open_the_circuit() {
    for behaviour in [
        Box::new(responds(404, &[], "")) as Box<dyn Fn(UpstreamRequest) -> ResponseFuture + Send + Sync>,
        Box::new(responds(302, &[("location", "/")], "")),
        Box::new(responds(400, &[], "")),
        Box::new(responds(200, &[("content-type", "text/plain")], "no HTML")),
    ] {
        let site = one(behaviour).start();
        for number in 0..50 {
            site.get(&format!("/?n={number}")).await;
        }
        assert_eq!(site.calls("a"), 50);
    }
}

#[tokio::test(start_paused = true)]
async fn a_nanoservice_that_has_recovered_gets_all_requests_again() {
    let site = one(fails(Reason::Connect)).start();
    for number in 0..10 {
        site.get(&format!("/?n={number}")).await;
    }
    site.set_behaviour("a", html("A"));
    advance(ms(1_300)).await;
    for number in 0..10 {
        assert_eq!(site.get(&format!("/?n={number}")).await.html(), "A");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_leave_open_no_circuit() {
    let slow = after(ms(500), responds(200, &[("content-type", "text/html"), ("cache-control", "private")], "A"));
    let site = one(slow).start();
    // Once it is known that responses are private, a client that leaves ends its fetch.
    site.get("/?n=0").await;
    for _ in 0..20 {
        let _left = tokio::time::timeout(ms(100), site.get("/?n=0")).await;
    }
    assert_eq!(site.get("/?n=0").await.html(), "A");
}

#[tokio::test(start_paused = true)]
async fn a_request_on_a_broken_connection_is_retried_once_within_its_deadline() {
    let breaks = |times: usize| {
        let (count, broken, healthy) = (Mutex::new(0), fails(Reason::Connect), html("A"));
        move |request: UpstreamRequest| {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count <= times { broken(request) } else { healthy(request) }
        }
    };
    let retried = |defaults: &mut pasteup::page::request::defaults::Defaults| defaults.resilience.retries = 1;
    let site = one(breaks(1)).defaults(retried).start();
    assert_eq!((site.get("/").await.html().as_str(), site.calls("a")), ("A", 2));
    let site = one(breaks(2)).defaults(retried).start();
    assert_eq!((site.get("/").await.html().as_str(), site.calls("a")), ("F", 2));
    for (behaviour, calls) in [
        (Box::new(responds(500, &[], "")) as Box<dyn Fn(UpstreamRequest) -> ResponseFuture + Send + Sync>, 1),
        (Box::new(stalls()), 1),
        (Box::new(after(ms(1_000), fails(Reason::Connect))), 1),
    ] {
        let site = one(behaviour).defaults(retried).start();
        let began = Instant::now();
        site.get("/").await;
        assert_eq!(site.calls("a"), calls, "a request with a response, or without time left, is not retried");
        assert!(began.elapsed() <= ms(1_000));
    }
}

#[tokio::test(start_paused = true)]
async fn retries_and_hedges_are_a_tenth_of_all_requests() {
    let count = Mutex::new(0_u32);
    let site = one(move |request| {
        let mut count = count.lock().unwrap();
        *count += 1;
        if count.is_multiple_of(3) { fails(Reason::Connect)(request) } else { html("A")(request) }
    })
    .defaults(|defaults| defaults.resilience.retries = 3)
    .start();
    for number in 0..1_000 {
        site.get(&format!("/?n={number}")).await;
    }
    assert!((1_050..=1_101).contains(&site.calls("a")), "{}", site.calls("a"));
}

#[tokio::test(start_paused = true)]
async fn one_slow_response_among_fast_ones_is_hedged() {
    let count = Mutex::new(0_u32);
    let site = one(move |request| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let pause = if *count == 201 { 900 } else { 20 };
        after(ms(pause), html("A"))(request)
    })
    .start();
    for number in 0..200 {
        advance(ms(100)).await;
        site.get(&format!("/?n={number}")).await;
    }
    assert_eq!(site.calls("a"), 200, "as fast as ever");
    let began = Instant::now();
    assert_eq!(site.get("/?n=200").await.html(), "A");
    assert!(began.elapsed() <= ms(50), "{:?}", began.elapsed());
    assert_eq!(site.calls("a"), 202);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_when_all_responses_are_slow() {
    let site = one(after(ms(20), html("A"))).start();
    for number in 0..100 {
        advance(ms(100)).await;
        site.get(&format!("/?n={number}")).await;
    }
    site.set_behaviour("a", after(ms(600), html("A")));
    for number in 0..100 {
        advance(ms(100)).await;
        site.get(&format!("/?n={number}")).await;
    }
    let beside = site.calls("a") - 200;
    assert!(beside <= 20, "{beside} of 200");
    let before = site.calls("a");
    for number in 0..100 {
        site.get(&format!("/?n={number}")).await;
    }
    assert!(site.calls("a") - before <= 101, "slow responses are normal now");
}

/// A nanoservice with two endpoints, each with its own behaviour.
fn two(
    first: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
    second: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
    chance: fn() -> f64,
) -> TestCompositor {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=1s data-n={n}>F</fragment>",
        )
        .manifest("a", "endpoint = [\"http://one.test/{n}\", \"http://two.test/{n}\"]\n[params.n]\n")
        .chance(chance);
    site.set_behaviour("one", first);
    site.set_behaviour("two", second);
    site
}

#[tokio::test(start_paused = true)]
async fn of_two_endpoints_a_dead_one_spoils_no_page() {
    let site = two(fails(Reason::Connect), html("two"), fastrand::f64)
        .defaults(|defaults| defaults.resilience.retries = 1)
        .start();
    let mut fallbacks = 0;
    for number in 0..1_000 {
        advance(ms(10)).await;
        fallbacks += usize::from(site.get(&format!("/?n={number}")).await.html() != "two");
    }
    assert!(fallbacks <= 5, "{fallbacks}");
    assert!(site.calls("one") <= 15, "{}", site.calls("one"));
}

#[tokio::test(start_paused = true)]
async fn of_two_endpoints_the_faster_one_gets_more_requests() {
    let site = two(after(ms(200), html("one")), after(ms(10), html("two")), fastrand::f64).start();
    for number in 0..200 {
        advance(ms(20)).await;
        site.get(&format!("/?n={number}")).await;
    }
    assert!(site.calls("two") > 5 * site.calls("one"), "{} and {}", site.calls("one"), site.calls("two"));
    assert!(site.calls("one") > 0, "and the other one is measured too");
}

#[tokio::test(start_paused = true)]
async fn of_two_failing_endpoints_only_one_is_left_out() {
    let site = two(fails(Reason::Connect), fails(Reason::Connect), fastrand::f64).start();
    for number in 0..100 {
        site.get(&format!("/?n={number}")).await;
    }
    assert!(site.calls("one").max(site.calls("two")) > 50);
}

#[tokio::test(start_paused = true)]
async fn one_healthy_endpoint_of_several_serves_all() {
    let hosts = ["one", "two", "three", "four"];
    let endpoints: Vec<String> = hosts.iter().map(|host| format!("\"http://{host}.test/{{n}}\"")).collect();
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=1s data-n={n}>F</fragment>",
        )
        .manifest("a", &format!("endpoint = [{}]\n[params.n]\n", endpoints.join(", ")))
        .chance(fastrand::f64);
    for host in &hosts[..3] {
        site.set_behaviour(host, fails(Reason::Connect));
    }
    site.set_behaviour("four", after(ms(20), html("well")));
    let site = site.defaults(|defaults| defaults.resilience.retries = 1).start();
    let mut fallbacks = 0;
    for number in 0..1_000 {
        advance(ms(10)).await;
        fallbacks += usize::from(site.get(&format!("/?n={number}")).await.html() != "well");
    }
    assert!(fallbacks <= 30, "{fallbacks}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_while_the_circuit_opens_goes_to_another_endpoint() {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=5s data-n={n}>F</fragment>",
        )
        .manifest(
            "a",
            "endpoint = [\"http://one.test/{n}\", \"http://two.test/{n}\"]\n[params.n]\n[limits]\nconcurrency = 8\n",
        )
        .chance(fastrand::f64);
    site.set_behaviour("one", after(ms(200), responds(503, &[], "")));
    site.set_behaviour("two", after(ms(20), html("two")));
    let site = site.start();
    let site = &site;
    let pages = join_all((0..300).map(|number| async move { site.get(&format!("/?n={number}")).await.html() })).await;
    let fallbacks = pages.iter().filter(|html| *html == "F").count();
    assert!(fallbacks <= 30, "those that it answered itself: {fallbacks}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_hedge_does_not_end_the_slow_request() {
    let count = Mutex::new(0_u32);
    let site = one(move |request| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match *count {
            101 => after(ms(300), html("slow"))(request),
            102 => fails(Reason::Connect)(request),
            _ => after(ms(20), html("A"))(request),
        }
    })
    .start();
    for number in 0..100 {
        advance(ms(200)).await;
        site.get(&format!("/?n={number}")).await;
    }
    assert_eq!(site.get("/?n=100").await.html(), "slow");
    assert_eq!(site.calls("a"), 102);
}

#[tokio::test(start_paused = true)]
async fn a_layout_with_a_short_timeout_opens_no_circuit() {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/a\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=50ms data-n={n}>F</fragment>",
        )
        .layout(
            "q.html",
            "+++\nroute = \"/b\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=1s data-n={n}>F</fragment>",
        )
        .fragment("a", after(ms(100), html("A")))
        .start();
    for number in 0..50 {
        assert_eq!(site.get(&format!("/a?n=a{number}")).await.html(), "F");
        assert_eq!(site.get(&format!("/b?n=b{number}")).await.html(), "A");
    }
}

#[tokio::test(start_paused = true)]
async fn the_circuit_of_a_nanoservice_that_hangs_opens_even_if_layouts_have_shorter_timeouts() {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=50ms data-n={n}>F</fragment>",
        )
        .fragment_with("a", "[limits]\ntimeout = \"1s\"\n", hangs())
        .start();
    let mut most = 0;
    for number in 0..200 {
        assert_eq!(site.get(&format!("/?n={number}")).await.html(), "F");
        most = most.max(site.in_flight().values().sum());
    }
    // Five requests were observed to the declared timeout, one after the other, a second each.
    let requests = site.calls("a");
    assert!((100..=110).contains(&requests), "{requests}");
    assert!(most <= 2, "one beside the page's own, not {most}");
    let began = Instant::now();
    assert_eq!(site.get("/?n=x").await.html(), "F");
    assert_eq!(began.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn a_nanoservice_that_gives_up_at_the_timeout_it_was_sent_stays_available() {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a timeout=50ms data-n={n}>F</fragment>",
        )
        .fragment_with("a", "[limits]\ntimeout = \"1s\"\n", after(ms(60), responds(503, &[], "")))
        .start();
    for number in 0..100 {
        assert_eq!(site.get(&format!("/?n={number}")).await.html(), "F");
    }
    assert_eq!(site.calls("a"), 100);
}

#[tokio::test(start_paused = true)]
async fn one_page_with_many_slow_parts_opens_no_circuit() {
    let parts: String =
        (0..6).map(|number| format!("<fragment name=a timeout=1s data-n=hang{number}>F</fragment>")).collect();
    let (healthy, failing) = (after(ms(20), html("A")), hangs());
    let site =
        one(move |request| if request.address.as_str().contains("hang") { failing(request) } else { healthy(request) })
            .layout("slow.html", &format!("+++\nroute = \"/slow\"\n+++\n{parts}"))
            .start();
    for round in 0..10 {
        site.get("/slow").await;
        for number in 0..20 {
            assert_eq!(site.get(&format!("/?n={round}-{number}")).await.html(), "A");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_versions_of_a_nanoservice_have_their_own_circuits() {
    let version = |version: &str, concurrency: u32| {
        format!(
            "name = \"a\"\nversion = \"{version}\"\nendpoint = \"http://a.test/{version}\"\n[params.n]\n[limits]\nconcurrency = {concurrency}\n"
        )
    };
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\n+++\n<fragment name=a version=^1 data-n={n} timeout=1s>F</fragment>\
             <fragment name=a version=^2 data-n={n} timeout=1s>F</fragment>",
        )
        .file("fragments/a1/fragment.toml", &version("1.0.0", 8))
        .file("fragments/a2/fragment.toml", &version("2.0.0", 7));
    site.set_behaviour("a", hangs());
    let site = site.start();
    for number in 0..20 {
        site.get(&format!("/?n={number}")).await;
    }
    assert!(site.calls("a") <= 14, "both are shut out: {}", site.calls("a"));
}

#[tokio::test(start_paused = true)]
async fn a_response_is_the_same_whichever_endpoint_sent_it() {
    let site = two(counts("max-age=60"), counts("max-age=60"), fastrand::f64).start();
    for _ in 0..20 {
        assert_eq!(site.get("/?n=1").await.html(), "1");
    }
    assert_eq!(site.calls("one") + site.calls("two"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_with_twenty_hanging_parts_is_sent_within_its_budget() {
    let parts: String =
        (0..20).map(|number| format!("<fragment name=a timeout=9s data-n={number}>F</fragment>")).collect();
    let site = TestCompositor::new()
        .layout("p.html", &format!("+++\nroute = \"/\"\nbudget = \"500ms\"\n+++\n{parts}<fragment name=b>G</fragment>"))
        .fragment("a", hangs())
        .fragment("b", after(ms(499), html("B")))
        .start();
    let began = Instant::now();
    assert_eq!(site.get("/").await.html(), format!("{}B", "F".repeat(20)));
    assert_eq!(began.elapsed(), ms(500));
}

#[tokio::test(start_paused = true)]
async fn a_nanoservice_that_hangs_occupies_only_its_own_permits() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/slow\"\nquery = [\"n\"]\n+++\n<fragment name=slow data-n={n}>F</fragment>")
        .layout("q.html", "+++\nroute = \"/fast\"\nquery = [\"n\"]\n+++\n<fragment name=fast data-n={n}>F</fragment>")
        .fragment_with("slow", "[limits]\nconcurrency = 8\ntimeout = \"1s\"\n", hangs())
        .fragment("fast", after(ms(10), html("fast")))
        .start();
    let site = &site;
    let slow = join_all((0..500).map(|number| async move { site.get(&format!("/slow?n={number}")).await.html() }));
    let fast = async {
        sleep(ms(100)).await;
        for number in 0..500 {
            let began = Instant::now();
            assert_eq!(site.get(&format!("/fast?n={number}")).await.html(), "fast");
            assert_eq!(began.elapsed(), ms(10));
        }
    };
    let (slow, ()) = futures::future::join(slow, fast).await;
    assert!(slow.iter().all(|html| html == "F"));
    assert!(site.calls("slow") <= 16, "{}", site.calls("slow"));
}

/// A nanoservice that comes and goes, for up to half an hour of simulated time. `PASTEUP_SEEDS=1000` simulates that many.
#[test]
fn whatever_a_nanoservice_does_its_clients_get_their_pages_in_time() {
    let cases = std::env::var("PASTEUP_SEEDS").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(cases));
    let moods = proptest::collection::vec((0_u8..6, 1_u64..120), 1..12);
    runner
        .run(&(moods, any::<u64>()), |(moods, seed)| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let site = one(html("A")).start();
                let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
                for (mood, seconds) in moods {
                    match mood {
                        0 => site.set_behaviour("a", html("A")),
                        1 => site.set_behaviour("a", fails(Reason::Connect)),
                        2 => site.set_behaviour("a", hangs()),
                        3 => site.set_behaviour("a", stalls()),
                        4 => site.set_behaviour("a", responds(503, &[], "")),
                        _ => {
                            let random = Arc::clone(&random);
                            let (healthy, failing) = (html("A"), fails(Reason::Connect));
                            site.set_behaviour("a", move |request| {
                                if random.lock().unwrap().bool() { healthy(request) } else { failing(request) }
                            });
                        }
                    }
                    let until = Instant::now() + Duration::from_secs(seconds);
                    let well_since = (mood == 0).then(Instant::now);
                    while Instant::now() < until {
                        let pause = random.lock().unwrap().u64(1..3_000);
                        sleep(ms(pause)).await;
                        let number = random.lock().unwrap().u32(..);
                        let began = Instant::now();
                        let html = site.get(&format!("/?n={number}")).await.html();
                        assert!(began.elapsed() <= ms(1_000));
                        assert!(html == "A" || html == "F");
                        // The longest pause is 30 s, and jitter adds a fifth.
                        if well_since.is_some_and(|since| since.elapsed() > Duration::from_secs(40)) {
                            assert_eq!(html, "A");
                        }
                    }
                }
                site.drain().await;
                assert_eq!(site.flights(), 0);
            });
            Ok(())
        })
        .unwrap();
}

/// Requests in flight, by upstream: each that began also ends, however it ends.
#[tokio::test(start_paused = true)]
async fn clients_that_leave_leave_no_request_in_flight() {
    let site = one(|_| {
        async {
            sleep(ms(50)).await;
            let body = stream::iter([Ok(bytes::Bytes::from_static(b"<p>"))])
                .chain(stream::pending::<Result<_, Failure>>())
                .boxed();
            let headers = HeaderMap::from_iter([
                (http::header::CONTENT_TYPE, "text/html".parse().unwrap()),
                (http::header::CACHE_CONTROL, "private".parse().unwrap()),
            ]);
            Ok(UpstreamResponse { status: StatusCode::OK, headers, body })
        }
        .boxed()
    })
    .start();
    let site = &site;
    join_all((0..1_000_u64).map(|number| async move {
        let _left = tokio::time::timeout(ms(number % 200), site.get(&format!("/?n={number}"))).await;
    }))
    .await;
    site.drain().await;
    assert_eq!((site.flights(), site.in_flight()), (0, HashMap::new()));
}
