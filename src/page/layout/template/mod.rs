//! A layout, whole: what pages are planned from.

pub mod composition;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::page::browser::csp::Scripts;
use crate::page::browser::lazy::PAGE;
use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::upstreams::Allowed;
use crate::page::source::diagnostic::Located;
use crate::page::visit::context::{Dimension, Reader, Visit};
use crate::page::visit::experiment::Experiment;
use crate::page::visit::route::Pattern;
use crate::page::visit::window::TimeWindow;

use super::assemble::standalone::Standalone;

use self::composition::Composition;

/// A layout, whole: its bytes, its fragments, and what it says of the page.
#[derive(Debug)]
pub struct Template {
    /// `layouts/front.html`
    pub file: String,
    /// The paths it answers.
    pub routes: Vec<Located<Pattern>>,
    /// Text of the page's `<title>`.
    pub title: Option<String>,
    /// Who is told.
    pub owner: Option<String>,
    /// Longest time from the request to the page's last part.
    pub budget: Option<Duration>,
    /// Query parameters that it reads.
    pub query: Vec<String>,
    /// Caps the page's downstream freshness.
    pub max_age: Option<Duration>,
    /// Headers that the page adds.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The page: its bytes and its fragments.
    pub html: Composition,
    /// The upstreams that ESI of its fragments may name.
    pub allowed: Vec<Allowed>,
    /// The nanoservices that its fragments may ask for, and those that these may.
    pub nested: Catalogue,
    /// What the page varies on, each once.
    pub dimensions: Vec<Dimension>,
    /// What of that all but its personal parts depend on.
    pub shared: Vec<Dimension>,
    /// What has to be known of a reader: what the page varies on, or may come to.
    pub reads: Vec<Dimension>,
    /// Whether anything on it may depend on the host that is asked: ESI's variables can name it.
    pub reads_host: bool,
    /// The compositor's own scripts that it has; its policy allows them.
    pub scripts: Scripts,
    /// It is a fragment by itself, which scripts take whole; what it is for.
    pub alone: Option<Standalone>,
    /// Tests on its readers.
    pub experiments: Vec<Experiment>,
    /// Layouts that are served in its place for a time; the first one whose time it is.
    pub takeovers: Vec<Takeover>,
}

/// A layout that is served in another's place for a time.
#[derive(Debug)]
pub struct Takeover {
    /// When it is served.
    pub window: TimeWindow,
    /// The layout.
    pub template: Arc<Template>,
}

impl Template {
    /// Which of its takeovers is served in its place at a time, and how long until that changes.
    #[must_use]
    pub fn takeover_at(&self, now: Timestamp) -> (Option<usize>, Option<Duration>) {
        let on = self.takeovers.iter().position(|takeover| takeover.window.contains(now));
        let changes_in = self.takeovers.iter().filter_map(|takeover| takeover.window.changes_in(now)).min();
        (on, changes_in)
    }

    /// A visit to it by a path that a pattern matched. Who asks for a fragment by itself says for which page.
    #[must_use]
    pub fn visit(
        &self,
        pattern: &str,
        parameters: Vec<(String, String)>,
        query: Option<&str>,
        reader: Reader,
        host: String,
    ) -> Visit {
        let page = self.alone.as_ref().and_then(|alone| {
            let asked = form_urlencoded::parse(query?.as_bytes()).find(|(name, _)| name == PAGE)?.1;
            alone.pages.get(&*asked)
        });
        let pattern = page.map_or(pattern, String::as_str);
        Visit { host, ..Visit::new(pattern, parameters, query, &self.query, reader) }
    }

    /// The nanoservices that may fill its fragments, and theirs.
    pub fn manifests(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        self.html.fragments.iter().filter_map(|fragment| fragment.manifest()).chain(self.nested.manifests())
    }

    /// Whether a fragment that its fragments may ask for may set cookies.
    #[must_use]
    pub fn nested_set_cookies(&self) -> bool {
        self.nested.manifests().iter().any(|manifest| !manifest.cookies.is_empty())
    }

    /// It and all that takes its place at some time.
    pub fn with_takeovers(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.takeovers.iter().map(|takeover| &*takeover.template))
    }
}
