//! What is live at this moment, swapped as a whole: a request sees one state from start to end.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::page::site::BoundSite;
use crate::page::source::diagnostic::Diagnostic;
use crate::page::visit::reader::ReaderRules;

/// A state.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Layouts and nanoservices, bound to the defaults in force.
    pub site: BoundSite,
    /// All mistakes in files, settings among them.
    pub problems: Vec<Diagnostic>,
    /// How readers are told apart.
    pub readers: ReaderRules,
    /// A page's head leaves before all its parts are known.
    pub stream: bool,
}

/// The handle to the present state.
#[derive(Debug, Default)]
pub struct Live(ArcSwap<Snapshot>);

impl Live {
    /// Starts with a state.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The present state.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another in its place. Requests under way keep theirs.
    pub fn swap(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
