//! The index of the memory store: which entries a tag matches, and how many variants of a resource are stored.
//! An entry is added before moka knows it, and removed when moka reports its removal, in any order: successive
//! entries under one key are distinguished by their numbers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::page::request::key::Key;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

/// Maximum number of entries for one resource with different context; a further one replaces the one that was used least. So no
/// client can fill the store by sending new values of a declared cookie again and again, nor drive out those of others.
const MAX_VARIANTS: usize = 1_000;

/// How often an entry was used. Entries without context have no counter: they have no others to be compared with.
pub(super) type Uses = Option<Arc<AtomicU32>>;

/// The index.
// Not moka's invalidation predicates: each is evaluated at every get.
#[derive(Default)]
pub(super) struct Index(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_tag: Map<Name, Map<Key, u64>>,
    /// The entries of a resource, usually one.
    variants: Map<u128, SmallVec<[Variant; 1]>>,
}

/// An entry of a resource.
struct Variant {
    key: Key,
    number: u64,
    uses: Uses,
}

impl Variant {
    fn uses(&self) -> u32 {
        self.uses.as_ref().map_or(0, |uses| uses.load(Ordering::Relaxed))
    }
}

impl Index {
    /// Adds an entry, or gives it a new number. Returns the counter of its uses, and the variant of the same resource that must
    /// be removed for it, if there are too many.
    pub(super) fn add<'n>(&self, key: &Key, tags: impl Iterator<Item = &'n Name>, number: u64) -> (Uses, Option<Key>) {
        let mut tables = self.tables();
        let variants = tables.variants.entry(key.resource()).or_default();
        let (uses, surplus) = match variants.iter_mut().find(|known| known.key == *key) {
            Some(known) => {
                known.number = number;
                // What was used long ago counts less with each refresh, but more than what was never used.
                if let Some(uses) = &known.uses {
                    uses.store(known.uses().div_ceil(2), Ordering::Relaxed);
                }
                (known.uses.clone(), None)
            }
            None => {
                // Of those that were used equally often, the oldest.
                let least = || variants.iter().min_by_key(|known| known.uses()).map(|known| known.key.clone());
                let surplus = if variants.len() >= MAX_VARIANTS { least() } else { None };
                let uses = key.has_context().then(Arc::default);
                variants.push(Variant { key: key.clone(), number, uses: uses.clone() });
                (uses, surplus)
            }
        };
        for tag in tags {
            tables.by_tag.entry(tag.clone()).or_default().insert(key.clone(), number);
        }
        (uses, surplus)
    }

    /// Removes an entry, unless another one with the same key has been added since.
    pub(super) fn remove<'n>(&self, key: &Key, tags: impl Iterator<Item = &'n Name>, number: u64) {
        let mut tables = self.tables();
        if let Some(variants) = tables.variants.get_mut(&key.resource()) {
            variants.retain(|known| known.key != *key || known.number != number);
            if variants.is_empty() {
                tables.variants.remove(&key.resource());
            }
        }
        for tag in tags {
            let Some(keys) = tables.by_tag.get_mut(tag) else { continue };
            if keys.get(key) == Some(&number) {
                keys.remove(key);
            }
            if keys.is_empty() {
                tables.by_tag.remove(tag);
            }
        }
    }

    /// The keys of all entries that a tag matches.
    pub(super) fn tagged(&self, tag: &str) -> Vec<Key> {
        self.tables().by_tag.get(tag).into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    /// The numbers of tags and of resources.
    pub(super) fn size(&self) -> (usize, usize) {
        let tables = self.tables();
        (tables.by_tag.len(), tables.variants.len())
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
