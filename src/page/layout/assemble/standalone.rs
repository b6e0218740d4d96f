//! The pages of standalone fragments, which scripts fetch once a reader scrolls near: a page of nothing else, so that such a
//! fragment is planned, cached and classified as on any page.
//! A lazy fragment without a manifest is not served as a standalone fragment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderName, HeaderValue};

use crate::page::browser::csp::Scripts;
use crate::page::layout::syntax::node::{Load, ParameterPiece};
use crate::page::layout::template::composition::Composition;
use crate::page::layout::template::fragment::{Candidates, FragmentSource, FragmentUse};
use crate::page::layout::template::segment::{Condition, Segment};
use crate::page::layout::template::{Standalone, Template};
use crate::page::manifest::Manifest;
use crate::page::visit::experiment::Experiment;
use crate::page::visit::window::TimeWindow;

use super::dimensions::Dimensions;

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// A place on a page where a fragment is loaded lazily.
#[derive(Debug, Clone, Copy)]
pub struct LazyUse<'a> {
    /// The page's template.
    pub template: &'a Template,
    /// The fragment.
    pub fragment: &'a FragmentUse,
    /// Its nanoservice.
    pub manifest: &'a Arc<Manifest>,
    /// When it is shown.
    pub window: TimeWindow,
}

/// The fragments that a template loads lazily, if it is itself served in a window.
#[must_use]
pub fn lazy_uses(template: &Template, window: TimeWindow) -> Vec<LazyUse<'_>> {
    let mut times = BTreeMap::new();
    windows(&template.html, &template.html.segments, window, &mut times);
    let lazy = template.html.fragments.iter().enumerate().filter(|(_, fragment)| fragment.load == Load::Lazy);
    lazy.filter_map(|(index, fragment)| {
        let window = times.get(&index).copied().unwrap_or(window);
        Some(LazyUse { template, fragment, manifest: fragment.manifest()?, window })
    })
    .collect()
}

/// Finds the window in which each fragment is shown, by its index.
fn windows(html: &Composition, segments: &[Segment], window: TimeWindow, found: &mut BTreeMap<usize, TimeWindow>) {
    for segment in segments {
        match segment {
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

/// The template of a standalone fragment, for all places where it is loaded lazily: there is at least one. It accepts the
/// parameters that they give, and is cached for as long as the strictest of them allows.
#[must_use]
pub fn standalone_template(places: &[LazyUse<'_>]) -> Template {
    let LazyUse { template: page, fragment, manifest, .. } = places[0];
    let shortest = |of: fn(&FragmentUse) -> Option<_>| places.iter().filter_map(|place| of(place.fragment)).min();
    let parameters = parameters(places);
    let source = FragmentSource::Named(Candidates::one(manifest));
    let only = FragmentUse {
        ttl: shortest(|fragment| fragment.ttl),
        stale: shortest(|fragment| fragment.stale),
        timeout: places.iter().filter_map(|place| place.fragment.timeout).max(),
        // Its outcome decides the page's status, by which the script knows it.
        required: true,
        parameters: parameters.clone(),
        ..FragmentUse::new(Arc::clone(&manifest.name), source, fragment.at.clone())
    };
    let nested = page.nested.reachable([manifest].into_iter());
    let html = Composition {
        segments: Arc::from([Segment::Assets, Segment::Fragment(0)]),
        fragments: vec![Arc::new(only)],
        ..Composition::default()
    }
    .with_digest();
    let experiments = experiments(places);
    let Dimensions { all, shared, reads, reads_host } = Dimensions::of(&html, &nested, &experiments);
    Template {
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
        dimensions: all,
        shared,
        reads,
        reads_host,
        scripts: Scripts { late: None, lazy: None },
        standalone: Some(Standalone {
            pages: places.iter().flat_map(|place| &place.template.routes).map(|r| r.value.to_string()).collect(),
            windows: places.iter().map(|place| place.window).collect(),
        }),
        experiments,
        takeovers: Vec::new(),
    }
}

/// The parameters that places give, and those that the manifest declares. A parameter that is a literal in all places can have
/// only these values: clients choose nothing there.
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

/// The experiments of all pages, each once.
fn experiments(places: &[LazyUse<'_>]) -> Vec<Experiment> {
    let mut all: Vec<Experiment> = Vec::new();
    for experiment in places.iter().flat_map(|place| &place.template.experiments) {
        if !all.iter().any(|known| known.name == experiment.name) {
            all.push(experiment.clone());
        }
    }
    all
}

/// The headers of the first page, and the content security policies of all: a standalone fragment may not do what a page forbids
/// it, and of several policies the strictest rules apply.
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
