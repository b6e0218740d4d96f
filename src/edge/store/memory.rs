//! Stores responses and cached pages in memory, in one moka cache with one budget of bytes, and indexes them by surrogate key.
//! An entry that does not fit is not stored. Freshness is decided elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::engine::page_cache::{PageSlot, PageStore};
use crate::engine::port::{ChangeListener, Store, StoredResponse};
use crate::page::request::key::Key;
use crate::page::source::names::Name;

use super::index::{Index, Uses};

/// Bytes that an entry takes in addition to its key and its value: moka's node, the index, reference counts, and what the allocator
/// rounds up. Measured: 8,000 responses of 8 bytes made a process grow by 1.4 KB each.
const ENTRY_OVERHEAD: usize = 1_000;
/// Bytes that one surrogate key of one entry takes in the index.
const TAG_OVERHEAD: usize = 64;
/// The number of locks that entries share.
const STRIPES: usize = 64;

/// The memory store.
pub struct MemoryStore {
    cache: Cache<Key, Entry, RandomState>,
    index: Arc<Index>,
    listener: Arc<OnceLock<ChangeListener>>,
    next_number: AtomicU64,
    max_bytes: u64,
    /// Entries that had to leave for others.
    evictions: Arc<AtomicU64>,
    /// Locks that are held while an entry is put, changed or removed, by the hash of its key.
    // moka's own `compute` functions exclude each other, but neither insertion nor removal.
    stripes: [Mutex<()>; STRIPES],
}

/// What is stored. Responses and pages share one budget, and are evicted by one policy.
#[derive(Clone)]
enum Value {
    Response(StoredResponse),
    Page(Arc<PageSlot>),
}

impl Value {
    const fn is_response(&self) -> bool {
        matches!(self, Self::Response(_))
    }

    /// The tags that purge it. A page has none: it is invalidated with the responses that it is made of.
    fn tags(&self) -> impl Iterator<Item = &Name> {
        let stored = match self {
            Self::Response(stored) => Some(stored),
            Self::Page(_) => None,
        };
        stored.into_iter().flat_map(|stored| std::iter::once(&stored.nanoservice).chain(&stored.response.tags))
    }
}

#[derive(Clone)]
struct Entry {
    value: Value,
    until: Instant,
    /// A new one for each change of the entry.
    number: u64,
    uses: Uses,
}

impl Entry {
    fn size(&self, key: &Key) -> usize {
        let value = match &self.value {
            Value::Response(stored) => stored.response.size() + TAG_OVERHEAD * (1 + stored.response.tags.len()),
            Value::Page(slot) => slot.size(),
        };
        key.as_bytes().len() + value + ENTRY_OVERHEAD
    }
}

/// Expires each entry at its own time.
struct ExpireAtEnd;

impl Expiry<Key, Entry> for ExpireAtEnd {
    fn expire_after_create(&self, _: &Key, entry: &Entry, now: Instant) -> Option<Duration> {
        Some(entry.until.saturating_duration_since(now))
    }

    fn expire_after_update(&self, _: &Key, entry: &Entry, now: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.until.saturating_duration_since(now))
    }
}

impl MemoryStore {
    /// A store with a budget of this many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let (index, listener) = (Arc::new(Index::default()), Arc::new(OnceLock::<ChangeListener>::new()));
        let (indexed, notified) = (Arc::clone(&index), Arc::clone(&listener));
        let evictions = Arc::new(AtomicU64::new(0));
        let evicted = Arc::clone(&evictions);
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, entry: &Entry| u32::try_from(entry.size(key)).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .expire_after(ExpireAtEnd)
            // moka calls this for replaced entries too, once the new one can be seen.
            .eviction_listener(move |key: Arc<Key>, entry: Entry, cause| {
                if cause == RemovalCause::Size {
                    evicted.fetch_add(1, Ordering::Relaxed);
                }
                indexed.remove(&key, entry.value.tags(), entry.number);
                if let (true, Some(listener)) = (entry.value.is_response(), notified.get()) {
                    listener(&key);
                }
            })
            .build_with_hasher(RandomState::default());
        let stripes = [const { Mutex::new(()) }; STRIPES];
        Self { cache, index, listener, next_number: AtomicU64::new(0), max_bytes, evictions, stripes }
    }

    /// The numbers of bytes and of entries that are stored.
    pub fn usage(&self) -> (u64, u64) {
        self.cache.run_pending_tasks();
        (self.cache.weighted_size(), self.cache.entry_count())
    }

    /// The most bytes that it may hold.
    #[must_use]
    pub const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// How many entries had to leave for others.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// The numbers of tags and of resources in the index.
    #[must_use]
    pub fn indexed(&self) -> (usize, usize) {
        self.cache.run_pending_tasks();
        self.index.size()
    }

    fn lock(&self, key: &Key) -> MutexGuard<'_, ()> {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is suitable")]
        let stripe = key.local_hash() as usize % STRIPES;
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_value(&self, key: &Key, value: Value, useful: Duration) {
        let locked = self.lock(key);
        if useful.is_zero() {
            self.cache.invalidate(key);
            return;
        }
        let surplus = self.insert(key, value, Instant::now() + useful);
        drop(locked);
        if let Some(surplus) = surplus {
            self.remove_value(&surplus);
        }
    }

    /// Inserts an entry whose lock is held, and returns the key of another one that must be removed for it.
    fn insert(&self, key: &Key, value: Value, until: Instant) -> Option<Key> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (uses, surplus) = self.index.add(key, value.tags(), number);
        self.cache.insert(key.clone(), Entry { value, until, number, uses });
        surplus
    }

    /// The value under a key, which counts as a use of it.
    fn value(&self, key: &Key) -> Option<Value> {
        let Entry { value, uses, .. } = self.cache.get(key)?;
        if let Some(uses) = uses {
            uses.fetch_add(1, Ordering::Relaxed);
        }
        Some(value)
    }

    fn remove_value(&self, key: &Key) -> Option<Value> {
        let _locked = self.lock(key);
        self.cache.remove(key).map(|entry| entry.value)
    }

    fn keys_of(&self, is_wanted: impl Fn(&Value) -> bool) -> Vec<Key> {
        self.cache.iter().filter(|(_, entry)| is_wanted(&entry.value)).map(|(key, _)| Key::clone(&key)).collect()
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &Key) -> Option<StoredResponse> {
        match self.value(key)? {
            Value::Response(stored) => Some(stored),
            Value::Page(_) => None,
        }
    }

    fn put(&self, key: &Key, stored: StoredResponse, useful: Duration) {
        self.put_value(key, Value::Response(stored), useful);
    }

    fn change(&self, key: &Key, change: &mut dyn FnMut(&mut StoredResponse)) -> bool {
        let _locked = self.lock(key);
        let Some(Entry { value: Value::Response(mut stored), until, .. }) = self.cache.get(key) else { return false };
        change(&mut stored);
        self.insert(key, Value::Response(stored), until);
        true
    }

    fn remove(&self, key: &Key) -> bool {
        self.remove_value(key).is_some_and(|value| value.is_response())
    }

    fn tagged(&self, tag: &str) -> Vec<Key> {
        self.index.tagged(tag)
    }

    fn keys(&self) -> Vec<Key> {
        self.keys_of(Value::is_response)
    }

    fn on_change(&self, listener: ChangeListener) {
        // A store has one compositor, and so one listener.
        let _first = self.listener.set(listener);
    }
}

impl PageStore for MemoryStore {
    fn get(&self, key: &Key) -> Option<Arc<PageSlot>> {
        match self.value(key)? {
            Value::Page(slot) => Some(slot),
            Value::Response(_) => None,
        }
    }

    fn put(&self, key: &Key, slot: Arc<PageSlot>, useful: Duration) {
        self.put_value(key, Value::Page(slot), useful);
    }

    fn clear(&self) {
        for key in self.keys_of(|value| !value.is_response()) {
            self.remove_value(&key);
        }
    }
}
