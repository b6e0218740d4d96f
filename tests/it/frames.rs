//! Frames and slots: a layout fills the slots of the file around it.

use pasteup::page::site::{Files, Site, SiteLimits};
use pasteup::page::source::diagnostic::{Diagnostic, Source};

use crate::support::compositor::{TestCompositor, html, responds};

const SITE: &str = "<!doctype html>\n<html>\n<head>\n<title>Site</title>\n</head>\n<body>\n<header><slot name=\"alert\"><p>No news.</p></slot></header>\n\
                    <main><slot></slot></main>\n<footer><slot name=foot>(c)</slot></footer>\n</body>\n</html>\n";

fn page(front: &str, body: &str) -> String {
    format!("+++\nroute = \"/\"\n{front}\n+++\n{body}")
}

#[tokio::test(start_paused = true)]
async fn a_layout_fills_the_slots_of_its_frame() {
    let body = "<head>\n  <meta name=\"x\" content=\"y\">\n  <fragment name=\"tags\" />\n</head>\n\
                <fragment slot=\"alert\" name=\"breaking\" />\n<p>First <b slot=\"no\">kept</b></p>\n\
                <div class=\"a\" slot=\"foot\" id='b'><p>Foot <div>deep</div></div>\n<p>Second</p>\n";
    let site = TestCompositor::new()
        .layout("frames/site.html", SITE)
        .layout("p.html", &page("frame = \"frames/site.html\"\ntitle = \"A & B\"", body))
        .fragment("tags", html("<meta name=tags>"))
        .fragment(
            "breaking",
            responds(
                200,
                &[("content-type", "text/html"), ("link", "<https://c.test/b.css>; rel=stylesheet")],
                "<p>News!</p>",
            ),
        )
        .start();
    insta::assert_snapshot!(site.get("/").await.html());
}

#[tokio::test(start_paused = true)]
async fn frames_can_be_nested() {
    let site = TestCompositor::new()
        .layout("frames/site.html", "<html><head><title>S</title></head><body><slot name=top>t</slot>|<slot></slot></body></html>")
        .layout(
            "frames/section.html",
            "+++\nframe = \"frames/site.html\"\ntitle = \"Section\"\n+++\n<head><meta name=section></head><nav slot=top><slot name=menu>menu</slot></nav><article><slot></slot></article>",
        )
        .layout("p.html", &page("frame = \"frames/section.html\"", "<head><meta name=page></head><i slot=menu>mine</i><p>text</p>"))
        .layout("q.html", "+++\nroute = \"/q\"\nframe = \"frames/section.html\"\ntitle = \"Q\"\n+++\nq")
        .start();
    assert_eq!(
        site.get("/").await.html(),
        "<html><head><title>Section</title><meta name=section><meta name=page></head><body><nav><i>mine</i></nav>|<article><p>text</p></article></body></html>"
    );
    assert_eq!(
        site.get("/q").await.html(),
        "<html><head><title>Q</title><meta name=section></head><body><nav>menu</nav>|<article>q</article></body></html>"
    );
}

#[tokio::test(start_paused = true)]
async fn slots_outside_frames_stay_unchanged() {
    let site = TestCompositor::new()
        .layout("frame.html", "<slot></slot><template><slot name=browsers></slot></template>")
        .layout(
            "p.html",
            &page(
                "frame = \"frame.html\"",
                "<x-card><b slot=\"title\">t</b></x-card><slot name=mine></slot><br slot=\"\">",
            ),
        )
        .layout("alone.html", "+++\nroute = \"/alone\"\n+++\n<b slot=\"title\">t</b><slot>s</slot>")
        .start();
    assert_eq!(
        site.get("/").await.html(),
        "<x-card><b slot=\"title\">t</b></x-card><slot name=mine></slot><br><template><slot name=browsers></slot></template>"
    );
    assert_eq!(site.get("/alone").await.html(), "<b slot=\"title\">t</b><slot>s</slot>");
}

#[tokio::test(start_paused = true)]
async fn a_frame_may_contain_partials_and_conditions() {
    let site = TestCompositor::new()
        .layout("frame.html", "<include file=\"top.html\" /><when device=\"not mobile\"><slot></slot></when>")
        .layout("top.html", "[<slot name=top>default</slot>]")
        .layout("p.html", &page("frame = \"frame.html\"", "<p slot=top>{<include file=\"bit.html\" />}</p>rest"))
        .layout("bit.html", "bit")
        .start();
    assert_eq!(site.get("/").await.html(), "[<p>{bit}</p>]rest");
}

/// Code, file, line and message of each diagnostic.
fn diagnostics(files: &[(&str, &str)]) -> Vec<(&'static str, String, usize, String)> {
    let layouts = files.iter().map(|(name, text)| Source::new(format!("layouts/{name}"), *text)).collect();
    let site = Site::build(&Files { layouts, ..Files::default() }, &SiteLimits::default(), None);
    let fields = |problem: &Diagnostic| {
        let (line, _) = problem.at.source.position(problem.at.span.start);
        let help = problem.help.clone().unwrap_or_default();
        (problem.code.as_str(), problem.at.source.file.clone(), line, format!("{}; {help}", problem.message))
    };
    site.problems.iter().map(fields).collect()
}

#[test]
fn each_error_in_frames_has_its_code_and_place() {
    let layout = |frame: &str, body: &str| page(&format!("frame = \"{frame}\""), body);
    let frame = "<slot name=top></slot>";
    for (files, expected) in [
        (
            vec![("p.html", layout("frames/sit.html", "")), ("frames/site.html", SITE.to_owned())],
            ("missing-file", "layouts/p.html", 3, "did you mean `frames/site.html`?"),
        ),
        (
            vec![("p.html", layout("f.html", "")), ("f.html", "+++\nframe = \"f.html\"\n+++\n".to_owned())],
            ("include-cycle", "layouts/f.html", 2, "p.html → f.html → f.html"),
        ),
        (
            vec![("p.html", layout("q.html", "")), ("q.html", "+++\nroute = \"/q\"\n+++\n".to_owned())],
            ("bad-value", "layouts/p.html", 3, "is a page, not a frame"),
        ),
        (
            vec![("p.html", layout("f.html", "\n<p slot=\"topp\">x</p>")), ("f.html", frame.to_owned())],
            ("unknown-slot", "layouts/p.html", 6, "did you mean `top`?"),
        ),
        (
            vec![("p.html", layout("f.html", "<p slot=top>x</p>\n lost")), ("f.html", frame.to_owned())],
            ("unknown-slot", "layouts/p.html", 6, "has no slot without a name"),
        ),
        (
            vec![("p.html", layout("f.html", "")), ("f.html", "<slot name=a></slot>\n<slot name=a></slot>".to_owned())],
            ("duplicate-slot", "layouts/f.html", 2, "another slot `a`"),
        ),
        (
            vec![("p.html", page("", "<fragment slot=a src=\"http://127.0.0.1/\">x</fragment>"))],
            ("unknown-slot", "layouts/p.html", 5, "the page has no frame, and so no slot `a`"),
        ),
        (
            vec![
                ("p.html", layout("f.html", "<div slot=top><when device=mobile></div>")),
                ("f.html", frame.to_owned()),
            ],
            ("unclosed", "layouts/p.html", 5, "`<when>` is not closed"),
        ),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let found = diagnostics(&files);
        let (code, file, line, message) = expected;
        assert!(
            found.iter().any(|(c, f, l, m)| *c == code && f == file && *l == line && m.contains(message)),
            "{expected:?}: {found:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_omitted_end_tag_ends_the_content_of_a_slot() {
    let site = TestCompositor::new()
        .layout("frame.html", "[<slot name=a></slot>|<slot name=b></slot>|<slot></slot>]")
        .layout("p.html", &page("frame = \"frame.html\"", "<p slot=a>A<p slot=b>B<div>rest</div>"))
        .start();
    assert_eq!(site.get("/").await.html(), "[<p>A|<p>B|<div>rest</div>]");
}

#[tokio::test(start_paused = true)]
async fn a_head_inside_a_head_is_added_once() {
    let site = TestCompositor::new()
        .layout("frame.html", "<slot></slot>")
        .layout("p.html", &page("frame = \"frame.html\"", "<head><head><meta name=once></head>"))
        .start();
    assert_eq!(site.get("/").await.html().matches("once").count(), 1);
}

#[test]
fn no_depth_of_frames_overflows_the_stack() {
    let mut files = vec![("p.html".to_owned(), page("frame = \"f0.html\"", "x"))];
    for number in 0..14 {
        let next = if number < 13 { format!("+++\nframe = \"f{}.html\"\n+++\n", number + 1) } else { String::new() };
        let (open, close) = ("<when device=mobile>".repeat(60), "</when>".repeat(60));
        files.push((format!("f{number}.html"), format!("{next}{open}<slot></slot>{close}")));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let found = diagnostics(&files);
    assert!(
        found.iter().any(|(code, _, _, message)| *code == "bad-value" && message.contains("more than 64")),
        "{found:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_frame_may_set_headers_for_all_its_pages() {
    let site = TestCompositor::new()
        .layout("frame.html", "+++\n[headers]\nX-Frame-Options = \"DENY\"\nX-Own = \"frame\"\n+++\n<slot></slot>")
        .layout("p.html", &page("frame = \"frame.html\"\nheaders = { X-Own = \"page\" }", "x"))
        .start();
    let page = site.get("/").await;
    assert_eq!((page.header("x-frame-options"), page.header("x-own")), ("DENY", "page"));
}

#[tokio::test(start_paused = true)]
async fn a_title_is_not_put_into_a_head_that_is_not_shown() {
    let frame = "<slot name=top><head></head></slot><html><slot></slot></html>";
    let site = TestCompositor::new()
        .layout("frame.html", frame)
        .layout("p.html", &page("frame = \"frame.html\"\ntitle = \"T\"", "<b slot=top>top</b>x"))
        .layout("q.html", "+++\nroute = \"/q\"\nframe = \"frame.html\"\ntitle = \"T\"\n+++\nx")
        .start();
    assert_eq!(site.get("/").await.html(), "<title>T</title><b>top</b><html>x</html>");
    assert_eq!(site.get("/q").await.html(), "<head><title>T</title></head><html>x</html>");
}

#[test]
fn page_settings_in_frames_and_partials_are_reported_as_ignored() {
    let site = TestCompositor::new()
        .layout(
            "frame.html",
            "+++\nbudget = \"1s\"\nexperiment.a = { x = 1 }\n+++\n<include file=part.html /><slot></slot>",
        )
        .layout("part.html", "+++\nmax_age = \"1s\"\ntitle = \"t\"\n+++\npart")
        .layout("p.html", &page("frame = \"frame.html\"\nschedule = [{ use = \"other.html\" }]", "x"))
        .layout("other.html", "+++\nbudget = \"1s\"\n+++\nother");
    let ignored = |key: &str| format!("ignored: `{key}` has no effect here: the page that uses this file decides it");
    assert_eq!(site.problems(), [ignored("budget"), ignored("experiment"), ignored("max_age")]);
}
