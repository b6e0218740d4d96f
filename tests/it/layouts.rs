//! What a layout is made of reaches the browser byte for byte around its fragments.

use pasteup::page::diagnostic::Source;
use pasteup::page::layout::{LayoutFile, Part};
use pasteup::page::site::{Files, Limits, Site};
use proptest::prelude::*;

use crate::support::compositor::{TestCompositor, html};

/// Everything that fools a reader of tags.
const ODD: &str = "<!DOCTYPE html>\r\n<!-- <fragment name=\"a\"> --><HTML lang=en>\r\n<head><title>&lt;fragment&gt; <fragment> é</title>\
<script>var s = '</fragment>' + \"<fragment name='a'>\"; if (a<b && c>d) {}</script><style>a:before{content:'<fragment>'}</style></head>\
<BODY class='x' onload=\"alert('<fragment>')\">\t<P>zwölf &amp; &#x20AC; 日本 <br/><unknown-element a=b>\
<textarea><fragment name=a></textarea><svg><style>a{}</style><path d=\"M0 0\"/></svg>\
<template><slot name=x></slot></template><!--> <![CDATA[ x ]]> </p >&bogus; < > & \"";

#[tokio::test]
async fn odd_html_comes_back_byte_for_byte_around_its_fragments() {
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
        ("<title>one</title><title>two</title>", "<title>a &lt;b&gt; &amp; c</title><title>two</title>"),
    ] {
        let site = TestCompositor::new()
            .layout("p.html", &format!("+++\nroute = \"/\"\ntitle = \"a <b> & c\"\n+++\n{before}"))
            .layout("head.html", "<title>partial</title>")
            .start();
        assert_eq!(site.get("/").await.html(), after);
    }
}

#[tokio::test]
async fn partials_stand_for_their_html_and_may_hold_fragments() {
    let site = TestCompositor::new()
        .layout("p.html", "+++\nroute = \"/{x}\"\n+++\n[<include file=\"partials/a.html\" />|<include file=\"partials/a.html\"></include>]")
        .layout("partials/a.html", "a<include file=\"partials/b.html\" />")
        .layout("partials/b.html", "<fragment name=a data-x={x}>none</fragment>")
        .fragment("a", html("!"))
        .start();
    let page = site.get("/7").await;
    assert_eq!(page.html(), "[a!|a!]");
    assert_eq!(site.requests()[0].url, "http://a.test/x?x=7");
}

#[test]
fn the_example_of_the_reference_is_understood_whole() {
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
        layouts: vec![Source::new("layouts/news.html", layout)],
        manifests: vec![
            manifest("seo-tags", "1.0.0"),
            manifest("breaking-news", "2.1.0"),
            manifest("top-stories", "3.4.0"),
            manifest("app-banner", "0.1.0"),
        ],
        ..Files::default()
    };
    let site = Site::build(&files, &Limits::default(), None);
    let errors: Vec<_> = site.problems.iter().filter(|problem| problem.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(site.templates[0].fragments.len(), 4);
    assert!(site.find("/news/uk").is_some());
}

/// The bytes of a layout without fragments.
fn bytes(text: &str) -> (Vec<u8>, usize) {
    let source = Source::new("layouts/p.html", format!("+++\nroute = \"/\"\n+++\n{text}"));
    let parsed = LayoutFile::parse(&source);
    let problems = parsed.problems.len();
    let files = Files { layouts: vec![source], ..Files::default() };
    let site = Site::build(&files, &Limits::default(), None);
    let parts = site.templates.iter().flat_map(|template| &template.parts);
    let text = parts.flat_map(|part| match part {
        Part::Assets => Vec::new(),
        Part::Text(text) => text.to_vec(),
        Part::Fragment(_) | Part::When(..) => panic!("there is none"),
    });
    (text.collect(), problems)
}

proptest! {
    #[test]
    fn any_html_without_our_elements_comes_back_byte_for_byte(
        text in "([a-zé\r\n\t &<>!/='\"-]|<!--|-->|<script>|</script>|<style>|</title>|<title>|</p>|<svg>|<template>|<!doctype|<head>|\\]\\]>|<!\\[CDATA\\[){0,40}"
    ) {
        prop_assume!(!text.contains("<fragment"));
        let (back, problems) = bytes(&text);
        prop_assert_eq!(problems, 0);
        prop_assert_eq!(String::from_utf8(back).unwrap(), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(<|</|>|/|fragment|when|include|slot|include file=|name=|\"|'|=| |\\{|\\}|\\+\\+\\+\n|title|<!--|é){0,40}") {
        let source = Source::new("layouts/p.html", text);
        for problem in LayoutFile::parse(&source).problems {
            prop_assert!(source.text.get(problem.at.span).is_some(), "each mistake has its place");
        }
    }
}
