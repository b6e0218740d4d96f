//! The stack of open elements at a position of a text, as parsers maintain it (HTML standard, 13.2.4.2).
//! Beyond [`MAX_DEPTH`] elements nothing is added.

use std::borrow::Cow;

use crate::page::source::map::Map;

use super::elements::Kinds;
use super::tokens::StartTag;

/// The largest depth of the stack. It is bounded because many tags search all open elements.
pub const MAX_DEPTH: usize = 512;

/// The namespace of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Html,
    Svg,
    MathMl,
}

/// An open element.
#[derive(Debug)]
pub struct OpenElement {
    /// The name in lower case.
    pub name: Cow<'static, str>,
    kinds: Kinds,
    /// The byte at which its start tag begins.
    pub at: usize,
    namespace: Namespace,
    /// Its content is HTML. In SVG and MathML this holds for few elements (13.2.6).
    holds_html: bool,
    /// It is a template whose content began with a table part, so it is parsed like a table.
    holds_rows: bool,
}

impl OpenElement {
    /// Whether its end tag may be missing.
    #[must_use]
    pub fn has_optional_end(&self) -> bool {
        self.is_html_kind(Kinds::OPTIONAL_END)
    }

    /// Whether it is an SVG or MathML element.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.namespace != Namespace::Html
    }

    /// Whether it is an HTML element of one of these kinds.
    fn is_html_kind(&self, kinds: Kinds) -> bool {
        self.namespace == Namespace::Html && self.kinds.include(kinds)
    }

    /// Whether its name is that of a table part, such as a row or a cell.
    pub(super) fn is_table_part(&self) -> bool {
        self.kinds.include(Kinds::TABLE_PART)
    }

    /// Whether its name is that of an element whose content is text without markup.
    pub(super) fn is_raw_text(&self) -> bool {
        self.kinds.include(Kinds::RAW_TEXT)
    }

    fn is_template(&self) -> bool {
        self.namespace == Namespace::Html && self.name == "template"
    }

    fn is_ours(&self) -> bool {
        self.kinds.include(Kinds::OURS)
    }

    /// Whether a `<template>` in it certainly belongs to it: no parser ignores its start tag, and no repair removes it.
    #[must_use]
    pub fn is_template_host(&self) -> bool {
        self.is_html_kind(Kinds::TEMPLATE_HOST)
    }

    /// Whether it is a special element (13.2.4.2), such as a block, or is treated as one.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.is_html_kind(Kinds::SPECIAL) || self.is_integration_point()
    }

    /// Whether it is an SVG or MathML element with HTML inside (an integration point), whose end implies the end of
    /// nothing in it.
    #[must_use]
    pub fn is_integration_point(&self) -> bool {
        self.is_foreign() && self.holds_html
    }
}

/// The stack of open elements, the innermost last.
#[derive(Debug, Default)]
pub struct Stack {
    open: Vec<OpenElement>,
    /// The number of open elements of each name, so that most tags need no search.
    count: Map<Cow<'static, str>, usize>,
}

impl Stack {
    fn push(&mut self, tag: &StartTag, (kinds, owned): (Kinds, Cow<'static, str>), around: Namespace) {
        if self.depth() == MAX_DEPTH {
            return;
        }
        let name = tag.name.as_str();
        let namespace = match (around, name) {
            (Namespace::Html, "svg") => Namespace::Svg,
            (Namespace::Html, "math") => Namespace::MathMl,
            _ => around,
        };
        let holds_html = match (namespace, name) {
            (Namespace::Html, _) | (Namespace::Svg, "foreignobject" | "desc" | "title") => true,
            (Namespace::MathMl, "annotation-xml") => tag.attributes.iter().any(|attribute| {
                attribute.name == "encoding"
                    && ["text/html", "application/xhtml+xml"]
                        .iter()
                        .any(|html| attribute.value.eq_ignore_ascii_case(html))
            }),
            (Namespace::MathMl, _) => kinds.include(Kinds::MATHML_TEXT),
            _ => false,
        };
        if let Some(last) = self.open.last_mut().filter(|last| last.is_template()) {
            last.holds_rows |= kinds.include(Kinds::TABLE_PART);
        }
        match self.count.get_mut(name) {
            Some(count) => *count += 1,
            None => _ = self.count.insert(owned.clone(), 1),
        }
        self.open.push(OpenElement {
            name: owned,
            kinds,
            at: tag.span.start,
            namespace,
            holds_html,
            holds_rows: false,
        });
    }

    /// The namespace of a start tag that comes next.
    fn namespace_of(&self, tag: &StartTag) -> Namespace {
        let Some(last) = self.open.last() else { return Namespace::Html };
        let name = tag.name.as_str();
        let of_html = match last.namespace {
            Namespace::MathMl if last.kinds.include(Kinds::MATHML_TEXT) => !matches!(name, "mglyph" | "malignmark"),
            Namespace::MathMl if last.name == "annotation-xml" => last.holds_html || name == "svg",
            _ => last.holds_html,
        };
        if of_html { Namespace::Html } else { last.namespace }
    }

    /// Removes the innermost element.
    pub fn pop(&mut self) -> Option<OpenElement> {
        let last = self.open.pop()?;
        *self.count.get_mut(&last.name).expect("each open element is counted") -= 1;
        Some(last)
    }

    /// Removes the elements from an index of the stack on, and returns them, the innermost first.
    pub fn pop_to(&mut self, at: usize) -> Vec<OpenElement> {
        let mut popped = Vec::new();
        while self.open.len() > at {
            popped.extend(self.pop());
        }
        popped
    }

    /// The innermost element.
    #[must_use]
    pub fn last(&self) -> Option<&OpenElement> {
        self.open.last()
    }

    fn last_name(&self) -> Option<&str> {
        self.last().map(|element| &*element.name)
    }

    fn holds(&self, name: &str) -> bool {
        self.count.get(name).is_some_and(|count| *count > 0)
    }

    /// Whether a start tag that comes next is an SVG or MathML element.
    #[must_use]
    pub fn is_foreign(&self, tag: &StartTag) -> bool {
        self.namespace_of(tag) != Namespace::Html && !breaks_out(tag)
    }

    /// Whether an `<svg>` or `<math>` is open.
    #[must_use]
    pub fn is_in_foreign(&self) -> bool {
        self.holds("svg") || self.holds("math")
    }

    /// Whether a `<select>` is open. Parsers from before 2025 ignore nearly all tags in it.
    #[must_use]
    pub fn is_in_select(&self) -> bool {
        self.holds("select")
    }

    /// Whether a paragraph is open that the end tag `</p>` would end.
    #[must_use]
    pub fn is_in_paragraph(&self) -> bool {
        self.in_scope("p").is_some() && !self.holds("template")
    }

    /// The innermost element, if parsers allow only certain elements in it: they move any other one out of a table, and drop
    /// it from a list of options. Our own elements do not count, since they are not sent.
    #[must_use]
    pub fn refuses_elements(&self) -> Option<&str> {
        let last = self.open.iter().rev().find(|element| !element.is_ours())?;
        let refuses =
            ["table", "thead", "tbody", "tfoot", "tr", "colgroup", "select", "optgroup", "option", "datalist"];
        (last.namespace == Namespace::Html && refuses.contains(&&*last.name)).then_some(&*last.name)
    }

    /// Processes a start tag, and returns the elements that end where it begins, the innermost first.
    pub fn start_tag(&mut self, tag: &StartTag) -> Vec<OpenElement> {
        let name = tag.name.as_str();
        let (kinds, owned) = Kinds::of(name);
        let mut ended = Vec::new();
        let mut namespace = self.namespace_of(tag);
        if namespace != Namespace::Html && breaks_out(tag) {
            while self.last().is_some_and(|element| !element.holds_html && !element.is_ours()) {
                ended.extend(self.pop());
            }
            namespace = Namespace::Html;
        }
        let foreign = namespace != Namespace::Html;
        if !foreign {
            ended.extend(self.end_implied(name, kinds));
        }
        // A slash is ignored in HTML. It closes SVG and MathML elements, our own elements and those of ESI.
        let slash_closes = foreign || matches!(name, "svg" | "math") || kinds.include(Kinds::OURS);
        let is_void = (kinds.include(Kinds::VOID) && !foreign) || is_void_esi(tag);
        if !(is_void || (tag.self_closing && slash_closes)) {
            self.push(tag, (kinds, owned), namespace);
        }
        ended
    }

    /// Processes an end tag, and returns the elements that end with it, the innermost first and its own element last.
    /// `None` if it closes nothing.
    pub fn end_tag(&mut self, name: &str) -> Option<Vec<OpenElement>> {
        if !self.holds(name) {
            return None;
        }
        let at = self.open.iter().rposition(|element| element.name == name)?;
        // Parsers drop an end tag whose element is outside of one of these.
        let kinds = self.open[at].kinds;
        let scoped = |element: &OpenElement| {
            element.is_html_kind(Kinds::BARRIER)
                || element.is_integration_point()
                || (element.is_ours() && !kinds.include(Kinds::OURS))
        };
        if !kinds.include(Kinds::BARRIER) && self.open[at + 1..].iter().any(scoped) {
            return None;
        }
        Some(self.pop_to(at))
    }

    /// The number of open elements.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Removes the elements that end where an element of this name begins, and returns them, the innermost first.
    pub fn end_implied_by(&mut self, name: &str) -> Vec<OpenElement> {
        self.end_implied(name, Kinds::of(name).0)
    }

    fn end_implied(&mut self, name: &str, kinds: Kinds) -> Vec<OpenElement> {
        let mut ended = Vec::new();
        // 13.2.6.4.7: an item ends the previous one of its list, even if other elements are open in between.
        let items: &[&str] = match name {
            "li" => &["li"],
            "dt" | "dd" => &["dt", "dd"],
            _ => &[],
        };
        if items.iter().any(|item| self.holds(item)) {
            let stops = |element: &OpenElement| {
                element.is_ours() || (element.is_special() && !matches!(&*element.name, "address" | "div" | "p"))
            };
            let found = self.open.iter().rposition(|element| items.contains(&&*element.name) || stops(element));
            if let Some(at) = found.filter(|at| items.contains(&&*self.open[*at].name)) {
                ended.extend(self.pop_to(at));
            }
        }
        if kinds.include(Kinds::ENDS_PARAGRAPH) {
            ended.extend(self.end_in_scope("p"));
        }
        match name {
            // Each of these ends an open element of the same name.
            "button" | "select" | "a" | "nobr" => ended.extend(self.end_in_scope(name)),
            "input" | "textarea" | "keygen" => ended.extend(self.end_in_scope("select")),
            "table" => {
                // A table within the rows of another, but not in a cell, ends that one, even from within MathML.
                let stops = |element: &OpenElement| {
                    element.is_ours()
                        || (element.namespace == Namespace::Html
                            && matches!(&*element.name, "table" | "template" | "td" | "th" | "caption"))
                };
                let at = self.open.iter().rposition(stops).filter(|at| self.open[*at].name == "table");
                ended.extend(at.map(|at| self.pop_to(at)).unwrap_or_default());
            }
            _ if kinds.include(Kinds::HEADING)
                && self.last().is_some_and(|last| last.kinds.include(Kinds::HEADING)) =>
            {
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
        ended.extend(self.end_in_table(name, kinds));
        ended
    }

    /// A table part ends all elements of its table that cannot contain it (13.2.6.4.9 and the sections that follow).
    fn end_in_table(&mut self, name: &str, kinds: Kinds) -> Vec<OpenElement> {
        let around: &[&str] = match name {
            "td" | "th" => &["thead", "tbody", "tfoot", "tr"],
            "tr" => &["thead", "tbody", "tfoot"],
            "col" => &["colgroup"],
            _ if kinds.include(Kinds::TABLE_PART) => &[],
            _ => return Vec::new(),
        };
        let from = self.table_start();
        // For parsers, a form that begins between rows is closed immediately, but stays the owner of its controls
        // until its end tag.
        let stays = |element: &OpenElement| element.name == "form" || around.contains(&&*element.name);
        match self.open[from..].iter().position(|element| !stays(element)) {
            Some(at) => self.pop_to(from + at),
            None => Vec::new(),
        }
    }

    /// The index of the first element inside of the innermost table, or of what may be one: a text, like the content of
    /// our own elements, may be placed into a table.
    fn table_start(&self) -> usize {
        let begins = |element: &OpenElement| {
            matches!(&*element.name, "table" | "template") || element.is_integration_point() || element.is_ours()
        };
        self.open.iter().rposition(begins).map_or(0, |at| at + 1)
    }

    /// Whether a tag is a table part outside of any table of the text, so that the page around the text decides whether
    /// it is in one.
    #[must_use]
    pub fn is_table_part_outside_table(&self, name: &str) -> bool {
        let in_table = || {
            let around = self.table_start().checked_sub(1).map(|at| &*self.open[at].name);
            matches!(around, Some("table" | "template"))
        };
        Kinds::of(name).0.include(Kinds::TABLE_PART) && !in_table()
    }

    /// Whether parsers ignore a start tag: a table part outside of a table, a table where only a table part is allowed, a
    /// form within a form. In a `<select>`, some parsers also ignore elements whose content is text.
    #[must_use]
    pub fn is_ignored(&self, tag: &StartTag) -> bool {
        let name = tag.name.as_str();
        let (kinds, _) = Kinds::of(name);
        if kinds.include(Kinds::RAW_TEXT) && !matches!(name, "script" | "textarea") && self.is_in_select() {
            return true;
        }
        // Of nested forms, only the outermost exists.
        if name == "form" && self.holds("form") && !self.holds("template") {
            return true;
        }
        let is_part = kinds.include(Kinds::TABLE_PART);
        if !(is_part || name == "table") || self.namespace_of(tag) != Namespace::Html {
            return false;
        }
        let from = self.table_start();
        let around = from.checked_sub(1).map(|at| &self.open[at]);
        let begins_with_part = self.open.get(from).map(OpenElement::is_table_part);
        match around {
            Some(around) if around.name == "table" => false,
            Some(around) if around.is_integration_point() => is_part,
            // A template that begins with a column may contain nothing else.
            Some(around) if around.name == "template" && name == "col" && begins_with_part.is_none() => true,
            _ if is_part => begins_with_part == Some(false),
            _ => {
                let cell = |element: &OpenElement| matches!(&*element.name, "td" | "th" | "caption");
                let rows = begins_with_part == Some(true) || around.is_some_and(|around| around.holds_rows);
                rows && !self.open[from..].iter().any(cell)
            }
        }
    }

    /// Removes the innermost element of a name with all elements in it, if it is in scope.
    fn end_in_scope(&mut self, name: &str) -> Vec<OpenElement> {
        self.in_scope(name).map(|at| self.pop_to(at)).unwrap_or_default()
    }

    /// The index of the innermost element of a name, if no element that limits the scope is inside of it (13.2.4.2).
    fn in_scope(&self, name: &str) -> Option<usize> {
        if !self.holds(name) {
            return None;
        }
        // A button limits the scope of paragraphs only.
        let stops = |element: &OpenElement| {
            element.is_integration_point()
                || element.is_ours()
                || (element.is_html_kind(Kinds::SCOPE) && (name == "p" || element.name != "button"))
        };
        let found = self.open.iter().rposition(|element| element.name == name || stops(element));
        found.filter(|at| self.open[*at].name == name)
    }
}

/// Whether this is an element of ESI without content. Authors and programs that shorten HTML leave out the slash that XML
/// requires.
#[must_use]
pub fn is_void_esi(tag: &StartTag) -> bool {
    match tag.name.as_str() {
        "esi:include" => true,
        "esi:comment" => tag.attributes.iter().any(|attribute| attribute.name == "text"),
        _ => false,
    }
}

/// Whether a start tag ends SVG and MathML around it (13.2.6.5).
fn breaks_out(tag: &StartTag) -> bool {
    let named = |name| tag.attributes.iter().any(|attribute| attribute.name == name);
    Kinds::of(&tag.name).0.include(Kinds::BREAKS_OUT)
        || (tag.name == "font" && ["color", "face", "size"].into_iter().any(named))
}
