//! Templates: assembled layouts, from which pages are planned.
//! A template is valid: a layout with an error never becomes one that goes live.

pub mod segment;

pub mod fragment;

pub mod composition;

pub mod place;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::page::browser::csp::Scripts;
use crate::page::layout::syntax::node::Load;
use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::upstreams::Allowed;
use crate::page::source::diagnostic::Located;
use crate::page::visit::context::{Dimension, Reader, Visit};
use crate::page::visit::experiment::Experiment;
use crate::page::visit::route::Pattern;
use crate::page::visit::side::RolledOut;
use crate::page::visit::window::TimeWindow;

use self::composition::Composition;
use self::fragment::{Candidates, FragmentSource, FragmentUse};

/// An assembled layout: its HTML in segments, its fragments, and what it states of the page.
#[derive(Debug, Clone)]
pub struct Template {
    /// The file of the layout: `layouts/front.html`.
    pub file: String,
    /// The patterns of the paths that it serves.
    pub routes: Vec<Located<Pattern>>,
    /// The status that it is the site's page for.
    pub status: Option<StatusCode>,
    /// The text of the page's `<title>`, as it is written.
    pub title: Option<String>,
    /// The team that is responsible for it.
    pub owner: Option<String>,
    /// Longest time from the request to the page's last part.
    pub budget: Option<Duration>,
    /// The query parameters that it reads.
    pub query: Vec<String>,
    /// Longest time that caches may use the page for.
    pub max_age: Option<Duration>,
    /// The headers that it adds to the page.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The page's HTML and its fragments.
    pub html: Composition,
    /// The upstreams that ESI of its fragments may include from.
    pub allowed: Vec<Allowed>,
    /// The nanoservices that its fragments may request, those that these may request, and so on.
    pub nested: Catalogue,
    /// The dimensions that the page varies on, each once.
    pub dimensions: Vec<Dimension>,
    /// Those of them that are not only due to its personalised parts.
    pub shared: Vec<Dimension>,
    /// The dimensions that have to be known of a client: those that the page varies on, or may vary on once its fragments
    /// have arrived.
    pub reads: Vec<Dimension>,
    /// Whether anything on it may depend on the requested host, which variables of ESI can name.
    pub reads_host: bool,
    /// The compositor's own scripts on it, which its policy allows.
    pub scripts: Scripts,
    /// Whether it is the page of a standalone fragment, which scripts fetch as a whole.
    pub is_standalone: bool,
    /// Its experiments.
    pub experiments: Vec<Experiment>,
    /// The versions that are rolled out on its pages.
    pub rollouts: Vec<RolledOut>,
    /// The layouts that replace it for a time. If several are due, the first one is served.
    pub takeovers: Vec<Takeover>,
}

/// A layout that replaces another one for a time.
#[derive(Debug, Clone)]
pub struct Takeover {
    /// When it is served.
    pub window: TimeWindow,
    /// Its template.
    pub template: Arc<Template>,
}

impl Template {
    /// The takeover that replaces it at a time, if any, and how long until that changes.
    #[must_use]
    pub fn takeover_at(&self, now: Timestamp) -> (Option<usize>, Option<Duration>) {
        let due = self.takeovers.iter().position(|takeover| takeover.window.contains(now));
        let changes_in = self.takeovers.iter().filter_map(|takeover| takeover.window.changes_in(now)).min();
        (due, changes_in)
    }

    /// What its pages are counted under: the patterns of its routes, or its status.
    pub fn labels(&self) -> impl Iterator<Item = String> {
        let patterns = self.routes.iter().map(|route| route.value.to_string());
        patterns.chain(self.status.map(|status| status.as_str().to_owned()))
    }

    /// A visit by a path that matched a pattern.
    #[must_use]
    pub fn visit(
        &self,
        pattern: &str,
        parameters: Vec<(String, String)>,
        query: Option<&str>,
        reader: Reader,
        host: String,
    ) -> Visit {
        Visit { host, ..Visit::new(pattern, parameters, query, &self.query, reader) }
    }

    /// The nanoservices that may fill its fragments, and those that these may request.
    pub fn manifests(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        self.html.fragments.iter().flat_map(|fragment| fragment.candidates()).chain(self.nested.manifests())
    }

    /// The template with certain versions of nanoservices, whatever its ranges say. Lazy parts of them are in place, since no
    /// page of their own exists.
    #[must_use]
    pub fn with_versions(&self, versions: &[Arc<Manifest>], catalogue: &Catalogue) -> Self {
        let version_of = |name: &str| versions.iter().find(|manifest| *manifest.name == *name);
        let with = |fragment: &Arc<FragmentUse>| match &fragment.source {
            FragmentSource::Named(candidates) => version_of(&candidates.chosen().name).map_or_else(
                || Arc::clone(fragment),
                |manifest| {
                    let load = if fragment.load == Load::Lazy { Load::Auto } else { fragment.load };
                    let source = FragmentSource::Named(Candidates::one(manifest));
                    Arc::new(FragmentUse { load, source, ..(**fragment).clone() })
                },
            ),
            _ => Arc::clone(fragment),
        };
        let fragments: Vec<Arc<FragmentUse>> = self.html.fragments.iter().map(with).collect();
        let nested = catalogue.reachable(fragments.iter().flat_map(|fragment| fragment.candidates()));
        let nested = nested.with_only(versions);
        let mut template = Self { html: Composition { fragments, ..self.html.clone() }.with_digest(), ..self.clone() };
        template.rollouts.retain(|rollout| version_of(&rollout.name).is_none());
        let context = versions.iter().chain(nested.manifests()).flat_map(|manifest| &manifest.context);
        for dimension in context.filter(|dimension| **dimension != Dimension::Page) {
            for known in [&mut template.dimensions, &mut template.reads] {
                if !known.contains(dimension) {
                    known.push(dimension.clone());
                }
            }
        }
        template.nested = nested;
        template
    }

    /// Whether a nested fragment may set cookies.
    #[must_use]
    pub fn nested_set_cookies(&self) -> bool {
        self.nested.manifests().iter().any(|manifest| !manifest.cookies.is_empty())
    }

    /// The template, and those that replace it at some time.
    pub fn with_takeovers(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.takeovers.iter().map(|takeover| &*takeover.template))
    }
}
