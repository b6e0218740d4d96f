//! What a layout's HTML is taken apart into.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use semver::VersionReq;
use url::Url;

use crate::page::esi::expr::Expr;
use crate::page::esi::text::EsiText;
use crate::page::source::diagnostic::{Located, SourceSpan};
use crate::page::visit::context::Conditions;

/// A piece of a layout.
#[derive(Debug)]
pub enum Node {
    /// Bytes of the file.
    Text(Range<usize>),
    /// A hole that a nanoservice fills.
    Fragment(Box<FragmentElement>),
    /// Shown under conditions.
    When {
        /// Which.
        conditions: Conditions,
        /// Where its variants stand, if it asks for any.
        variants_at: Option<SourceSpan>,
        /// What is shown.
        inside: Vec<Node>,
    },
    /// Another file.
    Include(Located<String>),
    /// A frame's hole. Where nothing fills a frame, it stands as it is written.
    Slot {
        /// What it is called; empty for the one that takes all the rest.
        name: Located<String>,
        /// The bytes of its start tag.
        start: Range<usize>,
        /// Its default.
        inside: Vec<Node>,
        /// The bytes of its end tag; empty for `<slot />`.
        end: Range<usize>,
    },
    /// What fills a slot of the frame.
    Fill {
        /// The slot's name.
        slot: Located<String>,
        /// The element, without its attribute `slot`.
        inside: Vec<Node>,
    },
    /// What is added to the frame's head.
    Head(Vec<Node>),
    /// The text inside `<title>`, which front matter may replace.
    Title(Range<usize>),
    /// A place where something could be added to the head: no bytes of its own.
    Mark(Mark),
    /// An element of ESI.
    Esi(Esi),
}

impl Node {
    /// What stands inside it, but for a fragment's fallback, which is shown in its stead.
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
            Self::Text(_) | Self::Fragment(_) | Self::Include(_) | Self::Title(_) | Self::Mark(_) | Self::Esi(_) => {
                Vec::new()
            }
        }
    }
}

/// What ESI's elements are taken apart into (W3C Note, ESI Language Specification 1.0).
#[derive(Debug)]
pub enum Esi {
    /// `<esi:include>`
    Include(Box<Include>),
    /// A text of `<esi:vars>`.
    Value(Located<Arc<EsiText>>),
    /// `<esi:vars>`
    Vars(Vec<Node>),
    /// `<esi:choose>`: what is shown where the first of its tests holds, and so on. Where there is one
    /// more than there are tests, it is shown where none holds.
    Choose(Vec<Located<Expr>>, Vec<Vec<Node>>),
    /// `<esi:try>`: what is shown unless an include in it fails, and what is shown then.
    Try(Vec<Node>, Vec<Node>),
    /// A child of one of the two, until that is closed.
    Branch(Branch, Vec<Node>),
}

/// What belongs into `<esi:choose>` and `<esi:try>`.
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
    /// The element.
    pub at: SourceSpan,
    /// What is put in its place.
    pub src: Located<Arc<EsiText>>,
    /// What is put there if that fails.
    pub alt: Option<Located<Arc<EsiText>>>,
    /// Whether a failure is none to `<esi:try>`.
    pub goes_on: bool,
}

/// Places where something can be added to a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Behind the doctype.
    Doctype,
    /// Behind `<html>`.
    Html,
    /// Behind `<head>`.
    Head,
    /// Before `</head>`.
    HeadEnd,
    /// Before `<body>`.
    Body,
    /// Before `</body>`.
    BodyEnd,
}

/// `<fragment>`
#[derive(Debug)]
pub struct FragmentElement {
    /// Its start tag.
    pub at: SourceSpan,
    /// The bytes of its end tag; empty where it has none.
    pub end: Range<usize>,
    /// What it asks for.
    pub target: FragmentTarget,
    /// What explain, metrics and the overlay call it.
    pub id: Option<Located<String>>,
    /// Freshness where the answer states none, and the most where it does.
    pub ttl: Option<Located<Duration>>,
    /// How long past freshness an old copy may be shown.
    pub stale: Option<Duration>,
    /// Longest time from the start of the fetch to the last body byte.
    pub timeout: Option<Duration>,
    /// The page is no page without it.
    pub required: bool,
    /// When it is loaded.
    pub load: Load,
    /// When it is shown at all.
    pub conditions: Conditions,
    /// Where its variants stand, if it asks for any.
    pub variants_at: Option<SourceSpan>,
    /// Which slot it fills.
    pub slot: Option<Located<String>>,
    /// `data-*`
    pub parameters: Vec<Parameter>,
    /// What stands inside it: its fallback.
    pub inside: Vec<Node>,
}

/// When a fragment is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Load {
    /// In its place.
    #[default]
    Auto,
    /// Late, without holding up what follows.
    Defer,
    /// Once a reader scrolls near.
    Lazy,
}

/// Which nanoservice.
#[derive(Debug)]
pub enum FragmentTarget {
    /// By name and range of versions.
    Named {
        /// The name.
        name: Located<String>,
        /// The range; `*` where there is none.
        version: Located<VersionReq>,
    },
    /// By URL.
    Source(Located<Url>),
    /// Neither; a mistake was noted.
    Missing,
}

/// A `data-*` attribute.
#[derive(Debug)]
pub struct Parameter {
    /// Without `data-`.
    pub name: Located<String>,
    /// Its value, taken apart.
    pub value: Vec<ParameterPiece>,
    /// Where the value is.
    pub value_at: SourceSpan,
}

/// A piece of a parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterPiece {
    /// As it stands.
    Literal(String),
    /// `{x}`
    Placeholder(String),
    /// `{x}`, where it is one of these; else the parameter is left out.
    OneOf(String, Arc<[String]>),
}
