//! Which pages that are kept hold which part, so that they can be told when that changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::page::request::key::Key;
use crate::page::source::map::Map;

/// Pages by their numbers, mostly one. Of a part that many pages hold each has to be found at once, as they go together.
#[derive(Debug)]
enum Pages<P> {
    One(u64, Weak<P>),
    Many(Map<u64, Weak<P>>),
}

impl<P> Pages<P> {
    fn add(&mut self, number: u64, place: Weak<P>) {
        match self {
            Self::One(first, one) => {
                *self = Self::Many(Map::from_iter([(*first, std::mem::take(one)), (number, place)]));
            }
            Self::Many(all) => _ = all.insert(number, place),
        }
    }

    /// Takes one out. `true`: that was the last.
    fn remove(&mut self, number: u64) -> bool {
        match self {
            Self::One(only, _) => *only == number,
            Self::Many(all) => {
                all.remove(&number);
                all.is_empty()
            }
        }
    }

    fn into_places(self) -> Vec<Weak<P>> {
        match self {
            Self::One(_, place) => vec![place],
            Self::Many(all) => all.into_values().collect(),
        }
    }
}

/// Which pages hold which part.
#[derive(Debug)]
pub(super) struct Dependents<P>(Mutex<Map<Key, Pages<P>>>);

impl<P> Default for Dependents<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P> Dependents<P> {
    fn lock(&self) -> MutexGuard<'_, Map<Key, Pages<P>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page does not hold these parts any more.
    pub(super) fn remove<'a>(&self, parts: impl Iterator<Item = &'a Key>, number: u64) {
        let mut table = self.lock();
        for part in parts {
            if table.get_mut(part).is_some_and(|pages| pages.remove(number)) {
                table.remove(part);
            }
        }
    }

    /// A page holds these parts.
    pub(super) fn add<'a>(&self, parts: impl Iterator<Item = &'a Key>, number: u64, place: &Arc<P>) {
        let mut table = self.lock();
        for part in parts {
            let place = Arc::downgrade(place);
            match table.get_mut(part) {
                Some(pages) => pages.add(number, place),
                None => _ = table.insert(part.clone(), Pages::One(number, place)),
            }
        }
    }

    /// The places of the pages that hold a part; they do not any more.
    pub(super) fn take(&self, part: &Key) -> Vec<Weak<P>> {
        self.lock().remove(part).map(Pages::into_places).unwrap_or_default()
    }
}
