//! From a layout and a visit to the holes of a page, and what each is filled with. It grows: an answer
//! that asks for other fragments makes holes of its own.

mod walk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::page::browser::lazy;
use crate::page::layout::syntax::node::Load;
use crate::page::layout::template::composition::decide;
use crate::page::policy::cache::freshness::FreshnessRules;
use crate::page::request::bound::BoundTemplate;
use crate::page::request::fetch::{Fetch, Origin, parameters};
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

/// One outcome a hole, by its index in [`Plan::holes`]; `None` for one that is not known yet, or not
/// needed, since it stands in a fallback that is not shown.
pub type Outcomes = Vec<Option<Outcome>>;

/// What happens to a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// It is the answer to this fetch of [`Plan::fetches`].
    Fetch(usize),
    /// It is not asked for, and nothing stands in its place.
    Dropped,
    /// It cannot be asked for; its fallback stands in its place.
    Refused(Reason),
    /// A reader asks for it by itself, from here.
    Lazy(String),
}

/// Where parts stand: which holes and conditions of the plan their own numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The first hole of their composition; `None` where the page has as many as it may have, and all
    /// that the composition asks for shows its fallback.
    holes: Option<usize>,
    /// Its first condition.
    conditions: usize,
    /// Its first text with variables.
    values: usize,
    /// The hole that the composition fills; `None` for the layout.
    within: Option<usize>,
}

/// A fragment's place on a page.
#[derive(Debug)]
pub struct Hole {
    /// The fragment, as it was written.
    pub fragment: Arc<FragmentUse>,
    /// What explain, metrics and the overlay call it.
    pub id: Name,
    /// What happens to it.
    pub slot: Slot,
    /// The page is no page without it: so it is written, of it and of all that ask for it.
    pub required: bool,
    scope: Scope,
    /// The layout's own are at depth 1.
    depth: usize,
    /// What it is filled with, where that asks for others.
    grown: Option<(Arc<Composition>, Scope)>,
}

impl Hole {
    /// What metrics call it: of names that answers give there is no end, so theirs is the nanoservice's.
    #[must_use]
    pub fn label(&self) -> Name {
        match &self.fragment.service {
            FragmentSource::Wanted(name, _) => Arc::clone(name),
            FragmentSource::Included { .. } => Arc::clone(&self.fragment.id),
            FragmentSource::Named(_) | FragmentSource::Source(_) => Arc::clone(&self.id),
        }
    }
}

/// What one page needs.
#[derive(Debug)]
pub struct Plan {
    /// The page's layout.
    pub template: Arc<BoundTemplate>,
    /// The reader's request.
    pub visit: Visit,
    /// The layout's fragments, by their own numbers, and behind them those that were asked for since.
    pub holes: Vec<Hole>,
    /// What is fetched, each once.
    pub fetches: Vec<Arc<Fetch>>,
    /// What the page varies on, as far as that is known, each once.
    pub dimensions: Vec<Dimension>,
    /// Longest time from the request to the last part.
    pub budget: Duration,
    /// Bytes of the page, at most.
    pub max_bytes: u64,
    /// How long until a condition of time changes the page.
    pub changes_in: Option<Duration>,
    /// More fragments were asked for than a page may have.
    pub is_cut: bool,
    /// Whether each condition holds.
    shown: Vec<bool>,
    /// What each text with variables is.
    values: Vec<Bytes>,
    /// Something is tried, for which there is something else.
    has_tries: bool,
    known: Map<(Key, FreshnessRules, Duration), usize>,
    /// How many holes each name has.
    named: Map<Name, usize>,
    at: Timestamp,
}

/// Plans a page.
#[must_use]
pub fn plan(template: &Arc<BoundTemplate>, visit: Visit, at: Timestamp) -> Plan {
    let mut plan = Plan {
        template: Arc::clone(template),
        visit,
        holes: Vec::with_capacity(template.html.fragments.len()),
        fetches: Vec::new(),
        dimensions: template.dimensions.clone(),
        budget: template.budget(),
        max_bytes: template.defaults.max_page_bytes,
        changes_in: None,
        is_cut: false,
        shown: Vec::new(),
        values: Vec::new(),
        has_tries: false,
        known: Map::with_capacity_and_hasher(template.html.fragments.len(), RandomState::default()),
        named: Map::default(),
        at,
    };
    plan.add(&template.html, None);
    plan
}

impl Plan {
    /// Makes the holes of a composition that fills a hole, or of the layout.
    fn add(&mut self, html: &Composition, within: Option<usize>) -> Scope {
        let full = within.is_some() && self.holes.len() >= self.template.defaults.max_fragments;
        let scope = Scope {
            holes: (!full).then_some(self.holes.len()),
            conditions: self.shown.len(),
            values: self.values.len(),
            within,
        };
        let variables = self.variables(html, within);
        let (shown, changes_in) = decide(&html.conditions, &self.visit.reader, &variables, self.at);
        self.changes_in = self.changes_in.into_iter().chain(changes_in).min();
        self.shown.extend(shown);
        self.values.extend(html.values.iter().map(|text| Bytes::from(text.render(&variables, esi::escape))));
        self.has_tries |= html.has_tries;
        self.is_cut |= html.is_cut;
        let (depth, required) =
            within.map_or((1, true), |hole| (self.holes[hole].depth + 1, self.holes[hole].required));
        self.is_cut |= full && !html.fragments.is_empty();
        for (index, fragment) in html.fragments.iter().enumerate().filter(|_| !full) {
            let slot = self.slot((index, fragment), depth, within, &variables);
            let id = if within.is_some() { self.number(&fragment.id) } else { Arc::clone(&fragment.id) };
            let required = required && fragment.required;
            let fragment = Arc::clone(fragment);
            self.holes.push(Hole { fragment, id, slot, required, scope, depth, grown: None });
        }
        scope
    }

    /// What variables in a composition hold: of the reader what its layout names, or what its nanoservice
    /// declares.
    fn variables(&self, html: &Composition, within: Option<usize>) -> Values {
        if !html.has_variables() {
            return Values::new();
        }
        match within {
            None => {
                let query = self.visit.parameters.iter().filter(|(name, _)| self.template.query.contains(name));
                esi::request::variables(&self.template.dimensions, &self.visit, &query.cloned().collect::<Vec<_>>())
            }
            Some(hole) => {
                let context = self.service(hole).map(|manifest| manifest.context.as_slice()).unwrap_or_default();
                let query = parameters(&self.holes[hole].fragment, &self.visit);
                esi::request::variables(context, &self.visit, &query)
            }
        }
    }

    /// Whether conditions hold; when they change by themselves is noted.
    fn holds(&mut self, conditions: &Conditions) -> bool {
        self.changes_in = self.changes_in.into_iter().chain(conditions.window.changes_in(self.at)).min();
        conditions.hold(&self.visit.reader, self.at)
    }

    /// A name of its own for a fragment that an answer asks for.
    fn number(&mut self, name: &Name) -> Name {
        if self.named.is_empty() {
            for hole in &self.holes {
                *self.named.entry(Arc::clone(&hole.id)).or_default() += 1;
            }
        }
        let count = self.named.entry(Arc::clone(name)).or_default();
        *count += 1;
        if *count == 1 { Arc::clone(name) } else { Name::from(format!("{name}-{count}")) }
    }

    /// `index`: the fragment's in its composition.
    fn slot(
        &mut self,
        (index, fragment): (usize, &FragmentUse),
        depth: usize,
        within: Option<usize>,
        variables: &Values,
    ) -> Slot {
        if within.is_some() {
            self.vary(fragment.conditions.dimensions());
        }
        if !self.holds(&fragment.conditions) {
            return Slot::Dropped;
        }
        if within.is_some() && self.holes.len() >= self.template.defaults.max_fragments {
            return Slot::Refused(Reason::TooMany);
        }
        if depth > self.template.defaults.max_depth {
            return Slot::Refused(Reason::Depth);
        }
        let fetch = match self.fetch((index, fragment), within, variables) {
            Ok(fetch) => fetch,
            Err(reason) => return Slot::Refused(reason),
        };
        if let (Load::Lazy, Some(manifest)) = (fragment.load, &fetch.manifest) {
            return Slot::Lazy(lazy::address(manifest, &parameters(fragment, &self.visit), &self.visit.pattern));
        }
        if self.around(within).any(|above| above.key == fetch.key) {
            return Slot::Refused(Reason::Cycle);
        }
        if let (Some(manifest), true) = (&fetch.manifest, within.is_some()) {
            let context = manifest.context.iter().filter(|dimension| **dimension != Dimension::Page);
            self.vary(context.cloned());
        }
        let index = *self.known.entry((fetch.key.clone(), fetch.rules, fetch.timeout)).or_insert_with(|| {
            self.fetches.push(fetch);
            self.fetches.len() - 1
        });
        Slot::Fetch(index)
    }

    fn fetch(
        &self,
        (index, fragment): (usize, &FragmentUse),
        within: Option<usize>,
        variables: &Values,
    ) -> Result<Arc<Fetch>, Reason> {
        let defaults = &self.template.defaults;
        match &fragment.service {
            FragmentSource::Named(_) | FragmentSource::Source(_) => {
                self.template.fetch(index, &self.visit).expect("only a layout names a nanoservice or a URL")
            }
            FragmentSource::Wanted(name, range) => {
                let wanted = self.template.nested.select(name, range).ok_or(Reason::Unknown)?;
                let fetch = Fetch::new(fragment, Origin::Named(wanted), &self.visit, defaults)?;
                // What answers call their fragments is no label for metrics: there is no end of such names.
                Ok(Arc::new(Fetch { id: Arc::clone(name), ..fetch }))
            }
            FragmentSource::Included { src, .. } => {
                let parent = within.and_then(|hole| self.of(hole));
                let by = Includer { parent: parent.map(|fetch| &**fetch), allowed: &self.template.allowed };
                by.fetch(fragment, src, variables, &self.visit, defaults).map(Arc::new)
            }
        }
    }

    fn vary(&mut self, dimensions: impl Iterator<Item = Dimension>) {
        for dimension in dimensions {
            if !self.dimensions.contains(&dimension) {
                self.dimensions.push(dimension);
            }
        }
    }

    /// The fetches whose answers stand around a hole, from the inside out.
    fn around(&self, within: Option<usize>) -> impl Iterator<Item = &Arc<Fetch>> {
        let mut next = within;
        std::iter::from_fn(move || {
            let hole = next?;
            next = self.holes[hole].scope.within;
            Some(hole)
        })
        .filter_map(|hole| self.of(hole))
    }

    /// Whether all its holes are the layout's own, and none of them is there to be tried.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        !self.has_tries && self.holes.iter().all(|hole| hole.scope.within.is_none() && hole.grown.is_none())
    }

    /// The fetch that a hole is the answer to.
    #[must_use]
    pub fn of(&self, hole: usize) -> Option<&Arc<Fetch>> {
        match self.holes[hole].slot {
            Slot::Fetch(index) => self.fetches.get(index),
            Slot::Dropped | Slot::Refused(_) | Slot::Lazy(_) => None,
        }
    }

    /// The hole whose answer asks for this one; `None`: the layout does.
    #[must_use]
    pub fn within(&self, hole: usize) -> Option<usize> {
        self.holes[hole].scope.within
    }

    /// The nanoservice that a hole is filled by.
    #[must_use]
    pub fn service(&self, hole: usize) -> Option<&Arc<Manifest>> {
        self.of(hole)?.manifest.as_ref()
    }

    /// The nanoservice that a hole is filled by, or would be.
    #[must_use]
    pub fn service_name(&self, hole: usize) -> Name {
        self.of(hole).map_or_else(|| self.holes[hole].fragment.asks().into(), |fetch| Arc::clone(&fetch.nanoservice))
    }

    /// Takes up what a hole is filled with. Where that asks for others, the plan grows.
    pub fn take(&mut self, hole: usize, outcome: &Outcome) {
        let shown = matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        let Some(html) = outcome.response.as_ref().filter(|_| shown).and_then(|answer| answer.composition.clone())
        else {
            return;
        };
        let scope = self.add(&html, Some(hole));
        self.holes[hole].grown = Some((html, scope));
    }
}
