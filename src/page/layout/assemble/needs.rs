//! Where the head takes up what fragments need there: once, and as late in the head as may be.

use std::collections::BTreeMap;

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::node::{InsertionPoint, Node};

use super::frames::Frames;
use super::place;

/// Says at which of a page's marks its fragments' assets go.
pub(crate) struct Needs {
    /// `None` once it was met.
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
    /// Nothing says where: they come first.
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

impl Needs {
    pub(crate) fn new(frames: &Frames<'_>, files: &BTreeMap<String, LayoutFile>) -> Self {
        let rank = |node: &Node| match node {
            Node::InsertionPoint(point) => of(*point),
            _ => None,
        };
        Self { place: Some(place::best(frames, files, rank).unwrap_or(Place::Front)) }
    }

    /// Whether they go here.
    pub(crate) fn at(&mut self, point: InsertionPoint) -> bool {
        self.place.take_if(|place| Some(*place) == of(point)).is_some()
    }

    /// Whether no insertion point of the page was for them; one that is met later is not either.
    pub(crate) fn left_over(&mut self) -> bool {
        self.place.take().is_some()
    }
}
