//! Whether a fragment's HTML stays within its place: what it opens it closes, and nothing else.
//! End tags that HTML makes optional (13.1.2.4) may be missing; what they end is ended as parsers do it.

use std::ops::Range;

use crate::page::html::tokens::{StartTag, Token, tokens};

/// Elements without an end tag.
const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];
/// Elements whose end tag may be missing.
const OPTIONAL: [&str; 17] = [
    "li", "dt", "dd", "p", "rt", "rp", "optgroup", "option", "colgroup", "caption", "thead", "tbody", "tfoot", "tr",
    "td", "th", "legend",
];
/// Parts of a page's frame, of which a fragment may send none.
const FRAME: [&str; 6] = ["html", "head", "body", "base", "frameset", "frame"];
/// Elements before which an open paragraph ends (13.2.6.4.7).
const ENDS_PARAGRAPH: [&str; 38] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "ul",
    "xmp",
    "listing",
    "plaintext",
];
/// Elements that a paragraph outside of them does not end in (13.2.4.2, button scope).
const SCOPES: [&str; 12] = [
    "applet",
    "button",
    "caption",
    "foreignobject",
    "marquee",
    "object",
    "table",
    "td",
    "template",
    "th",
    "svg",
    "math",
];

/// What is wrong, and the byte where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) at: usize,
}

/// An element that is open.
struct Open {
    name: String,
    at: usize,
}

/// The first thing by which a text would break out of its place.
pub(super) fn fault(text: &str) -> Option<Fault> {
    // What swallows a tag behind the text would swallow the page: a comment, an attribute, a script.
    const SENTINEL: &str = "<pasteup-end>";
    let all = tokens(&format!("{text}{SENTINEL}"), 0);
    let mut open: Vec<Open> = Vec::new();
    let mut whole = false;
    for token in &all {
        match token {
            Token::Start(tag) if tag.span.start == text.len() => whole = true,
            Token::Start(tag) => {
                if let Some(what) = forbidden(tag) {
                    return Some(Fault { what, at: tag.span.start });
                }
                begin(&mut open, tag);
            }
            Token::End { name, span } => {
                if let Some(fault) = end(&mut open, name, span) {
                    return Some(fault);
                }
            }
            Token::Doctype { end } => {
                let at = text[..(*end).min(text.len())].rfind("<!").unwrap_or_default();
                return Some(Fault { what: "a doctype".to_owned(), at });
            }
            // It swallowed what stands behind the text, which is told below.
            Token::Unfinished { .. } => {}
        }
    }
    if let Some(left) = open.iter().rfind(|element| !optional(&element.name)) {
        return Some(Fault { what: format!("`<{}>` is not closed", left.name), at: left.at });
    }
    if !whole || text.ends_with('<') {
        let at = text.rfind('<').unwrap_or_default();
        return Some(Fault { what: "a comment, a tag or an attribute is not finished".to_owned(), at });
    }
    None
}

fn forbidden(tag: &StartTag) -> Option<String> {
    if FRAME.contains(&tag.name.as_str()) {
        return Some(format!("`<{}>` is a part of a page's frame", tag.name));
    }
    let equiv = tag.name == "meta" && tag.attributes.iter().any(|attribute| attribute.name == "http-equiv");
    equiv.then(|| "`<meta http-equiv>` speaks for the whole page".to_owned())
}

fn optional(name: &str) -> bool {
    OPTIONAL.contains(&name)
}

fn begin(open: &mut Vec<Open>, tag: &StartTag) {
    let name = tag.name.as_str();
    let foreign = open.iter().rev().find_map(|element| match element.name.as_str() {
        "svg" | "math" => Some(true),
        "foreignobject" | "annotation-xml" => Some(false),
        _ => None,
    });
    let foreign = foreign.unwrap_or(false);
    if !foreign {
        imply_ends(open, name);
    }
    // A slash closes nothing in HTML; it does in SVG and MathML, and in our own and ESI's elements.
    let slash_closes = foreign || matches!(name, "svg" | "math" | "fragment" | "slot") || name.starts_with("esi:");
    if (VOID.contains(&name) && !foreign) || (tag.self_closing && slash_closes) {
        return;
    }
    open.push(Open { name: name.to_owned(), at: tag.span.start });
}

/// Ends the elements that end where this one begins.
fn imply_ends(open: &mut Vec<Open>, name: &str) {
    if ENDS_PARAGRAPH.contains(&name)
        && let Some(at) = open.iter().rposition(|element| element.name == "p" || SCOPES.contains(&&*element.name))
        && open[at].name == "p"
    {
        open.truncate(at);
    }
    let ended: &[&str] = match name {
        "li" => &["p", "li"],
        "dt" | "dd" => &["p", "dt", "dd"],
        "option" => &["option"],
        "optgroup" => &["option", "optgroup"],
        "rt" | "rp" => &["rt", "rp"],
        "td" | "th" => &["p", "li", "dd", "dt", "caption", "colgroup", "td", "th"],
        "tr" => &["p", "li", "dd", "dt", "caption", "colgroup", "td", "th", "tr"],
        "thead" | "tbody" | "tfoot" | "colgroup" | "caption" => {
            &["p", "li", "dd", "dt", "caption", "colgroup", "td", "th", "tr", "thead", "tbody", "tfoot"]
        }
        _ => &[],
    };
    while open.last().is_some_and(|element| ended.contains(&&*element.name)) {
        open.pop();
    }
}

fn end(open: &mut Vec<Open>, name: &str, span: &Range<usize>) -> Option<Fault> {
    let stray = || Some(Fault { what: format!("`</{name}>` closes nothing"), at: span.start });
    if VOID.contains(&name) {
        return stray();
    }
    let Some(at) = open.iter().rposition(|element| element.name == name) else { return stray() };
    if let Some(left) = open[at + 1..].iter().rfind(|element| !optional(&element.name)) {
        return Some(Fault { what: format!("`<{}>` is not closed before `</{name}>`", left.name), at: left.at });
    }
    open.truncate(at);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "<details><summary>x</summary><p>y</details>",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn what_would_break_out_is_told_with_its_place() {
        for (text, what, at) in [
            ("<div>", "`<div>` is not closed", 0),
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
        ] {
            assert_eq!(fault(text), Some(Fault { what: what.to_owned(), at }), "{text}");
        }
    }
}
