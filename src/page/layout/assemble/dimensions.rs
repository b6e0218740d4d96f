//! The properties of clients that a template's pages depend on.

use std::collections::BTreeSet;
use std::sync::Arc;

use semver::VersionReq;

use crate::page::layout::template::composition::Composition;
use crate::page::layout::template::fragment::FragmentSource;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::visit::context::Dimension;
use crate::page::visit::experiment::Experiment;
use crate::page::visit::side::RolledOut;

/// The properties of clients that a template's pages depend on. Each list contains a dimension once.
pub(super) struct Dimensions {
    /// The dimensions that the page varies on.
    pub(super) all: Vec<Dimension>,
    /// Those dimensions that are not only due to personalised parts.
    pub(super) shared: Vec<Dimension>,
    /// The dimensions that the page varies on, or may vary on once its fragments have arrived.
    pub(super) reads: Vec<Dimension>,
    /// Whether the page may depend on the requested host.
    pub(super) reads_host: bool,
}

impl Dimensions {
    /// The dimensions of a composition whose fragments may request others.
    pub(super) fn of(html: &Composition, nested: &Catalogue, experiments: &[Experiment]) -> Self {
        let all = html.dimensions();
        Self {
            reads: reads(all.clone(), nested, experiments),
            shared: html.shared_dimensions().into_iter().collect(),
            reads_host: html.reads_host(nested),
            all: all.into_iter().collect(),
        }
    }
}

/// The versions that are rolled out on the pages of a composition whose fragments may request others, each once.
pub(super) fn rollouts(html: &Composition, nested: &Catalogue) -> Vec<RolledOut> {
    let own = html.fragments.iter().filter_map(|fragment| match &fragment.source {
        FragmentSource::Named(candidates) => candidates.rolled_out().map(|(candidate, _)| candidate),
        FragmentSource::Nested(..) | FragmentSource::Source(_) | FragmentSource::Included { .. } => None,
    });
    let inner = nested.names().into_iter().filter_map(|name| nested.choose(name, &VersionReq::STAR));
    let inner = inner.filter_map(|chosen| chosen.rolled_out()).map(|(candidate, _)| candidate);
    let mut all: Vec<RolledOut> = Vec::new();
    for candidate in own.chain(inner) {
        let version = candidate.version.to_string();
        if !all.iter().any(|known| known.name == candidate.name && *known.candidate == *version) {
            let sticky = candidate.rollout.as_ref().is_some_and(|rules| rules.sticky);
            all.push(RolledOut { name: Arc::clone(&candidate.name), candidate: version.into(), sticky });
        }
    }
    all
}

/// Adds what nested nanoservices declare, and what nested fragments can have conditions on.
fn reads(mut all: BTreeSet<Dimension>, nested: &Catalogue, experiments: &[Experiment]) -> Vec<Dimension> {
    if !nested.manifests().is_empty() {
        all.extend([Dimension::Device, Dimension::Region, Dimension::Locale]);
        all.extend((!experiments.is_empty()).then_some(Dimension::Variant));
        let declared = nested.manifests().iter().flat_map(|manifest| manifest.context.iter().cloned());
        all.extend(declared.filter(|dimension| *dimension != Dimension::Page));
    }
    all.into_iter().collect()
}
