//! Finds the places of a page where a parser sees its head: for its title, for the content that its files add to the head
//! and the assets of its fragments, and for its late parts.
//! On a page without any such place, the head begins at the beginning.

use std::collections::BTreeSet;

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::node::{InsertionPoint, Node};
use crate::page::layout::syntax::outline::Outline;

use super::assembler::AssemblyContext;
use super::frames::Frames;

/// The places of a page. Each is the number of a node among those that are titles or insertion points, in document order.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The titles that readers see. Conditions may show one or another.
    pub(super) titles: BTreeSet<usize>,
    /// Whether there is a title in the content that files add to the head.
    pub(super) has_added_title: bool,
    /// Where a title is added if there is none; `None`: at the beginning.
    pub(super) title: Option<usize>,
    /// Where the content of the head and the assets are added; `None`: at the beginning.
    pub(super) head: Option<usize>,
    /// Where late parts are sent.
    pub(super) late: BTreeSet<usize>,
}

impl Places {
    /// Whether the page has a title of its own, which another one replaces.
    pub(super) fn has_title(&self) -> bool {
        self.has_added_title || !self.titles.is_empty()
    }

    pub(super) fn of(frames: &Frames<'_>, context: &AssemblyContext<'_>) -> Self {
        let mut finder = Finder {
            frames,
            context,
            outline: Outline::default(),
            open: vec![frames.levels[0]],
            includes: 0,
            next: 0,
            places: Self::default(),
            best: [None; 2],
            head_titles: BTreeSet::new(),
            other_titles: BTreeSet::new(),
            is_in_added: false,
        };
        finder.nodes(&frames.levels[0].nodes, 0);
        finder.is_in_added = true;
        for (level, fills) in frames.fills.iter().enumerate().skip(1) {
            fills.heads.iter().for_each(|nodes| finder.nodes(*nodes, level));
        }
        finder.finish()
    }
}

/// Finds the places of a page, in the order in which its nodes are assembled.
struct Finder<'a> {
    frames: &'a Frames<'a>,
    context: &'a AssemblyContext<'a>,
    outline: Outline,
    /// The files that are being searched, each a partial of the one before.
    open: Vec<&'a LayoutFile>,
    includes: usize,
    /// The number of the next title or insertion point.
    next: usize,
    places: Places,
    /// The best place so far for a title, and for what is added to the head: how good it is, and its number.
    best: [Option<(usize, usize)>; 2],
    head_titles: BTreeSet<usize>,
    other_titles: BTreeSet<usize>,
    /// Whether the content that files add to the head is being searched.
    is_in_added: bool,
}

/// The places for a title, from the best to the worst.
const FOR_TITLES: [InsertionPoint; 3] = [InsertionPoint::Head, InsertionPoint::Html, InsertionPoint::Doctype];
/// The places for assets, which may depend on what is in the head, from the best to the worst.
const FOR_ASSETS: [InsertionPoint; 5] = [
    InsertionPoint::HeadEnd,
    InsertionPoint::Body,
    InsertionPoint::Head,
    InsertionPoint::Html,
    InsertionPoint::Doctype,
];

impl<'a> Finder<'a> {
    fn nodes(&mut self, nodes: impl IntoIterator<Item = &'a Node>, level: usize) {
        for node in nodes {
            self.node(node, level);
        }
    }

    fn node(&mut self, node: &'a Node, level: usize) {
        match node {
            Node::Title(_) | Node::InsertionPoint(_) if self.is_in_added => {
                self.places.has_added_title |= matches!(node, Node::Title(_));
            }
            Node::Title(_) => {
                let titles = if self.outline.takes_metadata() { &mut self.head_titles } else { &mut self.other_titles };
                titles.insert(self.next);
                self.next += 1;
            }
            Node::InsertionPoint(point) => {
                if self.outline.pass(*point) {
                    self.offer(*point);
                }
                self.next += 1;
            }
            Node::Include(named) => {
                let Some(file) = self.context.files.get(&named.value) else { return };
                self.includes += 1;
                let is_open = self.open.iter().any(|open| std::ptr::eq(*open, file));
                // Assembling the page reports an error then.
                if !is_open && self.includes <= self.context.max_includes {
                    self.open.push(file);
                    self.nodes(&file.nodes, level);
                    self.open.pop();
                }
            }
            Node::Slot { name, inside, .. } => {
                let fills = self.frames.fills.get(level + 1).and_then(|fills| fills.slots.get(name.value.as_str()));
                match fills {
                    Some(nodes) => {
                        self.open.push(self.frames.levels[level + 1]);
                        self.nodes(nodes.iter().copied(), level + 1);
                        self.open.pop();
                    }
                    None => self.nodes(inside, level),
                }
            }
            other => other.inside().into_iter().for_each(|inside| self.nodes(inside, level)),
        }
    }

    /// Considers a place that a parser sees.
    fn offer(&mut self, point: InsertionPoint) {
        for (best, ranks) in self.best.iter_mut().zip([&FOR_TITLES[..], &FOR_ASSETS]) {
            let rank = ranks.iter().position(|known| *known == point);
            if let Some(rank) = rank.filter(|rank| best.is_none_or(|(known, _)| *rank < known)) {
                *best = Some((rank, self.next));
            }
        }
        if point == InsertionPoint::BodyEnd {
            self.places.late.insert(self.next);
        }
    }

    fn finish(mut self) -> Places {
        let [title, head] = self.best;
        self.places.head = head.map(|(_, number)| number);
        self.places.title = title.map(|(_, number)| number);
        let has_head_tag = title.is_some_and(|(rank, _)| FOR_TITLES[rank] == InsertionPoint::Head);
        // Without a `<head>`, a title in the body is the first of the document, which counts.
        let is_title_of_body = self.head_titles.is_empty() && !self.places.has_added_title && !has_head_tag;
        self.places.titles = if is_title_of_body { self.other_titles } else { self.head_titles };
        self.places
    }
}
