//! Nested fragments: which ones a response may contain, how long each is cached, and every limit.

use std::time::Duration;

use http::StatusCode;
use pasteup::page::output::verdict::Verdict;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::{Device, Reader};
use tokio::time::advance;

use crate::support::compositor::{
    ResponseFuture, TestCompositor, after, counts, fails, hangs, html, html_cached, responds,
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const COMBINES: &str = "composes = [\"a\", \"b\", \"c\", \"card\"]\n";

#[tokio::test(start_paused = true)]
async fn a_fragment_may_contain_others() {
    let site = TestCompositor::new()
        .front("[<fragment name=card />]")
        .fragment_with(
            "card",
            COMBINES,
            html("<b><fragment name=\"a\" data-q=\"{x}\" /></b>-<FRAGMENT name=b></FRAGMENT>"),
        )
        .fragment("a", html("A"))
        .fragment("b", html("B"))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "[<b>A</b>-B]");
    assert_eq!((page.outcome("a").0, page.outcome("b").0), (Shown::Fresh, Shown::Fresh));
    let urls: Vec<String> = site.requests().into_iter().map(|request| request.address.to_string()).collect();
    assert!(urls.contains(&"http://a.test/x?q=%7Bx%7D".to_owned()), "braces have no meaning there: {urls:?}");
}

#[tokio::test(start_paused = true)]
async fn fragments_that_the_manifest_does_not_list_are_passed_on_unchanged() {
    let asks = "<fragment name=\"a\" ttl='5s'>x<fragment name=b>y</fragment></fragment><fragment src=\"http://a.test/\"/>\
                <fragment>z</fragment><!-- <fragment name=b /> --><script>'<fragment name=b />'</script><slot>s</slot>";
    let site = TestCompositor::new()
        .front("<fragment name=silent />|<fragment name=talks />")
        .fragment("silent", html(asks))
        .fragment_with("talks", "composes = [\"b\"]\n", html(asks))
        .fragment("a", html("A"))
        .fragment("b", html("B"))
        .start();
    let acted = asks.replacen("<fragment name=b>y</fragment>", "B", 1).replace("<slot>s</slot>", "s");
    assert_eq!(site.get("/").await.html(), format!("{asks}|{acted}"));
    assert_eq!((site.calls("a"), site.calls("b")), (0, 1));
}

/// A page with a composite fragment of three fragments, two of which are cached for different times.
#[tokio::test(start_paused = true)]
async fn each_nested_fragment_has_its_own_lifetime() {
    let site = TestCompositor::new()
        .front("<fragment name=card />")
        .fragment_with(
            "card",
            COMBINES,
            html_cached("<fragment name=a /> <fragment name=b /> <fragment name=c />", "max-age=60"),
        )
        .fragment("a", counts("max-age=2"))
        .fragment("b", counts("max-age=5"))
        .fragment("c", counts("no-store"))
        .start();
    for second in 0..12 {
        let html = site.get("/").await.html();
        assert_eq!(html, format!("{} {} {}", second / 2 + 1, second / 5 + 1, second + 1), "second {second}");
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(site.calls("card"), 1);
}

#[tokio::test(start_paused = true)]
async fn nested_fragments_of_one_response_are_fetched_concurrently() {
    let site = TestCompositor::new()
        .front("<fragment name=card />")
        .fragment_with(
            "card",
            COMBINES,
            after(ms(100), html("<fragment name=a /><fragment name=b /><fragment name=a />")),
        )
        .fragment("a", after(ms(100), html("A")))
        .fragment("b", after(ms(150), html("B")))
        .start();
    let began = tokio::time::Instant::now();
    assert_eq!(site.get("/").await.html(), "ABA");
    assert_eq!(began.elapsed(), ms(250));
    assert_eq!(site.calls("a"), 1, "a fragment that occurs twice is fetched once");
}

#[tokio::test(start_paused = true)]
async fn a_nested_failure_shows_its_own_fallback() {
    let site = TestCompositor::new()
        .front("<fragment name=card>card's</fragment>")
        .fragment_with(
            "card",
            COMBINES,
            html("(<fragment name=a>a's</fragment>)(<fragment name=b timeout=50ms>b's <fragment name=c /></fragment>)(<fragment name=nobody />)"),
        )
        .fragment("a", fails(Reason::Connect))
        .fragment("b", hangs())
        .fragment("c", html("C"))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "(a's)(b's C)(<fragment name=nobody />)");
    assert_eq!(page.outcome("a"), (Shown::Fallback, Some(Reason::Connect)));
    assert_eq!(page.outcome("b"), (Shown::Fallback, Some(Reason::Timeout)));
    assert_eq!(page.header("cache-control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn a_listed_fragment_without_a_manifest_shows_its_fallback() {
    let site = TestCompositor::new()
        .front("<fragment name=card />")
        .fragment_with(
            "card",
            COMBINES,
            html("<fragment name=a>none</fragment><fragment name=b version=\"^2\">old</fragment>"),
        )
        .fragment("b", html("B"))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "noneold");
    assert_eq!(page.outcome("a"), (Shown::Fallback, Some(Reason::Unknown)));
    assert_eq!(page.outcome("b"), (Shown::Fallback, Some(Reason::Unknown)));
}

const TABS: &str = "<fragment name=card>plain <fragment slot=left name=a>x</fragment>, \
                    <when device=mobile><fragment slot=right name=b /></when></fragment>";

fn tabs(
    card: impl Fn(pasteup::engine::port::UpstreamRequest) -> ResponseFuture + Send + Sync + 'static,
) -> TestCompositor {
    TestCompositor::new()
        .front(TABS)
        .fragment_with("card", COMBINES, card)
        .fragment("a", after(ms(100), html("A")))
        .fragment("b", html("B"))
        .start()
}

#[tokio::test(start_paused = true)]
async fn a_layout_fills_the_slots_of_a_composite_fragment() {
    let site =
        tabs(after(ms(100), html("<i><slot name=left>l</slot></i><u><slot name=right>r</slot></u><slot name=left />")));
    let began = tokio::time::Instant::now();
    assert_eq!(site.get("/").await.html(), "<i>A</i><u></u>");
    assert_eq!(began.elapsed(), ms(100), "the content of slots is fetched together with the composite fragment");
    let mobile = Reader { device: Some(Device::Mobile), ..Reader::default() };
    assert_eq!(site.get_as("/", mobile).await.html(), "<i>A</i><u>B</u>");
}

#[tokio::test(start_paused = true)]
async fn an_unfilled_slot_shows_its_default_and_content_for_a_missing_slot_is_dropped() {
    let site = tabs(html("<slot name=other>d<fragment name=c>e</fragment></slot>"));
    assert_eq!(site.get("/").await.html(), "de");
}

#[tokio::test(start_paused = true)]
async fn a_failed_composite_fragment_shows_its_content_without_slots() {
    let site = tabs(fails(Reason::Connect));
    assert_eq!(site.get("/").await.html(), "plain A, ");
    let mobile = Reader { device: Some(Device::Mobile), ..Reader::default() };
    assert_eq!(site.get_as("/", mobile).await.html(), "plain A, B");
    assert_eq!(site.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fragment_that_composes_nothing_may_have_slots() {
    let site = TestCompositor::new()
        .front("<fragment name=card><fragment slot=left name=a /></fragment>")
        .fragment("card", html("<slot name=left>l</slot><slot name=right>r</slot>"))
        .fragment("a", html("A"))
        .start();
    assert_eq!(site.get("/").await.html(), "A<slot name=right>r</slot>");
}

#[tokio::test(start_paused = true)]
async fn depth_is_limited() {
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment_with("a", "composes = [\"b\"]\n", html("a<fragment name=b />"))
        .fragment_with("b", "composes = [\"c\"]\n", html("b<fragment name=c />"))
        .fragment_with("c", "composes = [\"d\"]\n", html("c<fragment name=d>too deep</fragment>"))
        .fragment("d", html("d"))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "abctoo deep");
    assert_eq!(page.outcome("d"), (Shown::Fallback, Some(Reason::Depth)));
    assert_eq!(page.header("cache-control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn a_cycle_shows_its_fallback() {
    let site = TestCompositor::new()
        .front("<fragment name=a /><fragment name=b />")
        .fragment_with("a", COMBINES, html("a<fragment name=a>again</fragment>"))
        .fragment_with("b", COMBINES, html("b<fragment name=c />"))
        .fragment_with("c", COMBINES, html("c<fragment name=b>circle</fragment>"))
        .start();
    let page = site.get("/").await;
    assert_eq!(page.html(), "aagainbccircle");
    assert_eq!(page.outcome("a-2"), (Shown::Fallback, Some(Reason::Cycle)));
    assert_eq!(page.outcome("b-2"), (Shown::Fallback, Some(Reason::Cycle)));
    assert_eq!([site.calls("a"), site.calls("b"), site.calls("c")], [1, 1, 1]);
}

/// Each response contains 1,024 fragments with different parameters, two levels deep.
#[tokio::test(start_paused = true)]
async fn a_million_nested_fragments_cause_a_bounded_number_of_fetches() {
    let asks: String = (0..1024).map(|n| format!("<fragment name=\"b\" data-n=\"{n}\">.</fragment>")).collect();
    let asks_more: String = (0..1024).map(|n| format!("<fragment name=\"c\" data-n=\"{n}\">.</fragment>")).collect();
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment_with("a", COMBINES, html(&asks))
        .fragment_with("b", COMBINES, html(&asks_more))
        .fragment("c", html("C"))
        .defaults(|defaults| defaults.max_fragments = 50)
        .start();
    let page = site.get("/").await;
    let calls = site.calls("a") + site.calls("b") + site.calls("c");
    assert!(calls <= 50, "{calls} fetches");
    assert!(page.0.plan.parts.len() <= 1050, "{} holes", page.0.plan.parts.len());
    assert_eq!(page.header("cache-control"), "no-store", "a page that was cut is incomplete");
}

#[tokio::test(start_paused = true)]
async fn a_nested_fragment_is_required_only_if_all_its_ancestors_are() {
    let site = |layout: &str| {
        TestCompositor::new()
            .front(layout)
            .fragment_with("card", COMBINES, html("x<fragment name=a required />"))
            .fragment("a", responds(404, &[], ""))
            .start()
    };
    let page = site("<fragment name=card required />").get("/").await;
    assert_eq!(page.verdict(), &Verdict::Error(StatusCode::NOT_FOUND));
    let page = site("<fragment name=card />").get("/").await;
    assert_eq!((page.verdict(), page.html()), (&Verdict::Page(StatusCode::OK), "x".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_nested_fragment_is_sent_the_context_it_declares_and_the_page_varies_on_it() {
    let says = |request: pasteup::engine::port::UpstreamRequest| {
        let device = request.headers.get("fragment-device").map_or("none", |value| value.to_str().unwrap()).to_owned();
        html(&device)(request)
    };
    let site = TestCompositor::new()
        .front("<fragment name=card />")
        .fragment_with("card", COMBINES, html("<fragment name=a /><fragment name=b device=\"not mobile\" />"))
        .fragment_with("a", "context = [\"device\"]\n", says)
        .fragment_with("b", "context = [\"cookie:u\"]\n", html("B"))
        .fragment_with("c", "context = [\"cookie:never\"]\n", html("C"))
        .start();
    let template = &site.get("/").await.0.plan.template.clone();
    assert_eq!(template.dimensions, [], "before any response");
    let mobile = Reader { device: Some(Device::Mobile), ..Reader::default() };
    let page = site.get_as("/", mobile).await;
    assert_eq!(page.html(), "mobile");
    assert_eq!(page.outcome("b"), (Shown::Omitted, Some(Reason::Condition)));
    let varies: Vec<&str> =
        page.0.plan.dimensions.iter().map(pasteup::page::visit::context::Dimension::header).collect();
    assert_eq!(varies, ["fragment-device"], "b is not shown, and c is not on the page");
}

#[tokio::test(start_paused = true)]
async fn the_etag_depends_on_nested_fragments() {
    let site = TestCompositor::new()
        .front("<fragment name=card />")
        .fragment_with("card", COMBINES, html_cached("<fragment name=a /><fragment name=b />", "max-age=60"))
        .fragment("a", html_cached("A", "max-age=60"))
        .fragment("b", after(ms(5), counts("max-age=1")))
        .start();
    let first = site.get("/").await;
    let again = site.get("/").await;
    assert!(!first.header("etag").is_empty());
    assert_eq!((first.html(), first.header("etag")), (again.html(), again.header("etag")));
    assert_eq!(first.header("cache-control"), "public, max-age=1");
    assert_eq!(first.header("surrogate-key"), "card a b");
    advance(Duration::from_secs(2)).await;
    assert_ne!(site.get("/").await.header("etag"), first.header("etag"));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_would_end_a_paragraph_is_removed_completely() {
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment_with(
            "a",
            "composes = [\"l\"]\n",
            html("<p>Weather: <fragment name=l><div>not available</div></fragment></p>"),
        )
        .fragment("l", html("<b>sunny</b>"))
        .start();
    assert_eq!(site.get("/").await.html(), "<p>Weather: <b>sunny</b></p>");
}

#[tokio::test(start_paused = true)]
async fn deeply_nested_slots_are_resolved_quickly() {
    let deep = format!("{}{}", "<fragment name=leaf slot=a>".repeat(60), "</fragment>".repeat(60));
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment_with("a", "composes = [\"leaf\"]\n", html(&deep))
        .fragment("leaf", after(ms(100), html("L")))
        .start();
    let began = std::time::Instant::now();
    let _streaming = site.begin("/").await;
    assert!(began.elapsed() < Duration::from_secs(5), "it used to take exponential time");
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_filled_once() {
    let many = |slot: &str| format!("<slot name={slot}>-</slot>").repeat(100);
    let site = TestCompositor::new()
        .front("<fragment name=a><fragment slot=x name=b><fragment slot=y name=c /></fragment></fragment>")
        .fragment_with("a", "composes = [\"b\"]\n", html(&many("x")))
        .fragment_with("b", "composes = [\"c\"]\n", html(&many("y")))
        .fragment("c", html("C"))
        .start();
    assert_eq!(site.get("/").await.html(), format!("C{}{}", "-".repeat(99), "-".repeat(99)));
}
