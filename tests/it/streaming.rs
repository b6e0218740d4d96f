//! Streaming: the head of a page is sent as soon as the status is known; its parts follow in document order.

use std::time::Duration;

use futures::StreamExt as _;
use http::StatusCode;
use pasteup::engine::Served;
use pasteup::page::output::verdict::Verdict;
use pasteup::page::source::reason::Reason;
use tokio::time::Instant;

use crate::support::compositor::{
    TestCompositor, after, assert_chunks, fails, hangs, html, html_cached, responds, timed_chunks,
};
use crate::support::process::{TestSite, client};
use crate::support::service::RawService;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(start_paused = true)]
async fn a_head_does_not_wait_for_a_slow_part_that_makes_the_page_uncacheable() {
    for (cache_control, pause, heads) in
        [("no-store", 30, [10, 0, 0]), ("no-store", 5, [5, 5, 5]), ("max-age=1", 30, [10, 10, 10])]
    {
        let site = TestCompositor::new()
            .front("<head></head><fragment name=a />")
            .fragment("a", after(ms(pause), html_cached("A", cache_control)))
            .start();
        for head in heads {
            let chunks = timed_chunks(&site).await.unwrap();
            assert_eq!(chunks[0].0, head, "{cache_control} {pause}");
            tokio::time::sleep(ms(3_600_000 * u64::from(cache_control != "no-store"))).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_leaves_at_once_and_parts_follow_in_document_order() {
    let site = TestCompositor::new()
        .front("<head></head>1<fragment name=slow />2<fragment name=quick />3<fragment name=slower>x</fragment>4")
        .fragment("quick", after(ms(50), html("Q")))
        .fragment("slow", after(ms(100), html("S")))
        .fragment("slower", after(ms(200), fails(Reason::Connect)))
        .start();
    assert_chunks(&timed_chunks(&site).await.unwrap(), &[(10, "<head></head>1"), (100, "S2Q3"), (200, "x4")]);
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_parts_arrive_within_the_flush_deadline_is_not_streamed() {
    let site = TestCompositor::new()
        .front("1<fragment name=a />2")
        .fragment("a", after(ms(8), html_cached("A", "max-age=60")))
        .start();
    let Served::Whole(page) = site.begin("/").await else { panic!("it is streamed") };
    let headers = page.headers.at(Instant::now().into_std());
    assert_eq!(headers["cache-control"], "public, max-age=60");
    assert!(headers.contains_key("etag"));
}

#[tokio::test(start_paused = true)]
async fn a_head_waits_for_required_parts() {
    let front = "1<fragment name=must required />2<fragment name=may />";
    let site = |must: Result<&str, u16>| {
        let site = TestCompositor::new().front(front).fragment("may", after(ms(300), html("m")));
        match must {
            Ok(text) => site.fragment("must", after(ms(100), html(text))).start(),
            Err(status) => site.fragment("must", after(ms(100), responds(status, &[("location", "/x")], ""))).start(),
        }
    };
    assert_chunks(&timed_chunks(&site(Ok("M"))).await.unwrap(), &[(100, "1M2"), (300, "m")]);
    for (status, verdict) in [
        (404, Verdict::Error(StatusCode::NOT_FOUND)),
        (302, Verdict::Redirect(StatusCode::FOUND, "/x".to_owned())),
        (500, Verdict::Error(StatusCode::SERVICE_UNAVAILABLE)),
    ] {
        let began = Instant::now();
        assert_eq!(timed_chunks(&site(Err(status))).await, Err(verdict));
        assert_eq!(began.elapsed(), ms(100), "parts that are not shown delay nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_required_fragment_in_a_fallback_is_waited_for_while_it_may_be_shown() {
    let site = |outer: u64| {
        TestCompositor::new()
            .front("1<fragment name=outer><fragment name=must required /></fragment><fragment name=may />")
            .fragment("outer", after(ms(outer), fails(Reason::Connect)))
            .fragment("must", after(ms(50), responds(410, &[], "")))
            .fragment("may", after(ms(500), html("m")))
            .start()
    };
    let began = Instant::now();
    assert_eq!(timed_chunks(&site(100)).await, Err(Verdict::Error(StatusCode::GONE)));
    assert_eq!(began.elapsed(), ms(150));
}

#[tokio::test(start_paused = true)]
async fn a_streamed_page_ends_within_its_budget() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/\"\nbudget = \"300ms\"\n+++\n1<fragment name=a timeout=9s>late</fragment>2")
        .fragment("a", hangs())
        .start();
    assert_chunks(&timed_chunks(&site).await.unwrap(), &[(10, "1"), (300, "late2")]);
}

#[tokio::test(start_paused = true)]
async fn assets_that_manifests_declare_are_in_a_head_that_leaves_early() {
    let asset = |href: &str| format!("[[assets]]\nrel = \"stylesheet\"\nhref = \"{href}\"\n");
    let link = "<https://cdn.test/late.css>; rel=stylesheet, </a.css>; rel=stylesheet";
    let site = TestCompositor::new()
        .front("<head></head><fragment name=a /><fragment name=b><fragment name=c /></fragment>")
        .fragment_with(
            "a",
            &asset("/a.css"),
            after(ms(50), responds(200, &[("content-type", "text/html"), ("link", link)], "A")),
        )
        .fragment_with("b", &asset("https://cdn.test/b.css"), after(ms(60), html("B")))
        .fragment_with("c", &asset("/c.css"), html("C"))
        .start();
    let style = |href: &str| format!("<link rel=\"stylesheet\" href=\"{href}\">");
    let head = format!("<head>{}{}</head>", style("/_pasteup/assets/a/1.0.0/a.css"), style("https://cdn.test/b.css"));
    let late = format!("{}A", style("https://cdn.test/late.css"));
    assert_chunks(&timed_chunks(&site).await.unwrap(), &[(10, &head), (50, &late), (60, "B")]);
}

/// The text of the body up to `until`, decoded as it arrives.
async fn read_until(response: reqwest::Response, coding: &str, until: &str) -> String {
    use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
    use tokio::io::{AsyncRead, AsyncReadExt as _};
    let wire = response.bytes_stream().map(|chunk| chunk.map_err(std::io::Error::other));
    let wire = tokio_util::io::StreamReader::new(Box::pin(wire));
    let mut reader: Box<dyn AsyncRead + Unpin> = match coding {
        "gzip" => Box::new(GzipDecoder::new(wire)),
        "br" => Box::new(BrotliDecoder::new(wire)),
        "zstd" => Box::new(ZstdDecoder::new(wire)),
        _ => Box::new(wire),
    };
    let mut text = String::new();
    while !text.contains(until) {
        let mut bytes = [0; 1024];
        let length = reader.read(&mut bytes).await.unwrap();
        assert!(length > 0, "the body ended with `{text}`");
        text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    text
}

#[tokio::test]
async fn ready_parts_reach_the_client_in_every_encoding_while_a_part_is_still_to_come() {
    // One part never arrives, so everything that is read was flushed before the end of the page.
    let service = RawService::start(Duration::from_secs(3600), "").await;
    let settings = "[page]\nbudget = \"1h\"\n[fragment]\ntimeout = \"1h\"\n";
    let site = TestSite::new()
        .front("<p>at once</p><fragment name=a />")
        .service("a", service.address)
        .file("pasteup.toml", settings);
    let server = site.serve().await;
    for coding in ["identity", "gzip", "br", "zstd"] {
        let response = client().get(&server.pages).header("accept-encoding", coding).send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(read_until(response, coding, "at once").await, "<p>at once</p>", "{coding}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_midway_releases_its_permit() {
    let service = RawService::start(Duration::from_secs(3600), "").await;
    let settings = "[server]\nmax_in_flight = 1\n[page]\nbudget = \"1h\"\n[fragment]\ntimeout = \"1h\"\n";
    let site = TestSite::new()
        .front("<p>at once</p><fragment name=a />")
        .file("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother")
        .service("a", service.address)
        .file("pasteup.toml", settings);
    let server = site.serve().await;
    let under_way = client().get(&server.pages).send().await.unwrap();
    assert_eq!(server.get("/other").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(under_way);
    while server.get("/other").await.status() != StatusCode::OK {
        tokio::time::sleep(ms(20)).await;
    }
}

#[tokio::test]
async fn a_streamed_page_is_complete_in_every_encoding() {
    let service = RawService::html(ms(100), "", "<p>late</p>").await;
    let site = TestSite::new().front("<p>at once</p><fragment name=a /><p>end</p>").service("a", service.address);
    let server = site.serve().await;
    for coding in ["identity", "gzip", "br", "zstd"] {
        let response = client().get(&server.pages).header("accept-encoding", coding).send().await.unwrap();
        assert!(!response.headers().contains_key("content-length"), "it is streamed");
        assert_eq!(read_until(response, coding, "end</p>").await, "<p>at once</p><p>late</p><p>end</p>", "{coding}");
    }
    // The end of the body is checked by a client that reads all of it.
    let whole = client().get(&server.pages).header("accept-encoding", "gzip").send().await.unwrap();
    whole.bytes().await.unwrap();
}

#[tokio::test]
async fn a_page_that_breaks_off_ends_with_an_error_and_never_cleanly() {
    let service = RawService::html(ms(100), "", &"<p>far too long</p>".repeat(100)).await;
    let site = TestSite::new()
        .front("<p>at once</p><fragment name=a /><p>end</p>")
        .file("layouts/whole.html", "+++\nroute = \"/whole\"\n+++\n<fragment name=a required />")
        .service("a", service.address)
        .file("pasteup.toml", "[page]\nmax_bytes = \"1KiB\"\n");
    let server = site.serve().await;
    for coding in ["identity", "gzip", "br", "zstd"] {
        let response = client().get(&server.pages).header("accept-encoding", coding).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.bytes().await.is_err(), "{coding}: half a page must be an error");
    }
    assert_eq!(
        server.get("/whole").await.status(),
        StatusCode::BAD_GATEWAY,
        "before its head left, there is time to say so"
    );
}
