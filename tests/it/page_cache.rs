//! Cached pages and skeletons: at every moment they have the same bytes and headers as pages that are stitched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use futures::StreamExt as _;
use http::HeaderMap;
use pasteup::engine::port::UpstreamRequest;
use pasteup::engine::{PurgeMode, Served};
use pasteup::page::visit::context::Reader;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::connections::read_replies;
use crate::support::browser::Browser;
use crate::support::compositor::{ResponseFuture, ServedFrom, TestCompositor, after, html_cached, responds};
use crate::support::process::{TestSite, client};
use crate::support::service::{RawService, serve_router};

const PAGE: &str = "+++\nroute = \"/\"\n+++\n<p>a</p><fragment name=a /><p>b</p><fragment name=b />";

/// Serves the page `/`: its text, and whether it is a cached page.
async fn serve_page(site: &TestCompositor) -> (String, bool) {
    let (_, bytes, served_from) = site.serve("/", Reader::default()).await;
    (String::from_utf8(bytes.to_vec()).unwrap(), served_from == ServedFrom::CachedPage)
}

fn two(a: &str, b: &str) -> TestCompositor {
    TestCompositor::new()
        .layout("p.html", PAGE)
        .fragment("a", html_cached("A", a))
        .fragment("b", html_cached("B", b))
        .start()
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_requested_again_is_cached_until_its_first_part_is_stale() {
    let site = two("max-age=2", "max-age=60");
    let page = "<p>a</p>A<p>b</p>B".to_owned();
    assert_eq!(serve_page(&site).await, (page.clone(), false), "the first request only records the key");
    assert_eq!(serve_page(&site).await, (page.clone(), false), "the second request caches the page");
    assert_eq!(serve_page(&site).await, (page.clone(), true));
    site.set_behaviour("a", html_cached("AA", "max-age=2"));
    sleep(Duration::from_millis(1_999)).await;
    assert_eq!(serve_page(&site).await, (page.clone(), true));
    sleep(Duration::from_millis(1)).await;
    let page = page.replace("A", "AA");
    assert_eq!(serve_page(&site).await, (page.clone(), false));
    assert_eq!(serve_page(&site).await, (page.clone(), false));
    assert_eq!(serve_page(&site).await, (page, true));
    assert_eq!((site.calls("a"), site.calls("b")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_private_or_incomplete_page_is_never_cached() {
    for cache_control in ["private, max-age=60", "no-store", "no-cache", "max-age=0"] {
        let site = two(cache_control, "max-age=60");
        for _ in 0..5 {
            assert!(!serve_page(&site).await.1, "{cache_control}");
        }
    }
    let site = two("max-age=60", "max-age=60");
    site.set_behaviour("b", responds(500, &[], ""));
    for _ in 0..5 {
        assert!(!serve_page(&site).await.1, "a part is missing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_stitched_during_a_purge_is_not_cached() {
    let site = two("max-age=60", "max-age=60");
    for _ in 0..2 {
        serve_page(&site).await;
    }
    site.set_behaviour("a", html_cached("new", "max-age=60"));
    for mode in [PurgeMode::Hard, PurgeMode::Soft] {
        assert!(serve_page(&site).await.1);
        assert_eq!(site.purge(&["a"], mode), 1);
        assert_eq!(serve_page(&site).await, ("<p>a</p>new<p>b</p>B".to_owned(), false));
        serve_page(&site).await;
        serve_page(&site).await;
    }
}

/// A site whose page has a personal part.
fn personal(own: impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static) -> TestCompositor {
    TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/\"\n+++\n<p>a</p><fragment name=a /><p>b</p><fragment name=own />!")
        .fragment("a", html_cached("A", "max-age=60"))
        .fragment_with("own", "context = [\"cookie:uid\"]\n", own)
        .start()
}

fn echo_cookie(request: UpstreamRequest) -> ResponseFuture {
    let cookie = request.headers.get("cookie").map_or("uid=nobody", |cookie| cookie.to_str().unwrap());
    html_cached(cookie, "private")(request.clone())
}

async fn serve_to(site: &TestCompositor, uid: &str) -> (String, ServedFrom) {
    let reader = Reader { cookies: vec![("uid".to_owned(), uid.to_owned())], ..Reader::default() };
    let (_, bytes, served_from) = site.serve("/", reader).await;
    (String::from_utf8(bytes.to_vec()).unwrap(), served_from)
}

#[tokio::test(start_paused = true)]
async fn the_skeleton_around_personal_parts_is_cached_for_all_clients() {
    let site = personal(echo_cookie);
    let page = |uid: &str| format!("<p>a</p>A<p>b</p>uid={uid}!");
    assert_eq!(
        serve_to(&site, "1").await,
        (page("1"), ServedFrom::Composition),
        "the first request only records the key"
    );
    assert_eq!(serve_to(&site, "2").await, (page("2"), ServedFrom::Composition), "the second request caches the page");
    for uid in ["3", "1", "2"] {
        assert_eq!(serve_to(&site, uid).await, (page(uid), ServedFrom::Skeleton));
    }
    assert_eq!((site.calls("a"), site.calls("own")), (1, 5));
    // The skeleton is dropped together with a shared part.
    site.set_behaviour("a", html_cached("AA", "max-age=60"));
    assert_eq!(site.purge(&["a"], PurgeMode::Hard), 1);
    assert_eq!(serve_to(&site, "1").await, (page("1").replace('A', "AA"), ServedFrom::Composition));
    assert_eq!(
        serve_to(&site, "1").await,
        (page("1").replace('A', "AA"), ServedFrom::Composition),
        "the part has only just arrived"
    );
    assert_eq!(serve_to(&site, "2").await, (page("2").replace('A', "AA"), ServedFrom::Skeleton));
}

#[tokio::test(start_paused = true)]
async fn a_personal_part_that_changes_the_page_is_fetched_once_and_the_page_composed() {
    let site = personal(echo_cookie);
    for uid in ["1", "2", "3"] {
        serve_to(&site, uid).await;
    }
    let calls = site.calls("own");
    let private = ("cache-control", "private");
    let kinds = [
        (200, vec![("content-type", "text/html"), private, ("link", "</a.css>; rel=stylesheet")], "x"),
        (200, vec![("content-type", "text/html"), ("cache-control", "max-age=60")], "x"),
        (204, vec![private], ""),
        (500, vec![], ""),
    ];
    for (times, (status, fields, body)) in (1..).zip(&kinds) {
        site.set_behaviour("own", responds(*status, fields, body));
        let uid = format!("kind {times}");
        let (page, served_from) = serve_to(&site, &uid).await;
        assert_eq!(served_from, ServedFrom::Composition, "{status} {fields:?}");
        assert!(page.ends_with(&format!("<p>b</p>{body}!")), "{page}");
        assert_eq!(site.calls("own"), calls + times);
    }
    // While personalising fails, it is tried rarely; after a success, every time.
    let (status, fields, body) = &kinds[0];
    site.set_behaviour("own", responds(*status, fields, body));
    for _ in 0..20 {
        assert_eq!(serve_to(&site, "1").await.1, ServedFrom::Composition);
    }
    site.set_behaviour("own", echo_cookie);
    let mut tries = 1;
    while serve_to(&site, "1").await.1 == ServedFrom::Composition && tries < 100 {
        tries += 1;
    }
    assert!((2..=64).contains(&tries), "{tries}");
    for _ in 0..5 {
        assert_eq!(serve_to(&site, "1").await.1, ServedFrom::Skeleton);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_fragment_of_a_hole_is_fetched_before_the_other_holes_are_filled() {
    let own = "context = [\"cookie:uid\"]\n";
    let page = "+++\nroute = \"/\"\n+++\n<fragment name=a /><fragment name=own><fragment name=b /></fragment>-<fragment name=slow />";
    let site = TestCompositor::new()
        .layout("p.html", page)
        .fragment("a", html_cached("A", "max-age=60"))
        .fragment("b", after(Duration::from_millis(150), html_cached("B", "max-age=60")))
        .fragment_with("own", own, after(Duration::from_millis(5), echo_cookie))
        .fragment_with("slow", own, after(Duration::from_millis(100), echo_cookie))
        .start();
    for uid in ["1", "2"] {
        serve_to(&site, uid).await;
    }
    assert_eq!(serve_to(&site, "3").await, ("Auid=3-uid=3".to_owned(), ServedFrom::Skeleton));
    site.set_behaviour("own", after(Duration::from_millis(5), responds(500, &[], "")));
    let began = tokio::time::Instant::now();
    assert_eq!(serve_to(&site, "4").await, ("AB-uid=4".to_owned(), ServedFrom::Composition));
    assert_eq!(began.elapsed(), Duration::from_millis(155));
    assert_eq!((site.calls("own"), site.calls("slow")), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn hosts_share_a_cached_page_unless_it_depends_on_the_host() {
    let page = |text: &str| format!("+++\nroute = \"/\"\nesi = true\n+++\n{text}<fragment name=a />");
    for (text, shared) in [("", true), ("<esi:vars>$(HTTP_HOST)</esi:vars>", false)] {
        let site =
            TestCompositor::new().layout("p.html", &page(text)).fragment("a", html_cached("A", "max-age=60")).start();
        let send = async |target: &str| site.serve(target, Reader::default()).await;
        for _ in 0..2 {
            send("//one.test/").await;
        }
        assert_eq!(send("//one.test/").await.2, ServedFrom::CachedPage);
        let (_, bytes, served_from) = send("//two.test/").await;
        let expected = if shared { ("A", ServedFrom::CachedPage) } else { ("two.testA", ServedFrom::Composition) };
        assert_eq!((std::str::from_utf8(&bytes).unwrap(), served_from), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_personal_part_does_not_delay_the_skeleton() {
    let site = personal(after(Duration::from_millis(500), echo_cookie));
    for uid in ["1", "2"] {
        serve_to(&site, uid).await;
    }
    let began = tokio::time::Instant::now();
    let Served::Streaming { mut body, headers, .. } = site.serve_as("/", Reader::default(), true).await else {
        panic!("the page is not streamed")
    };
    assert_eq!((began.elapsed(), headers.contains_key("etag")), (Duration::from_millis(10), false));
    assert_eq!(body.next().await.unwrap().unwrap(), "<p>a</p>A<p>b</p>");
    assert_eq!(began.elapsed(), Duration::from_millis(10));
    let rest: Vec<Bytes> = body.map(Result::unwrap).collect().await;
    assert_eq!((rest.concat(), began.elapsed()), (b"uid=nobody!".to_vec(), Duration::from_millis(500)));
    assert_eq!(site.calls("own"), 3, "it is requested once per page");
}

/// A site whose page is cached. Its parts are fresh for 20 seconds, and due to be refreshed half a second earlier. The second
/// part arrived 10 milliseconds after the first.
async fn site_with_a_page_to_refresh() -> TestCompositor {
    let site = TestCompositor::new()
        .layout("p.html", PAGE)
        .fragment("a", html_cached("A", "max-age=20"))
        .fragment("b", after(Duration::from_millis(10), html_cached("B", "max-age=20")))
        .chance(|| 0.5)
        .start();
    for _ in 0..2 {
        assert!(!serve_page(&site).await.1);
    }
    site
}

#[tokio::test(start_paused = true)]
async fn a_request_at_the_moment_at_which_a_part_becomes_due_does_not_delay_its_refresh() {
    let site = site_with_a_page_to_refresh().await;
    for (pause, calls) in [(19_490, 1), (1, 2)] {
        sleep(Duration::from_millis(pause)).await;
        assert!(serve_page(&site).await.1);
        tokio::task::yield_now().await;
        assert_eq!(site.calls("a"), calls, "stitching refreshes it after this moment");
    }
}

#[tokio::test(start_paused = true)]
async fn the_refresh_of_one_part_does_not_delay_that_of_another() {
    let site = site_with_a_page_to_refresh().await;
    site.set_behaviour("a", after(Duration::from_millis(50), html_cached("A", "max-age=20")));
    for (pause, calls) in [(19_491, (2, 1)), (10, (2, 2))] {
        sleep(Duration::from_millis(pause)).await;
        assert!(serve_page(&site).await.1);
        tokio::task::yield_now().await;
        assert_eq!((site.calls("a"), site.calls("b")), calls);
    }
}

/// A step of the property test: a request, a pause, a change of a nanoservice, or a purge.
#[derive(Debug, Clone)]
enum Step {
    /// A client requests a page: page, client.
    Visit(u8, u8),
    /// Several clients request a page one after another: page, number of clients, milliseconds between them.
    Visits(u8, u8, u64),
    /// A client requests a page and leaves early: page, client, milliseconds until it leaves.
    Leave(u8, u8, u64),
    /// Time passes: milliseconds.
    Pause(u64),
    /// A nanoservice publishes a new version: its index in `NAMES`.
    Change(u8),
    /// A purge of a nanoservice's name: its index in `NAMES`, and whether the purge is soft.
    Purge(u8, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u8..5, 0_u8..3).prop_map(|(page, reader)| Step::Visit(page, reader)),
        5 => (0_u8..5, 2_u8..9, 0_u64..15).prop_map(|(page, times, pause)| Step::Visits(page, times, pause)),
        1 => (0_u8..5, 0_u8..3, 0_u64..40).prop_map(|(page, reader, after)| Step::Leave(page, reader, after)),
        3 => prop_oneof![0_u64..50, 2_900_u64..3_100, 0_u64..5_000, 0_u64..60_000].prop_map(Step::Pause),
        2 => (0_u8..5).prop_map(Step::Change),
        1 => (0_u8..5, any::<bool>()).prop_map(|(tag, soft)| Step::Purge(tag, soft)),
    ];
    proptest::collection::vec(step, 1..60)
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "own"];

/// The behaviour of a nanoservice for personal parts: mostly HTML for one client, and sometimes an unusual response.
fn own(versions: &Arc<[AtomicU64; 5]>) -> impl Fn(UpstreamRequest) -> ResponseFuture + Send + Sync + 'static {
    let versions = Arc::clone(versions);
    let response = move |request: UpstreamRequest| {
        let version = versions[4].load(Ordering::Relaxed);
        let uid = request.headers.get("cookie").map_or("nobody", |cookie| cookie.to_str().unwrap());
        let text = format!("<b>{uid} {version}</b>");
        let html = |fields: &[(&'static str, &str)]| {
            let kind = [("content-type", "text/html")];
            responds(200, &[&kind[..], fields].concat(), &text)(request.clone())
        };
        match version % 9 {
            4 => html(&[("cache-control", "max-age=7"), ("vary", "cookie")]),
            5 => html(&[("cache-control", "no-store"), ("surrogate-key", uid.split('=').next().unwrap())]),
            6 => html(&[("cache-control", "private"), ("link", "</own.css>; rel=stylesheet")]),
            7 => responds(204, &[("cache-control", "private")], "")(request.clone()),
            8 => responds(500, &[], "")(request.clone()),
            even if even % 2 == 0 => html(&[("cache-control", "private, max-age=60")]),
            _ => html(&[("cache-control", "no-store")]),
        }
    };
    after(Duration::from_millis(5), response)
}

fn test_site(versions: &Arc<[AtomicU64; 5]>) -> TestCompositor {
    let behaviour = |index: usize, cache_control: &'static str| {
        let versions = Arc::clone(versions);
        after(Duration::from_millis(20), move |request: UpstreamRequest| {
            let version = versions[index].load(Ordering::Relaxed);
            let locale = request.headers.get("accept-language").map_or("", |locale| locale.to_str().unwrap());
            let text = format!("<i>{}{version}{locale}{}</i>", NAMES[index], "x".repeat(index * 5_000));
            html_cached(&text, cache_control)(request)
        })
    };
    TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/0\"\n+++\n<fragment name=a />-<fragment name=b />-<fragment name=c />")
        .layout("q.html", "+++\nroute = \"/1\"\nquery = [\"n\"]\nmax_age = \"30s\"\n+++\n<fragment name=a />-<fragment name=d ttl=5s>F</fragment>")
        .layout("r.html", "+++\nroute = \"/2\"\n+++\n<fragment name=c locale=\"not de\" />-<fragment name=c /><fragment name=b />")
        .layout("s.html", "+++\nroute = \"/3\"\n+++\n<!doctype html><title>s</title><fragment name=a />-<fragment name=own>F</fragment>-<fragment name=b /><i>i</i><fragment name=own>F</fragment>.")
        .layout("t.html", "+++\nroute = \"/4\"\n+++\n<fragment name=own required />-<fragment name=own ttl=2s /><fragment name=own timeout=40ms /><fragment name=cart /><fragment name=d /><fragment name=c locale=de />")
        .fragment_with("own", "context = [\"cookie:uid\"]\n", own(versions))
        .fragment_with("cart", "context = [\"cookie:uid\"]\n", echo_cookie)
        .fragment("a", behaviour(0, "max-age=3, stale-while-revalidate=2"))
        .fragment("b", behaviour(1, "max-age=20, s-maxage=25, stale-while-revalidate=5"))
        .fragment_with("c", "context = [\"locale\"]\n", behaviour(2, "max-age=40, stale-while-revalidate=10"))
        .fragment("d", behaviour(3, "max-age=15, stale-if-error=60"))
        .chance(|| 0.5)
        .start()
}

fn reader(number: u8) -> Reader {
    let cookies = vec![("uid".to_owned(), number.to_string())];
    Reader { locale: Some(["en", "de", "fr"][usize::from(number)].to_owned()), cookies, ..Reader::default() }
}

/// Requests a page of both engines, and compares them. Returns whether the engines can be compared any further.
async fn visit_both(plain: &TestCompositor, cached: &TestCompositor, page: u8, uid: u8) -> bool {
    let target = format!("/{page}");
    let stitched = async || {
        let composed = plain.get_as(&target, reader(uid)).await;
        (Bytes::from(composed.html()), sorted(&composed.1))
    };
    let (expected, (headers, bytes, served_from)) =
        futures::future::join(stitched(), cached.serve(&target, reader(uid))).await;
    let served = (bytes, sorted(&headers));
    if served == expected {
        return true;
    }
    // If a skeleton cannot be personalised, the page is composed after the attempt. A part may have been refreshed
    // meanwhile: then the page is what stitching gives by now.
    assert_eq!(served_from, ServedFrom::Composition, "{served:?} instead of {expected:?}");
    assert_eq!(served, stitched().await);
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Compares the engine with one that stitches each page anew.
    #[test]
    fn cached_pages_equal_stitched_pages(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let versions = Arc::new([const { AtomicU64::new(0) }; 5]);
            let (plain, cached) = (test_site(&versions), test_site(&versions));
            for step in steps {
                match step {
                    Step::Visit(page, uid) => {
                        if !visit_both(&plain, &cached, page, uid).await {
                            return;
                        }
                    }
                    Step::Visits(page, times, pause) => {
                        for uid in 0..times {
                            if !visit_both(&plain, &cached, page, uid % 3).await {
                                return;
                            }
                            sleep(Duration::from_millis(pause)).await;
                        }
                    }
                    Step::Leave(page, uid, after) => {
                        let target = format!("/{page}");
                        let (a, b) = (plain.get_as(&target, reader(uid)), cached.serve(&target, reader(uid)));
                        let both = futures::future::join(a, b);
                        let _left = tokio::time::timeout(Duration::from_millis(after), both).await;
                    }
                    Step::Pause(ms) => sleep(Duration::from_millis(ms)).await,
                    Step::Change(which) => _ = versions[usize::from(which)].fetch_add(1, Ordering::Relaxed),
                    Step::Purge(which, soft) => {
                        let mode = if soft { PurgeMode::Soft } else { PurgeMode::Hard };
                        let tag = NAMES[usize::from(which)];
                        assert_eq!(plain.purge(&[tag], mode), cached.purge(&[tag], mode));
                    }
                }
            }
            assert_eq!(plain.parts(), cached.parts());
            for name in NAMES {
                assert_eq!(plain.calls(name), cached.calls(name), "{name} gets as many requests");
            }
        });
    }
}

fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    headers
}

/// The headers of a page, except those that differ with each response.
fn comparable_headers(response: &reqwest::Response) -> Vec<(String, String)> {
    let mut headers = sorted(response.headers());
    headers
        .retain(|(name, _)| !["x-request-id", "date", "content-length", "transfer-encoding"].contains(&name.as_str()));
    // `Vary` may be one field or several, in any order.
    let (vary, mut headers): (Vec<_>, Vec<_>) = headers.into_iter().partition(|(name, _)| name == "vary");
    let mut names: Vec<String> = vary.iter().flat_map(|(_, names)| names.split(", ").map(str::to_owned)).collect();
    names.sort();
    headers.push(("vary".to_owned(), names.join(", ")));
    headers
}

#[tokio::test]
async fn a_cached_page_is_sent_like_any_other() {
    let text = "<p>a part of it</p>".repeat(100);
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=3600\r\nSurrogate-Key: k\r\n", &text).await;
    let site = TestSite::new()
        .file(
            "layouts/p.html",
            "+++\nroute = \"/\"\nquery = [\"n\"]\nmax_age = \"60s\"\nheaders = { x-own = \"yes\" }\n+++\n<!doctype html><title>p</title><fragment name=a locale=\"en de\">F</fragment>",
        )
        .service("a", service.address)
        .without_streaming();
    let server = site.serve().await;
    let send = async |number: usize, name: &str, value: &str, method: http::Method| {
        let request = client().request(method, format!("{}/?n={number}", server.pages)).header("accept-language", "de");
        let response = request.header(name, value).send().await.unwrap();
        (response.status(), comparable_headers(&response), response.content_length(), response.bytes().await.unwrap())
    };
    let etag = client().get(format!("{}/?n=0", server.pages)).header("accept-language", "de").send().await.unwrap();
    let etag = etag.headers()["etag"].to_str().unwrap().to_owned();
    let mut requests = 1;
    let cases = [
        ("accept-encoding", "identity", http::Method::GET),
        ("accept-encoding", "gzip", http::Method::GET),
        ("accept-encoding", "br, gzip", http::Method::GET),
        ("accept-encoding", "br;q=0.5, zstd", http::Method::GET),
        ("accept-encoding", "identity;q=0, *;q=0", http::Method::GET),
        ("accept", "text/html", http::Method::HEAD),
        ("if-none-match", &etag, http::Method::GET),
    ];
    for (number, (name, value, method)) in (1..).zip(cases) {
        let stitched = send(number, name, value, method.clone()).await;
        requests += 1;
        let coded = stitched.1.iter().any(|(name, _)| name == "content-encoding");
        let mut cached = stitched.clone();
        for again in 0.. {
            cached = send(number, name, value, method.clone()).await;
            requests += 1;
            // A page that is compressed in advance has a length; one that is compressed while it is sent has none.
            if again >= 3 && (!coded || cached.2.is_some()) {
                break;
            }
        }
        assert_eq!((stitched.0, &stitched.1), (cached.0, &cached.1), "{name}: {value}");
        let coding = stitched.1.iter().find(|(name, _)| name == "content-encoding").map(|(_, coding)| coding.as_str());
        assert_eq!(decoded(coding, &stitched.3).await, decoded(coding, &cached.3).await, "{name}: {value}");
    }
    // Every request is counted.
    let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    let line = format!("pasteup_fragment_outcomes_total{{fragment=\"a\",outcome=\"fresh\",reason=\"\"}} {requests}\n");
    assert!(metrics.contains(&line), "no `{line}` in\n{metrics}");
    assert_eq!(service.requests(), 1);
}

/// A nanoservice that responds with the client's cookie, to some clients sooner than to others.
async fn personal_service() -> SocketAddr {
    let router = Router::new().fallback(async |headers: HeaderMap| {
        let uid = headers.get("cookie").map_or("nobody", |cookie| cookie.to_str().unwrap()).to_owned();
        sleep(Duration::from_millis(uid.len() as u64 % 4 * 3)).await;
        // One client gets more than is compressed at once.
        let more = if uid == "uid=more" { "<p>more</p>".repeat(7_000) } else { String::new() };
        ([("cache-control", "private"), ("content-type", "text/html")], format!("{more}<b>{uid}</b>"))
    });
    serve_router(router).await
}

/// A site with a page whose skeleton is cached around a personal part, and the nanoservice of its shared part.
async fn personal_site(compression: &str, parts: usize) -> (TestSite, RawService) {
    let cached =
        RawService::html(Duration::ZERO, "Cache-Control: max-age=3600\r\n", &"<p>kept</p>".repeat(parts)).await;
    let own = personal_service().await;
    let manifest = |name: &str, address: SocketAddr, more: &str| {
        format!("name = \"{name}\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/\"\n{more}")
    };
    let site = TestSite::new()
        .front("<!doctype html><title>p</title><fragment name=kept /><i><fragment name=own />!</i>")
        .file("fragments/kept/fragment.toml", &manifest("kept", cached.address, ""))
        .file("fragments/own/fragment.toml", &manifest("own", own, "context = [\"cookie:uid\"]\n"))
        .file("pasteup.toml", &format!("[page]\nstream = false\ncompression = {compression}\n"))
        .without_streaming();
    (site, cached)
}

#[tokio::test]
async fn a_personalised_page_is_sent_like_any_other() {
    let (site, cached) = personal_site(r#"["br", "zstd", "gzip"]"#, 2_000).await;
    let server = site.serve().await;
    let send = async |name: &str, value: &str, method: http::Method| {
        let request = client().request(method, format!("{}/", server.pages)).header("cookie", "uid=7; other=x");
        let response = request.header(name, value).send().await.unwrap();
        (response.status(), comparable_headers(&response), response.content_length(), response.bytes().await.unwrap())
    };
    // The first two are composed.
    let stitched = send("accept", "text/html", http::Method::GET).await;
    let etag = stitched.1.iter().find(|(name, _)| name == "etag").unwrap().1.clone();
    send("accept", "text/html", http::Method::GET).await;
    let mut requests = 2;
    for (name, value, method, sent_in) in [
        ("accept", "text/html", http::Method::GET, None),
        ("accept-encoding", "identity", http::Method::GET, None),
        ("accept-encoding", "gzip", http::Method::GET, Some("gzip")),
        ("accept-encoding", "gzip", http::Method::GET, Some("gzip")),
        ("accept-encoding", "gzip, deflate, br, zstd", http::Method::GET, Some("zstd")),
        // An encoding whose pieces can be joined is preferred if the client accepts it equally.
        ("accept-encoding", "gzip, br", http::Method::GET, Some("gzip")),
        ("accept-encoding", "gzip;q=0.5, br", http::Method::GET, Some("br")),
        ("accept-encoding", "br", http::Method::GET, Some("br")),
        ("accept-encoding", "gzip", http::Method::HEAD, Some("gzip")),
        ("accept", "text/html", http::Method::HEAD, None),
        ("if-none-match", &*etag, http::Method::GET, None),
        ("if-none-match", "\"other\"", http::Method::GET, None),
    ] {
        let (status, headers, length, bytes) = send(name, value, method.clone()).await;
        requests += 1;
        let known = value == etag;
        assert_eq!(status, if known { 304 } else { 200 }, "{name}: {value}");
        let coding = headers.iter().find(|(name, _)| name == "content-encoding").map(|(_, coding)| coding.clone());
        assert_eq!(coding.as_deref(), sent_in, "{name}: {value}");
        let bodily = |name: &str| ["content-type", "content-encoding"].contains(&name);
        let headers: Vec<_> = headers.into_iter().filter(|(name, _)| !bodily(name)).collect();
        let expected: Vec<_> = stitched.1.iter().filter(|(name, _)| !bodily(name)).cloned().collect();
        assert_eq!(headers, expected, "{name}: {value}");
        if method == http::Method::GET && !known {
            assert!(decoded(coding.as_deref(), &bytes).await.as_bytes() == stitched.3, "{name}: {value}");
        }
        // A page that is joined has a length; one that is compressed while it is sent has none.
        if !known && method == http::Method::GET {
            let expected = (sent_in != Some("br")).then_some(bytes.len() as u64);
            assert_eq!(length, expected, "{name}: {value}");
        }
    }
    let more =
        client().get(format!("{}/", server.pages)).header("cookie", "uid=more").header("accept-encoding", "gzip");
    let more = more.send().await.unwrap();
    requests += 1;
    assert_eq!((more.content_length(), more.headers()["content-encoding"].as_bytes()), (None, b"gzip".as_slice()));
    let more = decoded(Some("gzip"), &more.bytes().await.unwrap()).await;
    assert!(more.ends_with("<p>more</p><b>uid=more</b>!</i>") && more.matches("<p>more</p>").count() == 7_000);
    // Every request is counted, and no request to a nanoservice was unnecessary.
    let metrics = client().get(format!("{}/metrics", server.admin)).send().await.unwrap().text().await.unwrap();
    for name in ["kept", "own"] {
        let line = format!(
            "pasteup_fragment_outcomes_total{{fragment=\"{name}\",outcome=\"fresh\",reason=\"\"}} {requests}\n"
        );
        assert!(metrics.contains(&line), "no `{line}` in\n{metrics}");
    }
    assert_eq!(cached.requests(), 1);
}

#[tokio::test]
async fn no_client_gets_the_personal_parts_of_another() {
    let (site, _shared) = personal_site(r#"["br", "zstd", "gzip"]"#, 2_000).await;
    let server = site.serve().await;
    let clients = (0..12).map(async |number: usize| {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        // Several pipelined requests on one connection, each with another cookie; some clients leave before the replies.
        let uids: Vec<String> =
            (0..20).map(|turn| "x".repeat((number * 7 + turn * 5) % 13) + &turn.to_string()).collect();
        let coding = [None, Some("gzip"), Some("zstd"), Some("br")][number % 4];
        for uid in &uids {
            let coding = coding.map_or_else(String::new, |coding| format!("Accept-Encoding: {coding}\r\n"));
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: uid={uid}\r\n{coding}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
        }
        if number.is_multiple_of(3) {
            return;
        }
        for (uid, (head, body)) in uids.iter().zip(read_replies(&mut stream, uids.len()).await) {
            let is_coded = head.iter().any(|line| line.starts_with("content-encoding: "));
            let page = decoded(coding.filter(|_| is_coded), &body).await;
            assert!(page.ends_with(&format!("<i><b>uid={uid}</b>!</i>")), "{uid}: {}", &page[page.len() - 60..]);
            assert_eq!(page.matches("uid=").count(), 1);
            assert!(head.contains(&"cache-control: private, no-store".to_owned()), "{head:?}");
        }
    });
    futures::future::join_all(clients).await;
}

#[tokio::test]
async fn a_long_skeleton_is_joined_once_its_spans_are_encoded() {
    let (site, _shared) = personal_site(r#"["zstd", "gzip"]"#, 10_000).await;
    let server = site.serve().await;
    for coding in ["gzip", "zstd"] {
        for uid in 0.. {
            let request = client().get(format!("{}/", server.pages)).header("cookie", format!("uid={uid}"));
            let response = request.header("accept-encoding", coding).send().await.unwrap();
            assert_eq!(response.headers()["content-encoding"].as_bytes(), coding.as_bytes());
            // A page that is joined has a length.
            let is_joined = response.content_length().is_some();
            let page = decoded(Some(coding), &response.bytes().await.unwrap()).await;
            assert!(
                page.ends_with(&format!("<i><b>uid={uid}</b>!</i>")) && page.matches("<p>kept</p>").count() == 10_000
            );
            if is_joined {
                break;
            }
        }
    }
}

#[tokio::test]
async fn browsers_decode_pages_joined_from_compressed_pieces() {
    let browser = Browser::start().await;
    for coding in ["gzip", "zstd"] {
        let (site, _shared) = personal_site(&format!("[{coding:?}]"), 2_000).await;
        let server = site.serve().await;
        for load in 0..5 {
            browser.client.goto(&server.pages).await.unwrap();
            let sizes = "performance.getEntriesByType('navigation').flatMap(page => [page.encodedBodySize, page.decodedBodySize])";
            let sizes: [usize; 2] = serde_json::from_value(browser.evaluate(sizes).await).unwrap();
            assert!(sizes[0] * 10 < sizes[1], "the page was not sent in {coding}: {sizes:?}");
            let uid = if load == 0 { "nobody" } else { "uid=7" };
            assert_eq!(browser.text("i").await, format!("{uid}!"), "{coding}");
            assert_eq!(browser.count("p").await, 2_000, "{coding}: the page is complete");
            browser.evaluate("document.cookie = 'uid=7'").await;
        }
        browser.evaluate("document.cookie = 'uid=; max-age=0'").await;
    }
    browser.stop().await;
}

async fn decoded(coding: Option<&str>, bytes: &[u8]) -> String {
    use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
    let mut text = String::new();
    match coding {
        Some("gzip") => GzipDecoder::new(bytes).read_to_string(&mut text).await,
        Some("br") => BrotliDecoder::new(bytes).read_to_string(&mut text).await,
        Some("zstd") => {
            let mut decoder = ZstdDecoder::new(bytes);
            decoder.multiple_members(true);
            decoder.read_to_string(&mut text).await
        }
        _ => (&mut { bytes }).read_to_string(&mut text).await,
    }
    .unwrap();
    text
}
