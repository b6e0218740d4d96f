//! A fragment served by itself, for readers who scroll near it: a page of nothing else, so that it is
//! planned, kept and judged as on any page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use xxhash_rust::xxh3::xxh3_128;

use crate::page::context::{Conditions, Dimension};
use crate::page::csp::Scripts;
use crate::page::manifest::Manifest;

use super::assemble::reads;
use super::composition::{Composition, FragmentUse, Part, Service};
use super::node::{Load, Piece};
use super::template::Template;

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
}

impl Template {
    /// The fragments that it loads lazily.
    pub fn lazy(&self) -> impl Iterator<Item = LazyUse<'_>> {
        let lazy = self.html.fragments.iter().filter(|fragment| fragment.load == Load::Lazy);
        lazy.filter_map(|fragment| Some(LazyUse { template: self, fragment, manifest: fragment.manifest()? }))
    }

    /// The page of one nanoservice alone, for all places where it is loaded lazily: there is at least one.
    /// It takes the parameters that they name, and is kept for as long as the strictest of them says.
    #[must_use]
    pub fn lone(places: &[LazyUse<'_>]) -> Self {
        let LazyUse { template: page, fragment, manifest } = places[0];
        let shortest = |of: fn(&FragmentUse) -> Option<_>| places.iter().filter_map(|place| of(place.fragment)).min();
        let given = places.iter().flat_map(|place| &place.fragment.parameters).map(|(name, _)| name);
        let query: BTreeSet<String> = given.chain(manifest.params.iter().map(|param| &param.name)).cloned().collect();
        let alone = FragmentUse {
            id: Arc::clone(&manifest.name),
            service: Service::Named(Arc::clone(manifest)),
            ttl: shortest(|fragment| fragment.ttl),
            stale: shortest(|fragment| fragment.stale),
            timeout: places.iter().filter_map(|place| place.fragment.timeout).max(),
            // What becomes of it becomes of the page: a script is told by the status.
            required: true,
            load: Load::Auto,
            conditions: Conditions::default(),
            parameters: query.iter().map(|name| (name.clone(), vec![Piece::Placeholder(name.clone())])).collect(),
            fallback: Arc::default(),
            fills: BTreeMap::new(),
            at: fragment.at.clone(),
        };
        let nested = page.nested.reachable([manifest].into_iter());
        let html = Composition {
            parts: Arc::from([Part::Assets, Part::Fragment(0)]),
            fragments: vec![Arc::new(alone)],
            ..Composition::default()
        };
        let dimensions: Vec<Dimension> = html.dimensions().into_iter().collect();
        let reads = reads(&dimensions, &nested, &page.experiments);
        // What the page forbids its parts, they may not do by themselves either.
        let headers = page.headers.iter().filter(|(name, _)| *name != ROBOTS).cloned();
        Self {
            file: page.file.clone(),
            routes: Vec::new(),
            title: None,
            owner: page.owner.clone(),
            budget: page.budget,
            query: query.into_iter().collect(),
            max_age: None,
            headers: headers.chain([(ROBOTS, HeaderValue::from_static("noindex"))]).collect(),
            html,
            allowed: page.allowed.clone(),
            nested,
            dimensions,
            reads,
            digest: xxh3_128(manifest.name.as_bytes()),
            scripts: Scripts { late: None, lazy: None },
            is_lone: true,
            experiments: page.experiments.clone(),
            takeovers: Vec::new(),
        }
    }
}
