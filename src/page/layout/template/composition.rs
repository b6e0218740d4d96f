//! HTML in segments: that of a layout, or of a response which requests other fragments.
//! A composition is the same for all readers; outcomes are not part of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::page::esi::expr::Expr;
use crate::page::esi::request::reads;
use crate::page::esi::text::EsiText;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::visit::context::Dimension;

use super::fragment::{FragmentSource, FragmentUse};
use super::segment::{Condition, Segment, Value};

/// HTML in segments.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Composition {
    /// The HTML, in order.
    pub segments: Arc<[Segment]>,
    /// All fragments in document order, those inside the fallbacks of others included.
    pub fragments: Vec<Arc<FragmentUse>>,
    /// The conditions that [`Segment::When`] refers to.
    pub conditions: Vec<Condition>,
    /// The texts that [`Segment::Value`] refers to.
    pub values: Vec<Value>,
    /// Whether there is a [`Segment::Try`] in it.
    pub has_tries: bool,
    /// Whether a paragraph is open where the late parts of a layout are sent.
    pub leaves_paragraph_open: bool,
    /// Equal for compositions of the same bytes, on all machines.
    pub digest: u128,
    /// Whether it requests more fragments than are allowed, so that some are left out.
    pub is_truncated: bool,
    /// The first error in the HTML of a response, for the log. A layout with an error does not go live.
    pub error: Option<Box<str>>,
}

impl Composition {
    /// The same composition with its digest.
    #[must_use]
    pub(crate) fn with_digest(self) -> Self {
        let mut hash = Xxh3::new();
        hash_segments(&self.segments, &mut hash);
        for fragment in &self.fragments {
            hash.update(fragment.id.as_bytes());
            hash.update(&[0, fragment.load as u8]);
            hash_segments(&fragment.fallback, &mut hash);
            for (reasons, segments) in &fragment.reason_fallbacks {
                hash.update(&reasons.iter().map(|reason| *reason as u8).collect::<Vec<_>>());
                hash_segments(segments, &mut hash);
            }
        }
        Self { digest: hash.digest128(), ..self }
    }

    /// Its texts with variables of ESI.
    fn esi_values(&self) -> impl Iterator<Item = &EsiText> {
        self.values.iter().filter_map(|value| match value {
            Value::Esi(text) => Some(&**text),
            Value::Title(_) => None,
        })
    }

    /// Whether anything in it depends on variables.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        let included = |fragment: &Arc<FragmentUse>| matches!(fragment.source, FragmentSource::Included { .. });
        let tested = |condition: &Condition| matches!(condition, Condition::First(..));
        self.esi_values().next().is_some() || self.conditions.iter().any(tested) || self.fragments.iter().any(included)
    }

    /// Whether anything in it, or in what may fill it, can name the requested host.
    #[must_use]
    pub fn reads_host(&self, nested: &Catalogue) -> bool {
        let named = self.fragments.iter().flat_map(|fragment| fragment.candidates()).chain(nested.manifests());
        self.has_variables() || named.into_iter().any(|manifest| manifest.esi)
    }

    /// The dimensions that the page varies on because of it, each once: the context of nanoservices, conditions, and variables.
    #[must_use]
    pub fn dimensions(&self) -> BTreeSet<Dimension> {
        self.dimensions_of(|_| true)
    }

    /// Those of its dimensions that are not only due to its [personal](FragmentUse::is_personal) parts.
    #[must_use]
    pub fn shared_dimensions(&self) -> BTreeSet<Dimension> {
        self.dimensions_of(|fragment| !fragment.is_personal())
    }

    /// The dimensions of conditions, of variables, and of the nanoservices of some fragments.
    fn dimensions_of(&self, counts: impl Fn(&FragmentUse) -> bool) -> BTreeSet<Dimension> {
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
        all.extend(used(&mut self.esi_values().flat_map(EsiText::used)));
        for fragment in &self.fragments {
            all.extend(fragment.conditions.dimensions());
            match &fragment.source {
                FragmentSource::Named(candidates) if counts(fragment) => {
                    all.extend(candidates.iter().flat_map(|manifest| manifest.context.iter().cloned()));
                }
                FragmentSource::Included { src, .. } => all.extend(used(&mut src.used())),
                FragmentSource::Named(_) | FragmentSource::Nested(..) | FragmentSource::Source(_) => {}
            }
        }
        all.remove(&Dimension::Page);
        all
    }

    /// The approximate number of bytes that it takes in memory in addition to the HTML.
    #[must_use]
    pub fn size(&self) -> usize {
        fn of(segments: &[Segment]) -> usize {
            let inside = |segment: &Segment| match segment {
                Segment::When(_, inside) | Segment::Slot(_, inside) => of(inside),
                Segment::Try(attempt, except) => of(attempt) + of(except),
                Segment::Text(_) | Segment::Fragment(_) | Segment::Value(_) | Segment::Assets | Segment::Late => 0,
            };
            size_of_val(segments) + segments.iter().map(inside).sum::<usize>()
        }
        let fragment = |fragment: &Arc<FragmentUse>| {
            let parameters = fragment.parameters.iter().map(|(name, _)| 128 + name.len());
            size_of::<FragmentUse>()
                + fragment.fallbacks().map(|fallback| of(fallback)).sum::<usize>()
                + parameters.sum::<usize>()
                + fragment.at.source.text.len()
        };
        // Parsed ESI is a few times as large as its text.
        let text: usize = self.esi_values().map(|text| 2 * size_of_val(text.pieces())).sum();
        let tests = self.conditions.iter().map(|condition| match condition {
            Condition::When(_) => size_of::<Condition>(),
            Condition::First(tests, which) => {
                size_of::<Condition>() + if *which == 0 { 4 * size_of_val(&**tests) } else { 0 }
            }
        });
        of(&self.segments) + text + tests.sum::<usize>() + self.fragments.iter().map(fragment).sum::<usize>()
    }
}

/// Feeds the bytes and the order of segments to a hash.
fn hash_segments(segments: &[Segment], hash: &mut Xxh3) {
    hash.update(&segments.len().to_le_bytes());
    for segment in segments {
        match segment {
            Segment::Text(text) => {
                hash.update(&text.len().to_le_bytes());
                hash.update(text);
            }
            Segment::Fragment(index) | Segment::Value(index) => hash.update(&index.to_be_bytes()),
            Segment::When(index, inside) => {
                hash.update(&index.to_be_bytes());
                hash_segments(inside, hash);
            }
            Segment::Try(attempt, except) => {
                hash_segments(attempt, hash);
                hash_segments(except, hash);
            }
            Segment::Slot(name, default) => {
                hash.update(name.as_bytes());
                hash_segments(default, hash);
            }
            Segment::Assets => hash.update(b"assets"),
            Segment::Late => hash.update(b"late"),
        }
    }
}
