//! Purges: removes stored responses or marks them stale, and prevents responses to earlier requests from being stored.
//! A fetch that is in progress during a purge still serves those who wait for it, but its response is not stored.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::page::request::key::Key;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

use super::port::Store;

pub use crate::page::policy::cluster::order::{Purge, PurgeMode};

/// Maximum number of tags that are remembered for the fetches in progress. One that hangs would keep all that are purged
/// meanwhile.
const MAX_TAGS: usize = 100_000;

/// The number of purges so far: a fetch began before every purge with a later epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct PurgeEpoch(u64);

/// The purges since the oldest fetch in progress began.
#[derive(Debug, Default)]
pub(super) struct Purges(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The epoch of the latest purge.
    now: PurgeEpoch,
    /// The epoch of each tag's latest purge.
    tags: Map<Name, PurgeEpoch>,
    /// The epoch of the latest purge of everything.
    all: PurgeEpoch,
    /// The number of fetches in progress, by the epoch in which they began.
    in_progress: BTreeMap<PurgeEpoch, usize>,
}

impl Purges {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a fetch that begins now.
    pub(super) fn begin(self: &Arc<Self>) -> FetchInProgress {
        let mut state = self.state();
        let since = state.now;
        *state.in_progress.entry(since).or_default() += 1;
        FetchInProgress { purges: Arc::clone(self), since }
    }

    /// Purges a store, and returns how many responses matched.
    pub(super) fn purge(&self, store: &dyn Store, purge: &Purge, mode: PurgeMode) -> usize {
        // Recorded before the store is purged: responses that are stored in between are purged too.
        self.record(purge);
        let mut keys: Vec<Key> = match purge {
            Purge::All => store.keys(),
            Purge::Tags(tags) => tags.iter().flat_map(|tag| store.tagged(tag)).collect(),
        };
        if let Purge::Tags(tags) = purge
            && tags.len() > 1
        {
            let mut known = HashSet::new();
            keys.retain(|key| known.insert(key.clone()));
        }
        let now = Instant::now().into_std();
        let purged = keys.iter().filter(|key| match mode {
            PurgeMode::Hard => store.remove(key),
            PurgeMode::Soft => store.change(key, &mut |stored| {
                stored.times.soft_purged.get_or_insert(now);
            }),
        });
        purged.count()
    }

    /// Removes single responses, by the names of their entries. Returns how many there were.
    pub(super) fn purge_entries(&self, store: &dyn Store, names: &HashSet<String>) -> usize {
        let keys: Vec<Key> = store.keys().into_iter().filter(|key| names.contains(&entry_name(key))).collect();
        // What is being fetched for them must not be stored; all fetches of their nanoservices are taken for it.
        let services = keys.iter().filter_map(|key| Some(store.get(key)?.nanoservice));
        self.record(&Purge::Tags(services.collect()));
        keys.iter().filter(|key| store.remove(key)).count()
    }

    fn record(&self, purge: &Purge) {
        let mut state = self.state();
        state.now.0 += 1;
        let now = state.now;
        if state.in_progress.is_empty() {
            return;
        }
        match purge {
            Purge::All => state.all = now,
            Purge::Tags(tags) => state.tags.extend(tags.iter().map(|tag| (tag.clone(), now))),
        }
        // As if all had been purged: the responses of fetches in progress are not stored, which costs another fetch each.
        if state.tags.len() > MAX_TAGS {
            state.all = now;
            state.tags = Map::default();
        }
    }
}

/// The name of an entry of the store. In another process it has another name.
pub(super) fn entry_name(key: &Key) -> String {
    format!("{:016x}", key.local_hash())
}

/// A fetch in progress, until it is dropped.
#[derive(Debug)]
pub(super) struct FetchInProgress {
    purges: Arc<Purges>,
    since: PurgeEpoch,
}

impl FetchInProgress {
    /// Calls `store`, which stores the response, unless a purge since the fetch began matches one of its tags. No purge can
    /// happen between this check and the storing. Returns `false` if a purge matched.
    pub(super) fn store_unless_purged<'n>(
        &self,
        tags: impl IntoIterator<Item = &'n Name>,
        store: impl FnOnce(),
    ) -> bool {
        let state = self.purges.state();
        let is_purged = |tag: &Name| state.tags.get(tag).is_some_and(|purged| *purged > self.since);
        let purged = state.all > self.since || (!state.tags.is_empty() && tags.into_iter().any(is_purged));
        if !purged {
            store();
        }
        !purged
    }
}

impl Drop for FetchInProgress {
    fn drop(&mut self) {
        let mut state = self.purges.state();
        let was_oldest = state.in_progress.keys().next() == Some(&self.since);
        if let Some(fetches) = state.in_progress.get_mut(&self.since) {
            *fetches -= 1;
            if *fetches > 0 {
                return;
            }
            state.in_progress.remove(&self.since);
        }
        // Purges from before the oldest fetch in progress can no longer match any.
        if was_oldest {
            match state.in_progress.keys().next().copied() {
                Some(oldest) => state.tags.retain(|_, purged| *purged > oldest),
                None => state.tags.clear(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[&str]) -> Purge {
        Purge::Tags(tags.iter().map(|tag| Name::from(*tag)).collect())
    }

    #[test]
    fn a_purge_keeps_out_only_responses_to_earlier_requests() {
        let purges = Arc::new(Purges::default());
        let before = purges.begin();
        purges.record(&tags(&["a", "b"]));
        let after = purges.begin();
        let stored = |fetch: &FetchInProgress, own: &'static str| fetch.store_unless_purged([&Name::from(own)], || ());
        assert!(!stored(&before, "a") && !stored(&before, "b") && stored(&before, "c"));
        assert!(stored(&after, "a"));
        purges.record(&Purge::All);
        assert!(!stored(&before, "c") && !stored(&after, "c"));
        assert!(stored(&purges.begin(), "c"));
    }

    #[test]
    fn a_storm_of_purges_is_remembered_in_bounded_memory() {
        let purges = Arc::new(Purges::default());
        let hangs = purges.begin();
        for number in 0..30 {
            let names = (0..10_000).map(|tag| Name::from(format!("{number}-{tag}")));
            purges.record(&Purge::Tags(names.collect()));
            assert!(purges.state().tags.len() <= MAX_TAGS);
        }
        assert!(!hangs.store_unless_purged([&Name::from("0-0")], || ()), "nothing that was purged is stored");
        assert!(purges.begin().store_unless_purged([&Name::from("0-0")], || ()));
    }

    #[test]
    fn purges_are_forgotten_with_the_fetches_that_they_could_match() {
        let purges = Arc::new(Purges::default());
        purges.record(&tags(&["never recorded"]));
        assert!(purges.state().tags.is_empty());
        let first = purges.begin();
        purges.record(&tags(&["a"]));
        let second = purges.begin();
        purges.record(&tags(&["b"]));
        drop(first);
        assert_eq!(purges.state().tags.len(), 1, "only `b` can match the second");
        drop(second);
        assert!(purges.state().tags.is_empty() && purges.state().in_progress.is_empty());
    }
}
