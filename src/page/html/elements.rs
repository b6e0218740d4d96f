//! Which elements HTML treats in which way.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::page::source::map::Map;

/// What an element is by its name. To look through the lists below for each tag took longer than to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kind(u16);

impl Kind {
    pub(super) const VOID: Self = Self(1);
    pub(super) const OPTIONAL: Self = Self(1 << 1);
    pub(super) const ENDS_PARAGRAPH: Self = Self(1 << 2);
    pub(super) const SCOPE: Self = Self(1 << 3);
    pub(super) const SPECIAL: Self = Self(1 << 4);
    pub(super) const BREAKS_OUT: Self = Self(1 << 5);
    pub(super) const BARRIER: Self = Self(1 << 6);
    pub(super) const PART: Self = Self(1 << 7);
    pub(super) const RAW: Self = Self(1 << 8);
    pub(super) const HOST: Self = Self(1 << 9);
    pub(super) const HEADING: Self = Self(1 << 10);
    pub(super) const MATHML_TEXT: Self = Self(1 << 11);
    pub(super) const OWN: Self = Self(1 << 12);

    /// The elements of each kind.
    const ALL: [(Self, &[&'static str]); 13] = [
        (Self::VOID, &VOID),
        (Self::OPTIONAL, &OPTIONAL),
        (Self::ENDS_PARAGRAPH, &ENDS_PARAGRAPH),
        (Self::SCOPE, &SCOPES),
        (Self::SPECIAL, &SPECIAL),
        (Self::BREAKS_OUT, &BREAKS_OUT),
        (Self::BARRIER, &BARRIERS),
        (Self::PART, &PARTS),
        (Self::RAW, &RAW),
        (Self::HOST, &HOSTS),
        (Self::HEADING, &HEADINGS),
        (Self::MATHML_TEXT, &MATHML_TEXTS),
        (Self::OWN, &OWN),
    ];

    /// What an element of this name is, in lower case, and the name.
    pub(super) fn of(name: &str) -> (Self, Cow<'static, str>) {
        static KNOWN: LazyLock<Map<&'static str, Kind>> = LazyLock::new(|| {
            let mut known = Map::<&str, Kind>::default();
            for (kind, name) in Kind::ALL.iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name))) {
                known.entry(name).or_default().0 |= kind.0;
            }
            known
        });
        if let Some((name, kind)) = KNOWN.get_key_value(name) {
            return (*kind, Cow::Borrowed(name));
        }
        // Custom elements have a hyphen.
        let kinds = [(Self::OWN, name.starts_with("esi:")), (Self::HOST, name.contains('-'))];
        let kind = kinds.into_iter().filter(|(_, is)| *is).fold(0, |all, (kind, _)| all | kind.0);
        (Self(kind), Cow::Owned(name.to_owned()))
    }

    /// Whether it is of another kind, too.
    pub(super) const fn is(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }
}

/// Elements without an end tag; `<image>` is read as `<img>`.
const VOID: [&str; 18] = [
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "hr", "image", "img", "input", "keygen", "link",
    "meta", "param", "source", "track", "wbr",
];
/// Elements whose end tag may be missing.
const OPTIONAL: [&str; 17] = [
    "li", "dt", "dd", "p", "rt", "rp", "optgroup", "option", "colgroup", "caption", "thead", "tbody", "tfoot", "tr",
    "td", "th", "legend",
];
/// Elements before which an open paragraph ends (13.2.6.4.7).
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
/// Elements that a paragraph outside of them does not end in (13.2.4.2, button scope).
const SCOPES: [&str; 9] = ["applet", "button", "caption", "marquee", "object", "table", "td", "template", "th"];

/// Elements that parsers treat specially (13.2.4.2).
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
/// Tags at which parsers leave SVG and MathML (13.2.6.5).
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

/// Elements that no end tag from inside reaches through.
const BARRIERS: [&str; 8] = ["applet", "caption", "marquee", "object", "table", "td", "template", "th"];
/// Elements that stand in tables only.
const PARTS: [&str; 9] = ["caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr"];
/// Elements whose text is no markup, and so swallows the page where they are not closed.
const RAW: [&str; 8] = ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"];

/// Elements that no parser passes over, and that nothing takes away.
const HOSTS: [&str; 18] = [
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
/// Headings, of which none stands in another.
const HEADINGS: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];
/// MathML elements whose text is HTML (13.2.6).
const MATHML_TEXTS: [&str; 5] = ["mi", "mo", "mn", "ms", "mtext"];
/// Our own elements, and beside them all of ESI, which are replaced by what they stand for: so what is inside is whole by
/// itself, and ends nothing that is around.
const OWN: [&str; 4] = ["fragment", "slot", "when", "include"];
