//! Plans a page: from a template and a visit, its parts and their fetches. A plan grows: a response that requests other
//! fragments adds parts.
//! A part that must not be requested is refused with a reason; planning never fails.

mod placeholder;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::page::browser::lazy_address::LazyAddress;
use crate::page::html::escape_text;
use crate::page::layout::syntax::node::Load;
use crate::page::layout::template::segment::{Value, evaluate};
use crate::page::policy::cache::freshness::FreshnessRules;
use crate::page::request::bound::BoundTemplate;
use crate::page::request::fetch::{Fetch, Origin, parameters, title};
use crate::page::request::include::Includer;
use crate::page::request::key::Key;
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::visit::context::{Conditions, Dimension, Visit};

use super::esi;
use super::esi::request::Values;
use super::layout::{Composition, FragmentSource, FragmentUse};
use super::manifest::Manifest;

/// One outcome per part, by its index in [`Plan::parts`]; `None`: it is not known yet, or not needed since it is in a fallback
/// that is not shown.
pub type Outcomes = Vec<Option<Outcome>>;

/// The content that a part is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartSource {
    /// The response to this fetch of [`Plan::fetches`].
    Fetch(usize),
    /// Nothing: its conditions do not hold.
    Dropped,
    /// Its fallback: it must not be requested.
    Refused(Reason),
    /// A standalone fragment, which a script of the page fetches later from this address.
    Lazy(String),
}

/// The parts, conditions and values of the plan that the indices in a composition's segments refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The first part of the composition; `None`: the page has as many parts as are allowed, and all fragments of the composition
    /// show their fallbacks.
    parts: Option<usize>,
    /// The first condition of the composition.
    conditions: usize,
    /// The first text with variables of the composition.
    values: usize,
    /// The part that the composition fills; `None` for the layout.
    parent: Option<usize>,
}

/// One place on a page that a fragment fills.
#[derive(Debug)]
pub struct Part {
    /// The use of the fragment.
    pub fragment: Arc<FragmentUse>,
    /// Its id in explain and the overlay.
    pub id: Name,
    /// The content that it is filled with.
    pub source: PartSource,
    /// Whether the whole page fails without it: it is `required`, and so are all parts around it.
    pub required: bool,
    scope: Scope,
    /// How deep it is nested; the parts of the layout are at depth 1.
    depth: usize,
    /// The composition that it is filled with, if its response requests other fragments.
    nested: Option<(Arc<Composition>, Scope)>,
}

/// The plan of one page: its parts, and the fetches that they need.
#[derive(Debug)]
pub struct Plan {
    /// The page's template.
    pub template: Arc<BoundTemplate>,
    /// The visit that the page is planned for.
    pub visit: Visit,
    /// The parts of the layout, by the indices of its fragments, and after them those that responses have added.
    pub parts: Vec<Part>,
    /// All fetches, each once.
    pub fetches: Vec<Arc<Fetch>>,
    /// The dimensions that the page varies on, as far as they are known, each once.
    pub dimensions: Vec<Dimension>,
    /// Longest time from the request to the page's last part.
    pub budget: Duration,
    /// Maximum number of bytes of the page.
    pub max_bytes: u64,
    /// How long until the passing of time changes the page: through a condition, or another layout that replaces this one.
    pub changes_in: Option<Duration>,
    /// Whether more fragments were requested than a page may have.
    pub is_truncated: bool,
    /// Whether each condition holds.
    shown: Vec<bool>,
    /// The values of the texts with variables.
    values: Vec<Bytes>,
    /// Whether there is a segment that shows other content if an include fails.
    has_tries: bool,
    /// The index of each fetch.
    known: Map<(Key, FreshnessRules, Duration), usize>,
    /// The number of parts with each id; empty until a response adds a part.
    ids: Map<Name, usize>,
    /// The time at which conditions are evaluated.
    at: Timestamp,
}

/// Plans a page.
#[must_use]
pub fn plan(template: &Arc<BoundTemplate>, visit: Visit, at: Timestamp) -> Plan {
    let mut plan = Plan {
        template: Arc::clone(template),
        visit,
        parts: Vec::with_capacity(template.html.fragments.len()),
        fetches: Vec::new(),
        dimensions: template.dimensions.clone(),
        budget: template.budget(),
        max_bytes: template.defaults.max_page_bytes,
        changes_in: None,
        is_truncated: false,
        shown: Vec::new(),
        values: Vec::new(),
        has_tries: false,
        known: Map::with_capacity_and_hasher(template.html.fragments.len(), RandomState::default()),
        ids: Map::default(),
        at,
    };
    plan.add(&template.html, None);
    plan
}

impl Plan {
    /// Adds the parts of a composition that fills a part, or of the layout.
    fn add(&mut self, html: &Composition, parent: Option<usize>) -> Scope {
        let full = parent.is_some() && self.parts.len() >= self.template.defaults.max_fragments;
        let scope = Scope {
            parts: (!full).then_some(self.parts.len()),
            conditions: self.shown.len(),
            values: self.values.len(),
            parent,
        };
        let variables = self.variables(html, parent);
        let (shown, changes_in) = evaluate(&html.conditions, &self.visit.reader, &variables, self.at);
        self.changes_in = self.changes_in.into_iter().chain(changes_in).min();
        self.shown.extend(shown);
        self.values.extend(html.values.iter().map(|value| {
            Bytes::from(match value {
                Value::Esi(text) => text.render(&variables, esi::escape),
                Value::Title(pieces) => escape_text(&title(pieces, &self.visit)),
            })
        }));
        self.has_tries |= html.has_tries;
        self.is_truncated |= html.is_truncated;
        let (depth, required) = parent.map_or((1, self.template.status.is_none()), |part| {
            (self.parts[part].depth + 1, self.parts[part].required)
        });
        self.is_truncated |= full && !html.fragments.is_empty();
        for (index, fragment) in html.fragments.iter().enumerate().filter(|_| !full) {
            let source = self.source((index, fragment), depth, parent, &variables);
            let id = if parent.is_some() { self.numbered(&fragment.id) } else { Arc::clone(&fragment.id) };
            let required = required && fragment.required;
            let fragment = Arc::clone(fragment);
            self.parts.push(Part { fragment, id, source, required, scope, depth, nested: None });
        }
        scope
    }

    /// The values of variables in a composition: what the layout names of the client, or what the nanoservice declares.
    fn variables(&self, html: &Composition, parent: Option<usize>) -> Values {
        if !html.has_variables() {
            return Values::new();
        }
        match parent {
            None => {
                let query = self.visit.parameters.iter().filter(|(name, _)| self.template.query.contains(name));
                esi::request::variables(&self.template.dimensions, &self.visit, &query.cloned().collect::<Vec<_>>())
            }
            Some(part) => {
                let context = self.manifest_of(part).map(|manifest| manifest.context.as_slice()).unwrap_or_default();
                let query = parameters(&self.parts[part].fragment, &self.visit);
                esi::request::variables(context, &self.visit, &query)
            }
        }
    }

    /// Evaluates conditions, and records when time may change their values.
    fn holds(&mut self, conditions: &Conditions) -> bool {
        self.changes_in = self.changes_in.into_iter().chain(conditions.window.changes_in(self.at)).min();
        conditions.hold(&self.visit.reader, self.at)
    }

    /// A unique id for a fragment that a response requests.
    fn numbered(&mut self, name: &Name) -> Name {
        if self.ids.is_empty() {
            for part in &self.parts {
                *self.ids.entry(Arc::clone(&part.id)).or_default() += 1;
            }
        }
        let count = self.ids.entry(Arc::clone(name)).or_default();
        *count += 1;
        if *count == 1 { Arc::clone(name) } else { Name::from(format!("{name}-{count}")) }
    }

    /// The content of a fragment's part. `index`: the fragment's index in its composition.
    fn source(
        &mut self,
        (index, fragment): (usize, &FragmentUse),
        depth: usize,
        parent: Option<usize>,
        variables: &Values,
    ) -> PartSource {
        if parent.is_some() {
            self.vary(fragment.conditions.dimensions());
        }
        if !self.holds(&fragment.conditions) {
            return PartSource::Dropped;
        }
        if parent.is_some() && self.parts.len() >= self.template.defaults.max_fragments {
            return PartSource::Refused(Reason::TooMany);
        }
        if depth > self.template.defaults.max_depth {
            return PartSource::Refused(Reason::Depth);
        }
        let fetch = match self.fetch((index, fragment), parent, variables) {
            Ok(fetch) => fetch,
            Err(reason) => return PartSource::Refused(reason),
        };
        if let (Load::Lazy, Some(manifest)) = (fragment.load, &fetch.manifest) {
            return PartSource::Lazy(self.lazy_address_of(index, fragment, manifest));
        }
        if self.ancestors(parent).any(|above| above.key == fetch.key) {
            return PartSource::Refused(Reason::Cycle);
        }
        if let (Some(manifest), true) = (&fetch.manifest, parent.is_some()) {
            let context = manifest.context.iter().filter(|dimension| **dimension != Dimension::Page);
            self.vary(context.cloned());
        }
        let index = *self.known.entry((fetch.key.clone(), fetch.rules, fetch.timeout)).or_insert_with(|| {
            self.fetches.push(fetch);
            self.fetches.len() - 1
        });
        PartSource::Fetch(index)
    }

    /// The address of a fragment of the layout that is loaded lazily.
    fn lazy_address_of(&self, index: usize, fragment: &FragmentUse, manifest: &Manifest) -> String {
        let address = LazyAddress {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            parameters: parameters(fragment, &self.visit),
            page: manifest.context.contains(&Dimension::Page).then(|| self.visit.pattern.clone()),
            sides: self.sides_within(manifest),
            conditions: self.template.lazy_conditions(index),
        };
        address.write(&self.template.defaults.address_key)
    }

    /// The sides that a lazy part takes in what its nanoservice composes: those of its page.
    fn sides_within(&self, manifest: &Manifest) -> Option<String> {
        let sides = self.visit.reader.sides.iter().filter(|side| side.name != manifest.name);
        let sides: Vec<String> = sides.map(ToString::to_string).collect();
        (!manifest.composes.is_empty() && !sides.is_empty()).then(|| sides.join("."))
    }

    /// The fetch of a fragment.
    fn fetch(
        &self,
        (index, fragment): (usize, &FragmentUse),
        parent: Option<usize>,
        variables: &Values,
    ) -> Result<Arc<Fetch>, Reason> {
        let defaults = &self.template.defaults;
        match &fragment.source {
            FragmentSource::Named(_) | FragmentSource::Source(_) => {
                self.template.fetch(index, &self.visit).expect("only a layout names a nanoservice or a URL")
            }
            FragmentSource::Nested(name, range) => {
                let chosen = self.template.nested.choose(name, range).ok_or(Reason::Unknown)?;
                let manifest = match chosen.rolled_out() {
                    Some((candidate, _)) if self.visit.reader.takes_candidate(name, &candidate.version) => candidate,
                    _ => chosen.shown(),
                };
                let fetch = Fetch::new(fragment, Origin::Named(manifest), &self.visit, defaults)?;
                // Responses can use any number of ids, which must not become names of spans.
                Ok(Arc::new(Fetch { id: Arc::clone(name), ..fetch }))
            }
            FragmentSource::Included { src, .. } => {
                let parent = parent.and_then(|part| self.fetch_of(part));
                let includer = Includer { parent: parent.map(|fetch| &**fetch), allowed: &self.template.allowed };
                includer.fetch(fragment, src, variables, &self.visit, defaults).map(Arc::new)
            }
        }
    }

    /// Records that the page varies on dimensions.
    fn vary(&mut self, dimensions: impl Iterator<Item = Dimension>) {
        for dimension in dimensions {
            if !self.dimensions.contains(&dimension) {
                self.dimensions.push(dimension);
            }
        }
    }

    /// The fetches of the parts around a part, from the inside out.
    fn ancestors(&self, parent: Option<usize>) -> impl Iterator<Item = &Arc<Fetch>> {
        let mut next = parent;
        std::iter::from_fn(move || {
            let part = next?;
            next = self.parts[part].scope.parent;
            Some(part)
        })
        .filter_map(|part| self.fetch_of(part))
    }

    /// Whether all its parts are those of the layout, and no segment depends on whether an include fails.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        !self.has_tries && self.parts.iter().all(|part| part.scope.parent.is_none() && part.nested.is_none())
    }

    /// The fetch whose response fills a part.
    #[must_use]
    pub fn fetch_of(&self, part: usize) -> Option<&Arc<Fetch>> {
        match self.parts[part].source {
            PartSource::Fetch(index) => self.fetches.get(index),
            PartSource::Dropped | PartSource::Refused(_) | PartSource::Lazy(_) => None,
        }
    }

    /// The part whose response added this one; `None`: it is a part of the layout.
    #[must_use]
    pub fn parent(&self, part: usize) -> Option<usize> {
        self.parts[part].scope.parent
    }

    /// The manifest of the nanoservice that fills a part.
    #[must_use]
    pub fn manifest_of(&self, part: usize) -> Option<&Arc<Manifest>> {
        self.fetch_of(part)?.manifest.as_ref()
    }

    /// The name of the nanoservice that fills a part, or would fill it.
    #[must_use]
    pub fn nanoservice_of(&self, part: usize) -> Name {
        let planned = || self.parts[part].fragment.nanoservice().into();
        self.fetch_of(part).map_or_else(planned, |fetch| Arc::clone(&fetch.nanoservice))
    }

    /// Records the outcome of a part. If its response requests other fragments, the plan grows by their parts.
    pub fn fill(&mut self, part: usize, outcome: &Outcome) {
        let shown = matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        let Some(html) = outcome.response.as_ref().filter(|_| shown).and_then(|response| response.composition.clone())
        else {
            return;
        };
        let scope = self.add(&html, Some(part));
        self.parts[part].nested = Some((html, scope));
    }
}
