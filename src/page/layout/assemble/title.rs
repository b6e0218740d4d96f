//! A page's title: into its `<title>`, else into its `<head>`, else as far to the front as may be.

use std::collections::BTreeMap;

use crate::page::html::escape_text;
use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::node::{InsertionPoint, Node};

use super::frames::Frames;
use super::place;

/// Puts a page's title where it belongs: into every `<title>`, of which conditions may show one or
/// another, or else once.
pub(crate) struct Title {
    text: Option<String>,
    place: Place,
}

/// Places for a title, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// There is a `<title>`, whose text is replaced.
    Title,
    /// Behind `<head>`.
    Head,
    /// Behind `<html>`.
    Html,
    /// Behind the doctype.
    Doctype,
    /// Nothing says where: it comes first.
    Front,
}

fn rank(node: &Node) -> Option<Place> {
    match node {
        Node::Title(_) => Some(Place::Title),
        Node::InsertionPoint(point) => of(*point),
        _ => None,
    }
}

const fn of(point: InsertionPoint) -> Option<Place> {
    match point {
        InsertionPoint::Head => Some(Place::Head),
        InsertionPoint::Html => Some(Place::Html),
        InsertionPoint::Doctype => Some(Place::Doctype),
        InsertionPoint::HeadEnd | InsertionPoint::Body | InsertionPoint::BodyEnd => None,
    }
}

impl Title {
    pub(crate) fn new(title: Option<&str>, frames: &Frames<'_>, files: &BTreeMap<String, LayoutFile>) -> Self {
        let place = title.and_then(|_| place::best(frames, files, rank)).unwrap_or(Place::Front);
        Self { text: title.map(escape_text), place }
    }

    /// The text of the page's `<title>`.
    pub(crate) fn replacement(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.place == Place::Title)
    }

    /// The element to add at an insertion point.
    pub(crate) fn at(&mut self, point: InsertionPoint) -> Option<String> {
        self.text.take_if(|_| of(point) == Some(self.place)).map(|text| element(&text))
    }

    /// The title of a page without any place for one.
    pub(crate) fn left_over(&mut self) -> Option<String> {
        self.text.take_if(|_| self.place != Place::Title).map(|text| element(&text))
    }
}

fn element(text: &str) -> String {
    format!("<title>{text}</title>")
}
