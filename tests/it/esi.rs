//! ESI 1.0 (W3C Note), in layouts and in responses whose manifest and headers both opt in.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use pasteup::page::response::outcome::Shown;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::{Dimension, Reader};
use tokio::time::Instant;

use crate::support::compositor::{
    TestCompositor, after, assert_chunks, fails, html, html_cached, responds, timed_chunks,
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A page with `esi = true` at `/`, and nanoservices at `http://NAME.test/x`.
fn page(text: &str) -> TestCompositor {
    ["a", "b", "c"].iter().fold(
        TestCompositor::new()
            .layout("p.html", &format!("+++\nroute = \"/\"\nquery = [\"q\", \"to\"]\nesi = true\n+++\n{text}")),
        |site, name| site.allow(&format!("http://{name}.test")),
    )
}

const ESI: [(&str, &str); 2] = [("content-type", "text/html"), ("surrogate-control", "content=\"ESI/1.0\"")];

/// A nanoservice `s` whose responses are ESI, as its manifest states, with more lines for the manifest.
fn service(text: &str, manifest: &str) -> TestCompositor {
    let text = text.to_owned();
    let other = responds(200, &[("content-type", "text/html")], "other");
    let first = responds(200, &ESI, &text);
    TestCompositor::new().front("[<fragment name=s data-q=1 />]").fragment_with(
        "s",
        &format!("esi = true\n{manifest}"),
        move |request| {
            if request.address.as_str() == "http://s.test/x?q=1" { first(request) } else { other(request) }
        },
    )
}

async fn assert_page(site: TestCompositor, expected: &str) {
    assert_eq!(site.start().get("/").await.html(), expected);
}

#[tokio::test(start_paused = true)]
async fn without_opt_in_esi_is_sent_unchanged() {
    let text = "<esi:include src=\"http://a.test/\"/><!--esi x--><esi:vars>$(HTTP_HOST)</esi:vars></esi:try><esi:odd>";
    assert_page(TestCompositor::new().front(text), text).await;
    for (manifest, control) in
        [("esi = true", "no-store"), ("esi = false", "content=\"ESI/1.0\""), ("esi = true", "content=\"ESI/1.1\"")]
    {
        let headers = [("content-type", "text/html"), ("surrogate-control", control)];
        let site = TestCompositor::new().front("<fragment name=s />");
        let site = site.fragment_with("s", &format!("html = \"raw\"\n{manifest}\n"), responds(200, &headers, text));
        assert_page(site, text).await;
    }
}

#[tokio::test(start_paused = true)]
async fn comments_and_removed_content_disappear_and_esi_comments_are_unwrapped() {
    for (text, shown) in [
        ("1<esi:comment>a note</esi:comment>2", "12"),
        ("<esi:choose><!-- a note --> <esi:when test=true>x</esi:when></esi:choose>", "x"),
        ("1<esi:comment text=\"x\"/>2<esi:comment text=x></esi:comment>3", "123"),
        ("1<esi:remove><a href=\"x\">y</a></esi:remove>2", "12"),
        ("1<!--esi <b>2</b>-->3<!-- esi 4 -->", "1 <b>2</b>3<!-- esi 4 -->"),
        ("<!--esi <esi:include src=\"http://a.test/x\"/>-->.", " A."),
        ("<esi:include src=http://a.test/x></esi:include>.", "A."),
        ("<ESI:Include SRC='http://a.test/x' />.", "A."),
        ("<script>'<esi:remove>'</script>", "<script>'<esi:remove>'</script>"),
    ] {
        assert_page(page(text).fragment("a", html("A")), shown).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_true_test_decides() {
    let choose = "<esi:choose>\n<esi:when test=\"$(QUERY_STRING{q}) == 'a'\">A<fragment name=a /></esi:when>\
                  <esi:when test=\"$(QUERY_STRING{q}) &lt; 5 | $(QUERY_STRING{q}) == 'a'\">B</esi:when> \
                  <esi:otherwise>C<esi:choose><esi:when test=\"true\">D</esi:when></esi:choose></esi:otherwise></esi:choose>";
    let site = page(choose).fragment("a", html("!")).start();
    for (target, shown) in [("/?q=a", "A!"), ("/?q=4", "B"), ("/?q=40", "CD"), ("/", "CD")] {
        assert_eq!(site.get(target).await.html(), shown, "{target}");
    }
    assert_eq!(site.calls("a"), 1, "branches that are not chosen are not fetched");
    assert_ne!(site.get("/?q=4").await.header("etag"), site.get("/").await.header("etag"));
}

#[tokio::test(start_paused = true)]
async fn values_are_escaped_everywhere() {
    let site = page(
        "$(HTTP_HOST) <esi:vars>$(HTTP_HOST) <a title=$(QUERY_STRING{q}) href='/?$(QUERY_STRING)'>$(QUERY_STRING{q}|'no <b>')</a>\
         <script>$(document)</script></esi:vars>",
    )
    .start();
    let shown = |title: &str, query: &str| {
        format!("$(HTTP_HOST) courier.test <a title={title} href='/?{query}'>{title}</a><script>$(document)</script>")
    };
    assert_eq!(
        site.get("/?q=%22%20onload%3Da(%27%3C)%26&x=y").await.html(),
        shown("&#34;&#32;onload&#61;a(&#39;&#60;)&#38;", "q&#61;%22%20onload%3Da%28%27%3C%29%26")
    );
    assert_eq!(site.get("/").await.html(), shown("", "").replace("></a>", ">no&#32;&#60;b&#62;</a>"));
    assert_ne!(site.get("/?q=1").await.header("etag"), site.get("/?q=2").await.header("etag"));
}

#[tokio::test(start_paused = true)]
async fn variables_in_a_layout_are_its_declared_context() {
    let site = page(
        "<esi:vars>$(HTTP_COOKIE{name}|nobody) $(HTTP_ACCEPT_LANGUAGE) $(HTTP_REFERER) $(HTTP_USER_AGENT{os})</esi:vars>",
    )
    .start();
    let mut headers = HeaderMap::new();
    headers.insert("referer", HeaderValue::from_static("/before"));
    headers.insert("user-agent", HeaderValue::from_static("Mozilla/5.0 (Windows NT 10.0)"));
    let reader = Reader {
        cookies: vec![("name".to_owned(), "Anna".to_owned()), ("secret".to_owned(), "x".to_owned())],
        locale: Some("de".to_owned()),
        headers,
        ..Reader::default()
    };
    let page = site.get_as("/", reader).await;
    assert_eq!(page.html(), "Anna de /before WIN");
    let header = |name: &str| Dimension::Header(name.to_owned());
    let mut varies = page.0.plan.dimensions.clone();
    varies.sort();
    assert_eq!(
        varies,
        [Dimension::Locale, Dimension::Cookie("name".to_owned()), header("referer"), header("user-agent")]
    );
    assert_eq!(site.get("/").await.html(), "nobody   OTHER");
}

#[tokio::test(start_paused = true)]
async fn includes_are_fetched_concurrently() {
    let began = Instant::now();
    let site = page("<esi:include src=\"http://a.test/1\"/>-<esi:include src=\"http://b.test/2?x=1&amp;y=2#z\"/>")
        .fragment("a", after(ms(100), html("A")))
        .fragment("b", after(ms(100), html("B")))
        .start();
    assert_eq!(site.get("/").await.html(), "A-B");
    assert_eq!(began.elapsed(), ms(100));
    let urls: Vec<String> = site.requests().into_iter().map(|request| request.address.to_string()).collect();
    assert_eq!(urls, ["http://a.test/1", "http://b.test/2?x=1&y=2"]);
}

#[tokio::test(start_paused = true)]
async fn a_value_stays_within_one_component_of_a_url() {
    let site = page("<esi:include src=\"http://a.test/$(QUERY_STRING{q}|none)/x?to=$(QUERY_STRING{to})\"/>")
        .fragment("a", html("A"))
        .start();
    for (target, url) in [
        ("/", "/none/x?to="),
        ("/?q=ü%2F..%2F%3Fa&to=b%26c%3Dd%23", "/%C3%BC%2F..%2F%3Fa/x?to=b%26c%3Dd%23"),
        ("/?q=.a", "/.a/x?to="),
    ] {
        assert_eq!(site.get(target).await.html(), "A");
        assert_eq!(site.requests().last().unwrap().address.as_str(), format!("http://a.test{url}"));
    }
    for target in ["/?q=..", "/?q=.", "/?q=%2E%2E"] {
        let page = site.get(target).await;
        assert_eq!(page.outcome("esi"), (Shown::Omitted, Some(Reason::NotAllowed)), "{target}");
    }
    assert_eq!(site.calls("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn an_alternative_is_fetched_when_the_first_fails() {
    let text = "1<esi:include src=\"http://a.test/\" alt=\"http://b.test/\" onerror=\"continue\"/>2";
    assert_page(page(text).fragment("a", html("A")).fragment("b", html("B")), "1A2").await;
    for failure in [500, 404, 302] {
        assert_page(page(text).fragment("a", responds(failure, &[], "")).fragment("b", html("B")), "1B2").await;
    }
    let both = page(text).fragment("a", fails(Reason::Connect)).fragment("b", fails(Reason::Connect)).start();
    assert_eq!(both.get("/").await.html(), "12");
    assert_eq!(both.get("/").await.header("cache-control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_shown_unless_an_include_in_it_fails() {
    let attempt = |include: &str| {
        format!(
            "1<esi:try>\n<esi:attempt>[{include}<fragment name=b />]</esi:attempt>\
             <esi:except>({}<fragment name=c />)</esi:except> </esi:try>2",
            "<esi:include src=\"http://c.test/x\"/>"
        )
    };
    let a = "<esi:include src=\"http://a.test/\"/>";
    let site = |include: &str| page(&attempt(include)).fragment("b", html("B")).fragment("c", html("C"));
    assert_page(site(a).fragment("a", html("A")), "1[AB]2").await;
    assert_page(site(a).fragment("a", responds(204, &[], "")), "1[B]2").await;
    assert_page(site(a).fragment("a", fails(Reason::Connect)), "1(CC)2").await;
    let with_onerror = "<esi:include src=\"http://a.test/\" onerror=\"continue\"/>";
    assert_page(site(with_onerror).fragment("a", fails(Reason::Connect)), "1[B]2").await;
    let alt = "<esi:include src=\"http://a.test/\" alt=\"http://b.test/\"/>";
    assert_page(site(alt).fragment("a", fails(Reason::Connect)), "1[BB]2").await;
    // A fragment that fails has a fallback of its own.
    let broken = site("");
    broken.set_behaviour("b", fails(Reason::Connect));
    assert_page(broken, "1[]2").await;
    let inner = format!("<esi:try><esi:attempt>{a}</esi:attempt><esi:except>inner</esi:except></esi:try>");
    assert_page(site(&inner).fragment("a", fails(Reason::Connect)), "1[innerB]2").await;
    let inner = format!("<esi:try><esi:attempt>{a}</esi:attempt><esi:except>{a}</esi:except></esi:try>");
    assert_page(site(&inner).fragment("a", fails(Reason::Connect)), "1(CC)2").await;
}

#[tokio::test(start_paused = true)]
async fn a_streamed_page_waits_for_an_attempt_and_fetches_the_rest_meanwhile() {
    let site = page(
        "1<esi:try><esi:attempt>a<esi:include src=\"http://a.test/\"/></esi:attempt>\
         <esi:except>c<esi:include src=\"http://c.test/\"/></esi:except></esi:try>2<fragment name=b />",
    )
    .fragment("a", after(ms(100), fails(Reason::Connect)))
    .fragment("b", after(ms(50), html("B")))
    .fragment("c", after(ms(100), html("C")))
    .start();
    assert_chunks(&timed_chunks(&site).await.unwrap(), &[(10, "1"), (100, "c"), (200, "C2B")]);
}

#[tokio::test(start_paused = true)]
async fn a_response_includes_urls_relative_to_its_own() {
    for (src, url) in [
        ("/one", "http://s.test/one"),
        ("two?x=$(QUERY_STRING{q})", "http://s.test/two?x=1"),
        ("http://s.test/three", "http://s.test/three"),
    ] {
        let site = service(&format!("<b><esi:include src=\"{src}\"/></b>"), "context = [\"locale\"]\n").start();
        let reader = Reader { locale: Some("de".to_owned()), ..Reader::default() };
        assert_eq!(site.get_as("/", reader).await.html(), "[<b>other</b>]");
        let request = site.requests().pop().unwrap();
        assert_eq!(request.address.as_str(), url);
        assert_eq!(request.headers["accept-language"], "de", "a nanoservice is sent the context it declares");
        assert_eq!(request.headers["surrogate-capability"], "pasteup=\"ESI/1.0\"");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_includes_nothing_from_upstreams_that_are_not_allowed() {
    let text =
        "<esi:include src=\"http://a.test/\"/><esi:include src=\"//a.test/\"/><esi:include src=\"ftp://a.test/\"/>";
    let site = service(text, "").fragment("a", html("A")).start();
    assert_eq!(site.get("/").await.html(), "[]");
    assert_eq!(site.calls("a"), 0);
    let site = service(text, "").fragment("a", html("A")).allow("http://a.test").start();
    assert_eq!(site.get("/").await.html(), "[AA]");
}

#[tokio::test(start_paused = true)]
async fn esi_in_a_response_can_read_only_declared_context() {
    let text = "<esi:vars>$(HTTP_COOKIE{a}|no),$(HTTP_COOKIE{b}|no),$(HTTP_COOKIE),$(HTTP_REFERER|no),$(QUERY_STRING),$(HTTP_ACCEPT_LANGUAGE|no)</esi:vars>";
    let site = service(text, "context = [\"cookie:a\"]\n");
    let site = site
        .layout("q.html", "+++\nroute = \"/other\"\nquery = [\"secret\"]\n+++\n<fragment name=s data-q=1 />")
        .start();
    let reader = Reader {
        cookies: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
        locale: Some("de".to_owned()),
        headers: HeaderMap::from_iter([(http::header::REFERER, HeaderValue::from_static("/x"))]),
        ..Reader::default()
    };
    assert_eq!(site.get_as("/other?secret=1", reader).await.html(), "1,no,a&#61;1,no,q&#61;1,no");
}

#[tokio::test(start_paused = true)]
async fn unwrapped_html_of_a_response_is_balanced() {
    assert_page(service("<b>x</b><!--esi </div><i>-->", ""), "[<b>x</b> <i></i>]").await;
    assert_page(service("<!--esi-->", ""), "[<!--esi-->]").await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_includes_itself_terminates() {
    let text = "(<esi:include src=\"/x?q=1\"/>)";
    assert_page(service(text, ""), "[()]").await;
    let deeper = |request: pasteup::engine::port::UpstreamRequest| {
        responds(200, &ESI, &format!("(<esi:include src=\"{}1\"/>)", request.address))(request)
    };
    let site = TestCompositor::new().front("<fragment name=s />").fragment_with("s", "esi = true\n", deeper).start();
    assert_eq!(site.get("/").await.html(), "((()))");
    assert_eq!(site.calls("s"), 3);
}

#[tokio::test(start_paused = true)]
async fn an_included_part_is_cached_for_its_own_lifetime() {
    let part = html_cached("part", "max-age=1");
    let whole = {
        let headers = [ESI[0], ESI[1], ("cache-control", "max-age=60")];
        responds(200, &headers, "<esi:include src=\"/part\"/>")
    };
    let site = TestCompositor::new()
        .front("<fragment name=s />")
        .fragment_with("s", "esi = true\n", move |request| {
            if request.address.as_str().ends_with("/part") { part(request) } else { whole(request) }
        })
        .start();
    assert_eq!(site.get("/").await.header("cache-control"), "public, max-age=1");
    tokio::time::advance(ms(5000)).await;
    site.get("/").await;
    let urls: Vec<String> = site.requests().into_iter().map(|request| request.address.to_string()).collect();
    assert_eq!(urls, ["http://s.test/x", "http://s.test/part", "http://s.test/part"]);
}

#[tokio::test(start_paused = true)]
async fn invalid_esi_in_a_response_affects_only_its_own_part() {
    for (text, shown) in [
        ("a<esi:odd>b</esi:odd>", "a<esi:odd>b</esi:odd>"),
        ("a<esi:when test=\"1\">b</esi:when>c", "ac"),
        ("a<esi:choose><esi:when test=\"oh no\">b</esi:when><esi:otherwise>c</esi:otherwise></esi:choose>", "ac"),
        ("a<esi:include/>b<esi:include src=\"$(\"/>c", "abc"),
        ("a<esi:vars>$(b)</esi:vars>", "a$(b)"),
        // Without a slash, nothing of the rest is swallowed, nor can it reach around its part.
        ("a<esi:include src=\"$(\"><p>b</p>c", "a<p>b</p>c"),
        ("a<esi:include src=\"$(\">b</esi:include>c</div>", "abc"),
        ("a<esi:comment text=x>b<b>c</b>", "ab<b>c</b>"),
        ("a<esi:comment>b</esi:comment>c", "ac"),
        ("a<esi:comment><div></esi:comment></div>c", "ac"),
        ("a<esi:try><esi:attempt>b</esi:attempt></esi:try>", "ab"),
        ("a<esi:remove>b", "a"),
        ("a</esi:remove>b", "ab"),
    ] {
        assert_page(service(text, ""), &format!("[{shown}]")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unchosen_branch_is_not_shown_whatever_html_it_contains() {
    for (text, shown) in [
        (
            "<p>Price: <esi:choose><esi:when test=\"$(QUERY_STRING{x}) == 'gold'\"><div>GOLD</div></esi:when>\
             <esi:otherwise><div>NORMAL</div></esi:otherwise></esi:choose></p>",
            "<p>Price: <div>NORMAL</div></p>",
        ),
        ("<p>a<esi:remove><ul><li>hidden</ul></esi:remove>b</p>", "<p>ab</p>"),
        ("<ul><li>a<esi:remove><li>hidden</esi:remove></ul>", "<ul><li>a</ul>"),
        ("<a href=/>a<esi:remove><a href=/x>hidden</a></esi:remove></a>", "<a href=/>a</a>"),
    ] {
        assert_page(service(text, ""), &format!("[{shown}]")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_value_is_put_where_it_would_be_code() {
    let bad_value = |what: &str| vec![format!("bad-value: {what}")];
    let script = "a value cannot be put into a script or a style";
    let url = "a URL cannot begin with a value";
    for (text, problems) in [
        ("<a href=\"$(HTTP_REFERER)\">back</a>", bad_value(url)),
        ("<iframe srcdoc=\"$(QUERY_STRING{q})\"></iframe>", bad_value(script)),
        ("<b onclick=\"f('$(QUERY_STRING{q})')\">x</b>", bad_value(script)),
        ("<b style=\"width: $(QUERY_STRING{q})\">x</b>", bad_value(script)),
        ("<style>$(HTTP_HOST)</style>", bad_value(script)),
        ("<script src=\"/js/$(QUERY_STRING{q})\"></script>", bad_value(script)),
        ("<a href=\"/$(QUERY_STRING{q})\">x</a>", bad_value(url)),
        ("<img src=\"https://$(HTTP_HOST)/\">", bad_value(url)),
        ("<svg><set to=\"$(QUERY_STRING{q})\"/></svg>", bad_value(script)),
        ("<meta name=refresh content=\"0;url=$(QUERY_STRING{q})\">", bad_value(script)),
        ("<div $(HTTP_HOST)>x</div>", bad_value("a value cannot be put into a tag")),
        ("a <$(HTTP_HOST)>x", bad_value("a value cannot be put into a tag")),
        ("<img src=\"https://a.test/$(QUERY_STRING{q})\">", vec![]),
        ("<a href=\"/to?q=$(QUERY_STRING{q})\" title='$(QUERY_STRING{q})'>x</a>", vec![]),
    ] {
        assert_eq!(page(&format!("<esi:vars>{text}</esi:vars>")).problems(), problems, "{text}");
    }
    assert_page(
        service("<esi:vars><a href=\"$(QUERY_STRING{q})\">x</a></esi:vars>", ""),
        "[<a href=\"$(QUERY_STRING{q})\">x</a>]",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_long_choice_is_evaluated_once() {
    let whens = "<esi:when test=\"1==2\">a</esi:when>".repeat(20_000);
    let text = format!("<esi:choose>{whens}<esi:otherwise>b</esi:otherwise></esi:choose>");
    assert_page(service(&text, "[limits]\nmax_bytes = \"10MiB\"\n"), "[b]").await;
}

#[tokio::test(start_paused = true)]
async fn included_html_is_balanced() {
    let broken = "</main></div><!-- swallow";
    let site = service("<b><esi:include src=\"http://z.test/\"/></b>", "").allow("http://z.test");
    assert_page(site.fragment("z", html(broken)), "[<b></b>]").await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_exceeds_the_limits_of_esi_is_not_cached() {
    let site = service(&"<esi:include src=\"/y\" alt=\"/z\"/>".repeat(600), "").start();
    let page = site.get("/").await;
    assert_eq!(page.html(), format!("[{}]", "other".repeat(500)));
    assert_eq!((page.header("cache-control"), page.header("etag")), ("no-store", ""));
    let deep = format!("{}secret{}", "<esi:remove>".repeat(100), "</esi:remove>".repeat(100));
    let page = service(&deep, "").start().get("/").await;
    assert_eq!((page.html().as_str(), page.header("cache-control")), ("[]", "no-store"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_has_no_effect_on_the_page() {
    let text = "<esi:try><esi:attempt><esi:include src=\"http://a.test/\"/><fragment name=b required /></esi:attempt>\
                <esi:except>plan B</esi:except></esi:try>";
    for elsewhere in [responds(302, &[("location", "/x"), ("set-cookie", "c=1")], ""), responds(404, &[], "")] {
        let site = page(text)
            .fragment("a", fails(Reason::Connect))
            .fragment_with("b", "cookies = [\"c\"]\n", elsewhere)
            .start();
        let page = site.get("/").await;
        assert_eq!((page.html().as_str(), page.header("set-cookie")), ("plan B", ""));
        assert_eq!(*page.verdict(), pasteup::page::output::verdict::Verdict::Page(http::StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_response_with_and_without_esi_has_different_etags() {
    let etag = async |manifest: &str| {
        let headers = [ESI[0], ESI[1], ("cache-control", "max-age=60")];
        let site = TestCompositor::new()
            .front("<fragment name=a />")
            .fragment_with("a", manifest, responds(200, &headers, "x<esi:remove>draft</esi:remove>y"))
            .start();
        site.get("/").await.header("etag").to_owned()
    };
    assert_ne!(etag("esi = true\n").await, etag("").await);
}

#[test]
fn each_error_in_a_layout_is_reported() {
    for (text, expected) in [
        ("<esi:odd/>", "bad-value: `<esi:odd>` is not an element of ESI 1.0"),
        ("<esi:include/>", "missing-name: `<esi:include>` does not name what it includes"),
        ("<esi:include src=\"\"/>", "bad-value: `src`: a URL is missing"),
        ("<esi:include src=\"http://a.test/\" ttl=5/>", "unknown-attribute: `<esi:include>` has no attribute `ttl`"),
        ("<esi:include src=\"http://a.test/\" onerror=stop />", "bad-value: `onerror`: `stop` is not a known action"),
        ("<esi:include src=\"/a\"/>", "bad-value: `/a` is not an absolute `http` or `https` URL"),
        (
            "<esi:include src=\"http://evil.test/\"/>",
            "upstream-not-allowed: `http://evil.test` is not an allowed upstream",
        ),
        (
            "<esi:include src=\"http://a.test/\" alt=\"http://evil.test/\"/>",
            "upstream-not-allowed: `http://evil.test` is not an allowed upstream",
        ),
        ("<esi:include src=\"http://$(HTTP_HOST)/\"/>", "bad-value: there is a variable where the upstream should be"),
        (
            "<esi:include src=\"http://a.test$(HTTP_HOST)/\"/>",
            "bad-value: there is a variable where the upstream should be",
        ),
        ("<esi:include src=\"$(HTTP_REFERER)\"/>", "bad-value: there is a variable where the upstream should be"),
        ("<esi:include src=\"http://a.test/$(http_host)\"/>", "bad-value: names of variables are in capital letters"),
        (
            "<esi:include src=\"http://a.test/$(HTTP_HORST)\"/>",
            "unknown-placeholder: there is no variable `$(HTTP_HORST)`",
        ),
        (
            "<esi:vars><script>'$(HTTP_HOST)'</script></esi:vars>",
            "bad-value: a value cannot be put into a script or a style",
        ),
        ("<esi:choose></esi:choose>", "bad-value: `<esi:choose>` needs at least one `<esi:when>`"),
        (
            "<esi:choose><esi:when test=\"1 = 1\">a</esi:when></esi:choose>",
            "bad-value: `=` is not a comparison operator",
        ),
        ("<esi:choose><esi:when>a</esi:when></esi:choose>", "missing-name: `<esi:when>` has no test"),
        (
            "<esi:choose>a<esi:when test=true>a</esi:when></esi:choose>",
            "bad-value: only `<esi:when>` and `<esi:otherwise>` are allowed in `<esi:choose>`: this is never shown",
        ),
        ("<esi:when test=true>a</esi:when>", "bad-value: `<esi:when>` is allowed in `<esi:choose>` only"),
        (
            "<esi:try><esi:attempt>a</esi:attempt></esi:try>",
            "bad-value: `<esi:try>` needs an `<esi:attempt>` and an `<esi:except>`",
        ),
        (
            "<esi:include src=\"http://a.test/\">text</esi:include>",
            "bad-value: `<esi:include>` is replaced by what it includes, so its content is never shown",
        ),
        ("<esi:inline name=x>a</esi:inline>", "bad-value: `<esi:inline>` is not supported"),
        ("<esi:include src=\"http://a.test/{id}\"/>", "bad-value: `{` has no meaning in a URL of ESI"),
        ("<esi:vars>$(HTTP_REFERER{x})</esi:vars>", "unknown-placeholder: `HTTP_REFERER` has no `{x}`"),
        ("<esi:vars>$(HTTP_USER_AGENT{device})</esi:vars>", "unknown-placeholder: `HTTP_USER_AGENT` has no `{device}`"),
        ("<esi:remove>", "unclosed: `<esi:remove>` is not closed"),
        ("</esi:remove>", "unexpected-close: `</esi:remove>` closes nothing"),
        (
            "<esi:include src=\"http://a.test/\"><p>a</p>",
            "missing-slash: `<esi:include>` has no slash at its end; it is read as if it had one",
        ),
        (
            "<esi:choose><esi:when test=\"$(HTTP_COOKIE{x})\">a</esi:when></esi:choose>",
            "never-shown: `test`: `$(HTTP_COOKIE{x})` alone holds only if its value is the word `true`",
        ),
        (
            "<esi:choose><esi:when test=\"$(HTTP_COOKIE{x}) != ''\">a</esi:when></esi:choose>",
            "never-shown: `test`: a comparison with an empty text never holds, whatever its operator",
        ),
        (
            "<title><esi:include src=\"/a\"/></title>",
            "text-only: `<esi:include>` stays as it is: `<title>` has only text",
        ),
    ] {
        assert_eq!(page(text).problems(), [expected], "{text}");
    }
}
