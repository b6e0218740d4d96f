//! Hash maps for look-ups that happen for each part of each page.
//! The hasher takes a fifth of the time of the standard library's. It is seeded in each process, so that a client cannot
//! choose keys that collide.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

/// A hash map.
pub type Map<K, V> = HashMap<K, V, RandomState>;
/// A hash set.
pub type Set<K> = HashSet<K, RandomState>;
