//! What tells pages that are kept from each other.

use std::time::Instant;

use jiff::Timestamp;

use crate::engine::page::PageRequest;
use crate::page::request::key::Key;

/// A page that is asked for.
#[derive(Debug, Clone)]
pub(in crate::engine) struct PageKey {
    /// What tells it from others.
    pub(super) whole: Key,
    /// What tells it from others but for its personal parts, once that was asked for.
    pub(super) open: Option<Key>,
    /// Before its plan was made.
    pub(super) began: Instant,
    /// The time that conditions are judged at.
    pub(super) at: Timestamp,
}

impl PageKey {
    pub(in crate::engine) fn new(request: &PageRequest, began: Instant) -> Self {
        let whole = request.template.page_key(&request.visit);
        Self { whole, open: None, began, at: request.at }
    }
}
