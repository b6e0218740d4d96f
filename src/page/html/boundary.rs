//! The elements that are open at a place of a text, as parsers keep them (HTML standard, 13.2.4.2).
//! An end tag that HTML makes optional (13.1.2.4) may be missing.

use std::borrow::Cow;

use crate::page::source::map::Map;

use super::elements::Kind;
use super::tokens::StartTag;

/// So many elements are kept inside each other, at most: many tags are looked for among all that are open.
pub const MAX_DEPTH: usize = 512;

/// What an element is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Html,
    Svg,
    MathMl,
}

/// An element that is open.
#[derive(Debug)]
pub struct Open {
    /// Its name, in lower case.
    pub name: Cow<'static, str>,
    kind: Kind,
    /// Where its start tag begins.
    pub at: usize,
    language: Language,
    /// What stands inside it is HTML: of SVG and MathML only a few are so (13.2.6).
    holds_html: bool,
    /// It is a template that began with a row or such, and so is read as a table.
    holds_rows: bool,
}

impl Open {
    /// Whether its end tag may be missing.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.is_one_of(Kind::OPTIONAL)
    }

    /// Whether it is of SVG or MathML.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.language != Language::Html
    }

    fn is_one_of(&self, kind: Kind) -> bool {
        self.language == Language::Html && self.kind.is(kind)
    }

    /// Whether it is a part of a table, by its name.
    pub(super) fn is_part(&self) -> bool {
        self.kind.is(Kind::PART)
    }

    /// Whether its text is no markup, by its name.
    pub(super) fn is_raw(&self) -> bool {
        self.kind.is(Kind::RAW)
    }

    fn is_template(&self) -> bool {
        self.language == Language::Html && self.name == "template"
    }

    fn is_own(&self) -> bool {
        self.kind.is(Kind::OWN)
    }

    /// Whether a `<template>` in it can be only its own: no parser passes it over, and nothing takes it away.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.is_one_of(Kind::HOST)
    }

    /// Whether parsers treat it specially (13.2.4.2): blocks and such.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.is_one_of(Kind::SPECIAL) || self.is_point()
    }

    /// Whether it is of SVG or MathML and holds HTML, so that its end implies that of nothing in it.
    #[must_use]
    pub fn is_point(&self) -> bool {
        self.is_foreign() && self.holds_html
    }
}

/// The elements that are open, the innermost last.
#[derive(Debug, Default)]
pub struct Stack {
    open: Vec<Open>,
    /// How many of them have each name: most tags need no search.
    count: Map<Cow<'static, str>, usize>,
}

impl Stack {
    fn push(&mut self, tag: &StartTag, (kind, own): (Kind, Cow<'static, str>), around: Language) {
        if self.depth() == MAX_DEPTH {
            return;
        }
        let name = tag.name.as_str();
        let language = match (around, name) {
            (Language::Html, "svg") => Language::Svg,
            (Language::Html, "math") => Language::MathMl,
            _ => around,
        };
        let holds_html = match (language, name) {
            (Language::Html, _) | (Language::Svg, "foreignobject" | "desc" | "title") => true,
            (Language::MathMl, "annotation-xml") => tag.attributes.iter().any(|attribute| {
                attribute.name == "encoding"
                    && ["text/html", "application/xhtml+xml"]
                        .iter()
                        .any(|html| attribute.value.eq_ignore_ascii_case(html))
            }),
            (Language::MathMl, _) => kind.is(Kind::MATHML_TEXT),
            _ => false,
        };
        if let Some(last) = self.open.last_mut().filter(|last| last.is_template()) {
            last.holds_rows |= kind.is(Kind::PART);
        }
        match self.count.get_mut(name) {
            Some(count) => *count += 1,
            None => _ = self.count.insert(own.clone(), 1),
        }
        self.open.push(Open { name: own, kind, at: tag.span.start, language, holds_html, holds_rows: false });
    }

    /// What a start tag that comes next is of.
    fn language_of(&self, tag: &StartTag) -> Language {
        let Some(last) = self.open.last() else { return Language::Html };
        let name = tag.name.as_str();
        let of_html = match last.language {
            Language::MathMl if last.kind.is(Kind::MATHML_TEXT) => !matches!(name, "mglyph" | "malignmark"),
            Language::MathMl if last.name == "annotation-xml" => last.holds_html || name == "svg",
            _ => last.holds_html,
        };
        if of_html { Language::Html } else { last.language }
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

    /// The innermost.
    #[must_use]
    pub fn last(&self) -> Option<&Open> {
        self.open.last()
    }

    fn last_name(&self) -> Option<&str> {
        self.last().map(|element| &*element.name)
    }

    fn holds(&self, name: &str) -> bool {
        self.count.get(name).is_some_and(|count| *count > 0)
    }

    /// Whether a start tag that comes next is of SVG or MathML.
    #[must_use]
    pub fn is_foreign(&self, tag: &StartTag) -> bool {
        self.language_of(tag) != Language::Html && !breaks_out(tag)
    }

    /// Whether an element of SVG or MathML is open somewhere around.
    #[must_use]
    pub fn is_in_foreign(&self) -> bool {
        self.holds("svg") || self.holds("math")
    }

    /// Whether a `<select>` is open somewhere around: parsers of before 2025 read nearly no tags in it.
    #[must_use]
    pub fn is_in_select(&self) -> bool {
        self.holds("select")
    }

    /// Takes up a start tag, and says which elements end where it begins, the innermost first.
    pub fn begin(&mut self, tag: &StartTag) -> Vec<Open> {
        let name = tag.name.as_str();
        let (kind, own) = Kind::of(name);
        let mut ended = Vec::new();
        let mut language = self.language_of(tag);
        if language != Language::Html && breaks_out(tag) {
            while self.last().is_some_and(|element| !element.holds_html && !element.is_own()) {
                ended.extend(self.pop());
            }
            language = Language::Html;
        }
        let foreign = language != Language::Html;
        if !foreign {
            ended.extend(self.imply_ends_of(name, kind));
        }
        // A slash closes nothing in HTML; it does in SVG and MathML, and in our own and ESI's elements.
        let slash_closes = foreign || matches!(name, "svg" | "math") || kind.is(Kind::OWN);
        if !((kind.is(Kind::VOID) && !foreign) || (tag.self_closing && slash_closes)) {
            self.push(tag, (kind, own), language);
        }
        ended
    }

    /// Takes up an end tag, and says what ends with it, the innermost first, and last of all its own element.
    /// `None` where it closes nothing.
    pub fn end(&mut self, name: &str) -> Option<Vec<Open>> {
        if !self.holds(name) {
            return None;
        }
        let at = self.open.iter().rposition(|element| element.name == name)?;
        // An end tag does not reach through these: parsers drop it.
        let kind = self.open[at].kind;
        let scoped = |element: &Open| {
            element.is_one_of(Kind::BARRIER) || element.is_point() || (element.is_own() && !kind.is(Kind::OWN))
        };
        if !kind.is(Kind::BARRIER) && self.open[at + 1..].iter().any(scoped) {
            return None;
        }
        Some(self.pop_to(at))
    }

    /// How many are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Ends the elements that end where this one begins, and says which, the innermost first.
    pub fn imply_ends(&mut self, name: &str) -> Vec<Open> {
        self.imply_ends_of(name, Kind::of(name).0)
    }

    fn imply_ends_of(&mut self, name: &str, kind: Kind) -> Vec<Open> {
        let mut ended = Vec::new();
        // 13.2.6.4.7: an item ends the one before it in its list, whatever of these is open in between.
        let items: &[&str] = match name {
            "li" => &["li"],
            "dt" | "dd" => &["dt", "dd"],
            _ => &[],
        };
        if items.iter().any(|item| self.holds(item)) {
            let stops = |element: &Open| {
                element.is_own() || (element.is_special() && !matches!(&*element.name, "address" | "div" | "p"))
            };
            let found = self.open.iter().rposition(|element| items.contains(&&*element.name) || stops(element));
            if let Some(at) = found.filter(|at| items.contains(&&*self.open[*at].name)) {
                ended.extend(self.pop_to(at));
            }
        }
        if kind.is(Kind::ENDS_PARAGRAPH) {
            ended.extend(self.end_in_scope("p"));
        }
        match name {
            // Within themselves these end themselves.
            "button" | "select" | "a" | "nobr" => ended.extend(self.end_in_scope(name)),
            "input" | "textarea" | "keygen" => ended.extend(self.end_in_scope("select")),
            "table" => {
                // One in another's rows, and in no cell of it, ends that, even from within MathML there.
                let stops = |element: &Open| {
                    element.is_own()
                        || (element.language == Language::Html
                            && matches!(&*element.name, "table" | "template" | "td" | "th" | "caption"))
                };
                let at = self.open.iter().rposition(stops).filter(|at| self.open[*at].name == "table");
                ended.extend(at.map(|at| self.pop_to(at)).unwrap_or_default());
            }
            _ if kind.is(Kind::HEADING) && self.last().is_some_and(|last| last.kind.is(Kind::HEADING)) => {
                ended.extend(self.pop());
            }
            _ => {}
        }
        let implied: &[&str] = match name {
            "option" => &["option"],
            "optgroup" if self.in_scope("select").is_some() => &["option", "optgroup"],
            "optgroup" => &["option"],
            "rt" | "rp" if self.in_scope("ruby").is_some() => &["rt", "rp"],
            _ => &[],
        };
        while self.last_name().is_some_and(|name| implied.contains(&name)) {
            ended.extend(self.pop());
        }
        ended.extend(self.end_in_table(name, kind));
        ended
    }

    /// 13.2.6.4.9 and what follows it: a cell, a row and so on end all in their table that they cannot stand in.
    fn end_in_table(&mut self, name: &str, kind: Kind) -> Vec<Open> {
        let around: &[&str] = match name {
            "td" | "th" => &["thead", "tbody", "tfoot", "tr"],
            "tr" => &["thead", "tbody", "tfoot"],
            "col" => &["colgroup"],
            _ if kind.is(Kind::PART) => &[],
            _ => return Vec::new(),
        };
        let from = self.table();
        // A form that begins between rows ends at once for parsers, and yet holds what its end tag comes behind.
        let stays = |element: &Open| element.name == "form" || around.contains(&&*element.name);
        match self.open[from..].iter().position(|element| !stays(element)) {
            Some(at) => self.pop_to(from + at),
            None => Vec::new(),
        }
    }

    /// Where what is open in the innermost table begins, or in what is taken for one: a text may be for a table
    /// around it, and what stands in our own elements, too.
    fn table(&self) -> usize {
        let begins =
            |element: &Open| matches!(&*element.name, "table" | "template") || element.is_point() || element.is_own();
        self.open.iter().rposition(begins).map_or(0, |at| at + 1)
    }

    /// Whether a tag is a part of a table, and it is for what is around the text to say whether there is one.
    #[must_use]
    pub fn is_part_of_nothing(&self, name: &str) -> bool {
        let in_table = || {
            let around = self.table().checked_sub(1).map(|at| &*self.open[at].name);
            matches!(around, Some("table" | "template"))
        };
        Kind::of(name).0.is(Kind::PART) && !in_table()
    }

    /// Whether parsers pass over a start tag: of a part of a table that stands in none, of a table where only a
    /// part of one can stand, of a form in a form. Some, but not all, pass over what makes text of all up to its
    /// end in a `<select>`.
    #[must_use]
    pub fn passes_over(&self, tag: &StartTag) -> bool {
        let name = tag.name.as_str();
        let (kind, _) = Kind::of(name);
        if kind.is(Kind::RAW) && !matches!(name, "script" | "textarea") && self.is_in_select() {
            return true;
        }
        // Of forms inside each other there is but one.
        if name == "form" && self.holds("form") && !self.holds("template") {
            return true;
        }
        let is_part = kind.is(Kind::PART);
        if !(is_part || name == "table") || self.language_of(tag) != Language::Html {
            return false;
        }
        let from = self.table();
        let around = from.checked_sub(1).map(|at| &self.open[at]);
        let begins_with_part = self.open.get(from).map(Open::is_part);
        match around {
            Some(around) if around.name == "table" => false,
            Some(around) if around.is_point() => is_part,
            // Behind it nothing else would be read in the template.
            Some(around) if around.name == "template" && name == "col" && begins_with_part.is_none() => true,
            _ if is_part => begins_with_part == Some(false),
            _ => {
                let cell = |element: &Open| matches!(&*element.name, "td" | "th" | "caption");
                let rows = begins_with_part == Some(true) || around.is_some_and(|around| around.holds_rows);
                rows && !self.open[from..].iter().any(cell)
            }
        }
    }

    /// Ends an element and all inside it, where none of the barriers stands between.
    fn end_in_scope(&mut self, name: &str) -> Vec<Open> {
        self.in_scope(name).map(|at| self.pop_to(at)).unwrap_or_default()
    }

    /// Where the innermost element of a name is, if none of the barriers stands behind it (13.2.4.2).
    fn in_scope(&self, name: &str) -> Option<usize> {
        if !self.holds(name) {
            return None;
        }
        // A button hides paragraphs only.
        let stops = |element: &Open| {
            element.is_point()
                || element.is_own()
                || (element.is_one_of(Kind::SCOPE) && (name == "p" || element.name != "button"))
        };
        let found = self.open.iter().rposition(|element| element.name == name || stops(element));
        found.filter(|at| self.open[*at].name == name)
    }
}

/// Whether parsers leave SVG and MathML at this tag (13.2.6.5).
fn breaks_out(tag: &StartTag) -> bool {
    let named = |name| tag.attributes.iter().any(|attribute| attribute.name == name);
    Kind::of(&tag.name).0.is(Kind::BREAKS_OUT)
        || (tag.name == "font" && ["color", "face", "size"].into_iter().any(named))
}
