//! Puts a page's title into its `<title>`, or if there is none into its `<head>`, or as near to its beginning as possible.

use std::collections::BTreeMap;

use crate::page::html::escape_text;
use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::node::{InsertionPoint, Node};

use super::best_place;
use super::frames::Frames;

/// A page's title and its place: every `<title>`, since conditions may show one or another, or otherwise one place.
pub(super) struct Title {
    text: Option<String>,
    place: Place,
}

/// Places for a title, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The text of each `<title>` is replaced.
    Title,
    /// After `<head>`.
    Head,
    /// After `<html>`.
    Html,
    /// After the doctype.
    Doctype,
    /// The beginning of a page without any of these.
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
    pub(super) fn new(title: Option<&str>, frames: &Frames<'_>, files: &BTreeMap<String, LayoutFile>) -> Self {
        let place = title.and_then(|_| best_place::best(frames, files, rank)).unwrap_or(Place::Front);
        Self { text: title.map(escape_text), place }
    }

    /// The text for each `<title>` of the page.
    pub(super) fn replacement(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.place == Place::Title)
    }

    /// The element to add at an insertion point, once.
    pub(super) fn at(&mut self, point: InsertionPoint) -> Option<String> {
        self.text.take_if(|_| of(point) == Some(self.place)).map(|text| element(&text))
    }

    /// The element of a page that had no place for it.
    pub(super) fn left_over(&mut self) -> Option<String> {
        self.text.take_if(|_| self.place != Place::Title).map(|text| element(&text))
    }
}

fn element(text: &str) -> String {
    format!("<title>{text}</title>")
}
