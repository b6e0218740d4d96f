//! A layout, whole: what pages are planned from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use url::Url;

use crate::page::context::{Conditions, Dimension};
use crate::page::diagnostic::{Located, Spot};
use crate::page::experiment::Experiment;
use crate::page::manifest::Manifest;
use crate::page::names::Name;
use crate::page::route::Pattern;

use super::node::Piece;

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
    /// The page, in order.
    pub parts: Vec<Part>,
    /// All fragments, those inside others' fallbacks too, in document order.
    pub fragments: Vec<FragmentUse>,
    /// The conditions of `<when>`, by [`Part::When`].
    pub conditions: Vec<Conditions>,
    /// What the page varies on, each once.
    pub dimensions: Vec<Dimension>,
    /// Equal for two layouts with the same bytes, here and on other machines.
    pub digest: u128,
    /// Tests on its readers.
    pub experiments: Vec<Experiment>,
    /// Layouts that are served in its place for a time; the first one whose time it is.
    pub takeovers: Vec<Takeover>,
}

/// A layout that is served in another's place for a time.
#[derive(Debug)]
pub struct Takeover {
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// The layout.
    pub template: Arc<Template>,
}

impl Takeover {
    fn is_on(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

impl Template {
    /// What is served in its place at a time, and how long that stays so.
    #[must_use]
    pub fn at(self: &Arc<Self>, now: Timestamp) -> (&Arc<Self>, Option<Duration>) {
        let on = self.takeovers.iter().find(|takeover| takeover.is_on(now));
        let ends = self.takeovers.iter().flat_map(|takeover| [takeover.from, takeover.until]).flatten();
        let change = ends.filter(|at| *at > now).min();
        let change = change.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        (on.map_or(self, |takeover| &takeover.template), change)
    }

    /// It and all that takes its place at some time.
    pub fn with_takeovers(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.takeovers.iter().map(|takeover| &*takeover.template))
    }
}

/// A piece of a page.
#[derive(Debug)]
pub enum Part {
    /// Bytes that are the same for all readers.
    Text(Bytes),
    /// A fragment, by its index in [`Template::fragments`].
    Fragment(usize),
    /// What is shown under conditions, by their index in [`Template::conditions`].
    When(usize, Vec<Part>),
    /// What its fragments need in the head.
    Assets,
}

/// A fragment in its place.
#[derive(Debug)]
pub struct FragmentUse {
    /// What explain, metrics and the overlay call it; each on a page its own.
    pub id: Name,
    /// Who fills it.
    pub service: Service,
    /// Freshness where the answer states none, and the most where it does.
    pub ttl: Option<Duration>,
    /// How long past freshness an old copy may be shown.
    pub stale: Option<Duration>,
    /// Longest time from the start of the fetch to the last body byte.
    pub timeout: Option<Duration>,
    /// The page is no page without it.
    pub required: bool,
    /// When it is shown at all.
    pub conditions: Conditions,
    /// Its parameters, in the layout's order.
    pub parameters: Vec<(String, Vec<Piece>)>,
    /// What is shown when nothing better can be.
    pub fallback: Vec<Part>,
    /// Where it stands.
    pub at: Spot,
}

/// Who fills a fragment.
#[derive(Debug, Clone)]
pub enum Service {
    /// A nanoservice of the catalogue.
    Named(Arc<Manifest>),
    /// A URL on an allowed upstream.
    Source(Url),
}
