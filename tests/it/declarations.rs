//! What a nanoservice declares: the context that it is sent, over real sockets, and its effect on the page; the cookies
//! that it may set; the assets that it needs in the head.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;

use crate::support::compositor::{TestCompositor, fails, html, responds};
use crate::support::process::{TestSite, client};
use crate::support::service::{RawService, serve_router};

const HTML: (&str, &str) = ("content-type", "text/html");

/// Responds with every header that it received, except those that every request has.
async fn echo(headers: HeaderMap) -> ([(&'static str, &'static str); 2], String) {
    let usual =
        ["host", "accept", "accept-encoding", "user-agent", "fragment-name", "fragment-timeout-ms", "traceparent"];
    let mut received: Vec<String> = headers
        .iter()
        .filter(|(name, _)| !usual.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    received.sort();
    ([("content-type", "text/html"), ("cache-control", "max-age=60")], format!("[{}]", received.join("|")))
}

fn manifest(address: std::net::SocketAddr, more: &str) -> String {
    format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/\"\n{more}")
}

#[tokio::test]
async fn a_nanoservice_is_sent_the_context_it_declares_and_the_page_varies_on_it() {
    let address = serve_router(Router::new().route("/", get(echo))).await;
    let declared = "context = [\"locale\", \"device\", \"region\", \"page\", \"cookie:units\", \"header:X-Plan\", \"header:X-Forwarded-For\"]\n";
    let settings = |trusted: &str| {
        format!("[context]\nlocales = [\"en\", \"de\"]\nregion_header = \"CF-IPCountry\"\ntrust_proxy = [{trusted}]\n")
    };
    let site = TestSite::new()
        .file("layouts/p.html", "+++\nroute = \"/in/{place}\"\n+++\n<fragment name=a />")
        .file("fragments/a/fragment.toml", &manifest(address, declared));
    let sent = [
        ("accept-language", "fr, de-AT;q=0.8"),
        ("sec-ch-ua-mobile", "?1"),
        ("cookie", "session=secret; units=metric"),
        ("x-plan", "gold"),
        ("cf-ipcountry", "at"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-secret", "secret"),
        ("fragment-device", "tablet"),
        ("authorization", "Bearer secret"),
    ];
    for (trusted, received) in [
        ("", "[accept-language=de|cookie=units=metric|fragment-device=mobile|fragment-page=/in/{place}|x-plan=gold]"),
        (
            "\"127.0.0.0/8\"",
            "[accept-language=de|cookie=units=metric|fragment-device=mobile|fragment-page=/in/{place}|fragment-region=AT|x-forwarded-for=192.0.2.1|x-plan=gold]",
        ),
    ] {
        let site = site.copy().file("pasteup.toml", &settings(trusted));
        let server = site.serve().await;
        let mut request = client().get(format!("{}/in/wien", server.pages));
        for (name, value) in sent {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        let vary = "accept-language, cookie, sec-ch-ua-mobile, user-agent, cf-ipcountry, x-forwarded-for, x-plan";
        let mut named: Vec<String> = response
            .headers()
            .get_all("vary")
            .iter()
            .flat_map(|line| line.to_str().unwrap().split(", ").map(str::to_owned))
            .collect();
        let mut expected: Vec<&str> = vary.split(", ").chain(["accept-encoding"]).collect();
        named.sort();
        expected.sort_unstable();
        assert_eq!(named, expected);
        assert_eq!(response.text().await.unwrap(), received);
    }
}

#[tokio::test]
async fn conditions_depend_on_device_locale_and_region_of_the_client() {
    let layout = "<when device=mobile>phone</when><when device=\"not mobile\">larger</when> \
                  <when locale=de>Guten Tag</when><when locale=\"not de\">Hello</when> <when region=\"not US\">abroad</when>";
    let settings =
        "[context]\nlocales = [\"en\", \"de\"]\nregion_header = \"x-country\"\ntrust_proxy = [\"127.0.0.1\"]\n";
    let site = TestSite::new().front(layout).file("pasteup.toml", settings);
    let server = site.serve().await;
    for (headers, text) in [
        (
            &[("user-agent", "Mozilla/5.0 (iPhone) Mobile/15E148"), ("accept-language", "de")][..],
            "phone Guten Tag abroad",
        ),
        (&[("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"), ("x-country", "us")], "larger Hello "),
        (&[], "larger Hello abroad"),
    ] {
        let mut request = client().get(&server.pages);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let vary: Vec<_> = response.headers().get_all("vary").iter().map(|line| line.to_str().unwrap()).collect();
        assert!(vary.contains(&"accept-language, sec-ch-ua-mobile, user-agent, x-country"), "{vary:?}");
        assert_eq!(response.text().await.unwrap(), text);
    }
    let output = site.run(&["render", "/", "--device", "tablet", "--region", "US", "--locale", "de"]).await;
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "larger Guten Tag ");
}

#[tokio::test]
async fn if_none_match_with_the_pages_etag_gets_a_304() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\nSurrogate-Key: x\r\n", "text").await;
    let site = TestSite::new().front("<p><fragment name=a /></p>").service("a", service.address).without_streaming();
    let server = site.serve().await;
    let first = server.get("/").await;
    let tag = first.headers()["etag"].clone();
    assert_eq!(first.headers()["surrogate-key"], "a x");
    let send = async |etag: &str| client().get(&server.pages).header("if-none-match", etag).send().await.unwrap();
    for etag in [tag.to_str().unwrap().to_owned(), format!("\"other\", {}", tag.to_str().unwrap()), "*".to_owned()] {
        let response = send(&etag).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{etag}");
        assert_eq!(response.headers()["etag"], tag);
        assert!(response.headers()["cache-control"].to_str().unwrap().starts_with("public, max-age="));
        assert!(!response.headers().contains_key("content-type"));
        assert_eq!(response.text().await.unwrap(), "");
    }
    assert_eq!(send("\"other\"").await.status(), StatusCode::OK);
    let compressed = client().get(&server.pages).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(compressed.headers()["etag"], tag, "weak: the same page in another encoding");
    let again = site.copy().serve().await;
    assert_eq!(again.get("/").await.headers()["etag"], tag, "another server computes the same");
}

#[tokio::test(start_paused = true)]
async fn an_etag_changes_with_each_part_and_only_a_complete_page_has_one() {
    let site = TestCompositor::new()
        .front("<fragment name=a>x</fragment><fragment name=b />")
        .fragment("a", html("one"))
        .fragment("b", responds(204, &[], ""))
        .start();
    let tag = async || site.get("/").await.header("etag").to_owned();
    let first = tag().await;
    assert!(first.starts_with("W/\"") && first == tag().await);
    site.set_behaviour("a", html("two"));
    let second = tag().await;
    assert_ne!(first, second);
    site.set_behaviour("b", html("there"));
    assert_ne!(second, tag().await);
    site.set_behaviour("a", fails(Reason::Connect));
    let page = site.get("/").await;
    assert_eq!((page.header("etag"), page.header("cache-control")), ("", "no-store"));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_varies_on_undeclared_context_is_not_cached() {
    for (vary, calls) in [
        ("Accept-Language", 1),
        ("Cookie, accept-encoding", 1),
        ("Fragment-Device", 2),
        ("User-Agent", 2),
        ("*", 2),
        ("X-Other", 2),
    ] {
        let site = TestCompositor::new()
            .front("<fragment name=a />")
            .fragment_with(
                "a",
                "context = [\"locale\", \"cookie:u\"]\n",
                responds(200, &[HTML, ("cache-control", "max-age=60"), ("vary", vary)], "x"),
            )
            .start();
        let page = site.get("/").await;
        site.get("/").await;
        assert_eq!(site.calls("a"), calls, "{vary}");
        assert_eq!(page.header("cache-control") == "private, no-store", calls == 2, "{vary}");
    }
}

#[tokio::test(start_paused = true)]
async fn declared_cookies_are_set_and_make_the_response_uncacheable() {
    let site = TestCompositor::new()
        .front("<fragment name=a ttl=10m />")
        .fragment_with("a", "cookies = [\"basket\"]\n", |request| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", "text/html".parse().unwrap());
            headers.append("set-cookie", "basket=7; Path=/".parse().unwrap());
            headers.append("set-cookie", "tracker=1".parse().unwrap());
            crate::support::compositor::responds_with(200, headers, "x")(request)
        })
        .start();
    let page = site.get("/").await;
    let cookies: Vec<_> = page.1.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["basket=7; Path=/"]);
    assert_eq!(page.header("cache-control"), "private, no-store");
    site.get("/").await;
    assert_eq!(site.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_to_an_authorised_request_is_shared_only_if_it_states_so() {
    for (cache, calls) in
        [("max-age=60", 2), ("max-age=60, public", 1), ("s-maxage=60", 1), ("max-age=60, must-revalidate", 1)]
    {
        let cache: &'static str = cache;
        let site = TestCompositor::new()
            .front("<fragment name=a />")
            .fragment_with(
                "a",
                "context = [\"header:Authorization\"]\n",
                responds(200, &[HTML, ("cache-control", cache)], "x"),
            )
            .start();
        let reader = || pasteup::page::visit::context::Reader {
            headers: HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer x".parse().unwrap())]),
            ..Default::default()
        };
        site.get_as("/", reader()).await;
        site.get_as("/", reader()).await;
        assert_eq!(site.calls("a"), calls, "{cache}");
    }
}

#[tokio::test(start_paused = true)]
async fn fragment_cache_control_applies_to_the_compositor_only() {
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment(
            "a",
            responds(200, &[HTML, ("cache-control", "max-age=5"), ("fragment-cache-control", "max-age=60")], "x"),
        )
        .start();
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=5");
    tokio::time::advance(Duration::from_secs(58)).await;
    let page = site.get("/").await;
    assert_eq!((site.calls("a"), page.header("cache-control")), (1, "public, max-age=2"));
    site.set_behaviour(
        "a",
        responds(200, &[HTML, ("cache-control", "private"), ("fragment-cache-control", "max-age=60")], "y"),
    );
    tokio::time::advance(Duration::from_secs(3)).await;
    let page = site.get("/").await;
    assert_eq!(page.header("cache-control"), "private, no-store", "downstream it is private, as it states");
    site.get("/").await;
    assert_eq!(site.calls("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_fresh_downstream_until_a_condition_of_time_changes_it() {
    let site = TestCompositor::new()
        .front("<fragment name=a /><when from=\"2027-01-15T08:00:30Z\">later</when>")
        .fragment("a", responds(200, &[HTML, ("cache-control", "max-age=600")], "x"))
        .start();
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=30");
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=570");
}

#[tokio::test(start_paused = true)]
async fn stylesheets_and_hints_appear_once_in_the_head_in_order() {
    let link = "</one.css>; rel=stylesheet; media=\"screen, print\", <https://cdn.test/two.js>; rel=\"modulepreload\"; \
                crossorigin, <three.woff2>; rel=preload; as=font, </doc>; rel=next, <javascript:x>; rel=preload, \
                </\"><script>>; rel=stylesheet";
    let site = TestCompositor::new()
        .front("<!doctype html><html><head><title>t</title></head><body><fragment name=a /><fragment name=b /><fragment name=c>no</fragment></body>")
        .fragment("a", responds(200, &[HTML, ("link", link)], "A"))
        .fragment("b", responds(200, &[HTML, ("link", "<https://cdn.test/two.js>; rel=modulepreload, </b.css>; rel=stylesheet")], "B"))
        .fragment("c", responds(500, &[HTML, ("link", "</c.css>; rel=stylesheet")], "C"))
        .start();
    let page = site.get("/").await;
    let head = page.html().split("</title>").nth(1).unwrap().split("<body>").next().unwrap().to_owned();
    insta::assert_snapshot!(head.replace('>', ">\n"));
    assert!(page.html().ends_with("<body>ABno</body>"));
}

#[tokio::test(start_paused = true)]
async fn an_alternate_stylesheet_stays_one_with_its_title() {
    let link = "</dark.css>; rel=\"alternate stylesheet\"; title=Dark, </b.css>; rel=\"Stylesheet ALTERNATE preload\"; \
                title=\"B & b\"; as=style, </plain.css>; rel=stylesheet; title=Plain, </feed>; rel=alternate; title=Feed";
    let assets = "[[assets]]\nrel = \"alternate stylesheet\"\nhref = \"https://cdn.test/high.css\"\ntitle = \"High\"\n";
    let site = TestCompositor::new()
        .front("<head></head><fragment name=a />")
        .fragment_with("a", assets, responds(200, &[HTML, ("link", link)], "A"))
        .start();
    let at = "href=\"/_pasteup/assets/a/1.0.0";
    assert_eq!(
        site.get("/").await.html(),
        format!(
            "<head><link rel=\"alternate stylesheet\" href=\"https://cdn.test/high.css\" title=\"High\">\
             <link rel=\"alternate stylesheet\" {at}/dark.css\" title=\"Dark\">\
             <link rel=\"alternate stylesheet\" {at}/b.css\" as=\"style\" title=\"B &amp; b\">\
             <link rel=\"preload\" {at}/b.css\" as=\"style\"><link rel=\"stylesheet\" {at}/plain.css\"></head>A"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_link_without_a_scheme_keeps_the_scheme_of_the_page() {
    let link =
        "<//cdn.example/x.css>; rel=stylesheet, <//user@cdn.example/y.css>; rel=stylesheet, <//>; rel=stylesheet";
    let assets = "[[assets]]\nrel = \"stylesheet\"\nhref = \"//cdn.example/m.css\"\n";
    let site = TestCompositor::new()
        .front("<head></head><fragment name=a />")
        .fragment_with("a", assets, responds(200, &[HTML, ("link", link)], "A"))
        .start();
    let sheet = |name: &str| format!("<link rel=\"stylesheet\" href=\"//cdn.example/{name}.css\">");
    assert_eq!(site.get("/").await.html(), format!("<head>{}{}</head>A", sheet("m"), sheet("x")));
}

#[tokio::test]
async fn only_assets_are_served_through_the_compositor() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let of = |media_type: &'static str, body: &'static str| {
        let count = Arc::clone(&count);
        get(move |headers: HeaderMap| async move {
            count.fetch_add(1, Ordering::SeqCst);
            assert!(!headers.contains_key("cookie"), "nothing of the client is passed on");
            ([("content-type", media_type), ("cache-control", "max-age=60")], body)
        })
    };
    let router = Router::new()
        .route("/css/part%20one.css", of("text/css", "p {}"))
        .route("/metrics", of("text/plain", "secret 1"))
        .route("/admin", of("text/html", "<h1>secret"))
        .route("/icon.svg", of("image/svg+xml", "<svg/>"));
    let site = TestSite::new()
        .front("<fragment name=a />")
        .file("fragments/a/fragment.toml", &manifest(serve_router(router).await, ""));
    let server = site.serve().await;
    let send = async |path: &str| {
        let url = format!("{}/_pasteup/assets/{path}", server.pages);
        client().get(url).header("cookie", "session=1").send().await.unwrap()
    };
    let css = send("a/1.0.0/css/part%20one.css").await;
    assert_eq!((css.status(), &css.headers()["content-type"]), (StatusCode::OK, &"text/css".parse().unwrap()));
    assert_eq!(css.headers()["x-content-type-options"], "nosniff");
    assert!(css.headers()["cache-control"].to_str().unwrap().starts_with("public, max-age="));
    let tag = css.headers()["etag"].clone();
    assert_eq!(css.text().await.unwrap(), "p {}");
    assert_eq!(send("a/1.0.0/css/part%20one.css").await.status(), StatusCode::OK);
    assert_eq!(requests.load(Ordering::SeqCst), 1, "it is cached");
    let url = format!("{}/_pasteup/assets/a/1.0.0/css/part%20one.css", server.pages);
    let unchanged = client().get(url).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((unchanged.status(), unchanged.text().await.unwrap().as_str()), (StatusCode::NOT_MODIFIED, ""));
    for path in ["a/1.0.0/metrics", "a/1.0.0/admin", "a/1.0.0/none", "b/1.0.0/icon.svg", "a", "a/1.0.0"] {
        let response = send(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!response.text().await.unwrap().contains("secret"));
    }
    assert_eq!(send("a/1.0.0/..%2f..%2fmetrics").await.status(), StatusCode::BAD_REQUEST);
    assert!(send("a/1.0.0/icon.svg").await.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));
}

#[tokio::test]
async fn a_range_of_an_asset_is_sent_and_its_304_has_the_vary_of_its_200() {
    let of = |media_type: &'static str, body: &'static str| {
        get(move || async move { ([("content-type", media_type), ("cache-control", "max-age=60")], body) })
    };
    let css = "p { color: red } /* of some length */";
    let router = Router::new().route("/a.css", of("text/css", css)).route("/a.mp4", of("video/mp4", "0123456789"));
    let site = TestSite::new()
        .front("<fragment name=a />")
        .file("fragments/a/fragment.toml", &manifest(serve_router(router).await, ""));
    let server = site.serve().await;
    let send = async |path: &str, fields: &[(&str, &str)]| {
        let request = client().get(format!("{}/_pasteup/assets/a/1.0.0/{path}", server.pages));
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    };
    let whole = send("a.mp4", &[]).await;
    assert_eq!((whole.status().as_u16(), &whole.headers()["accept-ranges"]), (200, &"bytes".parse().unwrap()));
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    for (range, condition, status, content_range, body) in [
        ("bytes=0-1", None, 206, Some("bytes 0-1/10"), "01"),
        ("bytes=7-", Some(tag.as_str()), 206, Some("bytes 7-9/10"), "789"),
        ("bytes=-2", None, 206, Some("bytes 8-9/10"), "89"),
        ("bytes=0-1", Some("\"other\""), 200, None, "0123456789"),
        ("bytes=0-1,3-4", None, 200, None, "0123456789"),
        ("bytes=10-", None, 416, Some("bytes */10"), ""),
    ] {
        let fields: Vec<_> = [("range", range)].into_iter().chain(condition.map(|tag| ("if-range", tag))).collect();
        let response = send("a.mp4", &fields).await;
        assert_eq!(response.status().as_u16(), status, "{range}");
        let stated = response.headers().get("content-range").map(|range| range.to_str().unwrap().to_owned());
        assert_eq!(stated.as_deref(), content_range, "{range}");
        assert_eq!(response.text().await.unwrap(), body, "{range}");
    }
    for coding in ["gzip", "identity"] {
        let whole = send("a.css", &[("accept-encoding", coding)]).await;
        let (tag, vary) = (whole.headers()["etag"].clone(), whole.headers()["vary"].clone());
        let unchanged = send("a.css", &[("accept-encoding", coding), ("if-none-match", tag.to_str().unwrap())]).await;
        assert_eq!((unchanged.status().as_u16(), &unchanged.headers()["vary"]), (304, &vary));
        let part = send("a.css", &[("accept-encoding", coding), ("range", "bytes=0-2")]).await;
        assert_eq!((part.status().as_u16(), part.headers().get("content-encoding")), (206, None));
        assert_eq!(part.text().await.unwrap(), "p {");
    }
}

#[tokio::test(start_paused = true)]
async fn assets_are_inserted_into_pages_with_and_without_a_head() {
    for (layout, expected) in [
        ("<head><link></head>x<fragment name=a />", "<head><link>+</head>xA"),
        // A paragraph ends the head.
        ("<head><p></head>x<fragment name=a />", "<head>+<p></head>xA"),
        ("<html><body><fragment name=a />", "<html>+<body>A"),
        ("<!doctype html><p><fragment name=a />", "<!doctype html>+<p>A"),
        ("<fragment name=a />", "+A"),
    ] {
        let site = TestCompositor::new()
            .front(layout)
            .fragment("a", responds(200, &[HTML, ("link", "<https://x.test/a>; rel=preconnect")], "A"))
            .start();
        let html = site.get("/").await.html();
        assert_eq!(html.replace("<link rel=\"preconnect\" href=\"https://x.test/a\">", "+"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn deprecation_and_sunset_headers_are_read() {
    let site = TestCompositor::new()
        .front("<fragment name=a />")
        .fragment(
            "a",
            responds(200, &[HTML, ("deprecation", "@1767225600"), ("sunset", "Thu, 31 Dec 2026 23:59:59 GMT")], "x"),
        )
        .start();
    let page = site.get("/").await;
    assert_eq!(page.outcome("a"), (Shown::Fresh, None));
    let response = page.0.outcomes[0].as_ref().unwrap().response.as_ref().unwrap();
    assert_eq!(response.deprecation.as_deref(), Some("deprecated since 2026-01-01, gone from 2026-12-31 on"));
}

#[tokio::test]
async fn clients_are_assigned_a_variant_once_and_keep_it() {
    let address = serve_router(Router::new().route("/", get(echo))).await;
    let front =
        "+++\nroute = \"/\"\nexperiment.lead = { big = 1, small = 1 }\nexperiment.foot = { a = 0, b = 1 }\n+++\n";
    let body = "<when variant=\"lead:big\">BIG</when><when variant=\"lead:small\">small</when><fragment name=a />";
    let site = TestSite::new()
        .file("layouts/p.html", &format!("{front}{body}"))
        .file("fragments/a/fragment.toml", &manifest(address, "context = [\"variant\"]\n"))
        .without_streaming();
    let server = site.serve().await;
    let send = async |headers: &[(&str, &str)]| {
        let mut request = client().get(&server.pages);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let header = |name: &str| -> Vec<String> {
            response.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        let (cookies, cache, vary) = (header("set-cookie"), header("cache-control"), header("vary").join(", "));
        (cookies, cache, vary, response.text().await.unwrap())
    };
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let (cookies, cache, vary, text) = send(&[]).await;
        let lead = if text.starts_with("BIG") { "big" } else { "small" };
        // The cookies may come in any order.
        let expected = |name: &str| cookies.iter().any(|cookie| cookie.starts_with(name));
        assert!(expected(&format!("pasteup-lead={lead}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly")));
        assert!(expected("pasteup-foot=b;") && cookies.len() == 2);
        assert_eq!(cache, ["private, no-store"]);
        assert!(vary.contains("cookie"));
        assert!(text.contains(&format!("lead:{lead}")) && text.contains("foot:b"), "{text}");
        let cookie = format!("x=1; pasteup-lead={lead}; pasteup-foot=b");
        send(&[("cookie", &cookie)]).await;
        let (cookies, cache, _, again) = send(&[("cookie", &cookie)]).await;
        assert_eq!((cookies.len(), &again), (0, &text), "a client stays in its variant");
        assert!(cache[0].starts_with("public, max-age="));
        seen.insert(lead);
    }
    let (cookies, _, _, text) = send(&[("cookie", "pasteup-lead=huge; pasteup-foot=b")]).await;
    assert_eq!(cookies.len(), 1, "an unknown variant is drawn again: {text}");
    for _ in 0..3 {
        let (cookies, cache, _, text) = send(&[("user-agent", "Examplebot/1.0")]).await;
        assert_eq!((cookies.len(), cache[0].as_str()), (0, "private, no-store"), "no cache may show it to readers");
        assert!(text.starts_with("BIG"), "programs that store no cookies all get the same page");
    }
}

#[test]
fn different_integrity_values_for_one_asset_are_reported() {
    let asset =
        |integrity: &str| format!("[[assets]]\nrel = \"stylesheet\"\nhref = \"https://cdn.test/a.css\"\n{integrity}");
    let site = TestCompositor::new()
        .fragment_with("a", &asset("integrity = \"sha256-a\"\n"), html("A"))
        .fragment_with("b", &asset("integrity = \"sha256-b\"\n"), html("B"))
        .fragment_with("c", &asset(""), html("C"));
    let received =
        "integrity: its `integrity` for https://cdn.test/a.css differs from that in fragments/a/fragment.toml";
    assert_eq!(site.problems(), [received]);
}
