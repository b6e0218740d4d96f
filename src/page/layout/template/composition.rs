//! HTML with holes: a layout's, or that of an answer which asks for other fragments.
//! What it holds is the same for all readers; what fills it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use semver::VersionReq;
use url::Url;
use xxhash_rust::xxh3::Xxh3;

use crate::page::esi::expr::Expr;
use crate::page::esi::request::reads;
use crate::page::esi::text::EsiText;
use crate::page::esi::variables::Variables;
use crate::page::layout::syntax::node::{FragmentElement, Load, ParameterPiece};
use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::source::diagnostic::SourceSpan;
use crate::page::source::names::Name;
use crate::page::visit::context::{Conditions, Dimension, Reader};

/// HTML with holes.
#[derive(Debug, Default, PartialEq)]
pub struct Composition {
    /// The HTML, in order.
    pub parts: Arc<[Segment]>,
    /// All fragments, those inside others' fallbacks too, in document order.
    pub fragments: Vec<Arc<FragmentUse>>,
    /// What decides whether something is shown, by [`Segment::When`].
    pub conditions: Vec<Condition>,
    /// Texts with variables, by [`Segment::Value`].
    pub values: Vec<Arc<EsiText>>,
    /// Whether [`Segment::Try`] is anywhere in it.
    pub has_tries: bool,
    /// Equal for two with the same bytes, here and on other machines.
    pub digest: u128,
    /// It asks for more than it may, and shows less.
    pub is_cut: bool,
    /// What is wrong with an answer's, for the log. A layout with a mistake goes nowhere.
    pub mistake: Option<Box<str>>,
}

/// A piece of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Segment {
    /// Bytes that are the same for all readers.
    Text(Bytes),
    /// A fragment, by its index in [`Composition::fragments`].
    Fragment(usize),
    /// What is shown under conditions, by their index in [`Composition::conditions`].
    When(usize, Arc<[Segment]>),
    /// A text with variables, by its index in [`Composition::values`].
    Value(usize),
    /// What is shown unless an include in it fails, and what is shown then.
    Try(Arc<[Segment]>, Arc<[Segment]>),
    /// A hole that the layout around a combining fragment may fill.
    Slot(Name, Arc<[Segment]>),
    /// What fragments need in the head.
    Assets,
    /// Where those parts are sent whose places were passed by, for them to be taken there.
    Late,
}

/// What decides whether something is shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `<when>`
    When(Conditions),
    /// Of some tests it is this one that holds first; past the last one, that none holds.
    First(Arc<[Expr]>, usize),
}

/// Which of some conditions hold for a reader at a time, and when time may change that.
#[must_use]
pub fn decide(
    conditions: &[Condition],
    reader: &Reader,
    variables: &dyn Variables,
    at: Timestamp,
) -> (Vec<bool>, Option<Duration>) {
    // Those of one choice stand together, and it is made once.
    let mut chosen: Option<(&Arc<[Expr]>, usize)> = None;
    let mut changes_in: Option<Duration> = None;
    let hold = conditions.iter().map(|condition| match condition {
        Condition::When(conditions) => {
            changes_in = changes_in.into_iter().chain(conditions.window.changes_in(at)).min();
            conditions.hold(reader, at)
        }
        Condition::First(tests, which) => {
            let first = match chosen {
                Some((same, first)) if Arc::ptr_eq(same, tests) => first,
                _ => tests.iter().position(|test| test.holds(variables)).unwrap_or(tests.len()),
            };
            chosen = Some((tests, first));
            first == *which
        }
    });
    (hold.collect(), changes_in)
}

/// A fragment in its place.
#[derive(Debug, PartialEq)]
pub struct FragmentUse {
    /// What explain, metrics and the overlay call it; in a layout each its own.
    pub id: Name,
    /// Who fills it.
    pub service: FragmentSource,
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
    pub parameters: Vec<(String, Vec<ParameterPiece>)>,
    /// What is shown when nothing better can be.
    pub fallback: Arc<[Segment]>,
    /// What fills the slots of its HTML, by their names.
    pub fills: BTreeMap<Name, Arc<[Segment]>>,
    /// Where it stands.
    pub at: SourceSpan,
}

impl FragmentUse {
    /// One of which nothing more is said.
    #[must_use]
    pub fn new(id: Name, service: FragmentSource, at: SourceSpan) -> Self {
        Self {
            id,
            service,
            ttl: None,
            stale: None,
            timeout: None,
            required: false,
            load: Load::Auto,
            conditions: Conditions::default(),
            parameters: Vec::new(),
            fallback: Arc::default(),
            fills: BTreeMap::new(),
            at,
        }
    }

    /// One that is written as an element. `slots`: those that fragments in it fill.
    #[must_use]
    pub(crate) fn of(
        element: &FragmentElement,
        id: Name,
        service: FragmentSource,
        fallback: Arc<[Segment]>,
        slots: &BTreeMap<usize, Name>,
    ) -> Self {
        Self {
            id,
            service,
            ttl: element.ttl.as_ref().map(|ttl| ttl.value),
            stale: element.stale,
            timeout: element.timeout,
            required: element.required,
            load: element.load,
            conditions: element.conditions.clone(),
            parameters: element.parameters.iter().map(|p| (p.name.value.clone(), p.value.clone())).collect(),
            fills: fills(&fallback, slots),
            fallback,
            at: element.at.clone(),
        }
    }

    /// Whether every reader of a layout is asked for the same here, whatever his request says.
    #[must_use]
    pub fn is_same_for_all(&self) -> bool {
        let literal =
            |pieces: &Vec<ParameterPiece>| pieces.iter().all(|piece| matches!(piece, ParameterPiece::Literal(_)));
        let anybodys = match &self.service {
            FragmentSource::Named(manifest) => manifest.context.is_empty(),
            FragmentSource::Source(_) => true,
            FragmentSource::Wanted(..) | FragmentSource::Included { .. } => false,
        };
        anybodys && self.parameters.iter().all(|(_, pieces)| literal(pieces))
    }

    /// Whether its nanoservice is told of readers one by one: by their cookies or headers, of whose values there is no end.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        let one_by_one = |dimension: &Dimension| matches!(dimension, Dimension::Cookie(_) | Dimension::Header(_));
        self.manifest().is_some_and(|manifest| manifest.context.iter().any(one_by_one))
    }

    /// Whom it asks, by name; the host where it is named by `src`.
    #[must_use]
    pub fn asks(&self) -> &str {
        match &self.service {
            FragmentSource::Named(manifest) => &manifest.name,
            FragmentSource::Wanted(name, _) => name,
            FragmentSource::Source(url) => url.host_str().unwrap_or_default(),
            FragmentSource::Included { .. } => "esi:include",
        }
    }

    /// The nanoservice that fills it, where that is known beforehand.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Arc<Manifest>> {
        match &self.service {
            FragmentSource::Named(manifest) => Some(manifest),
            FragmentSource::Wanted(..) | FragmentSource::Source(_) | FragmentSource::Included { .. } => None,
        }
    }
}

/// Who fills a fragment.
#[derive(Debug, Clone, PartialEq)]
pub enum FragmentSource {
    /// A nanoservice of the catalogue.
    Named(Arc<Manifest>),
    /// One that an answer asks for: the best of those that the page was read with.
    Wanted(Name, VersionReq),
    /// A URL on an allowed upstream.
    Source(Url),
    /// A URL with variables, on an allowed upstream or on that of the nanoservice which includes it.
    Included {
        /// The URL.
        src: Arc<EsiText>,
        /// Whether a failure is none to what is tried.
        goes_on: bool,
    },
}

impl Composition {
    /// The same, with its digest.
    #[must_use]
    pub(crate) fn digested(self) -> Self {
        let mut hash = Xxh3::new();
        feed(&self.parts, &mut hash);
        for fragment in &self.fragments {
            hash.update(fragment.id.as_bytes());
            hash.update(&[0, fragment.load as u8]);
            feed(&fragment.fallback, &mut hash);
        }
        Self { digest: hash.digest128(), ..self }
    }

    /// Whether anything in it depends on variables.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        let included = |fragment: &Arc<FragmentUse>| matches!(fragment.service, FragmentSource::Included { .. });
        let tested = |condition: &Condition| matches!(condition, Condition::First(..));
        !self.values.is_empty() || self.conditions.iter().any(tested) || self.fragments.iter().any(included)
    }

    /// Whether anything in it, or in what may fill it, can name the host that is asked.
    #[must_use]
    pub fn reads_host(&self, nested: &Catalogue) -> bool {
        let filled = self.fragments.iter().filter_map(|fragment| fragment.manifest()).chain(nested.manifests());
        self.has_variables() || filled.into_iter().any(|manifest| manifest.esi)
    }

    /// What the page varies on for its sake, each once: by what nanoservices are told, by conditions, by
    /// variables.
    #[must_use]
    pub fn dimensions(&self) -> BTreeSet<Dimension> {
        self.read_by(|_| true)
    }

    /// What of it the page varies on but for its [personal](FragmentUse::is_personal) parts.
    #[must_use]
    pub fn shared(&self) -> BTreeSet<Dimension> {
        self.read_by(|fragment| !fragment.is_personal())
    }

    /// What is read by conditions, by variables, and by the nanoservices of some fragments.
    fn read_by(&self, counts: impl Fn(&FragmentUse) -> bool) -> BTreeSet<Dimension> {
        let mut all = BTreeSet::new();
        let used = |names: &mut dyn Iterator<Item = (&str, Option<&str>)>| {
            names.filter_map(|(name, key)| reads(name, key)).collect::<Vec<_>>()
        };
        for condition in &self.conditions {
            match condition {
                Condition::When(conditions) => all.extend(conditions.dimensions()),
                Condition::First(tests, _) => all.extend(used(&mut tests.iter().flat_map(Expr::used))),
            }
        }
        all.extend(used(&mut self.values.iter().flat_map(|text| text.used())));
        for fragment in &self.fragments {
            all.extend(fragment.conditions.dimensions());
            match &fragment.service {
                FragmentSource::Named(manifest) if counts(fragment) => all.extend(manifest.context.iter().cloned()),
                FragmentSource::Named(_) => {}
                FragmentSource::Included { src, .. } => all.extend(used(&mut src.used())),
                FragmentSource::Wanted(..) | FragmentSource::Source(_) => {}
            }
        }
        all.remove(&Dimension::Page);
        all
    }
}

/// Feeds bytes and order of parts to a hash.
fn feed(parts: &[Segment], hash: &mut Xxh3) {
    hash.update(&parts.len().to_le_bytes());
    for part in parts {
        match part {
            Segment::Text(text) => {
                hash.update(&text.len().to_le_bytes());
                hash.update(text);
            }
            Segment::Fragment(index) | Segment::Value(index) => hash.update(&index.to_be_bytes()),
            Segment::When(index, inside) => {
                hash.update(&index.to_be_bytes());
                feed(inside, hash);
            }
            Segment::Try(attempt, except) => {
                feed(attempt, hash);
                feed(except, hash);
            }
            Segment::Slot(name, default) => {
                hash.update(name.as_bytes());
                feed(default, hash);
            }
            Segment::Assets => hash.update(b"assets"),
            Segment::Late => hash.update(b"late"),
        }
    }
}

/// What of a fragment's inside fills slots of its HTML, by their names. `slots`: which slot a fragment
/// is for, by its index.
fn fills(inside: &[Segment], slots: &BTreeMap<usize, Name>) -> BTreeMap<Name, Arc<[Segment]>> {
    let mut found: BTreeMap<Name, Vec<Segment>> = BTreeMap::new();
    for part in inside {
        match part {
            Segment::Fragment(index) => {
                if let Some(slot) = slots.get(index) {
                    found.entry(Arc::clone(slot)).or_default().push(part.clone());
                }
            }
            Segment::When(condition, inside) => {
                for (slot, inside) in fills(inside, slots) {
                    found.entry(slot).or_default().push(Segment::When(*condition, inside));
                }
            }
            // Whatever else is in there is only for a fallback.
            _ => {}
        }
    }
    found.into_iter().map(|(slot, parts)| (slot, parts.into())).collect()
}
