//! Validation: conditional requests for stored responses, instead of new fetches (RFC 9111, 4.3).

use std::time::Duration;

use futures::future::join_all;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use tokio::time::{Instant, advance};

use crate::support::compositor::{ResponseFuture, TestCompositor, after, fails, responds};
use pasteup::engine::port::UpstreamRequest;

const HTML: (&str, &str) = ("content-type", "text/html");

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A nanoservice with one version and its `ETag`; it responds with 304 to a request that names this tag.
fn tagged(
    text: &'static str,
    tag: &'static str,
    cache: &'static str,
) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync {
    move |request| {
        let is_current = request.headers.get("if-none-match").is_some_and(|named| named == tag);
        if is_current {
            responds(304, &[("etag", tag), ("cache-control", cache)], "")(request)
        } else {
            responds(200, &[HTML, ("etag", tag), ("cache-control", cache)], text)(request)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_304_makes_the_stored_response_fresh() {
    let site =
        TestCompositor::new().front("<fragment name=a />").fragment("a", tagged("one", "\"1\"", "max-age=10")).start();
    assert_eq!(site.get("/").await.html(), "one");
    advance(s(11)).await;
    let page = site.get("/").await;
    assert_eq!((page.html().as_str(), page.outcome("a")), ("one", (Shown::Fresh, None)));
    assert_eq!(page.header("cache-control"), "public, max-age=10");
    site.get("/").await;
    let conditions: Vec<_> = site.requests().iter().map(|r| r.headers.get("if-none-match").cloned()).collect();
    assert_eq!(conditions, [None, Some("\"1\"".parse().unwrap())]);
    advance(s(11)).await;
    site.set_behaviour("a", tagged("two", "\"2\"", "max-age=10"));
    assert_eq!(site.get("/").await.html(), "two");
}

#[tokio::test(start_paused = true)]
async fn a_304_updates_lifetime_and_keys() {
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment(
            "a",
            responds(200, &[HTML, ("etag", "\"1\""), ("cache-control", "max-age=5"), ("surrogate-key", "x")], "one"),
        )
        .start();
    site.get("/").await;
    advance(s(6)).await;
    site.set_behaviour("a", responds(304, &[("cache-control", "max-age=60"), ("surrogate-key", "y")], ""));
    let page = site.get("/").await;
    assert_eq!((page.header("cache-control"), page.header("surrogate-key")), ("public, max-age=60", "a y"));
    advance(s(50)).await;
    site.get("/").await;
    assert_eq!(site.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_can_be_revalidated_by_its_date() {
    const DATE: &str = "Sat, 21 Nov 2026 12:00:00 GMT";
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment("a", responds(200, &[HTML, ("last-modified", DATE), ("cache-control", "max-age=5")], "one"))
        .start();
    site.get("/").await;
    advance(s(6)).await;
    site.set_behaviour("a", responds(304, &[], ""));
    assert_eq!(site.get("/").await.html(), "one");
    assert_eq!(site.requests()[1].headers["if-modified-since"], DATE);
}

#[tokio::test(start_paused = true)]
async fn a_no_cache_response_is_stored_and_revalidated_each_time() {
    let site = TestCompositor::new()
        .front("<fragment name=a ttl=10m stale=10m>gone</fragment>")
        .fragment("a", after(Duration::from_millis(100), tagged("one", "\"1\"", "no-cache")))
        .start();
    assert_eq!(site.get("/").await.html(), "one");
    let began = Instant::now();
    let pages = join_all((0..20).map(|_| site.get("/"))).await;
    assert!(pages.iter().all(|page| page.html() == "one"));
    assert_eq!(began.elapsed(), Duration::from_millis(100), "concurrently");
    assert_eq!(site.calls("a"), 21, "the response is validated for each client");
    assert!(site.requests()[1..].iter().all(|request| request.headers.contains_key("if-none-match")));
    assert_eq!(pages[0].header("cache-control"), "public, no-cache");
    site.set_behaviour("a", fails(Reason::Connect));
    assert_eq!(site.get("/").await.html(), "gone");
}

#[tokio::test(start_paused = true)]
async fn after_a_304_for_another_etag_the_request_is_repeated_without_a_condition() {
    let site =
        TestCompositor::new().front("<fragment name=a />").fragment("a", tagged("one", "\"1\"", "max-age=5")).start();
    site.get("/").await;
    advance(s(6)).await;
    site.set_behaviour("a", |request: UpstreamRequest| {
        if request.headers.contains_key("if-none-match") {
            responds(304, &[("etag", "\"other\"")], "")(request)
        } else {
            responds(200, &[HTML], "new")(request)
        }
    });
    assert_eq!(site.get("/").await.html(), "new");
    assert_eq!(site.calls("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_304_to_an_unconditional_request_is_a_failure() {
    let site =
        TestCompositor::new().front("<fragment name=a>x</fragment>").fragment("a", responds(304, &[], "")).start();
    assert_eq!(site.get("/").await.outcome("a"), (Shown::Fallback, Some(Reason::Status)));
}

#[tokio::test(start_paused = true)]
async fn must_revalidate_is_never_shown_stale() {
    for directive in ["must-revalidate", "proxy-revalidate"] {
        let cache: &'static str = format!("max-age=5, {directive}, stale-if-error=600").leak();
        let site = TestCompositor::new()
            .front("<fragment name=a stale=10m>fallback</fragment>")
            .fragment("a", tagged("one", "\"1\"", cache))
            .start();
        site.get("/").await;
        advance(s(6)).await;
        site.set_behaviour("a", fails(Reason::Connect));
        assert_eq!(site.get("/").await.html(), "fallback", "{directive}");
    }
}
