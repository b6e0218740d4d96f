//! Which pages that are kept hold which part, so that they can be told when that changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::page::request::key::Key;
use crate::page::source::map::Map;

use super::Slot;

type Holding = Map<Key, Pages>;

/// Pages by their numbers, mostly one. Of a part that many pages hold each has to be found at once, as they go together.
#[derive(Debug)]
enum Pages {
    One(u64, Weak<Slot>),
    Many(Map<u64, Weak<Slot>>),
}

impl Pages {
    fn add(&mut self, number: u64, place: Weak<Slot>) {
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

    fn into_places(self) -> Vec<Weak<Slot>> {
        match self {
            Self::One(_, place) => vec![place],
            Self::Many(all) => all.into_values().collect(),
        }
    }
}

/// Which pages hold which part.
#[derive(Debug, Default)]
pub(super) struct Dependents(Mutex<Holding>);

impl Dependents {
    fn lock(&self) -> MutexGuard<'_, Holding> {
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
    pub(super) fn add<'a>(&self, parts: impl Iterator<Item = &'a Key>, number: u64, place: &Arc<Slot>) {
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
    pub(super) fn take(&self, part: &Key) -> Vec<Weak<Slot>> {
        self.lock().remove(part).map(Pages::into_places).unwrap_or_default()
    }
}
