//! A fragment served by itself, for readers who scroll near it: a page of nothing else, so that it is
//! planned, kept and judged as on any page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderName, HeaderValue};

use crate::page::browser::csp::Scripts;
use crate::page::layout::syntax::node::{Load, ParameterPiece};
use crate::page::layout::template::Template;
use crate::page::layout::template::composition::{Composition, Condition, FragmentSource, FragmentUse, Segment};
use crate::page::manifest::Manifest;
use crate::page::visit::context::Dimension;
use crate::page::visit::experiment::Experiment;
use crate::page::visit::window::TimeWindow;

use super::reads;

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// A place on a page where a fragment is loaded lazily.
#[derive(Debug, Clone, Copy)]
pub struct LazyUse<'a> {
    /// The page.
    pub template: &'a Template,
    /// The fragment.
    pub fragment: &'a FragmentUse,
    /// Its nanoservice.
    pub manifest: &'a Arc<Manifest>,
    /// When it is there.
    pub window: TimeWindow,
}

/// What is known of the places that a fragment by itself is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standalone {
    /// The patterns of their pages.
    pub pages: BTreeSet<String>,
    /// When they are there.
    pub windows: Vec<TimeWindow>,
}

/// Finds the times in which each fragment is there.
fn windows(html: &Composition, parts: &[Segment], window: TimeWindow, found: &mut BTreeMap<usize, TimeWindow>) {
    for part in parts {
        match part {
            Segment::When(condition, inside) => {
                let window = match &html.conditions[*condition] {
                    Condition::When(conditions) => window.intersection(conditions.window),
                    Condition::First(..) => window,
                };
                windows(html, inside, window, found);
            }
            Segment::Fragment(index) => {
                let fragment = &html.fragments[*index];
                let window = window.intersection(fragment.conditions.window);
                found.insert(*index, window);
                windows(html, &fragment.fallback, window, found);
            }
            Segment::Try(attempt, except) => {
                windows(html, attempt, window, found);
                windows(html, except, window, found);
            }
            Segment::Slot(_, default) => windows(html, default, window, found),
            Segment::Text(_) | Segment::Value(_) | Segment::Assets | Segment::Late => {}
        }
    }
}

impl Template {
    /// The fragments that it loads lazily, while it is itself there in a time.
    #[must_use]
    pub fn lazy(&self, window: TimeWindow) -> Vec<LazyUse<'_>> {
        let mut times = BTreeMap::new();
        windows(&self.html, &self.html.parts, window, &mut times);
        let lazy = self.html.fragments.iter().enumerate().filter(|(_, fragment)| fragment.load == Load::Lazy);
        lazy.filter_map(|(index, fragment)| {
            let window = times.get(&index).copied().unwrap_or(window);
            Some(LazyUse { template: self, fragment, manifest: fragment.manifest()?, window })
        })
        .collect()
    }

    /// The page of one nanoservice alone, for all places where it is loaded lazily: there is at least one.
    /// It takes what they give it, and is kept for as long as the strictest of them says.
    #[must_use]
    pub fn lone(places: &[LazyUse<'_>]) -> Self {
        let LazyUse { template: page, fragment, manifest, .. } = places[0];
        let shortest = |of: fn(&FragmentUse) -> Option<_>| places.iter().filter_map(|place| of(place.fragment)).min();
        let parameters = parameters(places);
        let service = FragmentSource::Named(Arc::clone(manifest));
        let alone = FragmentUse {
            ttl: shortest(|fragment| fragment.ttl),
            stale: shortest(|fragment| fragment.stale),
            timeout: places.iter().filter_map(|place| place.fragment.timeout).max(),
            // What becomes of it becomes of the page: a script is told by the status.
            required: true,
            parameters: parameters.clone(),
            ..FragmentUse::new(Arc::clone(&manifest.name), service, fragment.at.clone())
        };
        let nested = page.nested.reachable([manifest].into_iter());
        let html = Composition {
            parts: Arc::from([Segment::Assets, Segment::Fragment(0)]),
            fragments: vec![Arc::new(alone)],
            ..Composition::default()
        }
        .digested();
        let dimensions: Vec<Dimension> = html.dimensions().into_iter().collect();
        let shared = html.shared().into_iter().collect();
        let reads_host = html.reads_host(&nested);
        let experiments = experiments(places);
        let reads = reads(&dimensions, &nested, &experiments);
        Self {
            file: page.file.clone(),
            routes: Vec::new(),
            title: None,
            owner: page.owner.clone(),
            budget: page.budget,
            query: parameters.into_iter().map(|(name, _)| name).collect(),
            max_age: None,
            headers: headers(places),
            html,
            allowed: page.allowed.clone(),
            nested,
            dimensions,
            shared,
            reads,
            reads_host,
            scripts: Scripts { late: None, lazy: None },
            alone: Some(Standalone {
                pages: places.iter().flat_map(|place| &place.template.routes).map(|r| r.value.to_string()).collect(),
                windows: places.iter().map(|place| place.window).collect(),
            }),
            experiments,
            takeovers: Vec::new(),
        }
    }
}

/// What places give, and what the manifest declares. What all of them write out is one of what they write:
/// readers choose nothing there.
fn parameters(places: &[LazyUse<'_>]) -> Vec<(String, Vec<ParameterPiece>)> {
    let mut written: BTreeMap<&str, Option<BTreeSet<String>>> = BTreeMap::new();
    for (name, value) in places.iter().flat_map(|place| &place.fragment.parameters) {
        let values = written.entry(name).or_insert_with(|| Some(BTreeSet::new()));
        match (value.as_slice(), values.as_mut()) {
            ([], Some(values)) => _ = values.insert(String::new()),
            ([ParameterPiece::Literal(text)], Some(values)) => _ = values.insert(text.clone()),
            _ => *values = None,
        }
    }
    for param in &places[0].manifest.params {
        written.entry(&param.name).or_insert(None);
    }
    let piece = |(name, values): (&str, Option<BTreeSet<String>>)| {
        let piece = match values {
            Some(values) => ParameterPiece::OneOf(name.to_owned(), values.into_iter().collect()),
            None => ParameterPiece::Placeholder(name.to_owned()),
        };
        (name.to_owned(), vec![piece])
    };
    written.into_iter().map(piece).collect()
}

/// Those of all pages, each once.
fn experiments(places: &[LazyUse<'_>]) -> Vec<Experiment> {
    let mut all: Vec<Experiment> = Vec::new();
    for experiment in places.iter().flat_map(|place| &place.template.experiments) {
        if !all.iter().any(|known| known.name == experiment.name) {
            all.push(experiment.clone());
        }
    }
    all
}

/// What a page forbids its parts, they may not do by themselves either: all policies together count as the
/// strictest. What else pages say is said as the first of them says it.
fn headers(places: &[LazyUse<'_>]) -> Vec<(HeaderName, HeaderValue)> {
    let of_page = |place: &LazyUse<'_>| place.template.headers.clone();
    let is_policy = |(name, _): &(HeaderName, HeaderValue)| *name == CONTENT_SECURITY_POLICY;
    let first = of_page(&places[0]).into_iter().filter(|(name, _)| *name != ROBOTS && *name != CONTENT_SECURITY_POLICY);
    let mut headers: Vec<_> = first.chain([(ROBOTS, HeaderValue::from_static("noindex"))]).collect();
    for policy in places.iter().flat_map(of_page).filter(is_policy) {
        if !headers.contains(&policy) {
            headers.push(policy);
        }
    }
    headers
}
