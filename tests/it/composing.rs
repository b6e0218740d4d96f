//! From a layout to a page: what fills each part, and which status the page has.

use std::time::Duration;

use http::StatusCode;
use pasteup::page::output::verdict::Verdict;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use tokio::time::Instant;

use crate::support::compositor::{TestCompositor, after, fails, hangs, html, responds};

const OK: Verdict = Verdict::Page(StatusCode::OK);

#[tokio::test(start_paused = true)]
async fn ten_fragments_of_100_ms_make_a_page_of_100_ms() {
    let mut site = TestCompositor::new();
    let mut layout = String::new();
    for number in 0..10 {
        let name = format!("part-{number}");
        layout.push_str(&format!("<fragment name=\"{name}\" />"));
        site = site.fragment(&name, after(Duration::from_millis(100), html(&number.to_string())));
    }
    let site = site.front(&layout).start();
    let began = Instant::now();
    let page = site.get("/").await;
    assert_eq!(page.html(), "0123456789");
    assert_eq!(began.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn identical_fragments_are_fetched_once() {
    let layout = "<fragment name=a data-x=1 /><fragment name=a data-x=1 /><fragment name=a data-x=2 />";
    let site = TestCompositor::new().front(layout).fragment("a", html("x")).start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "xxx");
    assert_eq!(site.calls("a"), 2);
    assert_eq!(page.outcome("a-3"), (Shown::Fresh, None));
}

#[tokio::test(start_paused = true)]
async fn parameters_come_from_route_and_declared_query_in_the_layouts_order() {
    let site = TestCompositor::new()
        .layout(
            "news.html",
            "+++\nroute = \"/news/{section}\"\nquery = [\"page\", \"none\"]\n+++\n\
             <fragment name=a data-page=\"{page}\" data-none={none} data-of=\"in {section} {{now}}\" data-fixed=\"ä &amp; b\" />",
        )
        .fragment("a", html("x"))
        .start();
    site.get("/news/uk?page=2&page=3&secret=1").await;
    let request = &site.requests()[0];
    assert_eq!(request.address.as_str(), "http://a.test/x?page=2&of=in%20uk%20%7Bnow%7D&fixed=%C3%A4%20%26%20b");
    let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("accept"), "text/html");
    assert_eq!(header("fragment-name"), "a");
    assert_eq!(header("fragment-timeout-ms"), "1000");
    assert!(header("user-agent").starts_with("pasteup/"));
    assert!(header("traceparent").starts_with("00-") && header("traceparent").len() == 55);
    assert_eq!(request.headers.len(), 6, "nothing else is sent: {:?}", request.headers);
}

#[tokio::test(start_paused = true)]
async fn parameters_are_checked_against_the_manifest() {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/\"\nquery = [\"days\"]\n+++\n<fragment name=a data-days={days}>no</fragment>",
        )
        .fragment_with("a", "[params.days]\ntype = \"integer\"\nmaximum = 7\n", html("yes"))
        .start();
    assert_eq!(site.get("/?days=7").await.html(), "yes");
    let page = site.get("/?days=8").await;
    assert_eq!((page.html().as_str(), page.outcome("a")), ("no", (Shown::Fallback, Some(Reason::NotAllowed))));
    assert_eq!(site.calls("a"), 1, "a bad parameter is never passed on");
}

#[tokio::test(start_paused = true)]
async fn a_broken_fragment_affects_only_its_own_part() {
    for (reason, name) in
        [(Reason::Connect, "connect"), (Reason::Incomplete, "incomplete"), (Reason::Encoding, "encoding")]
    {
        let site = TestCompositor::new()
            .front("<a><fragment name=good /></a><b><fragment name=bad><p>sorry</p></fragment></b><c><fragment name=bad /></c>")
            .fragment("good", html("fine"))
            .fragment("bad", fails(reason))
            .start();
        let page = site.get("/").await;
        assert_eq!(page.html(), "<a>fine</a><b><p>sorry</p></b><c></c>");
        assert_eq!(page.verdict(), &OK);
        assert_eq!(page.outcome("bad"), (Shown::Fallback, Some(reason)));
        assert_eq!(page.outcome("bad-2"), (Shown::Omitted, Some(reason)));
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(reason.as_str(), name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallbacks_fragment_is_fetched_when_the_fallback_is_shown() {
    let site = TestCompositor::new()
        .front("<fragment name=best>or <fragment name=second>or this</fragment></fragment>")
        .fragment("best", fails(Reason::Connect))
        .fragment("second", html("plan b"))
        .start();
    assert_eq!(site.get("/").await.html(), "or plan b");
    site.set_behaviour("best", html("plan a"));
    assert_eq!(site.get("/").await.html(), "plan a");
    assert_eq!(site.calls("second"), 1);
    site.set_behaviour("best", fails(Reason::Connect));
    site.set_behaviour("second", fails(Reason::Connect));
    assert_eq!(site.get("/").await.html(), "or or this");
}

#[tokio::test(start_paused = true)]
async fn an_empty_response_is_not_an_error() {
    let site = TestCompositor::new()
        .front("[<fragment name=none>fallback</fragment><fragment name=empty>fallback</fragment>]")
        .fragment("none", responds(204, &[("cache-control", "max-age=9")], ""))
        .fragment("empty", responds(200, &[("content-type", "text/html"), ("cache-control", "max-age=9")], ""))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "[]");
    assert_eq!(page.outcome("none"), (Shown::Omitted, Some(Reason::Empty)));
    assert_eq!(page.header("cache-control"), "public, max-age=9");
}

/// The verdict and the HTML of a page whose fragment is `required`, with or without a fallback.
#[track_caller]
fn status_of(fallback: &str, behaviour: u8) -> impl Future<Output = (Verdict, String)> {
    let site = TestCompositor::new().front(&format!("<fragment name=a required timeout=50ms>{fallback}</fragment>"));
    let site = match behaviour {
        0 => site.fragment("a", responds(302, &[("location", "/elsewhere")], "")),
        1 => site.fragment("a", responds(301, &[("location", "javascript:alert(1)")], "")),
        2 => site.fragment("a", responds(404, &[("content-type", "text/html")], "their page")),
        3 => site.fragment("a", responds(410, &[], "")),
        4 => site.fragment("a", hangs()),
        5 => site.fragment("a", fails(Reason::Connect)),
        6 => site.fragment("a", responds(200, &[("content-type", "text/plain")], "x")),
        7 => site.fragment("a", fails(Reason::Incomplete)),
        8 => site.fragment("a", responds(500, &[("content-type", "text/html")], "their error")),
        9 => site.fragment("a", responds(204, &[], "")),
        _ => site.fragment("a", html("fine")),
    };
    let site = site.start();
    async move {
        let page = site.get("/").await;
        (page.verdict().clone(), page.html())
    }
}

#[tokio::test(start_paused = true)]
async fn a_required_fragment_decides_the_status() {
    let error = |code| Verdict::Error(StatusCode::from_u16(code).unwrap());
    let page = |code| Verdict::Page(StatusCode::from_u16(code).unwrap());
    let redirect = Verdict::Redirect(StatusCode::FOUND, "/elsewhere".to_owned());
    for (behaviour, without, with) in [
        (0, redirect.clone(), redirect),
        (1, error(502), error(502)),
        (2, error(404), page(404)),
        (3, error(410), page(410)),
        (4, error(504), page(200)),
        (5, error(503), page(200)),
        (6, error(502), page(200)),
        (7, error(502), page(200)),
        (8, error(503), page(200)),
        (9, page(200), page(200)),
        (10, page(200), page(200)),
    ] {
        assert_eq!(status_of("", behaviour).await.0, without, "behaviour {behaviour} without a fallback");
        let (verdict, html) = status_of("instead", behaviour).await;
        assert_eq!(verdict, with, "behaviour {behaviour} with a fallback");
        assert!(!html.contains("their"), "the body of an error is never shown");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_required_fragment_in_document_order_decides() {
    let site = TestCompositor::new()
        .front("<fragment name=optional /><fragment name=slow required timeout=1s /><fragment name=gone required />")
        .fragment("optional", responds(410, &[], ""))
        .fragment("slow", after(Duration::from_millis(500), fails(Reason::Connect)))
        .fragment("gone", responds(404, &[], ""))
        .start();
    assert_eq!(site.get("/").await.verdict(), &Verdict::Error(StatusCode::SERVICE_UNAVAILABLE));
}

#[tokio::test(start_paused = true)]
async fn a_failed_fragment_that_is_not_required_never_changes_the_status() {
    for status in [302, 404, 410, 400, 500] {
        let site = TestCompositor::new()
            .front("<fragment name=a>instead</fragment>")
            .fragment("a", responds(status, &[("content-type", "text/html"), ("location", "/x")], "theirs"))
            .start();
        let page = site.get("/").await;
        assert_eq!((page.verdict(), page.html().as_str()), (&OK, "instead"), "{status}");
        let reason = if matches!(status, 302 | 404 | 410) { Reason::Gone } else { Reason::Status };
        assert_eq!(page.outcome("a"), (Shown::Fallback, Some(reason)));
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_of_time_are_evaluated_once_per_request() {
    let site = TestCompositor::new()
        .front("<when until=\"2027-01-15T08:00:01Z\">before</when><fragment name=a from=\"2027-01-15T08:00:01Z\">x</fragment>")
        .fragment("a", html("after"))
        .start();
    assert_eq!(site.get("/").await.html(), "before");
    assert_eq!(site.calls("a"), 0, "what is not shown is not fetched");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(site.get("/").await.html(), "after");
}

#[tokio::test(start_paused = true)]
async fn a_fragment_cannot_break_out_of_its_place() {
    let broken = "</main><h2>x</h2><b><!-- and the rest of the page";
    let site = TestCompositor::new()
        .front("<main><fragment name=kept /><p>after</p></main>|<fragment name=raw />|<fragment name=good />")
        .fragment("kept", html(broken))
        .fragment_with("raw", "html = \"raw\"\n", html(broken))
        .fragment("good", html("<p>one<p>two<br/>"))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), format!("<main><h2>x</h2><b></b><p>after</p></main>|{broken}|<p>one<p>two<br/>"));
}
