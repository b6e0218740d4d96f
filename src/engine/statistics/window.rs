//! Counts over a sliding window of time, which consists of slots of five seconds: the oldest is dropped as a new one begins.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// The length of a slot.
pub(super) const SLOT: Duration = Duration::from_secs(5);
/// The number of slots in a minute.
pub(super) const MINUTE: u64 = 12;

/// The counts of the last `N` slots, with the numbers of their slots. Slots without counts are left out.
pub(super) struct Window<T, const N: u64 = MINUTE>(VecDeque<(u64, T)>);

impl<T, const N: u64> Default for Window<T, N> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Default, const N: u64> Window<T, N> {
    /// The counts of the present slot, which has this number.
    pub(super) fn at(&mut self, slot: u64) -> &mut T {
        self.drop_before(slot);
        if self.0.back().is_none_or(|(last, _)| *last != slot) {
            self.0.push_back((slot, T::default()));
        }
        let (_, counts) = self.0.back_mut().expect("a slot was added above");
        counts
    }

    /// All counts, with the numbers of their slots, including some that may have left the window.
    pub(super) fn all(&self) -> impl Iterator<Item = &(u64, T)> {
        self.0.iter()
    }

    /// The counts that are in the window at this slot.
    pub(super) fn recent(&self, slot: u64) -> impl Iterator<Item = &T> {
        self.0.iter().filter(move |(at, _)| at + N > slot).map(|(_, counts)| counts)
    }

    /// The counts of these slots, as far as they are known.
    pub(super) fn within(&self, slots: Range<u64>) -> impl Iterator<Item = &T> {
        self.0.iter().filter(move |(at, _)| slots.contains(at)).map(|(_, counts)| counts)
    }

    /// The sum of one count over the window at this slot.
    pub(super) fn sum(&self, slot: u64, of: impl Fn(&T) -> u64) -> u64 {
        self.recent(slot).map(of).sum()
    }

    fn drop_before(&mut self, slot: u64) {
        while self.0.front().is_some_and(|(first, _)| first + N <= slot) {
            self.0.pop_front();
        }
    }
}
