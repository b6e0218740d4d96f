//! The index of the memory store: which entries a tag matches, and how many variants of a resource are stored.
//! An entry is added before moka knows it, and removed when moka reports its removal, in any order: successive
//! entries under one key are distinguished by their numbers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::page::request::key::Key;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

/// Maximum number of entries for one resource with different context; a further one replaces one of them. So no client can
/// fill the store by sending new values of a declared cookie again and again.
const MAX_VARIANTS: usize = 1_000;

/// The index.
// Not moka's invalidation predicates: each is evaluated at every get.
#[derive(Default)]
pub(super) struct Index(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_tag: Map<Name, Map<Key, u64>>,
    /// The entries of a resource, usually one.
    variants: Map<u128, SmallVec<[(Key, u64); 1]>>,
}

impl Index {
    /// Adds an entry, or gives it a new number. Returns the variant of the same resource that must be removed for it, if
    /// there are too many.
    pub(super) fn add<'n>(&self, key: &Key, tags: impl Iterator<Item = &'n Name>, number: u64) -> Option<Key> {
        let mut tables = self.tables();
        let variants = tables.variants.entry(key.resource()).or_default();
        let surplus = match variants.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => {
                *known = number;
                None
            }
            None => {
                let first = variants.first().filter(|_| variants.len() >= MAX_VARIANTS).map(|(first, _)| first.clone());
                variants.push((key.clone(), number));
                first
            }
        };
        for tag in tags {
            tables.by_tag.entry(tag.clone()).or_default().insert(key.clone(), number);
        }
        surplus
    }

    /// Removes an entry, unless another one with the same key has been added since.
    pub(super) fn remove<'n>(&self, key: &Key, tags: impl Iterator<Item = &'n Name>, number: u64) {
        let mut tables = self.tables();
        if let Some(variants) = tables.variants.get_mut(&key.resource()) {
            variants.retain(|(known, at)| known != key || *at != number);
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
