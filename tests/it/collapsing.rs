//! Collapsed fetches: one fetch for all clients that wait for the same response, to nobody's disadvantage.

use std::time::Duration;

use futures::future::join_all;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::Reader;
use tokio::time::{Instant, advance};

use crate::support::compositor::{
    ComposedPage, ResponseFuture, TestCompositor, after, counts, fails, html, html_cached, responds,
};
use pasteup::engine::port::UpstreamRequest;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_simultaneous_misses_are_one_fetch() {
    let site = TestCompositor::new().front("<fragment name=a />").fragment("a", after(ms(100), html("once"))).start();
    let began = Instant::now();
    let pages = join_all((0..1000).map(|_| site.get("/"))).await;
    assert!(pages.iter().all(|page| page.html() == "once"));
    assert_eq!((site.calls("a"), began.elapsed()), (1, ms(100)));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_are_one_fetch_even_if_the_first_client_leaves() {
    let site = TestCompositor::new().front("<fragment name=a />").fragment("a", after(ms(100), html("once"))).start();
    let (first, others) = futures::join!(
        tokio::time::timeout(ms(50), site.get("/")),
        join_all((0..999).map(|_| async {
            tokio::time::sleep(ms(10)).await;
            site.get("/").await
        }))
    );
    assert!(first.is_err(), "the first client leaves");
    assert!(others.iter().all(|page| page.html() == "once"));
    assert_eq!(site.calls("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn uncacheable_responses_are_fetched_side_by_side() {
    let site =
        TestCompositor::new().front("<fragment name=a />").fragment("a", after(ms(100), counts("no-store"))).start();
    let load_pages = async |clients: usize| {
        let began = Instant::now();
        let mut texts: Vec<String> =
            join_all((0..clients).map(|_| site.get("/"))).await.iter().map(ComposedPage::html).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), clients, "each has a response of its own");
        began.elapsed()
    };
    // Nothing is known of the nanoservice yet; the first response shows it.
    assert_eq!(load_pages(100).await, ms(200));
    assert_eq!(load_pages(100).await, ms(100));
    assert_eq!(site.calls("a"), 200);
}

#[tokio::test(start_paused = true)]
async fn a_shareable_response_ends_hit_for_miss() {
    let site = TestCompositor::new().front("<fragment name=a />").fragment("a", counts("no-store")).start();
    site.get("/").await;
    site.set_behaviour("a", after(ms(10), html_cached("shared", "max-age=1")));
    site.get("/").await;
    advance(s(2)).await;
    let before = site.calls("a");
    join_all((0..50).map(|_| site.get("/"))).await;
    assert_eq!(site.calls("a"), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_with_a_short_timeout_does_not_shorten_that_of_another() {
    let site = TestCompositor::new()
        .layout("hasty.html", "+++\nroute = \"/hasty\"\n+++\n<fragment name=a timeout=50ms>late</fragment>")
        .layout("calm.html", "+++\nroute = \"/calm\"\n+++\n<fragment name=a timeout=500ms>late</fragment>")
        .fragment("a", after(ms(200), html("there")))
        .start();
    let (hasty, calm) = futures::join!(site.get("/hasty"), site.get("/calm"));
    assert_eq!((hasty.html().as_str(), calm.html().as_str()), ("late", "there"));
}

#[tokio::test(start_paused = true)]
async fn responses_that_arrived_together_are_refreshed_before_they_are_stale() {
    let mut site = TestCompositor::new().front("<fragment name=a ttl=100s />").fragment("a", counts("public"));
    site = site.chance(|| 0.99).start();
    site.get("/").await;
    advance(s(94)).await;
    site.get("/").await;
    assert_eq!(site.calls("a"), 1);
    advance(s(2)).await;
    let page = site.get("/").await;
    assert_eq!((page.html().as_str(), page.outcome("a")), ("1", (Shown::Fresh, None)), "the client does not wait");
    site.drain().await;
    assert_eq!(site.calls("a"), 2);
    assert_eq!(site.get("/").await.html(), "2");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_ten_minutes_is_invisible_within_the_stale_allowance() {
    let site = TestCompositor::new()
        .front("<fragment name=a timeout=100ms>fallback</fragment>")
        .fragment(
            "a",
            responds(
                200,
                &[("content-type", "text/html"), ("cache-control", "max-age=10, stale-if-error=600")],
                "kept",
            ),
        )
        .start();
    site.get("/").await;
    advance(s(10)).await;
    site.set_behaviour("a", after(ms(30), fails(Reason::Connect)));
    let mut waited = 0;
    for _ in 0..5_900 {
        advance(ms(100)).await;
        let began = Instant::now();
        let page = site.get("/").await;
        let (shown, reason) = page.outcome("a");
        assert_eq!((page.html().as_str(), shown), ("kept", Shown::Stale));
        assert!(matches!(reason, Some(Reason::Connect | Reason::CircuitOpen)), "{reason:?}");
        waited += usize::from(!began.elapsed().is_zero());
    }
    let calls = site.calls("a") - 1;
    assert!((20..60).contains(&calls), "refreshes back off: {calls} in ten minutes, and not 5,900");
    assert_eq!(waited, calls, "only the client that asks waits");
    advance(s(60)).await;
    assert_eq!(site.get("/").await.html(), "fallback");
    site.set_behaviour("a", html("well again"));
    advance(s(60)).await;
    assert_eq!(site.get("/").await.html(), "well again");
}

/// A nanoservice that responds with the cookie that it was sent, after a while.
fn marker(request: UpstreamRequest) -> ResponseFuture {
    let cookie = request.headers.get("cookie").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let (pause, cache) = match cookie.len() % 3 {
        0 => (20, "max-age=60"),
        1 => (40, "private"),
        _ => (60, "max-age=0"),
    };
    after(ms(pause), html_cached(&format!("[{cookie}]"), cache))(request)
}

#[tokio::test(start_paused = true)]
async fn none_of_a_thousand_mixed_clients_sees_the_response_of_another() {
    let site = TestCompositor::new()
        .front("<fragment name=own /><fragment name=shared />")
        .fragment_with("own", "context = [\"cookie:user\"]\n", marker)
        .fragment("shared", after(ms(30), html_cached("s", "max-age=60")))
        .start();
    let reader = |number: usize| Reader {
        cookies: vec![
            ("session".to_owned(), format!("secret-{number}")),
            ("user".to_owned(), "u".repeat(number % 7) + &(number / 3).to_string()),
        ],
        ..Reader::default()
    };
    let pages = join_all((0..1000).map(|number| {
        let site = &site;
        async move {
            tokio::time::sleep(ms(number as u64 % 50)).await;
            let page = site.get_as("/", reader(number));
            // Half of them disconnect while they wait.
            let client_timeout = if number % 2 == 0 { ms(5 + number as u64 % 40) } else { s(10) };
            (number, tokio::time::timeout(client_timeout, page).await.ok())
        }
    }))
    .await;
    let complete = pages.iter().filter(|(_, page)| page.is_some()).count();
    assert!((500..900).contains(&complete), "{complete}");
    for (number, page) in pages.iter().filter_map(|(number, page)| Some((number, page.as_ref()?))) {
        let user = &reader(*number).cookies[1].1;
        assert_eq!(page.html(), format!("[user={user}]s"));
        assert!(!page.html().contains("secret"));
    }
    assert_eq!(site.calls("shared"), 1);
    site.drain().await;
    assert_eq!(site.flights(), 0);
}
