//! Splits the HTML of a response that requests other fragments into segments, once, when it arrives.
//! Fragments that its manifest does not list remain text, and errors are logged.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::page::layout::syntax::markup::{self, Role};
use crate::page::layout::syntax::node::{FragmentElement, FragmentTarget, Include, Load, Node};
use crate::page::layout::template::composition::Composition;
use crate::page::layout::template::fragment::{FragmentSource, FragmentUse};
use crate::page::layout::template::segment::Segment;
use crate::page::manifest::Manifest;
use crate::page::source::diagnostic::{Diagnostic, Source, SourceSpan};
use crate::page::source::names::Name;

use super::esi::{self, EsiBuilder, SegmentTables};

/// Maximum number of fragments that a response requests; the others show their fallbacks.
const MAX_FRAGMENTS: usize = 1000;

impl Composition {
    /// Splits a response's HTML into segments. `None`: it requests nothing.
    #[must_use]
    pub fn of_response(html: &Bytes, manifest: &Manifest, esi: bool) -> Option<Self> {
        if !may_compose(html, esi) {
            return None;
        }
        let text = std::str::from_utf8(html).ok()?;
        let source = Source::new(format!("the HTML of `{}`", manifest.name), text);
        let mut problems = Vec::new();
        let markup = markup::parse(&source, 0, Role::response(esi), &mut problems);
        let error = problems.first().map(describe);
        if markup.too_deep {
            // As text it might reveal content that should not be shown.
            return Some(Self { is_truncated: true, error, ..Self::default() });
        }
        let mut assembler = ResponseAssembler {
            html,
            manifest,
            fragments: Vec::new(),
            tables: SegmentTables::default(),
            is_truncated: false,
            slots: BTreeMap::new(),
            slot_names: HashSet::new(),
        };
        let segments = assembler.segments(&markup.nodes);
        // Not if ESI has removed something.
        if matches!(&*segments, [Segment::Text(text)] if text.len() == html.len()) {
            return None;
        }
        let whole = Self {
            segments,
            fragments: assembler.fragments.into_iter().flatten().map(Arc::new).collect(),
            conditions: assembler.tables.conditions,
            values: assembler.tables.values,
            has_tries: assembler.tables.has_tries,
            is_truncated: assembler.is_truncated,
            leaves_paragraph_open: false,
            digest: 0,
            error: error
                .or_else(|| assembler.is_truncated.then(|| format!("more than {MAX_FRAGMENTS} fragments").into())),
        };
        Some(whole.with_digest())
    }
}

/// Whether HTML may request anything; much faster than parsing it.
fn may_compose(html: &[u8], esi: bool) -> bool {
    const MARKS: [&[u8]; 4] = [b"fragment", b"slot", b"esi:", b"!--esi"];
    let marks = if esi { &MARKS[..] } else { &MARKS[..2] };
    memchr::memchr_iter(b'<', html).any(|at| {
        let name = &html[at + 1..];
        marks.iter().any(|mark| name.get(..mark.len()).is_some_and(|name| name.eq_ignore_ascii_case(mark)))
    })
}

/// An error with its place, for the log.
fn describe(problem: &Diagnostic) -> Box<str> {
    let (line, column) = problem.at.source.position(problem.at.span.start);
    format!("line {line}, column {column}: {}", problem.message).into()
}

/// Segments in order, and the span of the text that follows them: adjacent spans become one segment.
#[derive(Default)]
struct Pieces {
    done: Vec<Segment>,
    text: Range<usize>,
}

/// A response's HTML while it is split into segments.
struct ResponseAssembler<'a> {
    html: &'a Bytes,
    manifest: &'a Manifest,
    /// The fragments in document order; `None` while the content of one is being walked.
    fragments: Vec<Option<FragmentUse>>,
    tables: SegmentTables,
    is_truncated: bool,
    /// The names of the slots so far.
    slot_names: HashSet<String>,
    /// The slots that fragments fill, by the index of the fragment.
    slots: BTreeMap<usize, Name>,
}

impl ResponseAssembler<'_> {
    fn segments(&mut self, nodes: &[Node]) -> Arc<[Segment]> {
        let mut pieces = Pieces::default();
        self.nodes(nodes, &mut pieces);
        self.finish(pieces)
    }

    fn finish(&self, mut pieces: Pieces) -> Arc<[Segment]> {
        self.end_text(&mut pieces);
        pieces.done.into()
    }

    fn end_text(&self, pieces: &mut Pieces) {
        let text = std::mem::take(&mut pieces.text);
        pieces.done.extend((!text.is_empty()).then(|| Segment::Text(self.html.slice(text))));
    }

    fn text(&self, span: &Range<usize>, pieces: &mut Pieces) {
        if pieces.text.end != span.start {
            self.end_text(pieces);
            pieces.text.start = span.start;
        }
        pieces.text.end = span.end;
    }

    fn push(&self, segment: Segment, pieces: &mut Pieces) {
        self.end_text(pieces);
        pieces.done.push(segment);
    }

    fn nodes(&mut self, nodes: &[Node], pieces: &mut Pieces) {
        for node in nodes {
            self.node(node, pieces);
        }
    }

    fn node(&mut self, node: &Node, pieces: &mut Pieces) {
        match node {
            Node::Text(span) | Node::Title(span) => self.text(span, pieces),
            Node::Fragment(element) => self.fragment(element, pieces),
            Node::Slot { name, start, inside, end } => {
                // Only the first slot of a name is filled: otherwise parts would multiply.
                let first = self.slot_names.insert(name.value.clone());
                // In a response that composes nothing it may be a slot for the browser, unless the layout fills it.
                let tags = self.manifest.composes.is_empty();
                let mut default = Pieces::default();
                if tags {
                    self.text(start, &mut default);
                }
                self.nodes(inside, &mut default);
                if tags {
                    self.text(end, &mut default);
                }
                let default = self.finish(default);
                if first {
                    self.push(Segment::Slot(Name::from(name.value.as_str()), default), pieces);
                } else {
                    for segment in &*default {
                        self.push(segment.clone(), pieces);
                    }
                }
            }
            Node::Esi(esi) => {
                for segment in self.esi(esi) {
                    self.push(segment, pieces);
                }
            }
            // These exist only in layouts.
            Node::When { .. } | Node::Fill { .. } | Node::Head(_) | Node::Include(_) | Node::InsertionPoint(_) => {}
        }
    }

    /// The index for another fragment. `None`: there are as many as are allowed.
    fn next_index(&mut self) -> Option<usize> {
        let index = self.fragments.len();
        if index == MAX_FRAGMENTS {
            self.is_truncated = true;
            return None;
        }
        self.fragments.push(None);
        Some(index)
    }

    fn fragment(&mut self, element: &FragmentElement, pieces: &mut Pieces) {
        let listed = match &element.target {
            FragmentTarget::Named { name, version } if self.manifest.composes.contains(&name.value) => {
                Some((name, version))
            }
            _ => None,
        };
        let Some((name, version)) = listed else {
            if !element.fallbacks.is_empty() {
                return self.text(&(element.at.span.start..element.end.end), pieces);
            }
            self.text(&element.at.span, pieces);
            self.nodes(&element.inside, pieces);
            return self.text(&element.end, pieces);
        };
        let Some(index) = self.next_index() else { return self.nodes(&element.inside, pieces) };
        if let Some(slot) = &element.slot {
            self.slots.insert(index, Name::from(slot.value.as_str()));
        }
        let fallback = self.segments(&element.inside);
        let fallbacks = element.fallbacks.iter().map(|fallback| self.segments(&fallback.inside)).collect();
        let name = Name::from(name.value.as_str());
        let id = element.id.as_ref().map_or_else(|| Arc::clone(&name), |id| Name::from(id.value.as_str()));
        let source = FragmentSource::Nested(name, version.value.clone());
        self.fragments[index] = Some(FragmentUse {
            // Only fragments that a layout loads lazily are served as standalone fragments.
            load: if element.load == Load::Lazy { Load::Auto } else { element.load },
            at: detached(&element.at),
            ..FragmentUse::from_element(element, id, source, (fallback, fallbacks), &self.slots)
        });
        self.push(Segment::Fragment(index), pieces);
    }
}

/// The same position in a source without the rest of the response, which would otherwise be stored with it.
fn detached(at: &SourceSpan) -> SourceSpan {
    let tag = Source::new(at.source.file.clone(), at.source.slice(at.span.clone()));
    SourceSpan::new(&tag, 0..tag.text.len())
}

impl<'n> EsiBuilder<'n> for ResponseAssembler<'_> {
    fn tables(&mut self) -> &mut SegmentTables {
        &mut self.tables
    }

    fn inside(&mut self, nodes: &'n [Node]) -> Arc<[Segment]> {
        self.segments(nodes)
    }

    fn include(&mut self, include: &'n Include) -> Option<Segment> {
        let index = self.next_index()?;
        let at = detached(&include.at);
        let alt = include.alt.as_ref().and_then(|alt| Some((alt, self.next_index()?)));
        let mut fallback = Arc::default();
        if let Some((alt, index)) = alt {
            self.fragments[index] = Some(esi::fragment(include, &alt.value, at.clone(), Arc::default()));
            fallback = Arc::from([Segment::Fragment(index)]);
        }
        self.fragments[index] = Some(esi::fragment(include, &include.src.value, at, fallback));
        Some(Segment::Fragment(index))
    }

    // A variable that does not exist is empty.
    fn use_variables(&mut self, _: &mut dyn Iterator<Item = (&str, Option<&str>)>, _: &SourceSpan) {}
}
