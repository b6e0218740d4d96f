//! The keys under which cached pages are stored.

use std::time::Instant;

use jiff::Timestamp;

use crate::engine::page::PageRequest;
use crate::page::request::key::Key;

/// The keys of the page that a request is for, and the time of the request.
#[derive(Debug, Clone)]
pub(in crate::engine) struct PageKey {
    /// The key of the whole page.
    pub(super) whole: Key,
    /// The key of its skeleton, which is the same for all clients. `None`: it was not needed yet.
    pub(super) skeleton: Option<Key>,
    /// When the page was requested, before it is planned.
    pub(super) began: Instant,
    /// The time of day at which conditions of time are evaluated.
    pub(super) at: Timestamp,
}

impl PageKey {
    pub(in crate::engine) fn new(request: &PageRequest, began: Instant) -> Self {
        let whole = request.template.page_key(&request.visit);
        Self { whole, skeleton: None, began, at: request.at }
    }
}
