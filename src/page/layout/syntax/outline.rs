//! Follows a document as far as an HTML parser decides what is its head and what its body (HTML standard, 13.2.6.4.1 to
//! 13.2.6.4.7). A tag that a parser ignores, such as a second `<head>`, changes nothing.

use super::node::InsertionPoint;

/// The state of a parser after a part of a document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outline {
    mode: Mode,
    /// Whether the head began with its tag.
    has_head_tag: bool,
    /// How many `<template>` are open. Nothing in them is a part of the document.
    templates: usize,
}

/// Where the next element goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Mode {
    #[default]
    Start,
    /// After `<html>`.
    Html,
    Head,
    /// After `</head>`. Elements that belong into the head are put there.
    AfterHead,
    Body,
}

impl Outline {
    /// Takes the next place of the document. Returns whether a parser sees it as what it is: `<head>` as the beginning of the
    /// head, for example.
    pub fn pass(&mut self, point: InsertionPoint) -> bool {
        if point == InsertionPoint::TemplateEnd {
            self.templates = self.templates.saturating_sub(1);
            return true;
        }
        if self.templates > 0 {
            self.templates += usize::from(point == InsertionPoint::Template);
            return false;
        }
        // The mode after it, if the mode before it is an earlier one.
        let (mode, latest) = match point {
            InsertionPoint::Doctype => (Mode::Start, Mode::Start),
            InsertionPoint::Html => (Mode::Html, Mode::Start),
            InsertionPoint::Head | InsertionPoint::Metadata | InsertionPoint::Template => (Mode::Head, Mode::Html),
            InsertionPoint::HeadEnd => (Mode::AfterHead, Mode::Head),
            InsertionPoint::Body => (Mode::Body, Mode::AfterHead),
            InsertionPoint::Content | InsertionPoint::BodyEnd | InsertionPoint::TemplateEnd => (Mode::Body, Mode::Body),
        };
        self.templates += usize::from(point == InsertionPoint::Template);
        let is_seen = self.mode <= latest;
        if is_seen {
            self.mode = mode;
            self.has_head_tag |= point == InsertionPoint::Head;
        }
        is_seen
    }

    /// Whether the next element is in the head, which began with its tag.
    #[must_use]
    pub fn is_in_head(&self) -> bool {
        self.mode == Mode::Head && self.has_head_tag && self.templates == 0
    }

    /// Whether an element that belongs into the head goes there.
    #[must_use]
    pub fn takes_metadata(&self) -> bool {
        self.mode < Mode::Body && self.templates == 0
    }
}

#[cfg(test)]
mod tests {
    use super::InsertionPoint::*;
    use super::*;

    /// The points that a parser sees as what they are, of those that may be ignored.
    fn seen(points: &[InsertionPoint]) -> Vec<InsertionPoint> {
        let mut outline = Outline::default();
        let seen = points.iter().copied().filter(|point| outline.pass(*point));
        seen.filter(|point| !matches!(point, Metadata | Content | Template | TemplateEnd)).collect()
    }

    #[test]
    fn a_parser_ignores_tags_that_come_too_late() {
        for (points, expected) in [
            (&[Doctype, Html, Head, HeadEnd, Body, BodyEnd][..], &[Doctype, Html, Head, HeadEnd, Body, BodyEnd][..]),
            (&[Head, Template, HeadEnd, Head, TemplateEnd, HeadEnd, Body], &[Head, HeadEnd, Body]),
            (&[Head, Template, Template, TemplateEnd, HeadEnd, TemplateEnd, HeadEnd], &[Head, HeadEnd]),
            (&[Head, Content, HeadEnd, Body], &[Head]),
            (&[Metadata, Head, HeadEnd, Html], &[HeadEnd]),
            (&[Html, Body, Head, HeadEnd, Doctype], &[Html, Body]),
            (&[Head, HeadEnd, Head, HeadEnd, Metadata, Body], &[Head, HeadEnd, Body]),
            (&[Content, Template, BodyEnd, TemplateEnd, BodyEnd], &[BodyEnd]),
        ] {
            assert_eq!(seen(points), expected, "{points:?}");
        }
    }
}
