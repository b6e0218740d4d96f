//! Layouts: their HTML is sent to the browser byte for byte around the fragments.

use pasteup::page::layout::{LayoutFile, Segment};
use pasteup::page::site::{BoundSite, Files, Site, SiteLimits};
use pasteup::page::source::diagnostic::Source;
use pasteup::page::source::reason::Reason;
use pasteup::page::visit::context::Reader;
use proptest::prelude::*;

use crate::support::compositor::{ServedFrom, TestCompositor, fails, html, responds};

/// HTML with everything that can mislead a parser of tags.
const ODD: &str = "<!DOCTYPE html>\r\n<!-- <fragment name=\"a\"> --><HTML lang=en>\r\n<head><title>&lt;fragment&gt; <fragment> é</title>\
<script>var s = '</fragment>' + \"<fragment name='a'>\"; if (a<b && c>d) {}</script><style>a:before{content:'<fragment>'}</style></head>\
<BODY class='x' onload=\"alert('<fragment>')\">\t<P>zwölf &amp; &#x20AC; 日本 <br/><unknown-element a=b>\
<textarea><fragment name=a></textarea><svg><style>a{}</style><path d=\"M0 0\"/></svg>\
<template><slot name=x></slot></template><!--> <![CDATA[ x ]]> </p >&bogus; < > & \"";

#[tokio::test]
async fn unusual_html_around_fragments_is_sent_unchanged() {
    let layout = format!(
        "{ODD}<FRAGMENT NAME='a'\r\n  data-x=1 >fall\r\nback</Fragment >{ODD}<fragment name=a data-x=1 />{ODD}"
    );
    let site = TestCompositor::new().front(&layout).fragment("a", html("[HERE]")).start();
    assert_eq!(site.get("/").await.html(), format!("{ODD}[HERE]{ODD}[HERE]{ODD}"));
}

#[tokio::test]
async fn a_title_is_replaced_added_and_escaped() {
    for (before, after) in [
        ("<head><title>old</title></head>", "<head><title>a &lt;b&gt; &amp; c</title></head>"),
        ("<head><title></title></head>", "<head><title>a &lt;b&gt; &amp; c</title></head>"),
        (
            "<!doctype html><html><head><meta></head>",
            "<!doctype html><html><head><title>a &lt;b&gt; &amp; c</title><meta></head>",
        ),
        ("<!doctype html><html><p>", "<!doctype html><html><title>a &lt;b&gt; &amp; c</title><p>"),
        ("<!doctype html><p>", "<!doctype html><title>a &lt;b&gt; &amp; c</title><p>"),
        ("<p>", "<title>a &lt;b&gt; &amp; c</title><p>"),
        ("<svg><title>icon</title></svg>", "<title>a &lt;b&gt; &amp; c</title><svg><title>icon</title></svg>"),
        ("<head><include file=head.html /></head>", "<head><title>a &lt;b&gt; &amp; c</title></head>"),
        (
            "<title>one</title><title>two</title>",
            "<title>a &lt;b&gt; &amp; c</title><title>a &lt;b&gt; &amp; c</title>",
        ),
        ("<when locale=xx><title>one</title></when><title>two</title>", "<title>a &lt;b&gt; &amp; c</title>"),
        ("<when locale=\"not xx\"><title>one</title></when>", "<title>a &lt;b&gt; &amp; c</title>"),
        (
            "<head><template><title>t</title></template><noscript><title>n</title></noscript></head>",
            "<head><title>a &lt;b&gt; &amp; c</title><template><title>t</title></template><noscript><title>n</title></noscript></head>",
        ),
        (
            "<math><title>m</title></math><title>t</title>",
            "<math><title>m</title></math><title>a &lt;b&gt; &amp; c</title>",
        ),
        (
            "<fragment name=none><head><title>f</title></head></fragment><html>",
            "<head><title>f</title></head><html><title>a &lt;b&gt; &amp; c</title>",
        ),
    ] {
        let site = TestCompositor::new()
            .layout("p.html", &format!("+++\nroute = \"/\"\ntitle = \"a <b> & c\"\n+++\n{before}"))
            .layout("head.html", "<title>partial</title>")
            .fragment("none", fails(Reason::Connect))
            .start();
        assert_eq!(site.get("/").await.html(), after);
    }
}

#[tokio::test(start_paused = true)]
async fn a_title_may_have_placeholders() {
    let front = "+++\nroute = [\"/in/{city}\", \"/all\"]\nquery = [\"day\"]\ntitle = \"Weather in {city} & {{more}} {day}\"\n+++\n";
    let text = "<head><title>x</title></head><when device=mobile>y</when>";
    let site = TestCompositor::new().layout("p.html", &format!("{front}{text}")).start();
    for (path, title) in [
        ("/in/Port Alder", "Weather in Port Alder &amp; {more} "),
        ("/in/a?day=1", "Weather in a &amp; {more} 1"),
        ("/in/a?day=%3C/title%3E%3Cscript%3E&x=1", "Weather in a &amp; {more} &lt;/title&gt;&lt;script&gt;"),
        ("/all", "Weather in  &amp; {more} "),
    ] {
        let expected = format!("<head><title>{title}</title></head>");
        let tags: Vec<_> =
            [site.get(path).await, site.get("/in/other").await].map(|page| page.header("etag").to_owned()).into();
        assert_ne!(tags[0], tags[1]);
        // Each page is cached under a key of its own.
        for _ in 0..4 {
            let (headers, bytes, _) = site.serve(path, Reader::default()).await;
            assert_eq!(
                (String::from_utf8_lossy(&bytes).as_ref(), headers["etag"].to_str().unwrap()),
                (expected.as_str(), tags[0].as_str()),
                "{path}"
            );
        }
        assert_eq!(site.serve(path, Reader::default()).await.2, ServedFrom::CachedPage);
    }
    for (title, problem) in [
        ("{town}", "unknown-placeholder: `{town}` is neither a parameter of the route nor a declared query parameter"),
        ("{city", "front-matter: `title`: `{` is not closed"),
    ] {
        let front = format!("+++\nroute = \"/in/{{city}}\"\ntitle = \"{title}\"\n+++\n");
        assert_eq!(TestCompositor::new().layout("p.html", &front).problems(), [problem]);
    }
    // That of a frame may have those of each of its pages.
    let frame = "+++\ntitle = \"In {city}\"\n+++\n<slot></slot>";
    let site = TestCompositor::new()
        .layout("frame.html", frame)
        .layout("p.html", "+++\nroute = \"/{city}\"\nframe = \"frame.html\"\n+++\nx");
    assert_eq!(site.start().get("/a").await.html(), "<title>In a</title>x");
}

#[tokio::test]
async fn what_parsers_ignore_is_not_taken_for_the_head() {
    for (before, after) in [
        // In a template, neither tag is one of the document.
        (
            "<html><head><template><p></head></template><meta></head><body>",
            "<html><head>[T]<template><p></head></template><meta>[A]</head><body>",
        ),
        (
            "<template><head><title>x</title></head></template><body>",
            "[T]<template><head><title>x</title></head></template>[A]<body>",
        ),
        // A second head, and one after the body has begun.
        (
            "<html><head></head><body><head><title>x</title></head><p></body>",
            "<html><head>[T][A]</head><body><head><title>x</title></head><p></body>",
        ),
        ("<!doctype html><p>x<head><title>y</title></head>", "<!doctype html>[A]<p>x<head>[t]</head>"),
        // An element of the body ends the head; its end tag comes too late.
        ("<html><head><meta><div></div></head><body>", "<html><head>[T][A]<meta><div></div></head><body>"),
        ("<html><head>text</head><body>", "<html><head>[T][A]text</head><body>"),
        // Text in scripts, and what browsers with scripts take for text, does not.
        (
            "<head><script>'</head>'</script><noscript><p></head></noscript><style>a</style></head>",
            "<head>[T]<script>'</head>'</script><noscript><p></head></noscript><style>a</style>[A]</head>",
        ),
        (
            "<head><when device=mobile><div></div></when><include file=head.html /></head>",
            "<head>[T][A]<title>partial</title></head>",
        ),
        ("<head><include file=end.html /><body>", "<head>[T]<meta>[A]</head><body>"),
        ("<head><fragment name=none><p>x</p></fragment></head>", "<head>[T]<p>x</p>[A]</head>"),
    ] {
        let after = after.replace("[T]", "<title>T</title>").replace("[t]", "<title>T</title>");
        let after = after.replace("[A]", "<link rel=\"stylesheet\" href=\"https://c.test/a.css\">");
        let headers = [("content-type", "text/html"), ("link", "<https://c.test/a.css>; rel=stylesheet")];
        let site = TestCompositor::new()
            .layout("p.html", &format!("+++\nroute = \"/\"\ntitle = \"T\"\n+++\n{before}<fragment name=a />"))
            .layout("head.html", "<title>partial</title>")
            .layout("end.html", "<meta></head>")
            .fragment("none", fails(Reason::Connect))
            .fragment("a", responds(200, &headers, "!"))
            .start();
        assert_eq!(site.get("/").await.html(), format!("{after}!"), "{before}");
    }
}

#[tokio::test]
async fn partials_are_replaced_by_their_html_and_may_contain_fragments() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/{x}\"\n+++\n[<include file=\"partials/a.html\" />|<include file=\"partials/a.html\"></include>]")
        .layout("partials/a.html", "a<include file=\"partials/b.html\" />")
        .layout("partials/b.html", "<fragment name=a data-x={x}>none</fragment>")
        .fragment("a", html("!"))
        .start();
    let page = site.get("/7").await;
    assert_eq!(page.html(), "[a!|a!]");
    assert_eq!(site.requests()[0].address.as_str(), "http://a.test/x?x=7");
}

/// Elements inside each other.
fn nested(element: &str, count: usize) -> String {
    let name = element.split(' ').next().unwrap_or_default();
    format!("{}x{}", format!("<{element}>").repeat(count), format!("</{name}>").repeat(count))
}

/// The codes of a site's diagnostics.
fn codes(layouts: &[(&str, &str)]) -> Vec<&'static str> {
    let manifest =
        Source::new("fragments/a/fragment.toml", "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a/\"\n");
    let layouts = layouts.iter().map(|(name, text)| Source::new(format!("layouts/{name}"), *text)).collect();
    let files = Files { layouts, manifests: vec![manifest], ..Files::default() };
    Site::build(&files, &SiteLimits::default(), None).problems.iter().map(|problem| problem.code.as_str()).collect()
}

#[tokio::test]
async fn elements_nested_to_the_limit_are_composed() {
    let site =
        TestCompositor::new().front(&nested("fragment name=a", 64)).fragment("a", fails(Reason::Connect)).start();
    assert_eq!(site.get("/").await.html(), "x");
}

#[test]
fn no_depth_of_elements_or_partials_overflows_the_stack() {
    let page = |html: &str| format!("+++\nroute = \"/\"\n+++\n{html}");
    for element in ["when", "fragment name=a", "slot"] {
        for html in [nested(element, 65), nested(element, 30_000), format!("<{element}>").repeat(30_000)] {
            let name = if element == "slot" { "frame.html" } else { "page.html" };
            let html = if element == "slot" { html } else { page(&html) };
            assert_eq!(codes(&[(name, &html)]), ["bad-value"], "{element}");
        }
    }
    let chain: Vec<(String, String)> =
        (0..990).map(|n| (format!("{n}.html"), format!("<include file={}.html />", n + 1))).collect();
    let mut layouts: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let first = page("<include file=0.html />");
    layouts.push(("page.html", &first));
    layouts.push(("990.html", "x"));
    assert_eq!(codes(&layouts), ["include-cycle"]);
    // Neither file alone is nested too deeply.
    let (outer, inner) = (page(&nested("when", 40).replace('x', "<include file=b.html />")), nested("when", 40));
    assert_eq!(codes(&[("a.html", &outer), ("b.html", &inner)]), ["bad-value"]);
}

#[test]
fn large_layouts_are_read_in_linear_time() {
    let page = |html: &str| format!("+++\nroute = \"/\"\ntitle = \"t\"\n+++\n{html}");
    let began = std::time::Instant::now();
    // Each partial includes the next one twice.
    let mut layouts: Vec<(String, String)> = (0..30)
        .map(|n| {
            (format!("{n}.html"), format!("<include file={next}.html /><include file={next}.html />", next = n + 1))
        })
        .collect();
    layouts.push(("30.html".to_owned(), "x".to_owned()));
    layouts.push(("doubling.html".to_owned(), page("<include file=0.html />")));
    let repeated: String = (0..60_000).map(|n| format!(" data-x{n}=1")).collect();
    for (name, html) in [
        ("ids", "<fragment name=a />".repeat(1_000)),
        ("svg", "<svg>".repeat(80_000) + &"</svg>".repeat(80_000)),
        ("slots", "<slot>".repeat(30_000)),
        ("closes", "</when>".repeat(100_000)),
        ("attributes", format!("<fragment name=a{repeated} />")),
        ("names", format!("<fragment name={} />", "x".repeat(500_000))),
    ] {
        layouts.push((format!("{name}.html"), page(&html).replace("\"/\"", &format!("\"/{name}\""))));
    }
    let layouts: Vec<(&str, &str)> = layouts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let diagnostics = codes(&layouts).len();
    // Quadratic code took minutes.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(diagnostics < 500, "{diagnostics}");
}

#[test]
fn the_example_in_the_reference_has_no_diagnostics() {
    let layout = r#"+++
route    = "/news/{section}"
title    = "News - The Daily Courier"
frame    = "frames/site.html"
owner    = "team-news-home"
budget   = "800ms"
query    = ["page"]
schedule = [{ use = "takeover.html", from = 2026-12-24T18:00:00Z, until = "2026-12-26T00:00:00+01:00" }]
experiment.lead = { big = 1, small = 3 }
+++
<head>
  <meta name="description" content="The latest news, sport and weather.">
  <fragment name="seo-tags" ttl="5m" />
</head>

<fragment slot="alert" name="breaking-news" version="^2" ttl="5s" timeout="120ms" />

<main>
  <fragment name="top-stories" version="^3.2" ttl="20s" stale="10m" timeout="300ms" required
            data-section="{section}" data-page="{page}">
    <p>Top stories are on their way. <a href="/news/latest">See the latest list</a></p>
  </fragment>
  <when device="mobile" region="not US">
    <fragment name="app-banner" load="lazy" />
  </when>
</main>
"#;
    let manifest = |name: &str, version: &str| {
        let text = format!("name = \"{name}\"\nversion = \"{version}\"\nendpoint = \"http://127.0.0.1:1/\"\n");
        Source::new(format!("fragments/{name}/fragment.toml"), text)
    };
    let files = Files {
        layouts: vec![
            Source::new("layouts/news.html", layout),
            Source::new(
                "layouts/frames/site.html",
                "<head><title></title></head><slot name=alert></slot><slot></slot>",
            ),
            Source::new("layouts/takeover.html", "takeover"),
        ],
        manifests: vec![
            manifest("seo-tags", "1.0.0"),
            manifest("breaking-news", "2.1.0"),
            manifest("top-stories", "3.4.0"),
            manifest("app-banner", "0.1.0"),
        ],
        ..Files::default()
    };
    let site = Site::build(&files, &SiteLimits::default(), None);
    let errors: Vec<_> = site.problems.iter().filter(|problem| problem.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(site.templates[0].html.fragments.len(), 4);
    assert!(
        BoundSite::bind(site, std::sync::Arc::default()).find("/news/uk", None, jiff::Timestamp::UNIX_EPOCH).is_ok()
    );
}

/// The bytes of a layout without fragments.
fn bytes(text: &str) -> (Vec<u8>, usize) {
    let source = Source::new("layouts/p.html", format!("+++\nroute = \"/\"\n+++\n{text}"));
    let parsed = LayoutFile::parse(&source);
    let problems = parsed.problems.len();
    let files = Files { layouts: vec![source], ..Files::default() };
    let site = Site::build(&files, &SiteLimits::default(), None);
    let parts = site.templates.iter().flat_map(|template| template.html.segments.iter());
    let text = parts.flat_map(|part| match part {
        Segment::Assets | Segment::Late => Vec::new(),
        Segment::Text(text) => text.to_vec(),
        _ => panic!("there is none"),
    });
    (text.collect(), problems)
}

proptest! {
    #[test]
    fn html_without_our_elements_is_sent_unchanged(
        text in "([a-zé\r\n\t &<>!/='\"-]|<!--|-->|<script>|</script>|<style>|</title>|<title>|</p>|<svg>|<template>|<!doctype|<head>|\\]\\]>|<!\\[CDATA\\[){0,40}"
    ) {
        prop_assume!(!text.contains("<fragment"));
        // Ends whatever the text ends within, which is an error.
        let text = format!("{text}\"'>--></script></style></title>");
        let (back, problems) = bytes(&text);
        prop_assert_eq!(problems, 0);
        prop_assert_eq!(String::from_utf8(back).unwrap(), text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(<|</|>|/|fragment|when|include|slot|include file=|name=|\"|'|=| |\\{|\\}|\\+\\+\\+\n|title|<!--|é){0,40}") {
        let source = Source::new("layouts/p.html", text);
        for problem in LayoutFile::parse(&source).problems {
            prop_assert!(source.text.get(problem.at.span).is_some(), "each diagnostic has its place");
        }
    }
}

#[test]
fn check_reads_the_frames_and_partials_that_no_page_uses() {
    let page = "+++\nroute = \"/\"\nframe = \"used.html\"\n+++\n<p>x";
    let used = ("used.html", "<slot></slot>");
    let check = |name: &str, text: &str| codes(&[("page.html", page), used, (name, text)]);
    assert_eq!(check("frame.html", "<slot name=a></slot><slot name=a></slot>"), ["duplicate-slot"]);
    assert_eq!(check("partial.html", "<fragment name=unknown />"), ["unknown-fragment"]);
    assert_eq!(check("partial.html", "<include file=nowhere.html />"), ["missing-file"]);
    assert_eq!(check("partial.html", "<fragment name=a version=\"^7\" />"), ["no-such-version"]);
    // The page that uses them decides what these mean.
    assert_eq!(check("partial.html", "<fragment name=a data-x={city} /><when variant=e:a>x</when>"), ["unused"]);
    // What a page uses is reported once, and the page with it.
    let page = "+++\nroute = \"/\"\n+++\n<include file=partial.html />";
    assert_eq!(codes(&[("page.html", page), ("partial.html", "<fragment name=unknown />")]), ["unknown-fragment"]);
}
