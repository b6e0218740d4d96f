//! Keeps answers in memory, by moka, up to a number of bytes, with an index of their surrogate keys.
//! What does not fit is not kept; how fresh a kept answer is, is not decided here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use smallvec::SmallVec;

use crate::engine::page_cache::{PageSlot, PageStore};
use crate::engine::port::{ChangeListener, Store, StoredResponse};
use crate::page::request::key::Key;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

/// Bytes an entry costs beside its key and its answer: moka's node, the index, counted pointers, and
/// what the allocator rounds up. Measured: 8,000 answers of 8 bytes grew a process by 1.4 KB each.
const OVERHEAD: usize = 1_000;
/// Bytes that one surrogate key of one entry costs in the index.
const INDEXED: usize = 64;
/// Locks for entries.
const STRIPES: usize = 64;
/// Answers of one URL that are kept for different context; another one takes the place of one of them.
/// So no reader can fill the store by sending ever new values of a declared cookie.
const MAX_VARIANTS: usize = 1_000;

/// The store.
pub struct MemoryStore {
    cache: Cache<Key, Entry, RandomState>,
    index: Arc<Index>,
    changed: Arc<OnceLock<ChangeListener>>,
    next: AtomicU64,
    /// Held while an entry is put, changed or removed, by a hash of its key.
    // moka's own computing excludes other computing, and neither insertion nor removal.
    stripes: [Mutex<()>; STRIPES],
}

/// What takes up room: answers and pages share one budget, and go by one order.
#[derive(Clone)]
enum Held {
    Answer(StoredResponse),
    Page(Arc<PageSlot>),
}

#[derive(Clone)]
struct Entry {
    held: Held,
    until: Instant,
    /// Another one for each change of the entry.
    number: u64,
}

impl Entry {
    fn size(&self, key: &Key) -> usize {
        let answer = match &self.held {
            Held::Answer(stored) => stored.response.size() + INDEXED * (1 + stored.response.tags.len()),
            Held::Page(place) => place.size(),
        };
        key.as_bytes().len() + answer + OVERHEAD
    }
}

/// An entry goes when it is of no use to anybody.
struct WhenUseless;

impl Expiry<Key, Entry> for WhenUseless {
    fn expire_after_create(&self, _: &Key, entry: &Entry, now: Instant) -> Option<Duration> {
        Some(entry.until.saturating_duration_since(now))
    }

    fn expire_after_update(&self, _: &Key, entry: &Entry, now: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.until.saturating_duration_since(now))
    }
}

/// Which answers a tag meets, and how many variants a URL has. An entry comes in before moka knows it
/// and goes when moka tells, in whatever order: its number says which of them is meant.
// Not moka's invalidation predicates: each is asked at every get.
#[derive(Default)]
struct Index(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_tag: Map<Name, Map<Key, u64>>,
    /// Mostly one.
    variants: Map<u128, SmallVec<[(Key, u64); 1]>>,
}

impl Index {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The variant of the same URL that has to go for it, where there are too many.
    fn add(&self, key: &Key, held: &Held, number: u64) -> Option<Key> {
        let mut tables = self.tables();
        let variants = tables.variants.entry(key.resource()).or_default();
        let goes = match variants.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => {
                *known = number;
                None
            }
            None => {
                let goes = variants.first().filter(|_| variants.len() >= MAX_VARIANTS).map(|(first, _)| first.clone());
                variants.push((key.clone(), number));
                goes
            }
        };
        for tag in tags(held) {
            tables.by_tag.entry(tag.clone()).or_default().insert(key.clone(), number);
        }
        goes
    }

    fn remove(&self, key: &Key, held: &Held, number: u64) {
        let mut tables = self.tables();
        if let Some(variants) = tables.variants.get_mut(&key.resource()) {
            variants.retain(|(known, at)| known != key || *at != number);
            if variants.is_empty() {
                tables.variants.remove(&key.resource());
            }
        }
        for tag in tags(held) {
            let Some(keys) = tables.by_tag.get_mut(tag) else { continue };
            if keys.get(key) == Some(&number) {
                keys.remove(key);
            }
            if keys.is_empty() {
                tables.by_tag.remove(tag);
            }
        }
    }
}

fn tags(held: &Held) -> impl Iterator<Item = &Name> {
    let stored = match held {
        Held::Answer(stored) => Some(stored),
        // It goes with its parts.
        Held::Page(_) => None,
    };
    stored.into_iter().flat_map(|stored| std::iter::once(&stored.nanoservice).chain(&stored.response.tags))
}

impl MemoryStore {
    /// A store of at most this many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let index = Arc::new(Index::default());
        let (told, changed) = (Arc::clone(&index), Arc::new(OnceLock::<ChangeListener>::new()));
        let listener = Arc::clone(&changed);
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, entry: &Entry| u32::try_from(entry.size(key)).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .expire_after(WhenUseless)
            .eviction_listener(move |key: Arc<Key>, entry: Entry, _| {
                told.remove(&key, &entry.held, entry.number);
                if let (Held::Answer(_), Some(listener)) = (&entry.held, listener.get()) {
                    listener(&key);
                }
            })
            .build_with_hasher(RandomState::default());
        Self { cache, index, changed, next: AtomicU64::new(0), stripes: [const { Mutex::new(()) }; STRIPES] }
    }

    /// Bytes and entries that are kept.
    pub fn usage(&self) -> (u64, u64) {
        self.cache.run_pending_tasks();
        (self.cache.weighted_size(), self.cache.entry_count())
    }

    /// Tags and URLs that the index knows.
    #[must_use]
    pub fn indexed(&self) -> (usize, usize) {
        self.cache.run_pending_tasks();
        let tables = self.index.tables();
        (tables.by_tag.len(), tables.variants.len())
    }

    fn lock(&self, key: &Key) -> MutexGuard<'_, ()> {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let stripe = key.local_hash() as usize % STRIPES;
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry in place, and says which other has to go for it. The key's lock is held.
    fn insert(&self, key: &Key, held: Held, until: Instant) -> Option<Key> {
        let number = self.number();
        let goes = self.index.add(key, &held, number);
        self.cache.insert(key.clone(), Entry { held, until, number });
        goes
    }

    fn put_held(&self, key: &Key, held: Held, useful: Duration) {
        let locked = self.lock(key);
        if useful.is_zero() {
            self.cache.invalidate(key);
            return;
        }
        let goes = self.insert(key, held, Instant::now() + useful);
        drop(locked);
        if let Some(goes) = goes {
            self.remove_held(&goes);
        }
    }

    fn remove_held(&self, key: &Key) -> Option<Held> {
        let _locked = self.lock(key);
        self.cache.remove(key).map(|entry| entry.held)
    }

    fn keys_of(&self, is_wanted: impl Fn(&Held) -> bool) -> Vec<Key> {
        self.cache.iter().filter(|(_, entry)| is_wanted(&entry.held)).map(|(key, _)| Key::clone(&key)).collect()
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &Key) -> Option<StoredResponse> {
        match self.cache.get(key)?.held {
            Held::Answer(stored) => Some(stored),
            Held::Page(_) => None,
        }
    }

    fn put(&self, key: &Key, stored: StoredResponse, useful: Duration) {
        self.put_held(key, Held::Answer(stored), useful);
    }

    fn change(&self, key: &Key, change: &mut dyn FnMut(&mut StoredResponse)) -> bool {
        let _locked = self.lock(key);
        let Some(Entry { held: Held::Answer(mut stored), until, .. }) = self.cache.get(key) else { return false };
        change(&mut stored);
        self.insert(key, Held::Answer(stored), until);
        true
    }

    fn remove(&self, key: &Key) -> bool {
        self.remove_held(key).is_some_and(|held| matches!(held, Held::Answer(_)))
    }

    fn tagged(&self, tag: &str) -> Vec<Key> {
        self.index.tables().by_tag.get(tag).into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    fn keys(&self) -> Vec<Key> {
        self.keys_of(|held| matches!(held, Held::Answer(_)))
    }

    fn on_change(&self, listener: ChangeListener) {
        // There is one engine a store.
        let _first = self.changed.set(listener);
    }
}

impl PageStore for MemoryStore {
    fn get(&self, key: &Key) -> Option<Arc<PageSlot>> {
        match self.cache.get(key)?.held {
            Held::Page(slot) => Some(slot),
            Held::Answer(_) => None,
        }
    }

    fn put(&self, key: &Key, slot: Arc<PageSlot>, useful: Duration) {
        self.put_held(key, Held::Page(slot), useful);
    }

    fn clear(&self) {
        for key in self.keys_of(|held| matches!(held, Held::Page(_))) {
            self.remove_held(&key);
        }
    }
}
