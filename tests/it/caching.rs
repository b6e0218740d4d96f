//! The cache: how long responses and pages are fresh, and when they are shown stale.

use std::time::Duration;

use futures::future::join_all;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::Reader;
use tokio::time::{Instant, advance};

use crate::support::compositor::{TestCompositor, after, counts, fails, hangs, html, html_cached, responds};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_fetch_outlives_the_client_that_started_it() {
    let site = TestCompositor::new()
        .front("<fragment name=a ttl=1m />")
        .fragment("a", after(Duration::from_millis(100), html("kept")))
        .start();
    let left = tokio::time::timeout(Duration::from_millis(10), site.get("/")).await;
    assert!(left.is_err(), "the first client leaves");
    assert_eq!(site.flights(), 1);
    assert_eq!(site.get("/").await.html(), "kept");
    assert_eq!(site.calls("a"), 1);
    assert_eq!(site.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_outlives_the_budget_of_its_page_is_cached_for_the_next_client() {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nbudget = \"50ms\"\n+++\n<fragment name=a ttl=1m timeout=200ms>x</fragment>",
        )
        .fragment("a", after(Duration::from_millis(100), html("kept")))
        .start();
    assert_eq!(site.get("/").await.outcome("a"), (Shown::Fallback, Some(Reason::Budget)));
    site.drain().await;
    assert_eq!(site.get("/").await.html(), "kept");
    assert_eq!(site.calls("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn waiters_get_an_outcome_when_their_fetch_fails_or_panics() {
    let site = TestCompositor::new()
        .front("<fragment name=a>x</fragment>")
        .fragment("a", after(Duration::from_millis(10), fails(Reason::Connect)))
        .start();
    let pages = join_all((0..20).map(|_| site.get("/"))).await;
    assert!(pages.iter().all(|page| page.outcome("a") == (Shown::Fallback, Some(Reason::Connect))));
    assert_eq!(site.calls("a"), 1);
    site.set_behaviour("a", after(Duration::from_millis(10), |_| panic!("a fault of the compositor")));
    let pages = join_all((0..20).map(|_| site.get("/"))).await;
    assert!(pages.iter().all(|page| page.outcome("a") == (Shown::Fallback, Some(Reason::Internal))));
    assert_eq!(site.flights(), 0);
    site.set_behaviour("a", html("well again"));
    assert_eq!(site.get("/").await.html(), "well again");
}

#[tokio::test(start_paused = true)]
async fn a_private_response_is_not_shared_whatever_the_layout_says() {
    for cache_control in ["private", "no-store", "private, max-age=600"] {
        let site =
            TestCompositor::new().front("<fragment name=a ttl=600s />").fragment("a", counts(cache_control)).start();
        assert_eq!(site.get("/").await.html(), "1");
        let page = site.get("/").await;
        assert_eq!(page.html(), "2", "{cache_control}");
        assert_eq!(page.header("cache-control"), "private, no-store");
    }
}

#[tokio::test(start_paused = true)]
async fn freshness_is_the_shorter_of_response_and_layout_capped_by_the_manifest() {
    let kept_for = |layout: &'static str, manifest: &'static str, response: &'static str| async move {
        let site = TestCompositor::new()
            .front(&format!("<fragment name=a {layout} />"))
            .fragment_with("a", manifest, counts(response))
            .start();
        let mut seconds = 0;
        while site.get("/").await.html() == "1" {
            advance(s(1)).await;
            seconds += 1;
            if seconds > 200 {
                break;
            }
        }
        seconds
    };
    assert_eq!(kept_for("ttl=20s", "", "max-age=60").await, 20);
    assert_eq!(kept_for("ttl=60s", "", "max-age=20").await, 20);
    assert_eq!(kept_for("ttl=20s", "", "public").await, 20);
    assert_eq!(kept_for("", "[cache]\nttl = \"7s\"\n", "public").await, 7);
    assert_eq!(kept_for("", "[cache]\nttl = \"7s\"\n", "max-age=9").await, 9);
    assert_eq!(kept_for("ttl=60s", "[cache]\nmax_ttl = \"5s\"\n", "max-age=60").await, 5);
    assert_eq!(kept_for("", "", "max-age=60, s-maxage=4").await, 4);
    assert_eq!(kept_for("", "", "max-age=3").await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_shown_at_once_while_one_refresh_runs() {
    let site =
        TestCompositor::new().front("<fragment name=a ttl=10s stale=1m />").fragment("a", counts("public")).start();
    site.get("/").await;
    advance(s(11)).await;
    site.set_behaviour("a", after(Duration::from_millis(100), html("new")));
    let began = Instant::now();
    let pages = join_all((0..50).map(|_| site.get("/"))).await;
    assert!(pages.iter().all(|page| page.html() == "1"));
    assert_eq!(pages[0].outcome("a"), (Shown::Stale, Some(Reason::Revalidating)));
    assert_eq!(pages[0].header("cache-control"), "no-store");
    assert_eq!(began.elapsed(), Duration::ZERO);
    site.drain().await;
    assert_eq!(site.calls("a"), 2);
    assert_eq!(site.get("/").await.html(), "new");
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_shown_when_its_refresh_fails_within_its_allowance() {
    let manifest = "[cache]\nttl = \"10s\"\nstale_if_error = \"1h\"\n";
    let site = TestCompositor::new()
        .front("<fragment name=a timeout=100ms>fallback</fragment>")
        .fragment_with("a", manifest, html("old"))
        .start();
    site.get("/").await;
    advance(s(60)).await;
    site.set_behaviour("a", fails(Reason::Connect));
    let page = site.get("/").await;
    assert_eq!((page.html().as_str(), page.outcome("a")), ("old", (Shown::Stale, Some(Reason::Connect))));
    site.set_behaviour("a", hangs());
    assert_eq!(site.get("/").await.outcome("a"), (Shown::Stale, Some(Reason::Connect)), "the refresh backs off");
    advance(s(1)).await;
    assert_eq!(site.get("/").await.outcome("a"), (Shown::Stale, Some(Reason::Timeout)));
    advance(s(3600)).await;
    assert_eq!(site.get("/").await.html(), "fallback");
}

#[tokio::test(start_paused = true)]
async fn two_layouts_that_cap_one_response_do_not_evict_it_for_each_other() {
    // Once the service states a longer lifetime than both, and once it states none.
    for cache_control in ["max-age=3600", "public"] {
        let page = |route: &str, ttl: &str| format!("+++\nroute = \"/{route}\"\n+++\n<fragment name=a ttl={ttl} />");
        let site = TestCompositor::new()
            .layout("long.html", &page("long", "10m"))
            .layout("short.html", &page("short", "1s"))
            .layout("never.html", &page("never", "0s"))
            .fragment("a", html_cached("a", cache_control))
            .start();
        site.get("/long").await;
        for seconds in 1..=5 {
            advance(s(2)).await;
            site.get("/short").await;
            assert_eq!(site.calls("a"), 1 + seconds, "the short one has its own limit");
        }
        site.get("/never").await;
        let calls = site.calls("a");
        advance(s(590)).await;
        site.get("/long").await;
        assert_eq!(site.calls("a"), calls, "{cache_control}: it is fresh for the long one");
        advance(s(11)).await;
        site.get("/long").await;
        assert_eq!(site.calls("a"), calls + 1, "{cache_control}: for ten minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_is_cached_only_if_it_states_a_lifetime_itself() {
    let site = TestCompositor::new()
        .front("<fragment name=a ttl=10m>none</fragment>")
        .fragment("a", responds(404, &[("cache-control", "max-age=5")], ""))
        .start();
    site.get("/").await;
    site.get("/").await;
    assert_eq!(site.calls("a"), 1);
    advance(s(5)).await;
    site.set_behaviour("a", responds(404, &[], ""));
    site.get("/").await;
    site.get("/").await;
    assert_eq!(site.calls("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn the_key_is_what_is_sent_and_nothing_undeclared_is_sent() {
    let site = TestCompositor::new()
        .front("<fragment name=plain /><fragment name=own />")
        .fragment("plain", html_cached("p", "max-age=60"))
        .fragment_with("own", "context = [\"cookie:units\", \"header:X-Plan\"]\n", html_cached("o", "max-age=60"))
        .start();
    let reader = |cookies: &[(&str, &str)]| Reader {
        cookies: cookies.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        ..Reader::default()
    };
    site.get_as("/", reader(&[("session", "alice"), ("units", "metric")])).await;
    site.get_as("/", reader(&[("session", "bob"), ("units", "metric")])).await;
    assert_eq!((site.calls("plain"), site.calls("own")), (1, 1), "undeclared cookies make no difference");
    site.get_as("/", reader(&[("session", "bob"), ("units", "imperial")])).await;
    assert_eq!((site.calls("plain"), site.calls("own")), (1, 2));
    let sent: Vec<_> = site.requests().iter().filter_map(|r| r.headers.get("cookie").cloned()).collect();
    assert_eq!(sent, ["units=metric", "units=imperial"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_fresh_for_as_long_as_its_strictest_part() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/\"\nmax_age = \"30s\"\n+++\n<fragment name=a /><fragment name=b />")
        .fragment("a", html_cached("a", "max-age=60"))
        .fragment("b", html_cached("b", "max-age=40"))
        .start();
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=30");
    advance(s(15)).await;
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=25");
}

#[tokio::test(start_paused = true)]
async fn a_page_states_the_lifetimes_of_its_parts_to_browsers_and_to_shared_caches() {
    for (response, page) in [
        ("max-age=0, s-maxage=600", "public, max-age=0, s-maxage=600"),
        ("max-age=60, s-maxage=600", "public, max-age=60, s-maxage=600"),
        ("s-maxage=600", "public, max-age=0, s-maxage=600"),
        ("max-age=600, s-maxage=60", "public, max-age=60"),
        ("max-age=60, must-revalidate", "public, max-age=60, must-revalidate"),
        ("max-age=60, proxy-revalidate", "public, max-age=60"),
        ("max-age=60", "public, max-age=60"),
    ] {
        let site = TestCompositor::new().front("<fragment name=a />").fragment("a", html_cached("x", response)).start();
        assert_eq!(site.get("/").await.header("cache-control"), page, "{response}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_waits_for_a_slower_one_ages_meanwhile() {
    let site = TestCompositor::new()
        .front("<fragment name=a timeout=9s /><fragment name=slow timeout=9s />")
        .fragment("a", html_cached("x", "max-age=5"))
        .fragment("slow", after(s(2), html_cached("y", "max-age=60")))
        .defaults(|defaults| defaults.budget = s(9))
        .start();
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=3");
}

#[tokio::test(start_paused = true)]
async fn a_page_with_a_stale_empty_response_is_not_cacheable_downstream() {
    let empty = responds(204, &[("cache-control", "max-age=5, stale-while-revalidate=60")], "");
    let site = TestCompositor::new().front("<fragment name=a />").fragment("a", empty).start();
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=5");
    advance(s(6)).await;
    let page = site.get("/").await;
    assert_eq!((page.header("cache-control"), page.header("etag")), ("no-store", ""));
}

#[tokio::test(start_paused = true)]
async fn hits_of_a_response_are_counted_on_composed_and_on_cached_pages_and_outlive_a_refresh() {
    let site = TestCompositor::new()
        .front("<p><fragment name=a stale=1h /></p>")
        .fragment("a", html_cached("here", "max-age=60"))
        .start();
    let hits = || {
        site.compositor().flush_counters();
        site.compositor().cache_entries("a", 10).0[0].hits
    };
    // The first of all is a miss, and the first after a minute is stale.
    for expected in [9, 19] {
        for _ in 0..10 {
            site.serve("/", Reader::default()).await;
        }
        assert_eq!(hits(), expected);
        advance(s(61)).await;
    }
    assert_eq!(site.calls("a"), 2);
}
