//! Keeps a fragment's HTML within its place: what it opens it closes, and nothing else.
//! End tags that HTML makes optional (13.1.2.4) may be missing; what is balanced stays byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use super::boundary::{MAX_DEPTH, Open, Stack};
use super::closing::written;
use super::tokens::{CDATA, StartTag, Token, tokens};

/// Parts of a page's frame, of which a fragment may send none.
const FRAME: [&str; 6] = ["html", "head", "body", "base", "frameset", "frame"];
/// What stands behind a text while it is looked at: what swallows this would swallow the page.
const SENTINEL: &str = "<pasteup-end>";
/// So often may `<plaintext>` stand in a text; what follows another one is left out.
const MAX_PLAINTEXT: usize = 8;

/// Something by which a text would break out of its place, and its cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// The byte where it stands.
    pub at: usize,
    /// These bytes
    span: Range<usize>,
    /// become this.
    cure: String,
}

/// So often is a text repaired: what is left out may bring new tags together.
const MAX_ROUNDS: usize = 4;

/// A text that stays within its place: as it is where it does so already, else repaired in the way in
/// which parsers would close it.
#[must_use]
pub fn balanced(text: &str) -> Cow<'_, str> {
    let mut found = faults(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut repaired = repair(text, found);
    for _ in 1..MAX_ROUNDS {
        found = faults(&repaired);
        if found.is_empty() {
            return Cow::Owned(repaired);
        }
        repaired = repair(&repaired, found);
    }
    // Who needs more rounds than these means no good, and of what he sends some may be hidden: nothing is shown.
    if faults(&repaired).is_empty() { Cow::Owned(repaired) } else { Cow::Owned(String::new()) }
}

fn repair(text: &str, mut faults: Vec<Fault>) -> String {
    // Cures of one place keep the order in which they were found.
    faults.sort_by_key(|fault| fault.span.start);
    let mut repaired = String::with_capacity(text.len() + 64);
    let mut from = 0;
    for fault in faults {
        if fault.span.start >= from {
            repaired.push_str(&text[from..fault.span.start]);
        }
        from = from.max(fault.span.end);
        repaired.push_str(&fault.cure);
    }
    repaired.push_str(&text[from..]);
    repaired
}

/// Attributes by which a `<template>` changes the element that it stands in (HTML, 4.12.3).
const REACHES_OUT: [&str; 2] = ["for", "shadowrootmode"];

/// All that would break out, in the order in which it is met.
#[must_use]
pub fn faults(text: &str) -> Vec<Fault> {
    let whole = [text, SENTINEL].concat();
    let mut walk = Walk { text, open: Stack::default(), faults: Vec::new(), end: text.len(), noscript: 0..0 };
    let mut from = 0;
    for round in 0.. {
        match walk.tokens(&whole, from) {
            Some(next) if round < MAX_PLAINTEXT => from = next,
            Some(next) => {
                walk.cut(next, "a `<plaintext>` too many");
                break;
            }
            None => break,
        }
    }
    walk.close_all();
    walk.faults
}

struct Walk<'t> {
    text: &'t str,
    open: Stack,
    faults: Vec<Fault>,
    /// What stands from here on is left out.
    end: usize,
    /// From a `<noscript>` that was met to the end tag that is next behind it.
    noscript: Range<usize>,
}

impl Walk<'_> {
    /// Walks over the tags from a byte on. Where one makes text of all that follows, says where to go on
    /// as if it were not there.
    fn tokens(&mut self, whole: &str, from: usize) -> Option<usize> {
        const UNFINISHED: &str = "a comment, a tag or an attribute is not finished";
        let length = self.text.len();
        let mut seen = false;
        for token in tokens(whole, from) {
            let span = token.span();
            if span.start >= length {
                seen = true;
                break;
            }
            if span.end > length {
                self.cut(span.start, UNFINISHED);
                return None;
            }
            match token {
                Token::Start(tag) if tag.name == "plaintext" && !self.open.is_foreign(&tag) => {
                    self.note("`<plaintext>` is not closed".to_owned(), span.start, span.clone(), String::new());
                    return Some(span.end);
                }
                Token::Start(_) if self.open.depth() == MAX_DEPTH => {
                    self.cut(span.start, "more elements stand inside each other than browsers keep");
                    return None;
                }
                Token::Start(tag) => match forbidden(&tag) {
                    Some(what) => self.note(what, span.start, span, String::new()),
                    None => self.begin(&tag),
                },
                Token::End { name, .. } => self.end(&name, span),
                Token::Doctype { .. } => self.note("a doctype".to_owned(), span.start, span, String::new()),
                // Whether it is one is for each parser to say that knows what is open in HTML in SVG.
                Token::Comment { span } if whole[span.clone()].starts_with(CDATA) && self.open.is_in_foreign() => {
                    if self.open.is_in_select() || !self.open.last().is_some_and(Open::is_foreign) {
                        self.note(
                            "a CDATA section in HTML".to_owned(),
                            span.start,
                            span.start..span.start + 1,
                            "&lt;".to_owned(),
                        );
                    }
                }
                Token::Comment { .. } | Token::Unfinished { .. } => {}
            }
        }
        if seen && self.text.ends_with('<') {
            self.note(UNFINISHED.to_owned(), length - 1, length - 1..length, "&lt;".to_owned());
        }
        if !seen
            && self.open.last().is_some_and(Open::is_raw)
            && let Some(last) = self.open.pop()
        {
            let what = format!("`<{}>` is not closed", last.name);
            if last.name == "script" {
                // Half of a script is none: parsers do not run it either.
                self.cut(last.at, &what);
            } else {
                self.note(what, last.at, length..length, format!("</{}>", last.name));
            }
        }
        None
    }

    fn note(&mut self, what: String, at: usize, span: Range<usize>, cure: String) {
        self.faults.push(Fault { what, at, span, cure });
    }

    /// Leaves out what stands from a byte on.
    fn cut(&mut self, at: usize, what: &str) {
        self.end = at;
        self.note(what.to_owned(), at, at..self.text.len(), String::new());
    }

    fn begin(&mut self, tag: &StartTag) {
        let at = tag.span.start;
        if tag.name == "noscript" && !self.is_for_both(tag.span.end) {
            let what = "a `<noscript>` is not balanced in itself".to_owned();
            return self.note(what, at, tag.span.clone(), String::new());
        }
        if self.open.passes_over(tag) {
            return self.note(format!("`<{}>` has no place here", tag.name), at, tag.span.clone(), String::new());
        }
        if tag.name == "template" && !self.open.last().is_some_and(Open::is_host) {
            self.keep_inside(tag);
        }
        let bare = self.open.is_part_of_nothing(&tag.name);
        for left in written(self.open.begin(tag), bare) {
            let what = format!("`<{}>` is not closed before `<{}>`", left.name, tag.name);
            self.note(what, left.at, at..at, format!("</{}>", left.name));
        }
    }

    /// A template that stands in nothing of its own belongs to an element of the page: it would fill any
    /// place there, or hide all else behind a shadow root. Of what it may stand in, only that counts which no
    /// parser passes over and which nothing takes away.
    fn keep_inside(&mut self, tag: &StartTag) {
        for attribute in tag.attributes.iter().filter(|attribute| REACHES_OUT.contains(&&*attribute.name)) {
            let what = format!("`<template {}>` changes the element around the fragment", attribute.name);
            self.note(what, tag.span.start, attribute.name_span.clone(), format!("data-{}", attribute.name));
        }
    }

    /// Parsers with scripts read a `<noscript>` as text up to the next such end tag, others as HTML: it must
    /// be the same one for both.
    fn is_for_both(&mut self, from: usize) -> bool {
        // What follows many of them is searched once.
        if !self.noscript.contains(&from) {
            self.noscript = from..find(self.text, from, "</noscript").unwrap_or(self.text.len());
        }
        let inside = &self.text[from..self.noscript.end];
        // None stands in another, so that nothing is looked at once for each that is open around it.
        find(inside, 0, "<noscript").is_none() && faults(inside).is_empty()
    }

    fn end(&mut self, name: &str, span: Range<usize>) {
        let bare = self.open.is_part_of_nothing(name);
        let Some(ended) = self.open.end(name) else {
            return self.note(format!("`</{name}>` closes nothing"), span.start, span, String::new());
        };
        if ended.len() == 1 {
            return;
        }
        let own = ended.last().map(|element| element.at);
        for left in written(ended, bare).into_iter().filter(|element| Some(element.at) != own) {
            let what = format!("`<{}>` is not closed before `</{name}>`", left.name);
            self.note(what, left.at, span.start..span.start, format!("</{}>", left.name));
        }
    }

    fn close_all(&mut self) {
        for left in written(self.open.pop_to(0), false) {
            let what = format!("`<{}>` is not closed", left.name);
            self.note(what, left.at, self.text.len()..self.text.len(), format!("</{}>", left.name));
        }
    }
}

/// Where a word in small letters stands from a byte on, be it in capitals.
fn find(text: &str, from: usize, word: &str) -> Option<usize> {
    let mut windows = text.as_bytes()[from..].windows(word.len());
    windows.position(|window| window.eq_ignore_ascii_case(word.as_bytes())).map(|at| from + at)
}

fn forbidden(tag: &StartTag) -> Option<String> {
    if FRAME.contains(&tag.name.as_str()) {
        return Some(format!("`<{}>` is a part of a page's frame", tag.name));
    }
    let equiv = tag.name == "meta" && tag.attributes.iter().any(|attribute| attribute.name == "http-equiv");
    equiv.then(|| "`<meta http-equiv>` speaks for the whole page".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_balanced_stays_in_its_place() {
        for text in [
            "",
            "plain & simple, a < b",
            "<p>one<p>two",
            "<ul><li>a<li>b<p>c</ul>",
            "<dl><dt>a<dd>b<dt>c</dl>",
            "<table><caption>x<tr><td>a<td>b<tr><th>c<tbody><tr><td>d</table>",
            "<br><img src=x><hr/><input>",
            "<select><optgroup><option>a<option selected>b<optgroup><option>c</select>",
            "<svg><path d=''/><g><circle></circle></g></svg><svg/>",
            "<script>if (a < b) '</p>'</script>",
            "<div><template for=x></template></div><x-y><template shadowrootmode=open></template></x-y>",
            "<p>x<fragment name=a><div>y</div></fragment>z</p>",
            "<p>x<esi:when test=a><ul><li>y</ul></esi:when><slot><h1>z</h1></slot></p>",
            "<li>a<esi:remove><li>b</li></esi:remove>c</li>",
            "<table><fragment name=row><tr><td>none</td></tr></fragment></table>",
            "<a href=/><slot><a href=/x>y</a></slot></a>",
            "<style>a > b {}</style><!-- </div> --><template><td>x</td></template>",
            "<DIV><a href='x>y'>z</A></div>",
            "<fragment name=icon data-x=1 /><slot name=x />",
            "<p><svg><a></a></svg></p>",
            "<ruby>a<rt>b<rp>c</ruby>",
            "<p>a<button><p>b</button></p>",
            "<esi:include src=\"/x\"/>",
            "<p>a<ul><li>b</ul>",
            "<math><mi>x</mi></math>",
            "<li>lone",
            "<table><form><tr><td><input></td></tr></form></table>",
            "<svg><image href=x></image></svg>",
            "<details><summary>x</summary><p>y</details>",
        ] {
            assert_eq!(faults(text), [], "{text}");
            assert!(matches!(balanced(text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn what_would_break_out_is_told_with_its_place() {
        for (text, what, at) in [
            ("<div>", "`<div>` is not closed", 0),
            ("a<template FOR=x>b</template>", "`<template for>` changes the element around the fragment", 1),
            ("<tr><template for=x></template></tr>", "`<template for>` changes the element around the fragment", 4),
            (
                "<slot><template shadowrootmode=open></template></slot>",
                "`<template shadowrootmode>` changes the element around the fragment",
                6,
            ),
            ("<b><fragment name=a></b></fragment></b>", "`</b>` closes nothing", 20),
            ("<p>x</p></div>", "`</div>` closes nothing", 8),
            ("<b><i>x</b></i>", "`<i>` is not closed before `</b>`", 3),
            ("<ul><li><b>x</ul>", "`<b>` is not closed before `</ul>`", 8),
            ("<p><div></div></p>", "`</p>` closes nothing", 14),
            ("<div />", "`<div>` is not closed", 0),
            ("</br>", "`</br>` closes nothing", 0),
            ("<!doctype html><p>x", "a doctype", 0),
            ("x<html><p>", "`<html>` is a part of a page's frame", 1),
            ("</body>", "`</body>` closes nothing", 0),
            ("<base href=/>", "`<base>` is a part of a page's frame", 0),
            ("<meta http-equiv=refresh content=0>", "`<meta http-equiv>` speaks for the whole page", 0),
            ("<p>x<!-- y", "a comment, a tag or an attribute is not finished", 4),
            ("<p>x<a href='y", "a comment, a tag or an attribute is not finished", 4),
            ("<p>x<", "a comment, a tag or an attribute is not finished", 4),
            ("<p>x</", "a comment, a tag or an attribute is not finished", 4),
            ("<script>x", "`<script>` is not closed", 0),
            ("<script>x</script", "`<script>` is not closed", 0),
            ("<textarea><p></p>", "`<textarea>` is not closed", 0),
            ("<plaintext>", "`<plaintext>` is not closed", 0),
            ("<svg><path></svg>", "`<path>` is not closed before `</svg>`", 5),
            ("<title>x", "`<title>` is not closed", 0),
            ("x</u title='", "a comment, a tag or an attribute is not finished", 1),
            ("<style></style title='", "a comment, a tag or an attribute is not finished", 7),
        ] {
            let first = faults(text).into_iter().next().map(|fault| (fault.what, fault.at));
            assert_eq!(first, Some((what.to_owned(), at)), "{text}");
            assert_eq!(faults(&balanced(text)), [], "{text} becomes {}", balanced(text));
        }
    }

    #[test]
    fn what_breaks_out_is_repaired() {
        for (text, repaired) in [
            ("<div><p>x", "<div><p>x</div>"),
            ("x</div></section>y", "xy"),
            ("<b><i>x</b></i>", "<b><i>x</i></b>"),
            ("<p>x</p><!-- and so on", "<p>x</p>"),
            ("<a href=\"x>y</a>", ""),
            ("<b>x</b><script>half", "<b>x</b>"),
            ("<style>p {", "<style>p {</style>"),
            ("<html><body class=x><h1>t</h1></body></html>", "<h1>t</h1>"),
            ("<!DOCTYPE html>\n<p>x", "\n<p>x"),
            ("a <", "a &lt;"),
            ("<plaintext>x</div><b>y", "x<b>y</b>"),
            ("<div><table><tr><td></div>x</table></div>", "<div><table><tr><td>x</table></div>"),
            ("<ul><li><b>x<li>y</ul>", "<ul><li><b>x</b><li>y</ul>"),
            ("<svg><![CDATA[ half", "<svg></svg>"),
            ("<ul><li>ok</ul>", "<ul><li>ok</ul>"),
            ("<ul><li><div><li></div></ul>", "<ul><li><div></div><li></ul>"),
            ("<p><a href=/>x<div>y</div>", "<p><a href=/>x</a><div>y</div>"),
            ("<p><em>x<p>y</em>", "<p><em>x</em><p>y"),
            ("<h1><h2></h2></h1>", "<h1></h1><h2></h2>"),
            ("<span><p>x</span>", "<span><p>x</p></span>"),
            ("<svg><p>x</p></svg>", "<svg></svg><p>x</p>"),
            ("<svg><title><rp><rp>", "<svg><title><rp><rp></rp></rp></title></svg>"),
            ("<svg><foreignObject><p>x</svg>", "<svg><foreignObject><p>x</p></foreignobject></svg>"),
            ("<svg><desc><b><![CDATA[</b>", "<svg><desc><b>&lt;![CDATA[</b></desc></svg>"),
            ("<li><td><div><li>", "<li><div></div><li>"),
            ("<td><li>x<td><div><li></div>", "<td><li>x</li><td><div><li></div>"),
            ("<table><div><object><table>", "<table><div><object></object></div></table><table></table>"),
            ("<li><div><keygen><li>", "<li><div><keygen></div><li>"),
            (
                "<svg><title><optgroup><optgroup>",
                "<svg><title><optgroup><optgroup></optgroup></optgroup></title></svg>",
            ),
            ("<table><math><mi><div><table>", "<table><math><mi><div></div></mi></math></table><table></table>"),
            ("<template><td></td><b><table></table></b></template>", "<template><td></td><b></b></template>"),
            ("<form><li><form><div><li>", "<form><li><div></div><li></form>"),
            ("<template><col><style><template>", "<template><style><template></style></template>"),
            ("<select><title></select></div></title>", "<select></select>"),
            ("<a><template><td>x</template></a>", "<a><template><td>x</td></template></a>"),
            (
                "<noscript><a title='</noscript><base href=//e/>'></a></noscript>",
                "<a title='</noscript><base href=//e/>'></a>",
            ),
            ("<noscript><p>x</noscript>", "<noscript><p>x</p></noscript>"),
        ] {
            assert_eq!(balanced(text), repaired, "{text}");
        }
    }

    #[test]
    fn hostile_texts_take_no_longer_than_others() {
        for piece in [
            "<plaintext>",
            "<b>",
            "</b>",
            "<",
            "<!--",
            "<svg>",
            "<p>",
            "<table><td>",
            "<a href='",
            "<![CDATA[",
            "<noscript>",
            "<noscript></noscript>",
            "x\r",
            "<!-- \r",
            "<a title='\r\n",
        ] {
            let text = piece.repeat(20_000);
            let deep = "<b>".repeat(20_000) + &text;
            assert_eq!(faults(&balanced(&deep)), [], "{piece}");
            assert_eq!(faults(&balanced(&text)), [], "{piece}");
        }
    }

    proptest! {
        #[test]
        fn what_is_repaired_is_balanced_and_stays_so(text in "(</?(b|p|div|li|ul|table|td|tr|svg|title|script|style|template|body|a href='x'|form|select|option|plaintext|br|textarea)>|<!--|-->|<!doctype x>|<|>|'|\"|<!\\[CDATA\\[|\\]\\]>|x|é| ){0,14}") {
            let once = balanced(&text).into_owned();
            prop_assert_eq!(faults(&once), [], "{} becomes {}", text, once);
            prop_assert!(matches!(balanced(&once), Cow::Borrowed(_)));
        }
    }
}
