//! Fallbacks for certain reasons, and the pages that they are shown on.

use std::time::Duration;

use http::StatusCode;
use pasteup::page::output::verdict::Verdict;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::Reader;

use crate::support::compositor::{ServedFrom, TestCompositor, after, fails, html, html_cached, responds};

const TWO: &str = "<fragment name=a>plain <fallback reason=\"gone\">gone</fallback>\
                   <fallback reason=\"empty timeout\">quiet</fallback>text</fragment>";

#[tokio::test(start_paused = true)]
async fn a_fallback_is_chosen_by_its_reason() {
    for (site, shown, reason) in [
        (TestCompositor::new().fragment("a", responds(404, &[], "")), "gone", Reason::Gone),
        (TestCompositor::new().fragment("a", responds(302, &[("location", "/")], "")), "gone", Reason::Gone),
        (TestCompositor::new().fragment("a", responds(204, &[], "")), "quiet", Reason::Empty),
        (TestCompositor::new().fragment("a", after(Duration::from_secs(60), html("A"))), "quiet", Reason::Timeout),
        (TestCompositor::new().fragment("a", fails(Reason::Connect)), "plain text", Reason::Connect),
    ] {
        let page = site.front(TWO).start().get("/").await;
        assert_eq!((page.html().as_str(), page.outcome("a")), (shown, (Shown::Fallback, Some(reason))));
    }
    let site = TestCompositor::new().front(TWO).fragment("a", html("A")).start();
    assert_eq!(site.get("/").await.html(), "A");
}

#[tokio::test(start_paused = true)]
async fn an_empty_response_shows_only_a_fallback_for_that() {
    let site = TestCompositor::new().front("<fragment name=a>plain</fragment>").fragment("a", responds(204, &[], ""));
    let page = site.start().get("/").await;
    assert_eq!((page.html().as_str(), page.outcome("a")), ("", (Shown::Omitted, Some(Reason::Empty))));
}

#[tokio::test(start_paused = true)]
async fn a_required_fragment_without_a_fallback_for_its_failure_has_none() {
    let gone = "<fragment name=a required><fallback reason=gone>gone</fallback></fragment>";
    let site = TestCompositor::new().front(gone).fragment("a", responds(404, &[], "")).start();
    let page = site.get("/").await;
    assert_eq!((page.html().as_str(), page.verdict()), ("gone", &Verdict::Page(StatusCode::NOT_FOUND)));
    site.set_behaviour("a", fails(Reason::Connect));
    assert_eq!(site.get("/").await.verdict(), &Verdict::Error(StatusCode::SERVICE_UNAVAILABLE));
    let other = gone.replace("gone>", "connect>");
    let site = TestCompositor::new().front(&other).fragment("a", responds(410, &[], "")).start();
    assert_eq!(site.get("/").await.verdict(), &Verdict::Error(StatusCode::GONE));
    let problems = TestCompositor::new().front(gone).fragment("a", html("")).problems();
    assert_eq!(problems, ["no-fallback: a `required` fragment without a fallback"]);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_may_contain_fragments_and_is_used_in_responses_too() {
    let outer = "<fragment name=b>x<fallback reason=gone>[<fragment name=c />]</fallback></fragment>\
                 <fallback>theirs</fallback><fragment name=d>y<fallback reason=gone>z</fallback></fragment>";
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment_with("a", "composes = [\"b\", \"c\"]\nhtml = \"raw\"\n", html(outer))
        .fragment("b", responds(404, &[], ""))
        .fragment("c", html("C"))
        .start();
    let rest = "<fallback>theirs</fallback><fragment name=d>y<fallback reason=gone>z</fallback></fragment>";
    assert_eq!(site.get("/").await.html(), format!("[C]{rest}"));
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_or_empty_does_not_make_a_page_uncacheable() {
    let gone = responds(404, &[("cache-control", "max-age=30")], "");
    let empty = responds(204, &[("cache-control", "max-age=20")], "");
    let site = TestCompositor::new()
        .front("<fragment name=a>none</fragment><fragment name=b /><fragment name=c />")
        .fragment("a", gone)
        .fragment("b", empty)
        .fragment("c", html_cached("C", "max-age=60"))
        .start();
    let page = site.get("/").await;
    assert_eq!((page.html().as_str(), page.header("cache-control")), ("noneC", "public, max-age=20"));
    // The page is cached whole, and is the same then.
    let tag = page.header("etag").to_owned();
    for from in [ServedFrom::Composition, ServedFrom::Composition, ServedFrom::CachedPage] {
        let (headers, bytes, served_from) = site.serve("/", Reader::default()).await;
        assert_eq!((&*bytes, headers["etag"].to_str().unwrap(), served_from), (&b"noneC"[..], tag.as_str(), from));
    }
    // A failure still does.
    site.set_behaviour("a", fails(Reason::Connect));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(site.get("/").await.header("cache-control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn pages_with_different_fallbacks_have_different_tags() {
    let page = "<fragment name=a><fallback reason=gone>g</fallback><fallback reason=empty>e</fallback></fragment>";
    let site =
        TestCompositor::new().front(page).fragment("a", responds(404, &[("cache-control", "max-age=0")], "")).start();
    let gone = site.get("/").await;
    site.set_behaviour("a", responds(204, &[("cache-control", "max-age=0")], ""));
    let empty = site.get("/").await;
    assert_eq!((gone.html().as_str(), empty.html().as_str()), ("g", "e"));
    assert_ne!(gone.header("etag"), empty.header("etag"));
}

#[test]
fn each_error_in_a_fallback_is_reported() {
    for (text, expected) in [
        ("<fragment name=a><fallback reason=gon>x</fallback></fragment>", "bad-value: `reason`: `gon` is not a reason"),
        (
            "<fragment name=a><fallback reason=gone>x</fallback><fallback reason=\"empty gone\">y</fallback></fragment>",
            "bad-value: `reason`: the fragment has two fallbacks for `gone`",
        ),
        ("<fragment name=a><fallback>x</fallback></fragment>", "missing-name: `<fallback>` does not name its reasons"),
        (
            "<fragment name=a><when device=mobile><fallback reason=gone>x</fallback></when></fragment>",
            "bad-value: `<fallback>` is not directly inside `<fragment>`",
        ),
        ("<fallback reason=gone>x</fallback>", "bad-value: `<fallback>` is not directly inside `<fragment>`"),
        (
            "<fragment name=a><fallback reason=gone><fragment name=z /></fallback></fragment>",
            "unknown-fragment: no nanoservice is called `z`",
        ),
    ] {
        let problems = TestCompositor::new().front(text).fragment("a", html("")).problems();
        let problems: Vec<_> = problems.iter().filter(|problem| !problem.starts_with("never-shown")).collect();
        assert_eq!(problems, [expected], "{text}");
    }
}
