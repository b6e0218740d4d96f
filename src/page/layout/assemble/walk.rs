//! Walks the nodes of a page's files and turns them into segments: text, slots, partials, conditions and insertion points.
//! A missing partial, a partial that includes itself, and elements that are nested too deeply are errors.

use std::ops::Range;
use std::sync::Arc;

use crate::page::html::escape_text;
use crate::page::layout::syntax::file::{LayoutFile, missing_file, without_effect};
use crate::page::layout::syntax::front_matter::Title;
use crate::page::layout::syntax::markup::MAX_DEPTH;
use crate::page::layout::syntax::node::{Node, ParameterPiece};
use crate::page::layout::template::segment::{Condition, Segment, Value};
use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};

use super::assembler::Assembler;
use super::esi::EsiBuilder as _;
use super::segments::SegmentBuilder;

/// Maximum depth of nested partials.
const MAX_INCLUDES_DEEP: usize = 32;

impl<'a> Assembler<'a> {
    pub(super) fn nodes(&mut self, nodes: &'a [Node], segments: &mut SegmentBuilder) {
        for node in nodes {
            self.node(node, segments);
        }
    }

    fn node(&mut self, node: &'a Node, segments: &mut SegmentBuilder) {
        match node {
            Node::Text(span) => segments.text(self.bytes(span.clone())),
            Node::Fragment(element) => {
                if let Some(index) = self.fragment(element) {
                    segments.push(Segment::Fragment(index));
                }
            }
            Node::When { conditions, at, inside } => {
                self.check_conditions(conditions, at);
                let index = self.tables.conditions.len();
                self.tables.conditions.push(Condition::When(conditions.clone()));
                let mut inner = SegmentBuilder::default();
                self.inside(inside, &mut inner);
                segments.push(Segment::When(index, inner.finish()));
            }
            Node::Esi(esi) => {
                for segment in self.esi(esi) {
                    segments.push(segment);
                }
            }
            Node::Include(file) => self.include_file(file, segments),
            Node::Slot { name, inside, .. } if self.level + 1 < self.frames.levels.len() => {
                match self.frames.fills[self.level + 1].slots.get(name.value.as_str()).cloned() {
                    Some(nodes) => self.filled(nodes, segments),
                    None => self.inside(inside, segments),
                }
            }
            Node::Slot { start, inside, end, .. } => {
                segments.text(self.bytes(start.clone()));
                self.inside(inside, segments);
                segments.text(self.bytes(end.clone()));
            }
            Node::Fill { inside, .. } | Node::Head(inside) => self.inside(inside, segments),
            Node::Title(span) => {
                let is_replaced = self.replaces_title();
                match self.title.filter(|_| is_replaced) {
                    Some(title) => self.write_title(title, segments),
                    None => segments.text(self.bytes(span.clone())),
                }
            }
            Node::InsertionPoint(_) => self.insert(segments),
        }
    }

    /// Whether the next title is one that the page's title replaces.
    fn replaces_title(&mut self) -> bool {
        if self.fallbacks > 0 || self.in_heads {
            return self.in_heads && self.fallbacks == 0;
        }
        self.next_place += 1;
        self.places.titles.contains(&(self.next_place - 1))
    }

    /// Adds what belongs at the next insertion point.
    fn insert(&mut self, segments: &mut SegmentBuilder) {
        if self.fallbacks > 0 || self.in_heads {
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        // After all visible content, and directly in the body.
        if self.places.late.contains(&place) {
            segments.push(Segment::Late);
        }
        if self.places.title == Some(place) {
            self.add_title(segments);
        }
        if self.places.head == Some(place) {
            self.heads(segments);
            segments.push(Segment::Assets);
        }
    }

    /// Adds the title as an element, unless the page has one.
    pub(super) fn add_title(&mut self, segments: &mut SegmentBuilder) {
        if let Some(title) = self.title.filter(|_| !self.places.has_title()) {
            segments.text(b"<title>");
            self.write_title(title, segments);
            segments.text(b"</title>");
        }
    }

    /// Writes the text of the title. One without placeholders is the same on all pages of the layout.
    fn write_title(&mut self, title: &Title, segments: &mut SegmentBuilder) {
        match title.pieces.as_slice() {
            [ParameterPiece::Literal(text)] => segments.text(escape_text(text).as_bytes()),
            pieces => segments.push(self.tables.value(Value::Title(Arc::from(pieces)))),
        }
    }

    /// Adds the content that the next inner file puts into a slot.
    fn filled(&mut self, nodes: Vec<&'a Node>, segments: &mut SegmentBuilder) {
        let file = self.frames.levels[self.level + 1];
        if self.depth + 1 + file.depth > MAX_DEPTH {
            let at = SourceSpan::new(&file.source, 0..0);
            let message = format!("in its frames, more than {MAX_DEPTH} elements are nested");
            let problem = Diagnostic::new(Code::BadValue, at, message);
            self.problems.push(problem.help("nest fewer elements"));
            return;
        }
        self.level += 1;
        self.files.push(self.frames.levels[self.level]);
        self.depth += 1;
        for node in nodes {
            self.node(node, segments);
        }
        self.depth -= 1;
        self.files.pop();
        self.level -= 1;
    }

    /// Adds the nodes that all inner files add to the head of the outermost frame.
    pub(super) fn heads(&mut self, segments: &mut SegmentBuilder) {
        let level = self.level;
        self.in_heads = true;
        for inside in 1..self.frames.levels.len() {
            self.level = inside;
            self.files.push(self.frames.levels[inside]);
            for nodes in self.frames.fills[inside].heads.clone() {
                self.nodes(nodes, segments);
            }
            self.files.pop();
        }
        self.in_heads = false;
        self.level = level;
    }

    pub(super) fn inside(&mut self, nodes: &'a [Node], segments: &mut SegmentBuilder) {
        self.depth += 1;
        self.nodes(nodes, segments);
        self.depth -= 1;
    }

    fn bytes(&self, span: Range<usize>) -> &'a [u8] {
        let file: &'a LayoutFile = self.files.last().expect("the outermost file is never closed");
        file.source.slice(span).as_bytes()
    }

    fn include_file(&mut self, named: &Located<String>, segments: &mut SegmentBuilder) {
        let Some(file) = self.context.files.get(&named.value) else {
            self.problems.push(missing_file(named, self.context.files));
            return;
        };
        if let Some(start) = self.files.iter().position(|open| std::ptr::eq(*open, file)) {
            let mut cycle: Vec<&str> = self.files[start..].iter().map(|file| file.path()).collect();
            cycle.push(file.path());
            let problem =
                Diagnostic::new(Code::IncludeCycle, named.at.clone(), format!("`{}` includes itself", named.value));
            self.problems.push(problem.help(format!("the cycle: {}", cycle.join(" → "))));
            return;
        }
        self.includes += 1;
        if self.includes > self.context.max_includes {
            if self.includes == self.context.max_includes + 1 {
                let message = format!("the page includes more than {} partials", self.context.max_includes);
                let problem = Diagnostic::new(Code::IncludeCycle, named.at.clone(), message);
                self.problems.push(problem.help("`page.max_includes` in pasteup.toml is the limit"));
            }
            return;
        }
        let too_deep = if self.files.len() > MAX_INCLUDES_DEEP {
            let message = format!("`{}` is a partial inside {MAX_INCLUDES_DEEP} others", named.value);
            Some(Diagnostic::new(Code::IncludeCycle, named.at.clone(), message))
        } else if self.depth + file.depth > MAX_DEPTH {
            let message = format!("with `{}`, more than {MAX_DEPTH} elements are nested", named.value);
            Some(Diagnostic::new(Code::BadValue, named.at.clone(), message))
        } else {
            None
        };
        if let Some(problem) = too_deep {
            self.problems.push(problem.help("nest fewer elements"));
            return;
        }
        // One error is enough to keep the page from going live; the file itself reports all of them.
        self.problems.extend(file.problems.iter().find(|problem| problem.is_error()).cloned());
        self.problems.extend(without_effect(file));
        self.files.push(file);
        self.nodes(&file.nodes, segments);
        self.files.pop();
    }
}
