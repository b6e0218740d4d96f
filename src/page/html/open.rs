//! The elements that are open at a place of a text, as parsers keep them (HTML standard, 13.2.4.2).
//! An end tag that HTML makes optional (13.1.2.4) may be missing.

use std::collections::HashMap;

use super::tokens::StartTag;

/// Elements without an end tag.
const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];
/// Elements whose end tag may be missing.
const OPTIONAL: [&str; 17] = [
    "li", "dt", "dd", "p", "rt", "rp", "optgroup", "option", "colgroup", "caption", "thead", "tbody", "tfoot", "tr",
    "td", "th", "legend",
];
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

/// Elements that parsers treat specially (13.2.4.2).
const SPECIAL: [&str; 76] = [
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
    "pre",
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
    "tr",
    "ul",
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
const BARRIERS: [&str; 9] =
    ["applet", "caption", "marquee", "object", "table", "td", "template", "th", "foreignobject"];
/// An element that is open.
#[derive(Debug)]
pub struct Open {
    /// Its name, in lower case.
    pub name: String,
    /// Where its start tag begins.
    pub at: usize,
    /// What stands inside it is SVG or MathML.
    foreign: bool,
}

/// The elements that are open, the innermost last.
#[derive(Debug, Default)]
pub struct Stack {
    open: Vec<Open>,
    /// How many of them have each name: most tags need no search.
    count: HashMap<String, usize>,
}

impl Stack {
    fn push(&mut self, name: &str, at: usize) {
        let foreign = match name {
            "svg" | "math" => true,
            // Where HTML stands in them (13.2.6).
            "foreignobject" | "annotation-xml" => false,
            "mi" | "mo" | "mn" | "ms" | "mtext" | "desc" | "title" if self.is_foreign() => false,
            _ => self.is_foreign(),
        };
        *self.count.entry(name.to_owned()).or_default() += 1;
        self.open.push(Open { name: name.to_owned(), at, foreign });
    }

    /// The innermost, which is open no more.
    pub fn pop(&mut self) -> Option<Open> {
        let last = self.open.pop()?;
        *self.count.get_mut(&last.name).expect("each open element is counted") -= 1;
        Some(last)
    }

    /// What is open from the innermost element of a name on, itself included, the innermost first.
    pub fn pop_to(&mut self, at: usize) -> Vec<Open> {
        let mut popped = Vec::new();
        while self.open.len() > at {
            popped.extend(self.pop());
        }
        popped
    }

    /// The name of the innermost.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.open.last().map(|element| element.name.as_str())
    }

    fn holds(&self, name: &str) -> bool {
        self.count.get(name).is_some_and(|count| *count > 0)
    }

    /// Whether what comes next is SVG or MathML.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.open.last().is_some_and(|element| element.foreign)
    }

    /// Takes up a start tag, and says which elements end where it begins, the innermost first.
    pub fn begin(&mut self, tag: &StartTag) -> Vec<Open> {
        let name = tag.name.as_str();
        let mut ended = Vec::new();
        if self.is_foreign() && breaks_out(tag) {
            while self.is_foreign() {
                ended.extend(self.pop());
            }
        }
        let foreign = self.is_foreign();
        if !foreign {
            ended.extend(self.imply_ends(name));
        }
        // A slash closes nothing in HTML; it does in SVG and MathML, and in our own and ESI's elements.
        let slash_closes = foreign
            || matches!(name, "svg" | "math" | "fragment" | "slot" | "when" | "include")
            || name.starts_with("esi:");
        if !((VOID.contains(&name) && !foreign) || (tag.self_closing && slash_closes)) {
            self.push(name, tag.span.start);
        }
        ended
    }

    /// Takes up an end tag, and says what was open inside, the innermost first. `None` where it closes
    /// nothing.
    pub fn end(&mut self, name: &str) -> Option<Vec<Open>> {
        if VOID.contains(&name) || !self.holds(name) {
            return None;
        }
        let at = self.open.iter().rposition(|element| element.name == name)?;
        // An end tag does not reach through these: parsers drop it.
        let scoped = |element: &Open| BARRIERS.contains(&element.name.as_str());
        if !BARRIERS.contains(&name) && self.open[at + 1..].iter().any(scoped) {
            return None;
        }
        let mut inside = self.pop_to(at);
        inside.pop();
        Some(inside)
    }

    /// How many are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Ends the elements that end where this one begins, and says which, the innermost first.
    pub fn imply_ends(&mut self, name: &str) -> Vec<Open> {
        let mut ended = Vec::new();
        // 13.2.6.4.7: an item ends the one before it in its list, whatever of these is open in between.
        let items: &[&str] = match name {
            "li" => &["li"],
            "dt" | "dd" => &["dt", "dd"],
            _ => &[],
        };
        if items.iter().any(|item| self.holds(item)) {
            let stops = |element: &Open| {
                SPECIAL.contains(&&*element.name) && !matches!(&*element.name, "address" | "div" | "p")
            };
            let found = self.open.iter().rposition(|element| items.contains(&&*element.name) || stops(element));
            if let Some(at) = found.filter(|at| items.contains(&&*self.open[*at].name)) {
                ended.extend(self.pop_to(at));
            }
        }
        if ENDS_PARAGRAPH.contains(&name) {
            ended.extend(self.end_in_scope("p"));
        }
        match name {
            // Within themselves these end themselves.
            "button" | "select" | "a" | "nobr" => ended.extend(self.end_in_scope(name)),
            "table" if !self.last().is_some_and(|last| matches!(last, "td" | "th" | "caption")) => {
                let scoped = |element: &Open| BARRIERS.contains(&&*element.name);
                let at = self.open.iter().rposition(scoped).filter(|at| self.open[*at].name == "table");
                ended.extend(at.map(|at| self.pop_to(at)).unwrap_or_default());
            }
            _ if is_heading(name) && self.last().is_some_and(is_heading) => ended.extend(self.pop()),
            _ => {}
        }
        let implied: &[&str] = match name {
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
        while self.last().is_some_and(|name| implied.contains(&name)) {
            ended.extend(self.pop());
        }
        ended
    }

    /// Ends an element and all inside it, where none of the barriers stands between.
    fn end_in_scope(&mut self, name: &str) -> Vec<Open> {
        if !self.holds(name) {
            return Vec::new();
        }
        let found = self.open.iter().rposition(|element| element.name == name || SCOPES.contains(&&*element.name));
        match found.filter(|at| self.open[*at].name == name) {
            Some(at) => self.pop_to(at),
            None => Vec::new(),
        }
    }
}

fn is_heading(name: &str) -> bool {
    matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6")
}

/// Whether parsers leave SVG and MathML at this tag (13.2.6.5).
pub(super) fn breaks_out(tag: &StartTag) -> bool {
    let named = |name| tag.attributes.iter().any(|attribute| attribute.name == name);
    BREAKS_OUT.contains(&tag.name.as_str()) || (tag.name == "font" && ["color", "face", "size"].into_iter().any(named))
}

/// Whether an element is one that parsers treat specially (13.2.4.2): blocks and such.
#[must_use]
pub fn is_special(name: &str) -> bool {
    SPECIAL.contains(&name)
}

impl Open {
    /// Whether its end tag may be missing.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        OPTIONAL.contains(&self.name.as_str())
    }
}
