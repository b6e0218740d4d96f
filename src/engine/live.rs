//! The live state, which is replaced as a whole: a request uses one snapshot from start to end.
//! If files have errors, the state has the last good versions of them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::page::site::BoundSite;
use crate::page::source::diagnostic::Diagnostic;
use crate::page::visit::reader::ReaderRules;

/// One state of the site.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Layouts and nanoservices, bound to the defaults in force.
    pub site: BoundSite,
    /// All diagnostics of files, settings included.
    pub problems: Vec<Diagnostic>,
    /// How clients are distinguished.
    pub readers: ReaderRules,
    /// Whether the head of a page is sent before all its parts are known.
    pub stream: bool,
    /// Whether the manifests of all nanoservices are served to anyone.
    pub publish: bool,
}

/// The handle to the live state.
#[derive(Debug, Default)]
pub struct Live(ArcSwap<Snapshot>);

impl Live {
    /// A handle with a first state.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The live state.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Replaces the live state. Requests in progress finish with the one they started with.
    pub fn swap(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
