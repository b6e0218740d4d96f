//! Lists the elements that HTML, or this project, treats in a special way.
//! An unknown name has no kind, except that a hyphen marks a custom element and `esi:` one of ESI.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::page::source::map::Map;

/// The kinds of an element, by its name, as a bit set. Searching the lists below for each tag took longer than reading
/// the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kinds(u16);

impl Kinds {
    /// It has no end tag.
    pub(super) const VOID: Self = Self(1);
    /// Its end tag may be missing.
    pub(super) const OPTIONAL_END: Self = Self(1 << 1);
    /// Its start tag ends an open paragraph.
    pub(super) const ENDS_PARAGRAPH: Self = Self(1 << 2);
    /// It limits the scope of paragraphs.
    pub(super) const SCOPE: Self = Self(1 << 3);
    /// It is a special element.
    pub(super) const SPECIAL: Self = Self(1 << 4);
    /// Its start tag ends SVG and MathML.
    pub(super) const BREAKS_OUT: Self = Self(1 << 5);
    /// No end tag in it closes an element outside of it.
    pub(super) const BARRIER: Self = Self(1 << 6);
    /// It is allowed in tables only.
    pub(super) const TABLE_PART: Self = Self(1 << 7);
    /// Its content is text without markup.
    pub(super) const RAW_TEXT: Self = Self(1 << 8);
    /// A `<template>` in it certainly belongs to it.
    pub(super) const TEMPLATE_HOST: Self = Self(1 << 9);
    /// It is a heading.
    pub(super) const HEADING: Self = Self(1 << 10);
    /// It is a MathML element whose content is HTML.
    pub(super) const MATHML_TEXT: Self = Self(1 << 11);
    /// It is an element of this project or of ESI.
    pub(super) const OURS: Self = Self(1 << 12);

    /// The elements of each kind.
    const ALL: [(Self, &[&'static str]); 13] = [
        (Self::VOID, &VOID),
        (Self::OPTIONAL_END, &OPTIONAL_END),
        (Self::ENDS_PARAGRAPH, &ENDS_PARAGRAPH),
        (Self::SCOPE, &SCOPES),
        (Self::SPECIAL, &SPECIAL),
        (Self::BREAKS_OUT, &BREAKS_OUT),
        (Self::BARRIER, &BARRIERS),
        (Self::TABLE_PART, &TABLE_PARTS),
        (Self::RAW_TEXT, &RAW_TEXT),
        (Self::TEMPLATE_HOST, &TEMPLATE_HOSTS),
        (Self::HEADING, &HEADINGS),
        (Self::MATHML_TEXT, &MATHML_TEXTS),
        (Self::OURS, &OURS),
    ];

    /// The kinds of an element with this name in lower case, and the name.
    pub(super) fn of(name: &str) -> (Self, Cow<'static, str>) {
        static KNOWN: LazyLock<Map<&'static str, Kinds>> = LazyLock::new(|| {
            let mut known = Map::<&str, Kinds>::default();
            for (kind, name) in Kinds::ALL.iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name))) {
                known.entry(name).or_default().0 |= kind.0;
            }
            known
        });
        if let Some((name, kind)) = KNOWN.get_key_value(name) {
            return (*kind, Cow::Borrowed(name));
        }
        // The name of a custom element has a hyphen.
        let kinds = [(Self::OURS, name.starts_with("esi:")), (Self::TEMPLATE_HOST, name.contains('-'))];
        let kind = kinds.into_iter().filter(|(_, is)| *is).fold(0, |all, (kind, _)| all | kind.0);
        (Self(kind), Cow::Owned(name.to_owned()))
    }

    /// Whether these kinds include another one.
    pub(super) const fn include(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }
}

/// Elements without an end tag; `<image>` is read as `<img>`.
const VOID: [&str; 18] = [
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "hr", "image", "img", "input", "keygen", "link",
    "meta", "param", "source", "track", "wbr",
];
/// Elements whose end tag may be missing.
const OPTIONAL_END: [&str; 17] = [
    "li", "dt", "dd", "p", "rt", "rp", "optgroup", "option", "colgroup", "caption", "thead", "tbody", "tfoot", "tr",
    "td", "th", "legend",
];
/// Elements whose start tag ends an open paragraph (13.2.6.4.7).
const ENDS_PARAGRAPH: [&str; 41] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
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
    "li",
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
/// Elements in which a paragraph outside of them is not ended (13.2.4.2, button scope).
const SCOPES: [&str; 9] = ["applet", "button", "caption", "marquee", "object", "table", "td", "template", "th"];

/// Special elements (13.2.4.2).
const SPECIAL: [&str; 83] = [
    "address",
    "applet",
    "area",
    "article",
    "aside",
    "base",
    "basefont",
    "bgsound",
    "blockquote",
    "body",
    "br",
    "button",
    "caption",
    "center",
    "col",
    "colgroup",
    "dd",
    "details",
    "dir",
    "div",
    "dl",
    "dt",
    "embed",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "frame",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "iframe",
    "img",
    "input",
    "keygen",
    "li",
    "link",
    "listing",
    "main",
    "marquee",
    "menu",
    "meta",
    "nav",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "ol",
    "p",
    "param",
    "plaintext",
    "pre",
    "script",
    "search",
    "section",
    "select",
    "source",
    "style",
    "summary",
    "table",
    "tbody",
    "td",
    "template",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "track",
    "ul",
    "wbr",
    "xmp",
];
/// Elements whose start tag ends SVG and MathML (13.2.6.5).
const BREAKS_OUT: [&str; 44] = [
    "b",
    "big",
    "blockquote",
    "body",
    "br",
    "center",
    "code",
    "dd",
    "div",
    "dl",
    "dt",
    "em",
    "embed",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "hr",
    "i",
    "img",
    "li",
    "listing",
    "menu",
    "meta",
    "nobr",
    "ol",
    "p",
    "pre",
    "ruby",
    "s",
    "small",
    "span",
    "strong",
    "strike",
    "sub",
    "sup",
    "table",
    "tt",
    "u",
    "ul",
    "var",
];

/// Elements in which no end tag closes an element outside of them.
const BARRIERS: [&str; 8] = ["applet", "caption", "marquee", "object", "table", "td", "template", "th"];
/// Elements that are allowed in tables only.
const TABLE_PARTS: [&str; 9] = ["caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr"];
/// Elements whose content is text without markup. If one is not closed, it swallows the rest of the page.
const RAW_TEXT: [&str; 8] = ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"];

/// Elements whose start tags no parser ignores and no repair removes.
const TEMPLATE_HOSTS: [&str; 18] = [
    "article",
    "aside",
    "blockquote",
    "div",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "main",
    "nav",
    "p",
    "section",
    "span",
    "li",
];
/// Headings, which are never nested.
const HEADINGS: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];
/// MathML elements whose content is HTML (13.2.6).
const MATHML_TEXTS: [&str; 5] = ["mi", "mo", "mn", "ms", "mtext"];
/// This project's own elements. Like those of ESI, they are replaced by other HTML, so their content is balanced by
/// itself and ends no element around them.
const OURS: [&str; 5] = ["fragment", "fallback", "slot", "when", "include"];
