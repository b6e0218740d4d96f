//! Marks the places of a file that decide where a parser sees the page's head and body. The page that the file becomes a part of
//! is known only when that is assembled.

use crate::page::html::stack::OpenElement;
use crate::page::html::tokens::{StartTag, Token};
use crate::page::layout::syntax::node::{InsertionPoint, Node};

use super::Parser;
use super::schema::names;

/// Elements that belong into the head (13.2.6.4.4).
const METADATA: [&str; 10] =
    ["base", "basefont", "bgsound", "link", "meta", "noframes", "noscript", "script", "style", "title"];
/// Those of them whose content is text, for browsers that run scripts.
const TEXTS: [&str; 5] = ["noframes", "noscript", "script", "style", "title"];

impl Parser<'_> {
    /// Adds a place to the nodes.
    pub(super) fn insertion_point(&mut self, at: usize, point: InsertionPoint) {
        // What is text for browsers has no places.
        if self.role.is_response || self.raw.is_some() || self.is_in_fallback() {
            return;
        }
        // The bytes before it may be left out already, as those of an attribute `slot`.
        let at = at.max(self.text_from);
        self.text_until(at, at);
        self.top().push(Node::InsertionPoint(point));
        self.outline.pass(point);
        self.last_point = Some(point);
    }

    /// Marks text before a token that is not blank.
    pub(super) fn mark_text(&mut self, before: usize) {
        let text = self.source.slice(self.marked..before);
        if self.raw.is_none() && !text.trim_ascii().is_empty() {
            self.mark(self.marked, InsertionPoint::Content);
        }
    }

    /// Marks a token that has been read, unless its place is marked elsewhere.
    pub(super) fn mark_token(&mut self, token: &Token) {
        self.mark_text(token.span().start);
        if let Some(name) = self.text_of.take() {
            self.check_text(self.marked..token.span().start, &format!("`<{name}>`"));
        }
        self.marked = self.marked.max(token.span().end);
        if let Token::End { name, .. } = token
            && self.raw == Some(name.as_str())
        {
            self.raw = None;
        }
    }

    /// Marks the beginning of an element.
    pub(super) fn mark_start(&mut self, tag: &StartTag) {
        if self.raw.is_some() || matches!(tag.name.as_str(), "head" | "html" | "body") || self.is_ours(&tag.name) {
            return;
        }
        let is_foreign = self.is_foreign();
        let point = match tag.name.as_str() {
            "template" if !is_foreign => InsertionPoint::Template,
            name if METADATA.contains(&name) && !is_foreign => InsertionPoint::Metadata,
            _ => InsertionPoint::Content,
        };
        self.mark(tag.span.start, point);
        if !is_foreign {
            self.raw = TEXTS.into_iter().find(|text| *text == tag.name);
        }
    }

    /// Marks a place, unless the last mark says as much.
    fn mark(&mut self, at: usize, point: InsertionPoint) {
        let is_known = match point {
            InsertionPoint::Content => self.last_point == Some(InsertionPoint::Content),
            InsertionPoint::Metadata => {
                matches!(self.last_point, Some(InsertionPoint::Content | InsertionPoint::Metadata))
            }
            _ => false,
        };
        if !is_known {
            self.insertion_point(at, point);
        }
    }

    /// Whether the innermost element is one of SVG or MathML.
    pub(super) fn is_foreign(&self) -> bool {
        self.html.last().is_some_and(OpenElement::is_foreign)
    }

    /// Whether the current place is in the content of a fragment, which is shown instead of it.
    fn is_in_fallback(&self) -> bool {
        self.open.iter().any(|tag| tag.name == names::FRAGMENT)
    }
}
