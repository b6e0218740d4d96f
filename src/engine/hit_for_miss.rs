//! Remembers which fetches get responses that are never shared, so that clients fetch them concurrently and do not wait
//! for each other (hit-for-miss).
//! The number of marks is fixed. If one is overwritten, a client may once wait for a response that it cannot share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::page::request::key::Key;

/// How long a mark is valid. A response that may be shared removes it at once.
const VALID: Duration = Duration::from_mins(2);
/// Number of marks; keys whose hashes share one overwrite each other's.
const MARKS: usize = 1 << 14;
/// The bits of a mark that hold the time at which it was set, in seconds; the others hold the key's hash.
const TIME: u64 = 0xFFFF;

/// The marks of keys whose responses are not shared.
pub(super) struct HitForMiss {
    marks: Box<[AtomicU64]>,
    since: Instant,
}

impl Default for HitForMiss {
    fn default() -> Self {
        Self { marks: (0..MARKS).map(|_| AtomicU64::new(0)).collect(), since: Instant::now() }
    }
}

impl HitForMiss {
    /// Whether a key has a valid mark: its last response was for one client only.
    pub(super) fn is_marked(&self, key: &Key, now: Instant) -> bool {
        let mark = self.slot(key).load(Ordering::Relaxed);
        let age = self.seconds(now).wrapping_sub(mark) & TIME;
        (mark ^ key.local_hash()) & !TIME == 0 && age < VALID.as_secs()
    }

    /// Marks a key.
    pub(super) fn mark(&self, key: &Key, now: Instant) {
        self.slot(key).store(key.local_hash() & !TIME | self.seconds(now) & TIME, Ordering::Relaxed);
    }

    /// Removes the mark of a key.
    pub(super) fn unmark(&self, key: &Key) {
        let slot = self.slot(key);
        // An expired mark is removed too: the seconds wrap around, and after some hours it would look valid again.
        if (slot.load(Ordering::Relaxed) ^ key.local_hash()) & !TIME == 0 {
            slot.store(0, Ordering::Relaxed);
        }
    }

    fn slot(&self, key: &Key) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is suitable")]
        let slot = key.local_hash() as usize % MARKS;
        &self.marks[slot]
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mark_is_valid_for_its_key_and_for_two_minutes() {
        let marks = HitForMiss::default();
        let [one, other] = ["one", "other"].map(|name| Key::new([name], []));
        let at = |seconds| marks.since + Duration::from_secs(seconds);
        assert!(!marks.is_marked(&one, at(0)), "an empty slot is not a mark");
        for began in [0, 1, 65_500, 65_536, 200_000] {
            marks.mark(&one, at(began));
            assert!(marks.is_marked(&one, at(began)) && marks.is_marked(&one, at(began + 119)), "{began}");
            assert!(!marks.is_marked(&one, at(began + 120)) && !marks.is_marked(&other, at(began)), "{began}");
            marks.unmark(&other);
            assert!(marks.is_marked(&one, at(began)), "{began}");
            marks.unmark(&one);
            assert!(!marks.is_marked(&one, at(began)), "{began}");
        }
        marks.mark(&one, at(0));
        marks.unmark(&one);
        assert!(!marks.is_marked(&one, at(TIME + 1)), "an expired mark is removed too");
    }
}
