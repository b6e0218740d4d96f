//! Purges: takes kept answers out or makes them stale, and keeps out what was asked for before.
//! A fetch that was under way during a purge is answered, and what it brings is not kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::page::request::key::Key;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

use super::port::Store;

/// What to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Whatever has one of these surrogate keys, or is of a nanoservice with one of these names.
    Tags(Vec<Name>),
    /// Everything.
    All,
}

/// How to purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeMode {
    /// It is forgotten.
    Hard,
    /// It is stale from now on, and may be shown within its stale allowance.
    Soft,
}

/// The purges since the oldest fetch that is under way.
#[derive(Debug, Default)]
pub(super) struct Purges(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many purges there were.
    count: u64,
    /// The number of each tag's latest purge.
    tags: Map<Name, u64>,
    /// The number of the latest purge of everything.
    all: u64,
    /// How many fetches are under way, by the number of purges when they began.
    under_way: BTreeMap<u64, usize>,
}

impl Purges {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fetch begins.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        let since = state.count;
        *state.under_way.entry(since).or_default() += 1;
        UnderWay { purges: Arc::clone(self), since }
    }

    /// Purges, and says how many answers it met.
    pub(super) fn purge(&self, store: &dyn Store, purge: &Purge, manner: PurgeMode) -> usize {
        // First the note, then the store: what a fetch keeps in between is met there.
        self.note(purge);
        let mut keys: Vec<Key> = match purge {
            Purge::All => store.keys(),
            Purge::Tags(tags) => tags.iter().flat_map(|tag| store.tagged(tag)).collect(),
        };
        if let Purge::Tags(tags) = purge
            && tags.len() > 1
        {
            let mut met = std::collections::HashSet::new();
            keys.retain(|key| met.insert(key.clone()));
        }
        let now = Instant::now().into_std();
        let purged = keys.iter().filter(|key| match manner {
            PurgeMode::Hard => store.remove(key),
            PurgeMode::Soft => store.change(key, &mut |stored| {
                stored.times.soft_purged.get_or_insert(now);
            }),
        });
        purged.count()
    }

    fn note(&self, purge: &Purge) {
        let mut state = self.state();
        state.count += 1;
        let count = state.count;
        if state.under_way.is_empty() {
            return;
        }
        match purge {
            Purge::All => state.all = count,
            Purge::Tags(tags) => state.tags.extend(tags.iter().map(|tag| (tag.clone(), count))),
        }
    }
}

/// A fetch that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    purges: Arc<Purges>,
    since: u64,
}

impl UnderWay {
    /// Keeps what the fetch brought, unless a purge since it began meets it. No purge falls between
    /// the question and the keeping. `false`: it was not kept.
    pub(super) fn keep<'n>(&self, tags: impl IntoIterator<Item = &'n Name>, keep: impl FnOnce()) -> bool {
        let state = self.purges.state();
        let is_purged = |tag: &Name| state.tags.get(tag).is_some_and(|number| *number > self.since);
        let purged = state.all > self.since || (!state.tags.is_empty() && tags.into_iter().any(is_purged));
        if !purged {
            keep();
        }
        !purged
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.purges.state();
        let was_oldest = state.under_way.keys().next() == Some(&self.since);
        if let Some(fetches) = state.under_way.get_mut(&self.since) {
            *fetches -= 1;
            if *fetches > 0 {
                return;
            }
            state.under_way.remove(&self.since);
        }
        // Purges that came before all that is still under way are of no interest.
        if was_oldest {
            let oldest = state.under_way.keys().next().copied().unwrap_or(u64::MAX);
            state.tags.retain(|_, number| *number > oldest);
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
    fn what_was_asked_for_before_a_purge_is_kept_out_and_what_comes_after_is_not() {
        let purges = Arc::new(Purges::default());
        let before = purges.begin();
        purges.note(&tags(&["a", "b"]));
        let after = purges.begin();
        let kept = |fetch: &UnderWay, own: &'static str| fetch.keep([&Name::from(own)], || ());
        assert!(!kept(&before, "a") && !kept(&before, "b") && kept(&before, "c"));
        assert!(kept(&after, "a"));
        purges.note(&Purge::All);
        assert!(!kept(&before, "c") && !kept(&after, "c"));
        assert!(kept(&purges.begin(), "c"));
    }

    #[test]
    fn purges_are_forgotten_with_the_fetches_that_they_could_meet() {
        let purges = Arc::new(Purges::default());
        purges.note(&tags(&["never noted"]));
        assert!(purges.state().tags.is_empty());
        let first = purges.begin();
        purges.note(&tags(&["a"]));
        let second = purges.begin();
        purges.note(&tags(&["b"]));
        drop(first);
        assert_eq!(purges.state().tags.len(), 1, "only `b` can meet the second");
        drop(second);
        assert!(purges.state().tags.is_empty() && purges.state().under_way.is_empty());
    }
}
