//! Deadlines: whatever hangs, the page is sent in time.

use std::time::Duration;

use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use tokio::time::Instant;

use crate::support::compositor::{TestCompositor, after, hangs, html, stalls};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_a_timeout() {
    let site =
        TestCompositor::new().front("<fragment name=a timeout=300ms>late</fragment>").fragment("a", stalls()).start();
    let began = Instant::now();
    let page = site.get("/").await;
    assert_eq!((page.html().as_str(), page.outcome("a")), ("late", (Shown::Fallback, Some(Reason::Timeout))));
    assert_eq!(began.elapsed(), ms(300));
}

#[tokio::test(start_paused = true)]
async fn the_pages_budget_limits_every_timeout() {
    let hanging = "<fragment name=a timeout=5s>x</fragment>".repeat(20);
    let site = TestCompositor::new()
        .layout("p.html", &format!("+++\nroute = \"/\"\nbudget = \"800ms\"\n+++\n{hanging}<fragment name=quick />"))
        .fragment("a", hangs())
        .fragment("quick", html("here"))
        .start();
    let began = Instant::now();
    let page = site.get("/").await;
    assert_eq!(began.elapsed(), ms(800));
    assert_eq!(page.html(), format!("{}here", "x".repeat(20)));
    assert_eq!(page.outcome("a"), (Shown::Fallback, Some(Reason::Budget)));
}

#[tokio::test(start_paused = true)]
async fn a_fallbacks_own_fragment_cannot_outlast_the_budget() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/\"\nbudget = \"1s\"\n+++\n<fragment name=a timeout=700ms>[<fragment name=b timeout=700ms>x</fragment>]</fragment>")
        .fragment("a", hangs())
        .fragment("b", hangs())
        .start();
    let began = Instant::now();
    assert_eq!(site.get("/").await.html(), "[x]");
    assert_eq!(began.elapsed(), ms(1000));
}

#[tokio::test(start_paused = true)]
async fn the_layouts_timeout_overrides_the_manifests_and_that_the_settings() {
    let site = TestCompositor::new()
        .layout("a.html", "+++\nroute = \"/layout\"\n+++\n<fragment name=a timeout=100ms />")
        .layout("b.html", "+++\nroute = \"/manifest\"\n+++\n<fragment name=a data-x=1 />")
        .layout("c.html", "+++\nroute = \"/settings\"\n+++\n<fragment name=b />")
        .fragment_with("a", "[limits]\ntimeout = \"200ms\"\n", hangs())
        .fragment("b", hangs())
        .defaults(|defaults| defaults.timeout = ms(300))
        .start();
    for (path, time) in [("/layout", 100), ("/manifest", 200), ("/settings", 300)] {
        let began = Instant::now();
        site.get(path).await;
        assert_eq!(began.elapsed(), ms(time), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_beyond_the_concurrency_limit_waits_until_its_deadline() {
    let fragments: String =
        (0..3).map(|n| format!("<fragment name=a timeout=250ms data-n={n}>late</fragment>")).collect();
    let site = TestCompositor::new()
        .front(&fragments)
        .fragment_with("a", "[limits]\nconcurrency = 1\n", after(ms(100), html("ok")))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "okoklate");
    assert_eq!(
        page.outcome("a-3"),
        (Shown::Fallback, Some(Reason::Timeout)),
        "its request was sent 50 ms before the deadline"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gets_no_permit_is_overloaded_and_does_not_count_as_a_failure() {
    let fragments: String =
        (0..4).map(|n| format!("<fragment name=a timeout=200ms data-n={n}>late</fragment>")).collect();
    let site = TestCompositor::new()
        .front(&fragments)
        .fragment_with("a", "[limits]\nconcurrency = 1\ntimeout = \"5s\"\n", after(ms(201), html("ok")))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "latelatelatelate");
    assert_eq!(page.outcome("a"), (Shown::Fallback, Some(Reason::Timeout)));
    for id in ["a-2", "a-3", "a-4"] {
        assert_eq!(page.outcome(id), (Shown::Fallback, Some(Reason::Overloaded)), "{id}");
    }
    let record = page.0.record();
    let waited = &record.parts[1];
    assert_eq!(waited.tries, 0, "{waited:?}");
    assert_eq!(waited.why, "fallback: the service's concurrency limit left no room for this request within 200ms");
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_never_shown_in_part() {
    let site = TestCompositor::new()
        .front("<fragment name=a>too much</fragment><fragment name=b>too much</fragment>")
        .fragment_with("a", "[limits]\nmax_bytes = \"9B\"\n", html("123456789"))
        .fragment_with("b", "[limits]\nmax_bytes = \"8B\"\n", html("123456789"))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "123456789too much");
    assert_eq!(page.outcome("b"), (Shown::Fallback, Some(Reason::TooLarge)));
}
