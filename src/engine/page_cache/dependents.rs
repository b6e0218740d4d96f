//! Records which cached pages depend on which stored response, so that they are invalidated when it changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::page::request::key::Key;
use crate::page::source::map::Map;

/// The dependents of stored responses: slots of type `P`, by the keys of the responses.
#[derive(Debug)]
pub(super) struct Dependents<P>(Mutex<Map<Key, Pages<P>>>);

/// The pages that depend on one response, by their ids. Usually there is one. If there are many, each must be found fast, since
/// each is removed on its own.
#[derive(Debug)]
enum Pages<P> {
    One(u64, Weak<P>),
    Many(Map<u64, Weak<P>>),
}

impl<P> Default for Dependents<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P> Dependents<P> {
    /// Adds a page with this id to the dependents of responses.
    pub(super) fn add<'a>(&self, responses: impl Iterator<Item = &'a Key>, id: u64, slot: &Arc<P>) {
        let mut all = self.lock();
        for response in responses {
            let slot = Arc::downgrade(slot);
            match all.get_mut(response) {
                Some(pages) => pages.add(id, slot),
                None => _ = all.insert(response.clone(), Pages::One(id, slot)),
            }
        }
    }

    /// Removes a page from the dependents of responses.
    pub(super) fn remove<'a>(&self, responses: impl Iterator<Item = &'a Key>, id: u64) {
        let mut all = self.lock();
        for response in responses {
            if all.get_mut(response).is_some_and(|pages| pages.remove(id)) {
                all.remove(response);
            }
        }
    }

    /// Removes all dependents of a response, and returns them.
    pub(super) fn take(&self, response: &Key) -> Vec<Weak<P>> {
        self.lock().remove(response).map(Pages::into_slots).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Map<Key, Pages<P>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Pages<P> {
    fn add(&mut self, id: u64, slot: Weak<P>) {
        match self {
            Self::One(first, one) => {
                *self = Self::Many(Map::from_iter([(*first, std::mem::take(one)), (id, slot)]));
            }
            Self::Many(all) => _ = all.insert(id, slot),
        }
    }

    /// Removes a page. Returns `true` if it was the last.
    fn remove(&mut self, id: u64) -> bool {
        match self {
            Self::One(only, _) => *only == id,
            Self::Many(all) => {
                all.remove(&id);
                all.is_empty()
            }
        }
    }

    fn into_slots(self) -> Vec<Weak<P>> {
        match self {
            Self::One(_, slot) => vec![slot],
            Self::Many(all) => all.into_values().collect(),
        }
    }
}
