//! Parses a layout's HTML: Pasteup's elements with their positions, and everything else as bytes.
//! An element of Pasteup's that is not closed, or an attribute that it does not have, is an error.

pub mod schema;

mod attributes;
mod elements;
mod ending;
mod esi;
mod fallback;
mod fragment;
pub(super) mod placeholders;
mod placement;
mod points;
mod warnings;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use crate::page::html::stack::{Stack, is_void_esi};
use crate::page::html::tokens::{self, Attribute, StartTag, Token};
use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source, SourceSpan};

use super::node::{FragmentElement, InsertionPoint, Node, ReasonFallback};
use super::outline::Outline;

use self::ending::Unfinished;
use self::schema::names;

/// Maximum depth of nested elements of Pasteup's. The nodes are walked by recursive functions, here and at each request.
pub const MAX_DEPTH: usize = 64;

/// Elements in which a `<title>` is not the title of the page.
const NO_TITLE: [&str; 4] = ["template", "svg", "math", "noscript"];

/// What the HTML is: a page, a frame, or a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Whether a `<slot>` in it is filled. In a page it is HTML's own element.
    pub has_slots: bool,
    /// Whether it fills the slots of a frame.
    pub fills: bool,
    /// Whether it is the response of a nanoservice rather than a file.
    pub is_response: bool,
    /// Whether ESI's elements in it are processed.
    pub esi: bool,
}

impl Role {
    /// The role of a response. The layout that includes the fragment may fill its slots.
    #[must_use]
    pub const fn response(esi: bool) -> Self {
        Self { has_slots: true, fills: false, is_response: true, esi }
    }
}

/// A top-level element that goes into a slot, or into the frame's head.
struct Region {
    /// The slot; `None` for `<head>`.
    slot: Option<Located<String>>,
    /// How many elements of Pasteup's were open before it.
    open: usize,
}

/// A parsed layout.
#[derive(Debug)]
pub struct Markup {
    /// Its nodes, in their order.
    pub nodes: Vec<Node>,
    /// The greatest depth of nested elements of Pasteup's.
    pub depth: usize,
    /// Whether the nesting exceeds [`MAX_DEPTH`]. What follows was not read.
    pub too_deep: bool,
}

/// Parses the HTML of a file from byte `body` on, and adds its errors to `problems`.
pub fn parse(source: &Arc<Source>, body: usize, role: Role, problems: &mut Vec<Diagnostic>) -> Markup {
    let mut parser = Parser {
        source,
        role,
        html: Stack::default(),
        region: None,
        problems,
        text_from: body,
        open: Vec::new(),
        nodes: vec![Vec::new()],
        fallbacks: Vec::new(),
        depth: 0,
        too_deep: false,
        no_title: [0; NO_TITLE.len()],
        title: None,
        outline: Outline::default(),
        marked: body,
        last_point: None,
        raw: None,
        text_of: None,
    };
    let tokens = tokens::tokens(&source.text, body);
    let ending = if role.is_response { None } else { ending::unfinished(&source.text, body, tokens.last()) };
    for token in tokens {
        // Beyond the limit no nodes are built, and nothing is reported about end tags.
        if !parser.too_deep {
            parser.token(token);
        }
    }
    if let Some(ending) = ending.filter(|_| !parser.too_deep) {
        parser.unfinished(ending);
    }
    parser.finish()
}

struct Parser<'a> {
    source: &'a Arc<Source>,
    role: Role,
    /// All open elements. They are not tracked in a response.
    html: Stack,
    /// The open top-level element that goes into a slot, or into the frame's head.
    region: Option<Region>,
    problems: &'a mut Vec<Diagnostic>,
    /// The first byte that is not in a node yet.
    text_from: usize,
    /// The open elements of Pasteup's.
    open: Vec<StartTag>,
    /// The nodes of the file, and then those of each open element.
    nodes: Vec<Vec<Node>>,
    /// The fallbacks for certain reasons of the open fragments, each with the number of elements that are open around it.
    fallbacks: Vec<(usize, ReasonFallback)>,
    /// The greatest number of elements that were open.
    depth: usize,
    /// Whether more were opened than [`MAX_DEPTH`].
    too_deep: bool,
    /// How many of each of [`NO_TITLE`] are open.
    no_title: [usize; NO_TITLE.len()],
    /// The first byte of the text of the open `<title>`.
    title: Option<usize>,
    /// Where in its page a parser is, as far as this file decides it.
    outline: Outline,
    /// The first byte that is not considered for the outline yet.
    marked: usize,
    /// The last place that was marked; `None` if other files may come between.
    last_point: Option<InsertionPoint>,
    /// The open element of the head whose content is text for browsers.
    raw: Option<&'static str>,
    /// The element that has just been opened, if its content is only text.
    text_of: Option<String>,
}

impl Parser<'_> {
    fn token(&mut self, token: Token) {
        if !self.role.is_response {
            self.mark_token(&token);
        }
        match token {
            Token::Doctype { span } => self.insertion_point(span.end, InsertionPoint::Doctype),
            Token::Comment { span } if self.role.esi => self.unwrap(span),
            Token::Comment { .. } => {}
            Token::Start(tag) if self.role.is_response => self.start(tag),
            Token::Start(tag) => {
                // The start tag may end the region before it.
                self.html.end_implied_by(&tag.name);
                self.leave(tag.span.start..tag.span.start);
                let opened = self.enter(&tag);
                self.html.start_tag(&tag);
                let end = tag.span.end;
                if !opened {
                    self.mark_start(&tag);
                    if !self.is_ours(&tag.name) {
                        self.check_foreign_tag(&tag);
                    }
                    self.start(tag);
                }
                // The element may have no end tag.
                self.leave(end..end);
            }
            // In a file, `ending` reports all of them.
            Token::Unfinished { name, span } if self.role.is_response && self.is_ours(&name) => {
                self.unfinished(Unfinished::tag(&name, span.start));
            }
            Token::Unfinished { .. } => {}
            Token::End { name, span } if self.role.is_response => self.end_tag(&name, span),
            Token::End { name, span } => {
                let _stray = self.html.end_tag(&name);
                let ends_head = name == "head"
                    && self.html.depth() == 0
                    && self.region.as_ref().is_some_and(|region| region.slot.is_none());
                if !ends_head {
                    self.end_tag(&name, span.clone());
                }
                self.leave(if ends_head { span } else { span.end..span.end });
            }
        }
    }

    fn end_tag(&mut self, name: &str, span: Range<usize>) {
        match name {
            "title" => {
                if let Some(from) = self.title.take() {
                    self.text_from = span.start;
                    self.top().push(Node::Title(from..span.start));
                }
            }
            "head" => self.insertion_point(span.start, InsertionPoint::HeadEnd),
            "body" => self.insertion_point(span.start, InsertionPoint::BodyEnd),
            name if self.is_ours(name) => self.end(name, span),
            name => {
                if let Some(index) = NO_TITLE.iter().position(|known| *known == name) {
                    self.no_title[index] = self.no_title[index].saturating_sub(1);
                }
                if name == "template" {
                    self.insertion_point(span.end, InsertionPoint::TemplateEnd);
                }
            }
        }
    }

    /// Enters a region if this tag begins one. Returns `true` if the tag is handled.
    fn enter(&mut self, tag: &StartTag) -> bool {
        if !self.role.fills || self.region.is_some() || !self.open.is_empty() || self.html.depth() > 0 {
            return false;
        }
        let attribute = tag.attributes.iter().find(|attribute| attribute.name == schema::fragment::SLOT.name);
        let attribute = attribute.filter(|_| !self.is_ours(&tag.name));
        if tag.name == "head" {
            self.text_until(tag.span.start, tag.span.end);
            self.nodes.push(Vec::new());
            self.region = Some(Region { slot: None, open: 0 });
            self.last_point = None;
            return true;
        }
        if let Some(attribute) = attribute {
            self.text_until(tag.span.start, tag.span.start);
            self.nodes.push(Vec::new());
            let (from, to) = self.whole(attribute);
            self.text_until(from, to);
            let at = self.span(attribute.value_span.clone());
            self.region = Some(Region { slot: Some(Located { value: attribute.value.clone(), at }), open: 0 });
            self.last_point = None;
        }
        false
    }

    /// The bytes of an attribute, with the blanks before it and the quotes around its value.
    fn whole(&self, attribute: &Attribute) -> (usize, usize) {
        let text = self.source.text.as_bytes();
        let blanks = text[..attribute.name_span.start].iter().rev().take_while(|byte| byte.is_ascii_whitespace());
        let end = attribute.value_span.end;
        let quoted = attribute.value_span.start > attribute.name_span.end
            && matches!(text.get(end), Some(quote @ (b'"' | b'\'')) if text[attribute.value_span.start - 1] == *quote);
        (attribute.name_span.start - blanks.count(), end + usize::from(quoted))
    }

    /// Leaves the region if its element has ended. `end` are the bytes of an end tag that is left out.
    fn leave(&mut self, end: Range<usize>) {
        if self.html.depth() > 0 || self.region.is_none() {
            return;
        }
        self.end_region(end);
    }

    fn end_region(&mut self, end: Range<usize>) {
        let Some(region) = self.region.take() else { return };
        while self.open.len() > region.open {
            self.unclosed();
            self.text_until(end.start, end.start);
            self.close(end.start..end.start);
        }
        self.text_until(end.start, end.end);
        self.last_point = None;
        let inside = self.nodes.pop().expect("a region has its nodes");
        self.top().push(match region.slot {
            Some(slot) => Node::Fill { slot, inside },
            None => Node::Head(inside),
        });
    }

    fn start(&mut self, tag: StartTag) {
        match tag.name.as_str() {
            "head" => self.insertion_point(tag.span.end, InsertionPoint::Head),
            "html" => self.insertion_point(tag.span.end, InsertionPoint::Html),
            "body" => self.insertion_point(tag.span.start, InsertionPoint::Body),
            "title" if self.no_title.iter().all(|open| *open == 0) => {
                self.text_until(tag.span.end, tag.span.end);
                self.title = Some(tag.span.end);
            }
            "base" if !self.role.is_response && self.no_title.iter().all(|open| *open == 0) => self.check_base(&tag),
            name if self.is_ours(name) => self.open(tag),
            name => {
                // `<svg />` is closed; the slash of `<template />` means nothing.
                let closed = tag.self_closing && matches!(name, "svg" | "math");
                if let (Some(index), false) = (NO_TITLE.iter().position(|known| *known == name), closed) {
                    self.no_title[index] += 1;
                }
            }
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        let templates = self.no_title[0];
        let of_layouts = !self.role.is_response && matches!(name, names::WHEN | names::INCLUDE);
        let of_esi = self.role.esi && esi::is_element(name, self.role.is_response);
        let is_slot = name == names::SLOT && self.role.has_slots && templates == 0;
        // In a response it may be an element of the browser's elsewhere.
        let is_in = |around: &str| self.open.last().is_some_and(|tag| tag.name == around);
        let is_fallback = name == names::FALLBACK
            && (!self.role.is_response || is_in(names::FRAGMENT) || self.open.iter().any(|tag| tag.name == name));
        name == names::FRAGMENT || is_fallback || of_layouts || of_esi || is_slot
    }

    fn open(&mut self, tag: StartTag) {
        if self.open.len() == MAX_DEPTH {
            self.too_deep = true;
            let message = format!("`<{}>` is nested in {MAX_DEPTH} other elements", tag.name);
            self.note(Code::BadValue, tag.span, message).help =
                Some("that is the maximum; is an element above it not closed?".to_owned());
            return;
        }
        if let Some(load) = tag.attributes.iter().find(|attribute| attribute.name == schema::fragment::LOAD.name) {
            self.check_load(load);
        }
        self.text_until(tag.span.start, tag.span.end);
        self.last_point = None;
        self.nodes.push(Vec::new());
        let is_empty = self.role.esi
            && if self.role.is_response {
                // An end tag decides nothing: the response was balanced without one.
                is_void_esi(&tag)
            } else {
                esi::may_be_empty(&tag.name) && !esi::is_closed(&self.source.text[tag.span.end..], &tag.name)
            };
        // The slash may be the end of a value without quotation marks.
        let has_slash = || self.source.slice(tag.span.clone()).ends_with("/>");
        if is_empty && !self.role.is_response && !has_slash() {
            self.missing_slash(&tag);
        }
        let closed = (tag.self_closing || is_empty).then_some(tag.span.end);
        self.open.push(tag);
        self.depth = self.depth.max(self.open.len());
        if let Some(end) = closed {
            self.close(end..end);
        }
    }

    /// Ends the text at `end`; the next text begins at `next`.
    fn text_until(&mut self, end: usize, next: usize) {
        if self.text_from < end {
            let text = self.text_from..end;
            if self.role.esi && self.open.iter().any(|tag| tag.name == names::ESI_VARS) {
                self.values(text);
            } else {
                self.top().push(Node::Text(text));
            }
        }
        self.text_from = next;
    }

    fn top(&mut self) -> &mut Vec<Node> {
        self.nodes.last_mut().expect("the file's own nodes are never popped")
    }

    fn end(&mut self, name: &str, span: Range<usize>) {
        let Some(depth) = self.open.iter().rposition(|tag| tag.name == name) else {
            if self.role.is_response && esi::may_be_empty(name) {
                return self.text_until(span.start, span.end);
            }
            let open = self.open.last().map(|tag| format!("; `<{}>` is open here", tag.name)).unwrap_or_default();
            self.note(Code::UnexpectedClose, span.clone(), format!("`</{name}>` closes nothing{open}")).help =
                Some(format!("remove it, or write `<{name} …>` where it should begin"));
            self.text_until(span.start, span.end);
            return;
        };
        while self.open.len() > depth + 1 {
            self.unclosed();
            self.text_until(span.start, span.start);
            self.close(span.start..span.start);
        }
        self.text_until(span.start, span.end);
        self.close(span);
    }

    fn unclosed(&mut self) {
        let Some(tag) = self.open.last() else { return };
        let (name, span) = (tag.name.clone(), tag.span.clone());
        self.note(Code::Unclosed, span, format!("`<{name}>` is not closed")).help =
            Some(format!("write `</{name}>` where it ends, or `<{name} … />` if it has no content"));
    }

    /// Reports what the text ends within.
    fn unfinished(&mut self, ending: Unfinished) {
        let Unfinished { at, message, help } = ending;
        self.note(Code::Unclosed, at, message).help = Some(help);
    }

    fn finish(mut self) -> Markup {
        let end = self.source.text.len();
        self.mark_text(end);
        while !self.open.is_empty() {
            if !self.too_deep {
                self.unclosed();
            }
            self.text_until(end, end);
            self.close(end..end);
        }
        self.end_region(end..end);
        self.text_until(end, end);
        let nodes = self.nodes.pop().expect("the file's own nodes are never popped");
        Markup { nodes, depth: self.depth, too_deep: self.too_deep }
    }

    /// Closes the innermost element of Pasteup's.
    fn close(&mut self, end: Range<usize>) {
        self.last_point = None;
        let inside = self.nodes.pop().expect("each open element has its nodes");
        let tag = self.open.pop().expect("only an open element is closed");
        let node = match tag.name.as_str() {
            names::FRAGMENT => {
                let fallbacks = self.fallbacks_inside();
                Some(Node::Fragment(Box::new(FragmentElement { fallbacks, ..self.fragment(&tag, inside, end) })))
            }
            names::FALLBACK => {
                self.fallback(&tag, inside);
                None
            }
            names::WHEN => {
                self.check_content(&tag, &inside);
                let (conditions, at) = self.when(&tag);
                Some(Node::When { conditions, at, inside })
            }
            names::INCLUDE => self.include(&tag, &end).map(Node::Include),
            name if name.starts_with(esi::PREFIX) => self.esi(&tag, inside),
            _ => {
                let name = self.slot(&tag);
                Some(Node::Slot { name, start: tag.span, inside, end })
            }
        };
        self.top().extend(node);
    }

    fn span(&self, span: Range<usize>) -> SourceSpan {
        SourceSpan::new(self.source, span)
    }

    fn note(&mut self, code: Code, span: Range<usize>, message: String) -> &mut Diagnostic {
        let at = self.span(span);
        self.problems.push(Diagnostic::new(code, at, message));
        self.problems.last_mut().expect("one was pushed just now")
    }
}
