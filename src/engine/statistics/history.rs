//! What pages and nanoservices did in the last quarter of an hour: one point for every fifteen seconds.
//! A point is made from the counts of its slots once they have ended, so nothing is counted twice. Beyond a maximum number of
//! series, no new ones are kept.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::hash::Hash;
use std::ops::Range;

use crate::page::source::map::Map;
use crate::page::source::names::Name;

use super::report::{History, Latency};
use super::window::SLOT;

/// The number of slots of a point.
const SLOTS: u64 = 3;
/// The number of points in a quarter of an hour.
const POINTS: u64 = 60;
/// The maximum number of pages, and of nanoservices, that have a history.
pub(super) const MAX_SERIES: usize = 1_000;

/// The histories of pages and nanoservices.
#[derive(Default)]
pub(super) struct Histories {
    pub(super) pages: Series<String>,
    pub(super) nanoservices: Series<Name>,
    /// The number of points that have been made or left out.
    made: u64,
}

/// The points of each page or nanoservice, with their numbers, the oldest first. Times without counts have no points.
pub(super) struct Series<K>(Map<K, VecDeque<(u64, Point)>>);

/// What happened in the slots of one point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    /// Requests, errors and what was degraded, per second.
    rates: [f64; 3],
    took: Latency,
}

impl Point {
    pub(super) const fn new(rates: [f64; 3], took: Latency) -> Self {
        Self { rates, took }
    }
}

impl<K> Default for Series<K> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl Histories {
    /// The slots of the point that is due at a slot, and their length in seconds. `None`: none is due.
    pub(super) fn due(&mut self, slot: u64) -> Option<(Range<u64>, f64)> {
        let ended = slot / SLOTS;
        if ended <= self.made {
            return None;
        }
        self.made = ended;
        let oldest = ended.saturating_sub(POINTS);
        self.pages.forget_before(oldest);
        self.nanoservices.forget_before(oldest);
        Some(((ended - 1) * SLOTS..ended * SLOTS, SLOTS as f64 * SLOT.as_secs_f64()))
    }
}

impl<K: Eq + Hash> Series<K> {
    /// Whether a name has a history, or can get one.
    pub(super) fn has_room<Q: Eq + Hash + ?Sized>(&self, name: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.len() < MAX_SERIES || self.0.contains_key(name)
    }

    /// Adds the point of these slots.
    pub(super) fn add(&mut self, name: K, slots: &Range<u64>, point: Point) {
        if self.has_room(&name) {
            self.0.entry(name).or_default().push_back((slots.start / SLOTS, point));
        }
    }

    fn forget_before(&mut self, oldest: u64) {
        self.0.retain(|_, points| {
            points.retain(|(number, _)| *number >= oldest);
            !points.is_empty()
        });
    }

    /// The history of a page or nanoservice at a slot, which may be empty.
    pub(super) fn report<Q: Eq + Hash + ?Sized>(&self, name: &Q, slot: u64) -> History
    where
        K: Borrow<Q>,
    {
        let (mut history, now) = (History::default(), slot / SLOTS);
        let points = self.0.get(name);
        for number in now.saturating_sub(POINTS)..now {
            let point = points.into_iter().flatten().find(|(at, _)| *at == number);
            let Point { rates, took } = point.map_or(Point::new([0.0; 3], Latency::default()), |(_, point)| *point);
            let ago = (slot - number * SLOTS) * SLOT.as_secs();
            history.add(ago, rates, took);
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_a_point_for_every_fifteen_seconds_of_a_quarter_of_an_hour() {
        let mut histories = Histories::default();
        for slot in 0..600 {
            let Some((slots, seconds)) = histories.due(slot) else { continue };
            assert_eq!((slots.end, seconds), (slot, 15.0));
            histories.pages.add("/".to_owned(), &slots, Point::new([slot as f64, 0.0, 0.0], Latency::default()));
        }
        let history = histories.pages.report("/", 599);
        assert_eq!(history.seconds_ago.len(), 60);
        assert_eq!((history.seconds_ago[0], history.seconds_ago[59]), (910, 25));
        assert_eq!((history.per_second[0], history.per_second[59]), (420.0, 597.0));
        assert_eq!(histories.pages.report("/other", 599).per_second.iter().sum::<f64>(), 0.0);
        assert!(histories.due(1_200).is_some());
        assert!(histories.pages.0.is_empty(), "what is older than a quarter of an hour is forgotten");
    }

    #[test]
    fn the_number_of_histories_is_limited() {
        let mut pages = Series::<String>::default();
        for number in 0..2 * MAX_SERIES {
            pages.add(number.to_string(), &(0..3), Point::new([1.0; 3], Latency::default()));
        }
        assert_eq!(pages.0.len(), MAX_SERIES);
        assert!(pages.has_room("7") && !pages.has_room("1500"));
    }
}
