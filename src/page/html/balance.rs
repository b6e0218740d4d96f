//! Keeps a fragment's HTML within its place: it closes every element that it opens, and no other.
//! End tags that HTML makes optional (13.1.2.4) may be missing. Balanced HTML is left unchanged, byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use super::closing::needing_end_tags;
use super::stack::{MAX_DEPTH, OpenElement, Stack};
use super::tokens::{CDATA, StartTag, Token, tokens};

/// Elements of the frame of a page, which a fragment must not contain.
const FRAME: [&str; 6] = ["html", "head", "body", "base", "frameset", "frame"];
/// A tag that is appended to a text while it is checked: a construct that swallows it would swallow the page.
const SENTINEL: &str = "<pasteup-end>";
/// The largest number of `<plaintext>` tags in a text. From the next one on, the text is cut off.
const MAX_PLAINTEXT: usize = 8;

/// Something by which a text would break out of its place, with its repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong, in words.
    pub message: String,
    /// The byte at which it is reported.
    pub at: usize,
    /// The bytes that the repair replaces.
    span: Range<usize>,
    /// The text that replaces them.
    replacement: String,
}

/// The largest number of rounds in which a text is repaired: removing tags may bring others together.
const MAX_ROUNDS: usize = 4;

/// A text that stays within its place: the same text if it is balanced, otherwise one that is repaired in the way
/// in which parsers would close its elements.
#[must_use]
pub fn balanced(text: &str) -> Cow<'_, str> {
    let mut found = violations(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut repaired = repair(text, found);
    for _ in 1..MAX_ROUNDS {
        found = violations(&repaired);
        if found.is_empty() {
            return Cow::Owned(repaired);
        }
        repaired = repair(&repaired, found);
    }
    // A text that needs more rounds is an attack, and may still hide something: nothing of it is shown.
    if violations(&repaired).is_empty() { Cow::Owned(repaired) } else { Cow::Owned(String::new()) }
}

fn repair(text: &str, mut violations: Vec<Violation>) -> String {
    // Repairs at one position stay in the order in which they were found.
    violations.sort_by_key(|violation| violation.span.start);
    let mut repaired = String::with_capacity(text.len() + 64);
    let mut from = 0;
    for violation in violations {
        if violation.span.start >= from {
            repaired.push_str(&text[from..violation.span.start]);
        }
        from = from.max(violation.span.end);
        repaired.push_str(&violation.replacement);
    }
    repaired.push_str(&text[from..]);
    repaired
}

/// Attributes by which a `<template>` changes its parent element (HTML, 4.12.3).
const REACHES_OUT: [&str; 2] = ["for", "shadowrootmode"];

/// Finds everything by which a text would break out of its place, in order.
#[must_use]
pub fn violations(text: &str) -> Vec<Violation> {
    let whole = [text, SENTINEL].concat();
    let mut walk = Walk { text, open: Stack::default(), violations: Vec::new(), end: text.len(), noscript: 0..0 };
    let mut from = 0;
    for round in 0.. {
        match walk.tokens(&whole, from) {
            Some(next) if round < MAX_PLAINTEXT => from = next,
            Some(next) => {
                walk.cut(next, "there are too many `<plaintext>`");
                break;
            }
            None => break,
        }
    }
    walk.close_all();
    walk.violations
}

struct Walk<'t> {
    text: &'t str,
    open: Stack,
    violations: Vec<Violation>,
    /// The text is cut off here.
    end: usize,
    /// The range from the last checked `<noscript>` to the next `</noscript>`.
    noscript: Range<usize>,
}

impl Walk<'_> {
    /// Walks over the tags from a byte on. If a `<plaintext>` turns everything after it into text, returns the
    /// position from which to continue as if it did not exist.
    fn tokens(&mut self, whole: &str, from: usize) -> Option<usize> {
        const UNFINISHED: &str = "a comment, a tag or an attribute is unfinished";
        let length = self.text.len();
        let mut reached_end = false;
        for token in tokens(whole, from) {
            let span = token.span();
            if span.start >= length {
                reached_end = true;
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
                    self.cut(span.start, "elements are nested more deeply than browsers support");
                    return None;
                }
                Token::Start(tag) => match forbidden(&tag) {
                    Some(message) => self.note(message, span.start, span, String::new()),
                    None => self.begin(&tag),
                },
                Token::End { name, .. } => self.end(&name, span),
                Token::Doctype { .. } => self.note("there is a doctype".to_owned(), span.start, span, String::new()),
                // In HTML within SVG, whether this is a CDATA section depends on the parser.
                Token::Comment { span } if whole[span.clone()].starts_with(CDATA) && self.open.is_in_foreign() => {
                    if self.open.is_in_select() || !self.open.last().is_some_and(OpenElement::is_foreign) {
                        self.note(
                            "there is a CDATA section in HTML".to_owned(),
                            span.start,
                            span.start..span.start + 1,
                            "&lt;".to_owned(),
                        );
                    }
                }
                Token::Comment { .. } | Token::Unfinished { .. } => {}
            }
        }
        if reached_end && self.text.ends_with('<') {
            self.note(UNFINISHED.to_owned(), length - 1, length - 1..length, "&lt;".to_owned());
        }
        if !reached_end
            && self.open.last().is_some_and(OpenElement::is_raw_text)
            && let Some(last) = self.open.pop()
        {
            let message = format!("`<{}>` is not closed", last.name);
            if last.name == "script" {
                // An unfinished script is removed: parsers do not run it either.
                self.cut(last.at, &message);
            } else {
                self.note(message, last.at, length..length, format!("</{}>", last.name));
            }
        }
        None
    }

    fn note(&mut self, message: String, at: usize, span: Range<usize>, replacement: String) {
        self.violations.push(Violation { message, at, span, replacement });
    }

    /// Cuts the text off at a byte.
    fn cut(&mut self, at: usize, message: &str) {
        self.end = at;
        self.note(message.to_owned(), at, at..self.text.len(), String::new());
    }

    fn begin(&mut self, tag: &StartTag) {
        let at = tag.span.start;
        if tag.name == "noscript" && !self.ends_alike(tag.span.end) {
            let message = "a `<noscript>` is not balanced by itself".to_owned();
            return self.note(message, at, tag.span.clone(), String::new());
        }
        if self.open.is_ignored(tag) {
            return self.note(format!("`<{}>` is not allowed here", tag.name), at, tag.span.clone(), String::new());
        }
        if tag.name == "template" && !self.open.last().is_some_and(OpenElement::is_template_host) {
            self.keep_inside(tag);
        }
        let outside_table = self.open.is_table_part_outside_table(&tag.name);
        for left in needing_end_tags(self.open.start_tag(tag), outside_table) {
            let message = format!("`<{}>` is not closed before `<{}>`", left.name, tag.name);
            self.note(message, left.at, at..at, format!("</{}>", left.name));
        }
    }

    /// Renames the attributes of a template whose parent is an element of the page: it could fill any place there, or
    /// hide the other content behind a shadow root. Only a parent that no parser ignores and no repair removes counts
    /// as the fragment's own.
    fn keep_inside(&mut self, tag: &StartTag) {
        for attribute in tag.attributes.iter().filter(|attribute| REACHES_OUT.contains(&&*attribute.name)) {
            let message = format!("`<template {}>` changes the element around the fragment", attribute.name);
            self.note(message, tag.span.start, attribute.name_span.clone(), format!("data-{}", attribute.name));
        }
    }

    /// Whether a `<noscript>` ends at the same tag for all parsers. With scripts enabled they read it as text up to
    /// the next `</noscript>`, otherwise as HTML.
    fn ends_alike(&mut self, from: usize) -> bool {
        // For many of them in one range, the end tag is searched only once.
        if !self.noscript.contains(&from) {
            self.noscript = from..find(self.text, from, "</noscript").unwrap_or(self.text.len());
        }
        let inside = &self.text[from..self.noscript.end];
        // Nested ones are refused; otherwise their content would be checked once per level.
        find(inside, 0, "<noscript").is_none() && violations(inside).is_empty()
    }

    fn end(&mut self, name: &str, span: Range<usize>) {
        let outside_table = self.open.is_table_part_outside_table(name);
        let Some(ended) = self.open.end_tag(name) else {
            // It may end an element that has no content. It is not sent.
            if matches!(name, "esi:include" | "esi:comment") {
                return;
            }
            return self.note(format!("`</{name}>` closes nothing"), span.start, span, String::new());
        };
        if ended.len() == 1 {
            return;
        }
        let own = ended.last().map(|element| element.at);
        for left in needing_end_tags(ended, outside_table).into_iter().filter(|element| Some(element.at) != own) {
            let message = format!("`<{}>` is not closed before `</{name}>`", left.name);
            self.note(message, left.at, span.start..span.start, format!("</{}>", left.name));
        }
    }

    fn close_all(&mut self) {
        for left in needing_end_tags(self.open.pop_to(0), false) {
            let message = format!("`<{}>` is not closed", left.name);
            self.note(message, left.at, self.text.len()..self.text.len(), format!("</{}>", left.name));
        }
    }
}

/// Finds a word in lower case from a byte on, ignoring the case of the text.
fn find(text: &str, from: usize, word: &str) -> Option<usize> {
    let mut windows = text.as_bytes()[from..].windows(word.len());
    windows.position(|window| window.eq_ignore_ascii_case(word.as_bytes())).map(|at| from + at)
}

fn forbidden(tag: &StartTag) -> Option<String> {
    if FRAME.contains(&tag.name.as_str()) {
        return Some(format!("`<{}>` belongs to the frame of a page", tag.name));
    }
    let equiv = tag.name == "meta" && tag.attributes.iter().any(|attribute| attribute.name == "http-equiv");
    equiv.then(|| "`<meta http-equiv>` applies to the whole page".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn balanced_html_is_unchanged() {
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
            "<p><esi:include src=/x><esi:include src=/y></esi:include><esi:comment text=z></p>",
            "<p>a<ul><li>b</ul>",
            "<math><mi>x</mi></math>",
            "<li>lone",
            "<table><form><tr><td><input></td></tr></form></table>",
            "<svg><image href=x></image></svg>",
            "<details><summary>x</summary><p>y</details>",
        ] {
            assert_eq!(violations(text), [], "{text}");
            assert!(matches!(balanced(text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn unbalanced_html_is_reported_with_its_position() {
        for (text, message, at) in [
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
            ("<!doctype html><p>x", "there is a doctype", 0),
            ("x<html><p>", "`<html>` belongs to the frame of a page", 1),
            ("</body>", "`</body>` closes nothing", 0),
            ("<base href=/>", "`<base>` belongs to the frame of a page", 0),
            ("<meta http-equiv=refresh content=0>", "`<meta http-equiv>` applies to the whole page", 0),
            ("<p>x<!-- y", "a comment, a tag or an attribute is unfinished", 4),
            ("<p>x<a href='y", "a comment, a tag or an attribute is unfinished", 4),
            ("<p>x<", "a comment, a tag or an attribute is unfinished", 4),
            ("<p>x</", "a comment, a tag or an attribute is unfinished", 4),
            ("<script>x", "`<script>` is not closed", 0),
            ("<script>x</script", "`<script>` is not closed", 0),
            ("<textarea><p></p>", "`<textarea>` is not closed", 0),
            ("<plaintext>", "`<plaintext>` is not closed", 0),
            ("<svg><path></svg>", "`<path>` is not closed before `</svg>`", 5),
            ("<title>x", "`<title>` is not closed", 0),
            ("x</u title='", "a comment, a tag or an attribute is unfinished", 1),
            ("<style></style title='", "a comment, a tag or an attribute is unfinished", 7),
        ] {
            let first = violations(text).into_iter().next().map(|violation| (violation.message, violation.at));
            assert_eq!(first, Some((message.to_owned(), at)), "{text}");
            assert_eq!(violations(&balanced(text)), [], "{text} becomes {}", balanced(text));
        }
    }

    #[test]
    fn unbalanced_html_is_repaired() {
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
    fn hostile_texts_take_linear_time() {
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
            assert_eq!(violations(&balanced(&deep)), [], "{piece}");
            assert_eq!(violations(&balanced(&text)), [], "{piece}");
        }
    }

    proptest! {
        #[test]
        fn a_repaired_text_is_balanced(text in "(</?(b|p|div|li|ul|table|td|tr|svg|title|script|style|template|body|a href='x'|form|select|option|plaintext|br|textarea)>|<!--|-->|<!doctype x>|<|>|'|\"|<!\\[CDATA\\[|\\]\\]>|x|é| ){0,14}") {
            let once = balanced(&text).into_owned();
            prop_assert_eq!(violations(&once), [], "{} becomes {}", text, once);
            prop_assert!(matches!(balanced(&once), Cow::Borrowed(_)));
        }
    }
}
