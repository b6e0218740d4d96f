//! Finds the place where the assets of a page's fragments are added: once, and as late in the head as possible.
//! On a page without any insertion point they are added at its beginning.

use std::collections::BTreeMap;

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::node::{InsertionPoint, Node};

use super::best_place;
use super::frames::Frames;

/// The insertion point of a page at which the assets of its fragments are added.
pub(super) struct AssetsPlace {
    /// `None` once the place was reached.
    place: Option<Place>,
}

/// Places for assets, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    HeadEnd,
    Body,
    Head,
    Html,
    Doctype,
    /// The beginning of a page without any of these.
    Front,
}

const fn of(point: InsertionPoint) -> Option<Place> {
    Some(match point {
        InsertionPoint::HeadEnd => Place::HeadEnd,
        InsertionPoint::Body => Place::Body,
        InsertionPoint::Head => Place::Head,
        InsertionPoint::Html => Place::Html,
        InsertionPoint::Doctype => Place::Doctype,
        InsertionPoint::BodyEnd => return None,
    })
}

impl AssetsPlace {
    pub(super) fn new(frames: &Frames<'_>, files: &BTreeMap<String, LayoutFile>) -> Self {
        let rank = |node: &Node| match node {
            Node::InsertionPoint(point) => of(*point),
            _ => None,
        };
        Self { place: Some(best_place::best(frames, files, rank).unwrap_or(Place::Front)) }
    }

    /// Whether the assets are added at an insertion point.
    pub(super) fn is_at(&mut self, point: InsertionPoint) -> bool {
        self.place.take_if(|place| Some(*place) == of(point)).is_some()
    }

    /// Whether the whole page had no insertion point for them. Later ones are ignored.
    pub(super) fn is_left_over(&mut self) -> bool {
        self.place.take().is_some()
    }
}
