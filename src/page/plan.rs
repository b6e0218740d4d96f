//! From a layout and a visit to the holes of a page, and what each is filled with. It grows: an answer
//! that asks for other fragments makes holes of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::context::{Conditions, Dimension, Visit};
use super::defaults::Defaults;
use super::fetch::{Fetch, Origin, parameters};
use super::key::Key;
use super::layout::node::Load;
use super::layout::{Composition, FragmentUse, Part, Service, Template};
use super::lazy;
use super::manifest::Manifest;
use super::names::Name;
use super::outcome::{Outcome, Reason, Shown};
use super::policy::freshness::Rules;

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
            Service::Wanted(name, _) => Arc::clone(name),
            Service::Named(_) | Service::Source(_) => Arc::clone(&self.id),
        }
    }
}

/// What one page needs.
#[derive(Debug)]
pub struct Plan {
    /// The page's layout.
    pub template: Arc<Template>,
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
    /// How long until a condition of time changes the page.
    pub changes_in: Option<Duration>,
    /// More fragments were asked for than a page may have.
    pub is_cut: bool,
    /// Whether each condition holds.
    shown: Vec<bool>,
    known: HashMap<(Key, Rules, Duration), usize>,
    /// How many holes each name has.
    named: HashMap<Name, usize>,
    defaults: Arc<Defaults>,
    at: Timestamp,
}

/// Plans a page.
#[must_use]
pub fn plan(template: &Arc<Template>, visit: Visit, defaults: &Arc<Defaults>, at: Timestamp) -> Plan {
    let mut plan = Plan {
        template: Arc::clone(template),
        visit,
        holes: Vec::with_capacity(template.html.fragments.len()),
        fetches: Vec::new(),
        dimensions: template.dimensions.clone(),
        budget: template.budget.unwrap_or(defaults.budget),
        changes_in: None,
        is_cut: false,
        shown: Vec::new(),
        known: HashMap::new(),
        named: HashMap::new(),
        defaults: Arc::clone(defaults),
        at,
    };
    plan.add(&template.html, None);
    plan
}

impl Plan {
    /// Makes the holes of a composition that fills a hole, or of the layout.
    fn add(&mut self, html: &Composition, within: Option<usize>) -> Scope {
        let full = within.is_some() && self.holes.len() >= self.defaults.max_fragments;
        let scope = Scope { holes: (!full).then_some(self.holes.len()), conditions: self.shown.len(), within };
        for conditions in &html.conditions {
            let holds = self.holds(conditions);
            self.shown.push(holds);
        }
        let (depth, required) =
            within.map_or((1, true), |hole| (self.holes[hole].depth + 1, self.holes[hole].required));
        self.is_cut |= full && !html.fragments.is_empty();
        for fragment in html.fragments.iter().filter(|_| !full) {
            let slot = self.slot(fragment, depth, within);
            let id = if within.is_some() { self.number(&fragment.id) } else { Arc::clone(&fragment.id) };
            let required = required && fragment.required;
            let fragment = Arc::clone(fragment);
            self.holes.push(Hole { fragment, id, slot, required, scope, depth, grown: None });
        }
        scope
    }

    /// Whether conditions hold; when they change by themselves is noted.
    fn holds(&mut self, conditions: &Conditions) -> bool {
        self.changes_in = self.changes_in.into_iter().chain(conditions.change_in(self.at)).min();
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

    fn slot(&mut self, fragment: &FragmentUse, depth: usize, within: Option<usize>) -> Slot {
        if within.is_some() {
            self.vary(fragment.conditions.dimensions());
        }
        if !self.holds(&fragment.conditions) {
            return Slot::Dropped;
        }
        if within.is_some() && self.holes.len() >= self.defaults.max_fragments {
            return Slot::Refused(Reason::TooMany);
        }
        if depth > self.defaults.max_depth {
            return Slot::Refused(Reason::Depth);
        }
        let fetch = match self.fetch(fragment) {
            Ok(fetch) => fetch,
            Err(reason) => return Slot::Refused(reason),
        };
        if let (Load::Lazy, Some(manifest)) = (fragment.load, &fetch.manifest) {
            return Slot::Lazy(lazy::address(manifest, &parameters(fragment, &self.visit)));
        }
        if self.around(within).any(|above| above.key == fetch.key) {
            return Slot::Refused(Reason::Cycle);
        }
        if let (Some(manifest), true) = (&fetch.manifest, within.is_some()) {
            let context = manifest.context.iter().filter(|dimension| **dimension != Dimension::Page);
            self.vary(context.cloned());
        }
        let index = *self.known.entry((fetch.key.clone(), fetch.rules, fetch.timeout)).or_insert_with(|| {
            self.fetches.push(Arc::new(fetch));
            self.fetches.len() - 1
        });
        Slot::Fetch(index)
    }

    fn fetch(&self, fragment: &FragmentUse) -> Result<Fetch, Reason> {
        let wanted;
        let origin = match &fragment.service {
            Service::Named(manifest) => Origin::Named(manifest),
            Service::Wanted(name, range) => {
                wanted = self.template.nested.select(name, range).ok_or(Reason::Unknown)?;
                Origin::Named(wanted)
            }
            Service::Source(url) => Origin::Source(url),
        };
        let fetch = Fetch::new(fragment, origin, &self.visit, &self.defaults)?;
        // What answers call their fragments is no label for metrics: there is no end of such names.
        Ok(match &fragment.service {
            Service::Wanted(name, _) => Fetch { id: Arc::clone(name), ..fetch },
            Service::Named(_) | Service::Source(_) => fetch,
        })
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

    /// The fetch that a hole is the answer to.
    #[must_use]
    pub fn of(&self, hole: usize) -> Option<&Arc<Fetch>> {
        match self.holes[hole].slot {
            Slot::Fetch(index) => self.fetches.get(index),
            Slot::Dropped | Slot::Refused(_) | Slot::Lazy(_) => None,
        }
    }

    /// The nanoservice that a hole is filled by.
    #[must_use]
    pub fn service(&self, hole: usize) -> Option<&Arc<Manifest>> {
        self.of(hole)?.manifest.as_ref()
    }

    /// Takes up what a hole is filled with. Where that asks for others, the plan grows.
    pub fn take(&mut self, hole: usize, outcome: &Outcome) {
        let shown = matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        let Some(html) = outcome.answer.as_ref().filter(|_| shown).and_then(|answer| answer.composition.clone()) else {
            return;
        };
        let scope = self.add(&html, Some(hole));
        self.holes[hole].grown = Some((html, scope));
    }

    /// The page, in order.
    #[must_use]
    pub fn page(&self) -> (Arc<[Part]>, Scope) {
        (Arc::clone(&self.template.html.parts), Scope { holes: Some(0), conditions: 0, within: None })
    }

    /// The hole that a fragment of some parts is.
    ///
    /// # Errors
    /// It is one too many: its fallback.
    pub fn hole(&self, scope: Scope, fragment: usize) -> Result<usize, &Arc<[Part]>> {
        scope.holes.map(|first| first + fragment).ok_or_else(|| {
            let asked = scope.within.and_then(|hole| self.holes[hole].grown.as_ref());
            let (html, _) = asked.expect("only what an answer asks for is too many");
            &html.fragments[fragment].fallback
        })
    }

    /// Whether what is shown under a condition is shown.
    #[must_use]
    pub fn is_shown(&self, scope: Scope, condition: usize) -> bool {
        self.shown[scope.conditions + condition]
    }

    /// Which conditions hold of those in the layout, or in what a hole is filled with.
    #[must_use]
    pub fn conditions(&self, hole: Option<usize>) -> &[bool] {
        let (first, html) = match hole {
            None => (0, &self.template.html),
            Some(hole) => match &self.holes[hole].grown {
                Some((html, scope)) => (scope.conditions, &**html),
                None => return &[],
            },
        };
        &self.shown[first..first + html.conditions.len()]
    }

    /// What fills a slot of some parts: what the layout put there, or else its default.
    #[must_use]
    pub fn filling<'p>(&'p self, scope: Scope, name: &str, default: &'p Arc<[Part]>) -> (&'p Arc<[Part]>, Scope) {
        let around = scope.within.map(|hole| &self.holes[hole]);
        let filled = around.and_then(|hole| Some((hole.fragment.fills.get(name)?, hole.scope)));
        filled.unwrap_or((default, scope))
    }

    /// What stands in a hole when nothing better can.
    #[must_use]
    pub fn fallback(&self, hole: usize) -> (&Arc<[Part]>, Scope) {
        let hole = &self.holes[hole];
        (&hole.fragment.fallback, hole.scope)
    }

    /// What stands in a hole, where that is made of parts: its fallback, or an answer that asks for others.
    #[must_use]
    pub fn inside(&self, hole: usize, outcome: &Outcome) -> Option<(&Arc<[Part]>, Scope)> {
        match outcome.shown {
            Shown::Fallback => Some(self.fallback(hole)),
            Shown::Fresh | Shown::Stale => self.holes[hole].grown.as_ref().map(|(html, scope)| (&html.parts, *scope)),
            Shown::Omitted => None,
        }
    }

    /// The holes that a page needs at once, and with each those that fill the slots of its HTML: those
    /// are needed whatever comes of it.
    #[must_use]
    pub fn needed_at_once(&self) -> Vec<usize> {
        let (parts, scope) = self.page();
        self.needed(&parts, scope)
    }

    /// The holes that are needed since this one is filled as it is.
    #[must_use]
    pub fn needed_then(&self, hole: usize, outcome: &Outcome) -> Vec<usize> {
        self.inside(hole, outcome).map(|(parts, scope)| self.needed(parts, scope)).unwrap_or_default()
    }

    fn needed(&self, parts: &[Part], scope: Scope) -> Vec<usize> {
        let mut found = Vec::new();
        self.walk(parts, scope, &mut |hole| {
            found.push(hole);
            let hole = &self.holes[hole];
            for parts in hole.fragment.fills.values() {
                found.extend(self.needed(parts, hole.scope));
            }
            None
        });
        found
    }

    /// Whether a hole and all that stands in it are filled.
    #[must_use]
    pub fn is_known(&self, hole: usize, outcomes: &Outcomes) -> bool {
        let Some((inside, scope)) = outcomes[hole].as_ref().and_then(|outcome| self.inside(hole, outcome)) else {
            return outcomes[hole].is_some();
        };
        let mut known = true;
        self.walk(inside, scope, &mut |hole| {
            known &= outcomes[hole].is_some();
            outcomes[hole].as_ref()
        });
        known
    }

    /// Whether a hole's fallback asks for nothing.
    #[must_use]
    pub fn is_plain(&self, hole: usize) -> bool {
        let (parts, scope) = self.fallback(hole);
        self.needed(parts, scope).is_empty()
    }

    /// What stands in a hole until it is filled: its fallback, and of what that asks for the fallbacks.
    pub fn placeholder(&self, hole: usize, chunks: &mut Vec<Bytes>) {
        let (parts, scope) = self.fallback(hole);
        self.plainly(parts, scope, chunks);
    }

    fn plainly(&self, parts: &[Part], scope: Scope, chunks: &mut Vec<Bytes>) {
        for part in parts {
            match part {
                Part::Text(text) => chunks.push(text.clone()),
                Part::When(condition, inside) if self.is_shown(scope, *condition) => {
                    self.plainly(inside, scope, chunks);
                }
                Part::Slot(name, default) => {
                    let (inside, scope) = self.filling(scope, name, default);
                    self.plainly(inside, scope, chunks);
                }
                Part::Fragment(fragment) => match self.hole(scope, *fragment) {
                    Ok(hole) => {
                        let (open, close) = self.around_lazy(hole).unwrap_or_default();
                        chunks.push(open);
                        self.placeholder(hole, chunks);
                        chunks.push(close);
                    }
                    Err(fallback) => self.plainly(fallback, scope, chunks),
                },
                Part::When(..) | Part::Assets | Part::Late => {}
            }
        }
    }

    /// Where readers find what a hole is filled with by and by.
    #[must_use]
    pub fn lazy(&self, hole: usize) -> Option<&str> {
        match &self.holes[hole].slot {
            Slot::Lazy(address) => Some(address),
            Slot::Fetch(_) | Slot::Dropped | Slot::Refused(_) => None,
        }
    }

    /// Bytes before and behind what stands in a lazy hole.
    #[must_use]
    pub fn around_lazy(&self, hole: usize) -> Option<(Bytes, Bytes)> {
        let (address, hole) = (self.lazy(hole)?, &self.holes[hole]);
        let open = lazy::open(address);
        let link = if hole.fragment.fallback.is_empty() { lazy::link(address, &hole.id) } else { Bytes::new() };
        Some((open, Bytes::from([link, lazy::CLOSE].concat())))
    }

    /// The holes that stand on the page, as far as that is known, in document order. Those that readers ask
    /// for by themselves are none of the page's own.
    #[must_use]
    pub fn in_order(&self, outcomes: &Outcomes) -> Vec<usize> {
        let mut found = Vec::with_capacity(self.holes.len());
        let (parts, scope) = self.page();
        self.walk(&parts, scope, &mut |hole| {
            found.push(hole);
            outcomes[hole].as_ref()
        });
        found
    }

    /// Meets the holes of some parts in document order, and goes into those whose outcome `meet` says.
    pub fn walk<'o>(&self, parts: &[Part], scope: Scope, meet: &mut impl FnMut(usize) -> Option<&'o Outcome>) {
        for part in parts {
            match part {
                Part::Text(_) | Part::Assets | Part::Late => {}
                Part::When(condition, inside) => {
                    if self.is_shown(scope, *condition) {
                        self.walk(inside, scope, meet);
                    }
                }
                Part::Slot(name, default) => {
                    let (inside, scope) = self.filling(scope, name, default);
                    self.walk(inside, scope, meet);
                }
                Part::Fragment(fragment) => {
                    let inside = match self.hole(scope, *fragment) {
                        Ok(hole) if self.lazy(hole).is_some() => Some(self.fallback(hole)),
                        Ok(hole) => meet(hole).and_then(|outcome| self.inside(hole, outcome)),
                        Err(fallback) => Some((fallback, scope)),
                    };
                    if let Some((inside, scope)) = inside {
                        self.walk(inside, scope, meet);
                    }
                }
            }
        }
    }

    /// Whether a hole that is not filled yet may decide what the head says: its status, and cookies,
    /// which leave with the head or not at all.
    #[must_use]
    pub fn may_decide(&self, hole: usize) -> bool {
        let one = &self.holes[hole];
        let sets_cookies = |manifest: &Arc<Manifest>| {
            !manifest.cookies.is_empty() || (!manifest.composes.is_empty() && self.template.nested_set_cookies())
        };
        let parts = || one.fragment.fills.values().chain([&one.fragment.fallback]);
        let inside = || parts().flat_map(|parts| self.needed(parts, one.scope)).any(|hole| self.may_decide(hole));
        one.required || self.service(hole).is_some_and(sets_cookies) || inside()
    }
}
