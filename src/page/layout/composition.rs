//! HTML with holes: a layout's, or that of an answer which asks for other fragments.
//! What it holds is the same for all readers; what fills it is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use semver::VersionReq;
use url::Url;

use crate::page::context::Conditions;
use crate::page::diagnostic::Spot;
use crate::page::manifest::Manifest;
use crate::page::names::Name;

use super::node::{Load, Piece};

/// HTML with holes.
#[derive(Debug, Default, PartialEq)]
pub struct Composition {
    /// The HTML, in order.
    pub parts: Arc<[Part]>,
    /// All fragments, those inside others' fallbacks too, in document order.
    pub fragments: Vec<Arc<FragmentUse>>,
    /// The conditions of `<when>`, by [`Part::When`].
    pub conditions: Vec<Conditions>,
    /// What is wrong with an answer's, for the log. A layout with a mistake goes nowhere.
    pub mistake: Option<Box<str>>,
}

/// A piece of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Bytes that are the same for all readers.
    Text(Bytes),
    /// A fragment, by its index in [`Composition::fragments`].
    Fragment(usize),
    /// What is shown under conditions, by their index in [`Composition::conditions`].
    When(usize, Arc<[Part]>),
    /// A hole that the layout around a combining fragment may fill.
    Slot(Name, Arc<[Part]>),
    /// What fragments need in the head.
    Assets,
    /// Where those parts are sent whose places were passed by, for them to be taken there.
    Late,
}

/// A fragment in its place.
#[derive(Debug, PartialEq)]
pub struct FragmentUse {
    /// What explain, metrics and the overlay call it; in a layout each its own.
    pub id: Name,
    /// Who fills it.
    pub service: Service,
    /// Freshness where the answer states none, and the most where it does.
    pub ttl: Option<Duration>,
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
    /// Its parameters, in the layout's order.
    pub parameters: Vec<(String, Vec<Piece>)>,
    /// What is shown when nothing better can be.
    pub fallback: Arc<[Part]>,
    /// What fills the slots of its HTML, by their names.
    pub fills: BTreeMap<Name, Arc<[Part]>>,
    /// Where it stands.
    pub at: Spot,
}

impl FragmentUse {
    /// The nanoservice that fills it, where that is known beforehand.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Arc<Manifest>> {
        match &self.service {
            Service::Named(manifest) => Some(manifest),
            Service::Wanted(..) | Service::Source(_) => None,
        }
    }
}

/// Who fills a fragment.
#[derive(Debug, Clone, PartialEq)]
pub enum Service {
    /// A nanoservice of the catalogue.
    Named(Arc<Manifest>),
    /// One that an answer asks for: the best of those that the page was read with.
    Wanted(Name, VersionReq),
    /// A URL on an allowed upstream.
    Source(Url),
}

/// What of a fragment's inside fills slots of its HTML, by their names. `slots`: which slot a fragment
/// is for, by its index.
pub(super) fn fills(inside: &[Part], slots: &BTreeMap<usize, Name>) -> BTreeMap<Name, Arc<[Part]>> {
    let mut found: BTreeMap<Name, Vec<Part>> = BTreeMap::new();
    for part in inside {
        match part {
            Part::Fragment(index) => {
                if let Some(slot) = slots.get(index) {
                    found.entry(Arc::clone(slot)).or_default().push(part.clone());
                }
            }
            Part::When(condition, inside) => {
                for (slot, inside) in fills(inside, slots) {
                    found.entry(slot).or_default().push(Part::When(*condition, inside));
                }
            }
            Part::Text(_) | Part::Slot(..) | Part::Assets | Part::Late => {}
        }
    }
    found.into_iter().map(|(slot, parts)| (slot, parts.into())).collect()
}
