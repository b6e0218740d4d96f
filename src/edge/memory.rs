//! Keeps answers in memory, by moka, up to a number of bytes.
//! What does not fit is not kept; how fresh a kept answer is, is not decided here.

use std::time::{Duration, Instant};

use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::engine::port::{Store, Stored};
use crate::page::answer::Content;
use crate::page::plan::Key;

/// Bytes an entry costs beside its key and its body: moka's node, the key's and the answer's
/// counted pointers, the directives. Counted from their sizes, rounded up.
const OVERHEAD: usize = 512;

/// The store.
pub struct MemoryStore {
    cache: Cache<Key, Entry>,
}

#[derive(Clone)]
struct Entry {
    stored: Stored,
    useful: Duration,
}

/// An entry goes when it is of no use to anybody.
struct WhenUseless;

impl Expiry<Key, Entry> for WhenUseless {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.useful)
    }

    fn expire_after_update(&self, _: &Key, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.useful)
    }
}

impl MemoryStore {
    /// A store of at most this many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, entry: &Entry| {
                let body = match &entry.stored.answer.content {
                    Content::Fragment(html) => html.len(),
                    Content::Empty | Content::Gone(_) | Content::Redirect(..) => 0,
                };
                u32::try_from(key.as_str().len() + body + OVERHEAD).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .expire_after(WhenUseless)
            .build();
        Self { cache }
    }

    /// Bytes and entries that are kept.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        self.cache.run_pending_tasks();
        (self.cache.weighted_size(), self.cache.entry_count())
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &Key) -> Option<Stored> {
        self.cache.get(key).map(|entry| entry.stored)
    }

    fn put(&self, key: &Key, stored: Stored, useful: Duration) {
        self.cache.insert(key.clone(), Entry { stored, useful });
    }
}
