//! The uses of fragments in a composition: which nanoservice may fill each, how it is requested, and its fallback.
//! A use whose nanoservice is found only when a page is planned has no manifest here.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use semver::VersionReq;
use url::Url;

use crate::page::esi::text::EsiText;
use crate::page::layout::syntax::node::{FragmentElement, Load, ParameterPiece};
use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Chosen;
use crate::page::source::diagnostic::SourceSpan;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::visit::context::{Conditions, Dimension};

use super::segment::Segment;

/// One use of a fragment.
#[derive(Debug, Clone, PartialEq)]
pub struct FragmentUse {
    /// Its id in explain, metrics and the overlay; unique in a layout.
    pub id: Name,
    /// The nanoservice or URL that fills it.
    pub source: FragmentSource,
    /// The freshness of a response that states none, and the maximum for one that does.
    pub ttl: Option<Duration>,
    /// How long a response may be used after it has become stale.
    pub stale: Option<Duration>,
    /// Longest time from the start of the fetch to the last byte of the response.
    pub timeout: Option<Duration>,
    /// Whether the whole page fails without it.
    pub required: bool,
    /// When it is loaded.
    pub load: Load,
    /// When it is shown.
    pub conditions: Conditions,
    /// Whether it takes all parameters of the visit as they are, as the page of a standalone fragment does.
    pub takes_all_parameters: bool,
    /// Its parameters, in the layout's order.
    pub parameters: Vec<(String, Vec<ParameterPiece>)>,
    /// The fallback, which is shown if it has no usable response.
    pub fallback: Arc<[Segment]>,
    /// The fallbacks that are shown instead for certain reasons.
    pub reason_fallbacks: Vec<(Vec<Reason>, Arc<[Segment]>)>,
    /// The content of the slots of its HTML, by their names.
    pub fills: BTreeMap<Name, Arc<[Segment]>>,
    /// Its start tag.
    pub at: SourceSpan,
}

/// The nanoservice or URL that fills a fragment.
#[derive(Debug, Clone, PartialEq)]
pub enum FragmentSource {
    /// A nanoservice of the catalogue.
    Named(Candidates),
    /// A nanoservice that a response requests: the best one of those that the template was assembled with.
    Nested(Name, VersionReq),
    /// A URL on an allowed upstream.
    Source(Url),
    /// A URL with variables, on an allowed upstream or on that of the nanoservice which includes it.
    Included {
        /// The URL.
        src: Arc<EsiText>,
        /// Whether `<esi:try>` ignores its failure.
        continue_on_error: bool,
    },
}

/// The versions of a nanoservice that a use may be filled by: the one that its range chooses, and if that takes over step by
/// step, the one before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    /// The versions that are shown, the one before first. There is at least one.
    shown: Arc<[Arc<Manifest>]>,
    /// The version that the range chooses.
    chosen: Arc<Manifest>,
    /// The range.
    range: VersionReq,
}

impl Candidates {
    /// The only candidate.
    #[must_use]
    pub fn one(manifest: &Arc<Manifest>) -> Self {
        let shown = Arc::from([Arc::clone(manifest)]);
        Self { shown, chosen: Arc::clone(manifest), range: VersionReq::STAR }
    }

    /// The candidates for a range that has chosen.
    #[must_use]
    pub fn of(range: &VersionReq, chosen: Chosen<'_>) -> Self {
        let shown = match chosen.rolled_out() {
            Some((candidate, stable)) => Arc::from([Arc::clone(stable), Arc::clone(candidate)]),
            None => Arc::from([Arc::clone(chosen.shown())]),
        };
        Self { shown, chosen: Arc::clone(chosen.manifest), range: range.clone() }
    }

    /// The candidate that is requested unless another one is selected.
    #[must_use]
    pub fn preferred(&self) -> &Arc<Manifest> {
        &self.shown[0]
    }

    /// The newest candidate, which a page must suit.
    #[must_use]
    pub fn newest(&self) -> &Arc<Manifest> {
        &self.shown[self.shown.len() - 1]
    }

    /// The version that takes over step by step, and the one before it. `None`: none does.
    #[must_use]
    pub fn rolled_out(&self) -> Option<(&Arc<Manifest>, &Arc<Manifest>)> {
        match &*self.shown {
            [stable, candidate] => Some((candidate, stable)),
            _ => None,
        }
    }

    /// The version that the range chooses. If it went back, it is none of the candidates.
    #[must_use]
    pub const fn chosen(&self) -> &Arc<Manifest> {
        &self.chosen
    }

    /// The range.
    #[must_use]
    pub const fn range(&self) -> &VersionReq {
        &self.range
    }

    /// All candidates.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        self.shown.iter()
    }
}

impl FragmentUse {
    /// A use with defaults for everything else.
    #[must_use]
    pub fn new(id: Name, source: FragmentSource, at: SourceSpan) -> Self {
        Self {
            id,
            source,
            ttl: None,
            stale: None,
            timeout: None,
            required: false,
            load: Load::Auto,
            conditions: Conditions::default(),
            takes_all_parameters: false,
            parameters: Vec::new(),
            fallback: Arc::default(),
            reason_fallbacks: Vec::new(),
            fills: BTreeMap::new(),
            at,
        }
    }

    /// A use that is written as an element. `slots`: the slots that the fragments in its fallback fill, by their index.
    #[must_use]
    pub(crate) fn from_element(
        element: &FragmentElement,
        id: Name,
        source: FragmentSource,
        (fallback, reason_fallbacks): (Arc<[Segment]>, Vec<Arc<[Segment]>>),
        slots: &BTreeMap<usize, Name>,
    ) -> Self {
        let reasons = element.fallbacks.iter().map(|fallback| fallback.reasons.clone());
        Self {
            id,
            source,
            ttl: element.ttl.as_ref().map(|ttl| ttl.value),
            stale: element.stale,
            timeout: element.timeout.as_ref().map(|timeout| timeout.value),
            required: element.required,
            load: element.load,
            conditions: element.conditions.clone(),
            takes_all_parameters: false,
            parameters: element.parameters.iter().map(|p| (p.name.value.clone(), p.value.clone())).collect(),
            fills: fills(&fallback, slots),
            fallback,
            reason_fallbacks: reasons.zip(reason_fallbacks).collect(),
            at: element.at.clone(),
        }
    }

    /// The content that is shown for a reason; empty if nothing is. That a nanoservice has nothing to show is no failure, so it
    /// needs a fallback of its own.
    #[must_use]
    pub fn fallback_for(&self, reason: Option<Reason>) -> &Arc<[Segment]> {
        static NOTHING: LazyLock<Arc<[Segment]>> = LazyLock::new(Arc::default);
        let listed = |(reasons, _): &&(Vec<Reason>, _)| reason.is_some_and(|reason| reasons.contains(&reason));
        match self.reason_fallbacks.iter().find(listed) {
            Some((_, segments)) => segments,
            None if reason == Some(Reason::Empty) => &NOTHING,
            None => &self.fallback,
        }
    }

    /// All its fallbacks.
    pub fn fallbacks(&self) -> impl Iterator<Item = &Arc<[Segment]>> {
        std::iter::once(&self.fallback).chain(self.reason_fallbacks.iter().map(|(_, segments)| segments))
    }

    /// Whether it requests the same for every reader of a layout.
    #[must_use]
    pub fn is_same_for_all(&self) -> bool {
        let literal =
            |pieces: &Vec<ParameterPiece>| pieces.iter().all(|piece| matches!(piece, ParameterPiece::Literal(_)));
        let is_fixed = match &self.source {
            FragmentSource::Named(candidates) => {
                candidates.rolled_out().is_none() && candidates.iter().all(|manifest| manifest.context.is_empty())
            }
            FragmentSource::Source(_) => true,
            FragmentSource::Nested(..) | FragmentSource::Included { .. } => false,
        };
        is_fixed && !self.takes_all_parameters && self.parameters.iter().all(|(_, pieces)| literal(pieces))
    }

    /// Whether its nanoservice is sent cookies or headers of its readers, which have any number of values.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        let is_personal = |dimension: &Dimension| matches!(dimension, Dimension::Cookie(_) | Dimension::Header(_));
        self.candidates().any(|manifest| manifest.context.iter().any(is_personal))
    }

    /// The name of the nanoservice that it requests; the host if it is named by `src`.
    #[must_use]
    pub fn nanoservice(&self) -> &str {
        match &self.source {
            FragmentSource::Named(candidates) => &candidates.preferred().name,
            FragmentSource::Nested(name, _) => name,
            FragmentSource::Source(url) => url.host_str().unwrap_or_default(),
            FragmentSource::Included { .. } => "esi:include",
        }
    }

    /// The manifests of the nanoservices that may fill it, if they are known before a page is planned.
    pub fn candidates(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        let candidates = match &self.source {
            FragmentSource::Named(candidates) => Some(candidates),
            FragmentSource::Nested(..) | FragmentSource::Source(_) | FragmentSource::Included { .. } => None,
        };
        candidates.into_iter().flat_map(Candidates::iter)
    }

    /// The manifest of the nanoservice that fills it, if that is known before a page is planned.
    #[must_use]
    pub fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.candidates().next()
    }
}

/// The parts of a fragment's content that fill slots of its HTML, by the slots' names. `slots`: the slots that fragments fill, by their index.
fn fills(inside: &[Segment], slots: &BTreeMap<usize, Name>) -> BTreeMap<Name, Arc<[Segment]>> {
    let mut found: BTreeMap<Name, Vec<Segment>> = BTreeMap::new();
    for segment in inside {
        match segment {
            Segment::Fragment(index) => {
                if let Some(slot) = slots.get(index) {
                    found.entry(Arc::clone(slot)).or_default().push(segment.clone());
                }
            }
            Segment::When(condition, inside) => {
                for (slot, inside) in fills(inside, slots) {
                    found.entry(slot).or_default().push(Segment::When(*condition, inside));
                }
            }
            // Everything else is only part of the fallback.
            _ => {}
        }
    }
    found.into_iter().map(|(slot, segments)| (slot, segments.into())).collect()
}
