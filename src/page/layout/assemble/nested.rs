//! The HTML of an answer that asks for other fragments, taken apart once: when it comes in.
//! What its manifest does not list is passed on as it stands, and mistakes are for the log.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::page::layout::syntax::markup::{self, Role};
use crate::page::layout::syntax::node::{FragmentElement, FragmentTarget, Include, Load, Node};
use crate::page::layout::template::composition::{Composition, Condition, FragmentSource, FragmentUse, Segment};
use crate::page::manifest::Manifest;
use crate::page::source::diagnostic::{Diagnostic, Source, SourceSpan};
use crate::page::source::names::Name;

use super::esi::{self, Builder, Found};

/// Fragments that one answer asks for, at most; past them stand fallbacks.
const MAX_FRAGMENTS: usize = 1000;

impl Composition {
    /// Takes an answer's HTML apart. `None` where it asks for nothing.
    #[must_use]
    pub fn of_response(html: &Bytes, manifest: &Manifest, esi: bool) -> Option<Self> {
        if !asks(html, esi) {
            return None;
        }
        let text = std::str::from_utf8(html).ok()?;
        let source = Source::new(format!("the HTML of `{}`", manifest.name), text);
        let mut problems = Vec::new();
        let markup = markup::parse(&source, 0, Role::response(esi), &mut problems);
        let mistake = problems.first().map(told);
        if markup.too_deep {
            // As it stands it may show what is not meant for anybody.
            return Some(Self { is_cut: true, mistake, ..Self::default() });
        }
        let mut taking = Taking {
            html,
            manifest,
            fragments: Vec::new(),
            found: Found::default(),
            is_cut: false,
            slots: BTreeMap::new(),
            holes: HashSet::new(),
        };
        let parts = taking.parts(&markup.nodes);
        // ESI may also leave something out.
        if matches!(&*parts, [Segment::Text(text)] if text.len() == html.len()) {
            return None;
        }
        let whole = Self {
            parts,
            fragments: taking.fragments.into_iter().flatten().map(Arc::new).collect(),
            conditions: taking.found.conditions,
            values: taking.found.values,
            has_tries: taking.found.has_tries,
            is_cut: taking.is_cut,
            digest: 0,
            mistake: mistake.or_else(|| taking.is_cut.then(|| format!("more than {MAX_FRAGMENTS} fragments").into())),
        };
        Some(whole.digested())
    }

    /// Bytes that it takes in memory beside the HTML, about.
    #[must_use]
    pub fn size(&self) -> usize {
        fn of(parts: &[Segment]) -> usize {
            let inside = |part: &Segment| match part {
                Segment::When(_, inside) | Segment::Slot(_, inside) => of(inside),
                Segment::Try(attempt, except) => of(attempt) + of(except),
                Segment::Text(_) | Segment::Fragment(_) | Segment::Value(_) | Segment::Assets | Segment::Late => 0,
            };
            size_of_val(parts) + parts.iter().map(inside).sum::<usize>()
        }
        let fragment = |fragment: &Arc<FragmentUse>| {
            let parameters = fragment.parameters.iter().map(|(name, _)| 128 + name.len());
            size_of::<FragmentUse>()
                + of(&fragment.fallback)
                + parameters.sum::<usize>()
                + fragment.at.source.text.len()
        };
        // What ESI was read into is some times as large as its text, which is what it is at most.
        let text: usize = self.values.iter().map(|text| 2 * size_of_val(text.pieces())).sum();
        let tests = self.conditions.iter().map(|condition| match condition {
            Condition::When(_) => size_of::<Condition>(),
            Condition::First(tests, which) => {
                size_of::<Condition>() + if *which == 0 { 4 * size_of_val(&**tests) } else { 0 }
            }
        });
        of(&self.parts) + text + tests.sum::<usize>() + self.fragments.iter().map(fragment).sum::<usize>()
    }
}

/// Whether HTML may ask for anything, at the speed of a scan.
fn asks(html: &[u8], esi: bool) -> bool {
    const MARKS: [&[u8]; 4] = [b"fragment", b"slot", b"esi:", b"!--esi"];
    let marks = if esi { &MARKS[..] } else { &MARKS[..2] };
    memchr::memchr_iter(b'<', html).any(|at| {
        let name = &html[at + 1..];
        marks.iter().any(|mark| name.get(..mark.len()).is_some_and(|name| name.eq_ignore_ascii_case(mark)))
    })
}

fn told(problem: &Diagnostic) -> Box<str> {
    let (line, column) = problem.at.source.position(problem.at.span.start);
    format!("line {line}, column {column}: {}", problem.message).into()
}

/// Pieces of one text while they are put together: neighbouring bytes become one.
#[derive(Default)]
struct Pieces {
    done: Vec<Segment>,
    text: Range<usize>,
}

struct Taking<'a> {
    html: &'a Bytes,
    manifest: &'a Manifest,
    /// In document order; `None` while what is inside one is being read.
    fragments: Vec<Option<FragmentUse>>,
    found: Found,
    is_cut: bool,
    /// The slots that were met.
    holes: HashSet<String>,
    /// Which slot a fragment fills, by its index.
    slots: BTreeMap<usize, Name>,
}

impl Taking<'_> {
    fn parts(&mut self, nodes: &[Node]) -> Arc<[Segment]> {
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

    fn push(&self, part: Segment, pieces: &mut Pieces) {
        self.end_text(pieces);
        pieces.done.push(part);
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
                // Of one name the first is filled: else parts would multiply.
                let first = self.holes.insert(name.value.clone());
                // Of one that combines nothing it may be the browser's own, unless the layout fills it.
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
                    for part in &*default {
                        self.push(part.clone(), pieces);
                    }
                }
            }
            Node::Esi(esi) => {
                for part in self.esi(esi) {
                    self.push(part, pieces);
                }
            }
            // These are a layout's, and stand in no answer.
            Node::When { .. } | Node::Fill { .. } | Node::Head(_) | Node::Include(_) | Node::InsertionPoint(_) => {}
        }
    }

    /// The index of one more fragment. `None`: it has as many as it may have.
    fn room(&mut self) -> Option<usize> {
        let index = self.fragments.len();
        if index == MAX_FRAGMENTS {
            self.is_cut = true;
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
            self.text(&element.at.span, pieces);
            self.nodes(&element.inside, pieces);
            return self.text(&element.end, pieces);
        };
        let Some(index) = self.room() else { return self.nodes(&element.inside, pieces) };
        if let Some(slot) = &element.slot {
            self.slots.insert(index, Name::from(slot.value.as_str()));
        }
        let fallback = self.parts(&element.inside);
        let name = Name::from(name.value.as_str());
        let id = element.id.as_ref().map_or_else(|| Arc::clone(&name), |id| Name::from(id.value.as_str()));
        let service = FragmentSource::Wanted(name, version.value.clone());
        self.fragments[index] = Some(FragmentUse {
            // Only what a layout loads lazily is served by itself.
            load: if element.load == Load::Lazy { Load::Auto } else { element.load },
            at: alone(&element.at),
            ..FragmentUse::of(element, id, service, fallback, &self.slots)
        });
        self.push(Segment::Fragment(index), pieces);
    }
}

/// A place in a text of its own: the whole answer would be kept with it.
fn alone(at: &SourceSpan) -> SourceSpan {
    let tag = Source::new(at.source.file.clone(), at.source.slice(at.span.clone()));
    SourceSpan::new(&tag, 0..tag.text.len())
}

impl<'n> Builder<'n> for Taking<'_> {
    fn found(&mut self) -> &mut Found {
        &mut self.found
    }

    fn inside(&mut self, nodes: &'n [Node]) -> Arc<[Segment]> {
        self.parts(nodes)
    }

    fn include(&mut self, include: &'n Include) -> Option<Segment> {
        let index = self.room()?;
        let at = alone(&include.at);
        let alt = include.alt.as_ref().and_then(|alt| Some((alt, self.room()?)));
        let mut fallback = Arc::default();
        if let Some((alt, index)) = alt {
            self.fragments[index] = Some(esi::fragment(include, &alt.value, at.clone(), Arc::default()));
            fallback = Arc::from([Segment::Fragment(index)]);
        }
        self.fragments[index] = Some(esi::fragment(include, &include.src.value, at, fallback));
        Some(Segment::Fragment(index))
    }

    // One that there is not has no value.
    fn uses(&mut self, _: &mut dyn Iterator<Item = (&str, Option<&str>)>, _: &SourceSpan) {}
}
