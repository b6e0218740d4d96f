//! The pages of standalone fragments, which scripts fetch once a reader scrolls near: a page of nothing else, so that such a
//! fragment is planned, cached and classified as on any page.
//! A lazy fragment without a manifest is not served as a standalone fragment.

use std::sync::Arc;

use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderName, HeaderValue};

use crate::page::browser::csp::Scripts;
use crate::page::layout::template::Template;
use crate::page::layout::template::composition::Composition;
use crate::page::layout::template::fragment::{Candidates, FragmentSource, FragmentUse};
use crate::page::layout::template::place::{Place, lazy_places};
use crate::page::layout::template::segment::{Condition, Segment};
use crate::page::manifest::Manifest;
use crate::page::visit::experiment::Experiment;
use crate::page::visit::window::TimeWindow;

use super::dimensions::{self, Dimensions};

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// A place on a page where a fragment is loaded lazily.
#[derive(Debug, Clone)]
pub struct LazyUse<'a> {
    /// The page's template.
    pub template: &'a Template,
    /// The fragment.
    pub fragment: &'a FragmentUse,
    /// Its nanoservice.
    pub manifest: &'a Arc<Manifest>,
    /// When it is shown.
    pub place: Place,
}

/// The fragments that a template loads lazily, if it is itself served in a window.
#[must_use]
pub fn lazy_uses(template: &Template, window: TimeWindow) -> Vec<LazyUse<'_>> {
    let places = lazy_places(&template.html, window).into_iter();
    places
        .flat_map(|(index, place)| {
            let fragment = &*template.html.fragments[index];
            // A page shows each of them to some of its readers.
            fragment.candidates().map(move |manifest| LazyUse { template, fragment, manifest, place: place.clone() })
        })
        .collect()
}

/// The template of a standalone fragment, for all places that have the same conditions: there is at least one. It takes the
/// parameters that its address states, and is cached for as long as the strictest of the places allows.
#[must_use]
pub fn standalone_template(places: &[LazyUse<'_>]) -> Template {
    let LazyUse { template: page, fragment, manifest, place } = &places[0];
    let shortest = |of: fn(&FragmentUse) -> Option<_>| places.iter().filter_map(|place| of(place.fragment)).min();
    let source = FragmentSource::Named(Candidates::one(manifest));
    let only = FragmentUse {
        ttl: shortest(|fragment| fragment.ttl),
        stale: shortest(|fragment| fragment.stale),
        timeout: places.iter().filter_map(|place| place.fragment.timeout).max(),
        // Its outcome decides the page's status, by which the script knows it.
        required: true,
        takes_all_parameters: true,
        ..FragmentUse::new(Arc::clone(&manifest.name), source, fragment.at.clone())
    };
    let nested = page.nested.reachable([*manifest].into_iter());
    let conditions: Vec<_> = place.conditions().cloned().map(Condition::When).collect();
    let inside = |inside, condition| Segment::When(condition, Arc::from([inside]));
    let html = Composition {
        segments: Arc::from([Segment::Assets, (0..conditions.len()).rev().fold(Segment::Fragment(0), inside)]),
        fragments: vec![Arc::new(only)],
        conditions,
        ..Composition::default()
    }
    .with_digest();
    let experiments = experiments(places);
    let Dimensions { all, shared, reads, reads_host } = Dimensions::of(&html, &nested, &experiments);
    let rollouts = dimensions::rollouts(&html, &nested);
    Template {
        file: page.file.clone(),
        routes: Vec::new(),
        status: None,
        title: None,
        owner: page.owner.clone(),
        budget: page.budget,
        query: Vec::new(),
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
        is_standalone: true,
        experiments,
        rollouts,
        takeovers: Vec::new(),
    }
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
