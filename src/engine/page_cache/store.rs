//! The port to a store for cached pages, which share one budget with responses.
//! A page that does not fit, or is evicted, is composed again.

use std::sync::Arc;
use std::time::Duration;

use crate::page::request::key::Key;

use super::cached_page::PageSlot;

/// Stores cached pages.
pub trait PageStore: Send + Sync {
    /// The slot that is stored under a key.
    fn get(&self, key: &Key) -> Option<Arc<PageSlot>>;

    /// Stores a slot, counted at its present size. It is of no use after `useful`.
    fn put(&self, key: &Key, slot: Arc<PageSlot>, useful: Duration);

    /// Removes all slots.
    fn clear(&self);
}
