//! The nodes that a layout's HTML is parsed into.
//! A node of an element that has errors lacks what could not be read.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use semver::VersionReq;
use url::Url;

use crate::page::esi::expr::Expr;
use crate::page::esi::text::EsiText;
use crate::page::source::diagnostic::{Located, SourceSpan};
use crate::page::source::reason::Reason;
use crate::page::source::schema::Kind;
use crate::page::visit::context::Conditions;

/// A node of a layout.
#[derive(Debug)]
pub enum Node {
    /// Bytes of the file, which are sent unchanged.
    Text(Range<usize>),
    /// The place of a nanoservice's HTML.
    Fragment(Box<FragmentElement>),
    /// Nodes that are shown under conditions.
    When {
        /// The conditions, all of which must hold.
        conditions: Conditions,
        /// Where they are.
        at: ConditionSpans,
        /// The nodes.
        inside: Vec<Node>,
    },
    /// Another file, by its path below `layouts/`.
    Include(Located<String>),
    /// A slot of a frame. If nothing fills the frame, the element is sent unchanged.
    Slot {
        /// Its name; empty for the slot that takes everything else.
        name: Located<String>,
        /// The bytes of its start tag.
        start: Range<usize>,
        /// Its default content.
        inside: Vec<Node>,
        /// The bytes of its end tag; empty for `<slot />`.
        end: Range<usize>,
    },
    /// An element that fills a slot of the frame.
    Fill {
        /// The slot's name.
        slot: Located<String>,
        /// The element, without its attribute `slot`.
        inside: Vec<Node>,
    },
    /// Nodes that are added to the frame's head.
    Head(Vec<Node>),
    /// The text of `<title>`, which front matter may replace.
    Title(Range<usize>),
    /// A place where something may be added. It has no bytes of its own.
    InsertionPoint(InsertionPoint),
    /// An element of ESI.
    Esi(Esi),
}

impl Node {
    /// The nodes inside it, except a fragment's fallback, which is shown instead of it.
    #[must_use]
    pub fn inside(&self) -> Vec<&[Self]> {
        match self {
            Self::When { inside, .. }
            | Self::Slot { inside, .. }
            | Self::Fill { inside, .. }
            | Self::Head(inside)
            | Self::Esi(Esi::Vars(inside)) => vec![inside],
            Self::Esi(Esi::Choose(_, branches)) => branches.iter().map(Vec::as_slice).collect(),
            Self::Esi(Esi::Try(attempt, except)) => vec![attempt, except],
            Self::Text(_)
            | Self::Fragment(_)
            | Self::Include(_)
            | Self::Title(_)
            | Self::InsertionPoint(_)
            | Self::Esi(_) => Vec::new(),
        }
    }
}

/// The positions of those conditions of an element that can be checked only with its page or its site.
#[derive(Debug, Clone, Default)]
pub struct ConditionSpans {
    /// The variants, if it names any.
    pub variant: Option<SourceSpan>,
    /// The locales, if it names any.
    pub locale: Option<SourceSpan>,
}

/// An element of ESI (W3C Note, ESI Language Specification 1.0).
#[derive(Debug)]
pub enum Esi {
    /// `<esi:include>`
    Include(Box<Include>),
    /// A text with variables in `<esi:vars>`.
    Value(Located<Arc<EsiText>>),
    /// `<esi:vars>`
    Vars(Vec<Node>),
    /// `<esi:choose>`: its tests, and what is shown for each. If there is one more branch than tests, it is
    /// shown when no test holds.
    Choose(Vec<Located<Expr>>, Vec<Vec<Node>>),
    /// `<esi:try>`: what is shown unless an include in it fails, and what is shown if one fails.
    Try(Vec<Node>, Vec<Node>),
    /// A child of `<esi:choose>` or `<esi:try>`, until that is closed.
    Branch(Branch, Vec<Node>),
}

/// A child of `<esi:choose>` or `<esi:try>`.
#[derive(Debug)]
pub enum Branch {
    /// `<esi:when>`
    When(Located<Expr>),
    /// `<esi:otherwise>`
    Otherwise,
    /// `<esi:attempt>`
    Attempt,
    /// `<esi:except>`
    Except,
}

/// `<esi:include>`
#[derive(Debug)]
pub struct Include {
    /// Its start tag.
    pub at: SourceSpan,
    /// The URL of what replaces it.
    pub src: Located<Arc<EsiText>>,
    /// The URL of what replaces it if `src` fails.
    pub alt: Option<Located<Arc<EsiText>>>,
    /// Whether a failure does not count as one for `<esi:try>`.
    pub goes_on: bool,
}

/// A place where something may be added to the page, or that decides where a parser sees the page's head and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertionPoint {
    /// After the doctype.
    Doctype,
    /// After `<html>`.
    Html,
    /// After `<head>`.
    Head,
    /// Before `</head>`.
    HeadEnd,
    /// Before `<body>`.
    Body,
    /// Before `</body>`.
    BodyEnd,
    /// Before an element that belongs into the head, such as `<meta>`.
    Metadata,
    /// Before anything else, which belongs into the body.
    Content,
    /// Before `<template>`.
    Template,
    /// After `</template>`.
    TemplateEnd,
}

/// `<fragment>`
#[derive(Debug)]
pub struct FragmentElement {
    /// Its start tag.
    pub at: SourceSpan,
    /// The bytes of its end tag; empty if it has none.
    pub end: Range<usize>,
    /// The nanoservice or URL that it names.
    pub target: FragmentTarget,
    /// Its name in `explain`, metrics and the overlay.
    pub id: Option<Located<String>>,
    /// The freshness of a response that states none, and the maximum for one that does.
    pub ttl: Option<Located<Duration>>,
    /// How long a stale response may be shown.
    pub stale: Option<Duration>,
    /// Time limit, from the start of the fetch to the last byte of the body.
    pub timeout: Option<Located<Duration>>,
    /// Whether the page cannot exist without it.
    pub required: bool,
    /// When it is loaded.
    pub load: Load,
    /// The conditions under which it is shown.
    pub conditions: Conditions,
    /// Where they are.
    pub conditions_at: ConditionSpans,
    /// The slot that it fills.
    pub slot: Option<Located<String>>,
    /// Its `data-*` attributes.
    pub parameters: Vec<Parameter>,
    /// Its content, which is the fallback.
    pub inside: Vec<Node>,
    /// The fallbacks for certain reasons, which are used instead of its content.
    pub fallbacks: Vec<ReasonFallback>,
}

impl FragmentElement {
    /// Its content, and that of each of its fallbacks.
    pub fn all_inside(&self) -> impl Iterator<Item = &[Node]> {
        std::iter::once(self.inside.as_slice()).chain(self.fallbacks.iter().map(|fallback| fallback.inside.as_slice()))
    }
}

/// `<fallback>` in `<fragment>`.
#[derive(Debug)]
pub struct ReasonFallback {
    /// The reasons for which it is shown.
    pub reasons: Vec<Reason>,
    /// Its content.
    pub inside: Vec<Node>,
}

/// When a fragment is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Load {
    /// In document order.
    #[default]
    Auto,
    /// Late, while what follows is sent.
    Defer,
    /// Once a client scrolls near it.
    Lazy,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Defer, Self::Lazy];

    /// Their names in layouts.
    pub const KIND: Kind = Kind::Word(&[Self::Auto.as_str(), Self::Defer.as_str(), Self::Lazy.as_str()]);

    /// Its name in layouts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Defer => "defer",
            Self::Lazy => "lazy",
        }
    }
}

/// What a `<fragment>` names.
#[derive(Debug)]
pub enum FragmentTarget {
    /// A nanoservice, by name and range of versions.
    Named {
        /// The name.
        name: Located<String>,
        /// The range; `*` if it has none.
        version: Located<VersionReq>,
    },
    /// A URL.
    Source(Located<Url>),
    /// Neither, which is reported.
    Missing,
}

/// A `data-*` attribute.
#[derive(Debug)]
pub struct Parameter {
    /// The name, without `data-`.
    pub name: Located<String>,
    /// The value, split at its placeholders.
    pub value: Vec<ParameterPiece>,
    /// The position of the value.
    pub value_at: SourceSpan,
}

/// A piece of a parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterPiece {
    /// Text that is sent as it is.
    Literal(String),
    /// `{x}`
    Placeholder(String),
}
