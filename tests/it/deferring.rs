//! Deferred parts: a slow part does not delay what follows it; it arrives late and takes its place.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Html;
use axum::routing::get;
use pasteup::page::source::reason::Reason;
use tokio::sync::Semaphore;

use crate::support::browser::Browser;
use crate::support::compositor::{TestCompositor, after, fails, html, timed_chunks};
use crate::support::process::TestSite;
use crate::support::service::serve_router;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The chunks of a page, each with its time; the random names of places and the script are replaced by short texts.
async fn masked_chunks(site: &TestCompositor) -> Vec<(u64, String)> {
    let script = pasteup::page::browser::scripts::late(false).text;
    let mut chunks = timed_chunks(site).await.unwrap();
    for (_, text) in &mut chunks {
        *text = text.replace(&format!("<script>{script}</script>"), "<script>…</script>");
        while let Some(at) = text.find("pasteup:") {
            text.replace_range(at..at + "pasteup:0123456789abcdef:".len(), "place ");
        }
    }
    chunks
}

fn assert_masked(chunks: &[(u64, String)], expected: &[(u64, &str)]) {
    let chunks: Vec<(u64, &str)> = chunks.iter().map(|(at, text)| (*at, text.as_str())).collect();
    assert_eq!(chunks, expected);
}

#[tokio::test(start_paused = true)]
async fn a_late_part_delays_nothing_and_takes_its_place() {
    let site = TestCompositor::new()
        .front("<body>1<fragment name=late load=defer>wait</fragment>2<fragment name=slow />3</body>")
        .fragment("late", after(ms(500), html("<b>L</b>")))
        .fragment("slow", after(ms(100), html("S")))
        .start();
    let late = "<template for=\"place 0\"><b>L</b></template><script>…</script></body>";
    assert_masked(
        &masked_chunks(&site).await,
        &[(10, "<body>1<?start name=\"place 0\">wait<?end>2"), (100, "S3"), (500, late)],
    );
}

#[tokio::test(start_paused = true)]
async fn late_parts_are_sent_in_whatever_order_they_come() {
    let site = TestCompositor::new()
        .front("<fragment name=a load=defer /><fragment name=b load=defer /><p>end")
        .fragment("a", after(ms(300), html("A")))
        .fragment("b", after(ms(200), html("B")))
        .start();
    let late = |place: u32, text: &str| format!("<template for=\"place {place}\">{text}</template><script>…</script>");
    assert_masked(
        &masked_chunks(&site).await,
        &[
            (10, "<?start name=\"place 0\"><?end><?start name=\"place 1\"><?end><p>end"),
            (200, &format!("</p>{}", late(1, "B"))),
            (300, &late(0, "A")),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_deferred_part_that_is_ready_in_time_is_in_its_place() {
    let site = TestCompositor::new()
        .front("<body><fragment name=a load=defer>x</fragment>2</body>")
        .fragment("a", html("A"))
        .start();
    assert_masked(&masked_chunks(&site).await, &[(0, "<body>A2</body>")]);
    assert_eq!(site.get("/").await.html(), "<body>A2</body>", "a page that is not streamed waits for it");
}

#[tokio::test(start_paused = true)]
async fn a_late_part_that_fails_leaves_its_placeholder() {
    let site = TestCompositor::new()
        .front("<body><fragment name=a load=defer>sorry</fragment><fragment name=b load=defer><fragment name=c /></fragment>2</body>")
        .fragment("a", after(ms(100), fails(Reason::Connect)))
        .fragment("b", after(ms(200), fails(Reason::Connect)))
        .fragment("c", after(ms(100), html("C")))
        .start();
    assert_masked(
        &masked_chunks(&site).await,
        &[
            (10, "<body><?start name=\"place 0\">sorry<?end><?start name=\"place 1\"><?end>2"),
            (300, "<template for=\"place 1\">C</template><script>…</script></body>"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_part_arrives_with_all_its_nested_parts() {
    let site = TestCompositor::new()
        .front("<body><fragment name=a load=defer />2</body>")
        .fragment_with("a", "composes = [\"b\"]\n", after(ms(100), html("[<fragment name=b load=defer>no</fragment>]")))
        .fragment("b", after(ms(100), html("B")))
        .start();
    assert_masked(
        &masked_chunks(&site).await,
        &[
            (10, "<body><?start name=\"place 0\"><?end>2"),
            (200, "<template for=\"place 0\">[B]</template><script>…</script></body>"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_not_ready_within_the_budget_leaves_its_placeholder() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/\"\nbudget = \"300ms\"\n+++\n<body><fragment name=a load=defer timeout=9s>x</fragment></body>")
        .fragment("a", crate::support::compositor::hangs())
        .start();
    assert_masked(&masked_chunks(&site).await, &[(10, "<body><?start name=\"place 0\">x<?end>"), (300, "</body>")]);
}

#[tokio::test(start_paused = true)]
async fn no_two_pages_use_the_same_name_for_a_place() {
    let site =
        TestCompositor::new().front("<fragment name=a load=defer />").fragment("a", after(ms(100), html("A"))).start();
    let first = timed_chunks(&site).await.unwrap();
    assert_ne!(first[0].1, timed_chunks(&site).await.unwrap()[0].1, "otherwise a fragment could take another's place");
}

#[test]
fn parts_that_cannot_arrive_late_are_reported() {
    let site =
        TestCompositor::new().fragment("a", html("")).front("<template><fragment name=a load=defer /></template>");
    assert_eq!(
        site.problems(),
        ["bad-value: `load`: browsers do not render a `<template>`, so nothing can be put into it later"]
    );
}

/// The page of an article whose middle part arrives when the test permits it.
async fn article() -> (TestSite, Arc<Semaphore>) {
    const PAGE: &str = include_str!("deferring/article.html");
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let slow = async move || {
        waiting.acquire().await.unwrap().forget();
        Html("<table class=scores><caption>Final scores</caption><tr><th>Saltmarsh<td>2<tr><th>Harrow<td>1</table>")
    };
    let address = serve_router(axum::Router::new().route("/scores", get(slow))).await;
    let settings = "[page]\nbudget = \"1m\"\n[fragment]\ntimeout = \"1m\"\n";
    (TestSite::new().file("layouts/article.html", PAGE).service("scores", address).file("pasteup.toml", settings), gate)
}

#[tokio::test(start_paused = true)]
async fn a_placeholder_shows_nothing_that_is_not_for_this_client() {
    let site = TestCompositor::new()
        .front("<body><fragment name=a load=defer>x<fragment name=b device=mobile>for mobiles</fragment></fragment></body>")
        .fragment("a", after(ms(100), html("A")))
        .fragment("b", html("B"))
        .start();
    assert_masked(
        &masked_chunks(&site).await,
        &[
            (10, "<body><?start name=\"place 0\">x<?end>"),
            (100, "<template for=\"place 0\">A</template><script>…</script></body>"),
        ],
    );
}

const BEFORE: [&str; 2] = ["Saltmarsh win the cup", "A late goal settled it."];
const AFTER: [&str; 2] = ["More sport", "The Daily Courier"];

async fn arrives_late(name: &str, flags: &[&str], scripts: bool) {
    let (site, gate) = article().await;
    let server = site.serve().await;
    let browser = Browser::start_without_waiting(flags).await;
    if !scripts {
        browser.forbid_scripts().await;
    }
    browser.client.set_window_size(800, 600).await.unwrap();
    browser.client.goto(&server.pages).await.unwrap();
    // The end of the page has arrived, and its middle has not. Its last paragraph is not closed.
    browser.wait_for("body > p").await;
    assert_eq!(browser.text(".wait").await, "The scores are on their way.");
    assert_eq!(browser.count("table").await, 0);
    let waiting = browser.screenshot(&format!("deferred-{name}-at-first.png")).await;
    gate.add_permits(1);
    browser.wait_for("table").await;
    assert_eq!(browser.count(".wait").await, 0, "its placeholder is gone");
    assert_eq!(
        browser.text("main > div").await,
        "Final scores\nSaltmarsh 2\nHarrow 1",
        "and the part is where the placeholder was"
    );
    assert_eq!(browser.count("template, dialog, p:empty").await, 0, "no trace of the late arrival is left");
    let spoken = browser.screen_reader_text().await;
    let scores = ["Final scores", "Saltmarsh", "2", "Harrow", "1"];
    assert_eq!(spoken, [&BEFORE[..], &scores, &AFTER].concat(), "screen readers read it in its place");
    assert_ne!(browser.screenshot(&format!("deferred-{name}-at-last.png")).await, waiting);
    browser.stop().await;
}

#[tokio::test]
async fn a_late_part_takes_its_place_in_a_browser_without_scripts() {
    arrives_late("no-scripts", &[], false).await;
}

#[tokio::test]
async fn a_late_part_takes_its_place_in_an_older_browser_under_a_strict_policy() {
    arrives_late("older", &["--disable-blink-features=HTMLProcessingInstruction"], true).await;
}
