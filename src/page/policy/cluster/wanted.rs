//! Which responses a replica's readers want most, so that a new replica can fetch them from the shared store before its first
//! reader comes.
//! The list is bounded: if it is full, whoever was wanted least makes room.

use crate::page::source::map::Map;

/// Responses that a new replica reads.
pub const MOST: usize = 1_000;
/// Responses that are counted at once, and reported.
const COUNTED: usize = 4 * MOST;

/// How often responses were wanted since the last report.
#[derive(Debug)]
pub struct Wanted<K>(Map<K, u64>);

impl<K> Default for Wanted<K> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<K: Clone + Eq + std::hash::Hash> Wanted<K> {
    /// Counts that a response was wanted this many times.
    pub fn add(&mut self, key: &K, times: u64) {
        if let Some(count) = self.0.get_mut(key) {
            *count += times;
            return;
        }
        if self.0.len() >= COUNTED {
            let mut counts: Vec<u64> = self.0.values().copied().collect();
            let (_, median, _) = counts.select_nth_unstable(COUNTED / 2);
            let median = *median;
            let mut surplus = COUNTED / 2;
            self.0.retain(|_, count| {
                let leaves = *count <= median && surplus > 0;
                surplus -= usize::from(leaves);
                !leaves
            });
        }
        self.0.insert(key.clone(), times);
    }

    /// Takes the counts of those that were wanted most, and begins anew.
    pub fn report(&mut self) -> Vec<(K, u64)> {
        let mut all: Vec<(K, u64)> = std::mem::take(&mut self.0).into_iter().collect();
        if all.len() > MOST {
            all.select_nth_unstable_by_key(MOST, |(_, count)| std::cmp::Reverse(*count));
            all.truncate(MOST);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_most_stays_whatever_else_is_wanted_once() {
        let mut wanted = Wanted::default();
        for round in 0..100 {
            (0..100).for_each(|popular| wanted.add(&popular, 1));
            (0..1_000).for_each(|rare| wanted.add(&(1_000 + round * 1_000 + rare), 1));
            assert!(wanted.0.len() <= COUNTED);
        }
        let report = wanted.report();
        assert_eq!(report.len(), MOST);
        assert!((0..100).all(|popular| report.iter().any(|(key, count)| *key == popular && *count > 90)));
        assert_eq!(wanted.report(), []);
    }
}
