//! Lazy parts: loaded when a reader scrolls near them, from standalone fragments.

use std::time::Duration;

use http::StatusCode;
use pasteup::page::browser::lazy_address::AddressKey;
use pasteup::page::browser::scripts;
use pasteup::page::output::verdict::Verdict;
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::{Device, Dimension, Reader};

use crate::support::browser::Browser;
use crate::support::compositor::{TestCompositor, counts, fails, html, lazy_address, lazy_addresses, responds};
use crate::support::process::{TestSite, client};
use crate::support::service::RawService;

fn script() -> String {
    scripts::lazy(false).element()
}

#[tokio::test(start_paused = true)]
async fn a_lazy_part_is_not_fetched_until_a_client_requests_it() {
    let site = TestCompositor::new()
        .layout(
            "p.html",
            "+++\nroute = \"/{town}\"\nquery = [\"q\"]\n+++\n<head></head>1\
             <fragment name=a load=lazy data-town={town} data-q={q} data-x='<&'>wait <fragment name=b /></fragment>2",
        )
        .fragment("a", counts("max-age=60"))
        .fragment("b", html("B"))
        .start();
    let address = lazy_address("a", "1.0.0", &[("town", "Ä &"), ("x", "<&")]);
    assert!(address.starts_with("/_pasteup/fragment/a/1.0.0?town=%C3%84%20%26&x=%3C%26&t="), "{address}");
    let written = address.replace('&', "&amp;");
    assert_eq!(
        site.get("/Ä &").await.html(),
        format!("<head>{}</head>1<pasteup-lazy src=\"{written}\">wait B</pasteup-lazy>2", script())
    );
    assert_eq!(site.get("/x?q=1&q=2").await.html().matches("?town=x&amp;q=1&amp;x=%3C%26&amp;t=").count(), 1);
    assert_eq!(site.calls("a"), 0);
    for _ in 0..2 {
        assert_eq!(site.get(&address).await.html(), "1", "it is cached as on any page");
    }
    assert!(site.requests().last().unwrap().address.as_str().ends_with("?town=%C3%84%20%26&x=%3C%26"));
}

#[tokio::test(start_paused = true)]
async fn clients_cannot_leave_out_what_a_layout_fixes() {
    let site = TestCompositor::new()
        .front("<when region=DE><fragment name=comments load=lazy data-moderated=only data-limit=10 /></when>")
        .fragment_with(
            "comments",
            "[params.moderated]\ntype = \"string\"\n[params.limit]\ntype = \"integer\"\n[params.draft]\ntype = \"string\"\n",
            html("C"),
        )
        .start();
    let from = |region: &str| Reader { region: Some(region.to_owned()), ..Reader::default() };
    let [address] = &site.lazy_addresses("/", from("DE")).await[..] else { panic!("one lazy part") };
    assert!(address.contains("?moderated=only&limit=10&pasteup%3Aregion=DE&t="), "{address}");
    for changed in [
        "/_pasteup/fragment/comments".to_owned(),
        "/_pasteup/fragment/comments/1.0.0".to_owned(),
        "/_pasteup/fragment/comments/1.0.0?moderated=all".to_owned(),
        address.replace("only", "all"),
        address.replace("&limit=10", ""),
        address.replace("pasteup%3Aregion=DE&", ""),
        address.replace("region=DE", "region=US"),
        address.replace("1.0.0", "0.9.0"),
        address.replace("?", "?draft=true&"),
        format!("{address}&draft=true"),
        address.split_once("&t=").unwrap().0.to_owned(),
    ] {
        assert!(!site.has_route(&changed), "{changed}");
    }
    assert_eq!(site.get_as(address, from("DE")).await.html(), "C");
    assert!(
        site.requests().last().unwrap().address.as_str().ends_with("?moderated=only&limit=10"),
        "the layout's order"
    );
    for other in [from("US"), Reader::default()] {
        let page = site.get_as(address, other).await;
        assert_eq!((page.verdict(), page.html()), (&Verdict::Page(StatusCode::OK), String::new()));
    }
    assert_eq!(site.calls("comments"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_conditions_of_a_place_apply_when_its_fragment_is_requested() {
    let start = 1_800_000_000;
    let time = |seconds: i64| jiff::Timestamp::from_second(start + seconds).unwrap();
    let site = TestCompositor::new()
        .layout(
            "p.html",
            &format!(
                "+++\nroute = \"/\"\nexperiment.lead = {{ big = 1, small = 1 }}\n+++\n\
                 <when device=\"mobile tablet\" until=\"{}\"><when device=\"not tablet\" locale=en>\
                 <fragment name=a load=lazy variant=\"lead:big\" from=\"{}\" /></when></when><fragment name=a load=lazy />",
                time(100),
                time(-100),
            ),
        )
        .fragment("a", counts("max-age=60"))
        .start();
    let mobile = Reader {
        device: Some(Device::Mobile),
        locale: Some("en".to_owned()),
        variants: vec![("lead".to_owned(), "big".to_owned())],
        ..Reader::default()
    };
    let [address, always] = &site.lazy_addresses("/", mobile.clone()).await[..] else { panic!("two lazy parts") };
    let others = [
        Reader { device: Some(Device::Tablet), ..mobile.clone() },
        Reader { device: None, ..mobile.clone() },
        Reader { locale: Some("de".to_owned()), ..mobile.clone() },
        Reader { variants: vec![("lead".to_owned(), "small".to_owned())], ..mobile.clone() },
    ];
    let shown = async |reader: &Reader| site.get_as(address, reader.clone()).await.html();
    assert_eq!(shown(&mobile).await, "1");
    for other in &others {
        assert_eq!(shown(other).await, "", "{other:?}");
        assert_eq!(site.get_as(always, other.clone()).await.html(), "1", "another place of it has no conditions");
    }
    let page = site.get_as(address, mobile.clone()).await;
    let varies = [Dimension::Locale, Dimension::Device, Dimension::Variant];
    assert!(varies.iter().all(|dimension| page.0.plan.dimensions.contains(dimension)));
    tokio::time::advance(Duration::from_secs(101)).await;
    assert_eq!(shown(&mobile).await, "", "it is over");
    assert_eq!(site.get_as(always, mobile).await.html(), "2");
}

/// The addresses are in caches downstream, so they must not depend on a process.
#[tokio::test(start_paused = true)]
async fn an_address_works_on_every_compositor_with_the_key() {
    let with = |byte| {
        let site = TestCompositor::new().defaults(|defaults| defaults.address_key = AddressKey::new([byte; 32]));
        let site = site.front("<fragment name=a load=lazy data-x=1 />");
        site.fragment("a", html("A")).start()
    };
    let (first, replica, other) = (with(1), with(1), with(2));
    let [address] = &first.lazy_addresses("/", Reader::default()).await[..] else { panic!("one lazy part") };
    assert_eq!(replica.lazy_addresses("/", Reader::default()).await, [address.as_str()]);
    assert_eq!(replica.get(address).await.html(), "A");
    assert!(!other.has_route(address), "it has another key");
}

#[tokio::test(start_paused = true)]
async fn without_a_placeholder_a_link_is_shown_to_clients_without_scripts() {
    let site = TestCompositor::new().front("1<fragment name=a load=lazy />").fragment("a", html("A")).start();
    let address = lazy_address("a", "1.0.0", &[]);
    assert_eq!(
        site.get("/").await.html(),
        format!(
            "{}1<pasteup-lazy src=\"{address}\"><noscript><a href=\"{address}\">a</a></noscript></pasteup-lazy>",
            script()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn only_fragments_that_a_layout_loads_lazily_are_served_standalone() {
    let site = TestCompositor::new()
        .front("<fragment name=a load=lazy /><fragment name=b />")
        .fragment("a", html("A"))
        .fragment("b", html("B"))
        .start();
    for (path, leads) in [
        (lazy_address("a", "1.0.0", &[]), true),
        // A page in a downstream cache may name a version that no longer exists, or other parameters.
        (lazy_address("a", "0.9.0", &[("x", "y")]), true),
        (lazy_address("b", "1.0.0", &[]), false),
        (lazy_address("c", "1.0.0", &[]), false),
        ("/_pasteup/fragment/a/".to_owned(), false),
        ("/_pasteup/fragment/a/b".to_owned(), false),
        ("/_pasteup/fragment/".to_owned(), false),
        ("/_pasteup/fragment/..".to_owned(), false),
    ] {
        assert_eq!(site.has_route(&path), leads, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_standalone_fragment_is_its_status() {
    let page = |html: &str, query: &str| format!("+++\nroute = \"/\"\nquery = [\"{query}\"]\n+++\n{html}");
    let site = TestCompositor::new()
        .layout("p.html", &page("<fragment name=gone load=lazy /><fragment name=down load=lazy /><fragment name=empty load=lazy /><fragment name=n load=lazy data-n={q} />", "q"))
        .fragment("gone", responds(404, &[], ""))
        .fragment("down", fails(Reason::Connect))
        .fragment("empty", responds(204, &[], ""))
        .fragment_with("n", "[params.n]\ntype = \"integer\"\n", html("N"))
        .start();
    for (name, parameters, verdict) in [
        ("gone", &[][..], Verdict::Error(StatusCode::NOT_FOUND)),
        ("down", &[], Verdict::Error(StatusCode::SERVICE_UNAVAILABLE)),
        ("empty", &[], Verdict::Page(StatusCode::OK)),
        ("n", &[("n", "2")], Verdict::Page(StatusCode::OK)),
        ("n", &[("n", "x")], Verdict::Error(StatusCode::SERVICE_UNAVAILABLE)),
    ] {
        let page = site.get(&lazy_address(name, "1.0.0", parameters)).await;
        assert_eq!(*page.verdict(), verdict, "{name}");
    }
    let refused = site.get(&lazy_address("n", "1.0.0", &[("n", "x")])).await;
    assert_eq!(refused.outcome("n"), (Shown::Omitted, Some(Reason::NotAllowed)));
    assert_eq!(site.calls("n"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_with_other_lazy_parts_has_another_etag() {
    let etag = async |x: &str| {
        let site = TestCompositor::new()
            .front(&format!("<fragment name=a load=lazy data-x={x}>w</fragment>"))
            .fragment("a", html("A"))
            .start();
        site.get("/").await.header("etag").to_owned()
    };
    assert!(!etag("1").await.is_empty());
    assert_eq!(etag("1").await, etag("1").await);
    assert_ne!(etag("1").await, etag("2").await);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_shows_other_bytes_for_a_lazy_part_has_another_etag() {
    let etag = async |front: &str| {
        let site = TestCompositor::new().front(front).fragment("a", html("A")).start();
        site.get("/").await.header("etag").to_owned()
    };
    let first = etag("<fragment name=a load=lazy>old</fragment>").await;
    assert_ne!(first, etag("<fragment name=a load=lazy>new</fragment>").await);
    assert_ne!(etag("<fragment name=a load=lazy id=x />").await, etag("<fragment name=a load=lazy id=y />").await);
    let policy = async |policy: &str| {
        let page = format!(
            "+++\nroute = \"/\"\nheaders = {{ Content-Security-Policy = \"{policy}\" }}\n+++\n<fragment name=a load=lazy />"
        );
        let site = TestCompositor::new().layout("p.html", &page).fragment("a", html("A")).start();
        site.get("/").await.header("etag").to_owned()
    };
    assert_ne!(policy("script-src 'self'").await, policy("script-src 'strict-dynamic'").await);
}

#[tokio::test(start_paused = true)]
async fn a_standalone_fragment_is_shown_while_its_place_is() {
    let start = 1_800_000_000;
    let time = |seconds: i64| jiff::Timestamp::from_second(start + seconds).unwrap();
    let site = TestCompositor::new()
        .layout(
            "p.html",
            &format!(
                "+++\nroute = \"/\"\nschedule = [{{ use = \"q.html\", from = \"{}\" }}]\n+++\n\
                 <when until=\"{}\"><fragment name=a load=lazy from=\"{}\" /></when>",
                time(300),
                time(200),
                time(100)
            ),
        )
        .layout("q.html", "<fragment name=b load=lazy />")
        .fragment("a", html("A"))
        .fragment("b", html("B"))
        .start();
    let (mut addresses, mut shown) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        addresses.extend(site.lazy_addresses("/", Reader::default()).await);
        let mut now = Vec::new();
        for address in &addresses {
            now.push(site.get(address).await.html());
        }
        shown.push(now.join(","));
        tokio::time::advance(Duration::from_secs(100)).await;
    }
    assert_eq!(shown, ["", "A", "", ",B"]);
}

#[tokio::test(start_paused = true)]
async fn a_standalone_fragment_is_sent_what_it_is_sent_on_its_page() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/news/{x}\"\n+++\n<fragment name=a load=lazy data-mode=public />")
        .fragment_with("a", "context = [\"page\"]\n", html("A"))
        .start();
    let [address] = &site.lazy_addresses("/news/uk", Reader::default()).await[..] else { panic!("one lazy part") };
    assert!(address.contains("?mode=public&pasteup%3Apage=%2Fnews%2F%7Bx%7D&t="), "{address}");
    site.get(address).await;
    assert_eq!(site.requests().last().unwrap().headers["fragment-page"], "/news/{x}");
    assert!(!site.has_route(&address.replace("news", "admin")), "clients cannot choose the page");
}

#[tokio::test(start_paused = true)]
async fn a_standalone_fragment_may_do_no_more_than_on_any_of_its_pages() {
    let page =
        |route: &str, more: &str| format!("+++\nroute = \"{route}\"\n{more}\n+++\n<fragment name=a load=lazy />");
    let policy = |policy: &str| format!("headers = {{ Content-Security-Policy = \"{policy}\" }}");
    let site = TestCompositor::new()
        .layout("a.html", &page("/a", ""))
        .layout("b.html", &page("/b", &policy("img-src a.test")))
        .layout("c.html", &page("/c", &(policy("img-src b.test") + "\nexperiment.lead = { big = 1 }")))
        .fragment_with("a", "context = [\"variant\"]\n", html("A"))
        .start();
    let page = site.get(&lazy_address("a", "1.0.0", &[])).await;
    let policies: Vec<_> = page.1.get_all("content-security-policy").iter().collect();
    assert_eq!(policies, ["img-src a.test", "img-src b.test"]);
    assert_eq!(page.0.plan.template.experiments.len(), 1);
}

#[test]
fn parts_that_cannot_be_lazy_are_reported() {
    for (html, message) in [
        (
            "<fragment name=a load=lazy required>x</fragment>",
            "a `required` fragment cannot be lazy: the page waits for it",
        ),
        ("<head><fragment name=a load=lazy /></head>", "`load`: nobody scrolls to the head"),
        ("<svg><fragment name=a load=lazy /></svg>", "`load`: a late part is parsed as HTML, not as SVG or MathML"),
        (
            "<table><tr><td>1</td><when device=mobile><fragment name=a load=lazy /></when></tr></table>",
            "`load`: browsers move or drop a lazy part directly inside `<tr>`",
        ),
        (
            "<table><fragment name=a load=lazy /></table>",
            "`load`: browsers move or drop a lazy part directly inside `<table>`",
        ),
        (
            "<select><fragment name=a load=lazy /></select>",
            "`load`: browsers move or drop a lazy part directly inside `<select>`",
        ),
        (
            "<fragment name=a load=lazy><fragment slot=x name=a /></fragment>",
            "a fragment whose slots are filled cannot be lazy: it is loaded without them",
        ),
    ] {
        let site = TestCompositor::new().front(html).fragment("a", crate::support::compositor::html(""));
        assert_eq!(site.problems(), [format!("bad-value: {message}")]);
    }
    for html in [
        "<table><tr><td><fragment name=a load=lazy /></td></tr></table>",
        "<table><tr><td>1</td></tr></table><fragment name=a load=lazy />",
        "<table><tbody><fragment name=a load=defer><tr></tr></fragment></tbody></table>",
        "<head></head><body><head><fragment name=a load=lazy /></head></body>",
    ] {
        let site = TestCompositor::new().front(html).fragment("a", crate::support::compositor::html(""));
        assert_eq!(site.problems(), [""; 0], "{html}");
    }
}

#[test]
fn a_base_with_another_origin_is_reported() {
    let problems = |head: &str| {
        let page = format!("<!doctype html><head>{head}</head><body><fragment name=a load=lazy /></body>");
        TestCompositor::new().front(&page).fragment("a", html("A")).problems()
    };
    for (href, site) in [
        ("https://other.example/assets/", "https://other.example"),
        ("//cdn.example:8443/", "https://cdn.example:8443"),
        ("\\\\cdn.example/", "https://cdn.example"),
    ] {
        let site = site.replace(
            "https",
            href.split_once(':').filter(|(scheme, _)| *scheme == "https").map_or("http", |_| "https"),
        );
        let message = format!(
            "foreign-base: with this `<base>`, browsers ask {site} for what Pasteup serves at `/_pasteup/`: its scripts and \
             the assets of fragments"
        );
        assert_eq!(problems(&format!("<base href=\"{href}\">")), [message]);
    }
    for fine in
        ["<base href=/app/>", "<base href=app>", "<base target=_top>", "<template><base href=//a.example/></template>"]
    {
        assert_eq!(problems(fine), [""; 0], "{fine}");
    }
}

const TALL: &str = "+++\nroute = \"/\"\nheaders = { Content-Security-Policy = \"default-src 'none'; style-src 'unsafe-inline'\" }\n+++\n\
    <!doctype html><html lang=en><head><title>A long read</title><style>body { font: 1.2rem Georgia, serif; margin: 2rem } .long { height: 5000px }</style></head>\
    <body><main><h1>A long read</h1><div class=long>Scroll down.</div><div id=place><fragment name=a load=lazy /></div></main></body></html>";

#[tokio::test]
async fn a_standalone_fragment_is_served_like_a_page() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", &"<p>lone</p>".repeat(100)).await;
    let site = TestSite::new().file("layouts/p.html", TALL).service("a", service.address);
    let server = site.serve().await;
    let [address] = &lazy_addresses(&server.text("/").await)[..] else { panic!("one lazy part") };
    for forged in
        ["/_pasteup/fragment/a", "/_pasteup/fragment/a/1.0.0", &format!("{address}&x=1"), "/_pasteup/fragment/b/1.0.0"]
    {
        assert_eq!(server.get(forged).await.status(), StatusCode::BAD_REQUEST, "{forged}");
    }
    assert_eq!(service.requests(), 0);
    let url = format!("{}{address}", server.pages);
    let response = client().get(&url).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-encoding"), "gzip");
    assert_eq!(header("cache-control"), "public, max-age=60");
    assert_eq!(header("x-robots-tag"), "noindex");
    assert_eq!(header("surrogate-key"), "a");
    assert!(header("content-security-policy").starts_with("default-src 'none'"), "it may do no more than on its page");
    let again = client().get(&url).header("if-none-match", header("etag")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let script = server.get(&scripts::lazy(false).path).await;
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(script.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(script.text().await.unwrap(), scripts::lazy(false).text);
    assert_eq!(server.get("/_pasteup/lazy-0000000000000000.js").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(service.requests(), 1);
}

#[tokio::test]
async fn a_lazy_part_is_loaded_under_a_strict_policy_when_scrolled_near() {
    let service = RawService::html(Duration::ZERO, "", "<p id=loaded>Worth the way.</p>").await;
    let site = TestSite::new().file("layouts/p.html", TALL).service("a", service.address);
    let server = site.serve().await;
    let browser = Browser::start().await;
    browser.client.set_window_size(800, 600).await.unwrap();
    browser.client.goto(&server.pages).await.unwrap();
    assert_eq!(browser.evaluate("customElements.get('pasteup-lazy') != null").await, true);
    assert_eq!((browser.count("#loaded").await, service.requests()), (0, 0));
    browser.screenshot("lazy-at-first.png").await;
    browser.evaluate("scrollTo(0, 4000)").await;
    browser.wait_for("#loaded").await;
    browser.evaluate("scrollTo(0, 9000)").await;
    browser.screenshot("lazy-at-last.png").await;
    assert_eq!(browser.text("#place").await, "Worth the way.");
    assert_eq!(browser.count("pasteup-lazy").await, 0);
    assert_eq!(service.requests(), 1);
    browser.stop().await;
}

#[tokio::test]
async fn without_scripts_a_link_leads_to_it() {
    let service = RawService::html(Duration::ZERO, "", "<p id=loaded>Worth the way.</p>").await;
    let site = TestSite::new().file("layouts/p.html", TALL).service("a", service.address);
    let server = site.serve().await;
    let browser = Browser::start().await;
    browser.forbid_scripts().await;
    browser.client.goto(&server.pages).await.unwrap();
    assert_eq!(browser.text("#place a").await, "a");
    browser.client.find(fantoccini::Locator::LinkText("a")).await.unwrap().click().await.unwrap();
    browser.wait_for("#loaded").await;
    browser.stop().await;
}
