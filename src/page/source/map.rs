//! Tables that are asked for each part of each page. Their hasher takes a fifth of the standard library's time; it is seeded
//! anew in each process, so that nobody who sends requests knows which keys would meet.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

/// Values by their keys.
pub type Map<K, V> = HashMap<K, V, RandomState>;
/// Keys, each once.
pub type Set<K> = HashSet<K, RandomState>;
