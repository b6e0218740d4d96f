//! Which answers are never shared: readers ask for them side by side, and not one after another.
//! That is remembered for some keys, as many as there is room for; forgotten, a reader may wait once more for another's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::page::request::key::Key;

/// How long it is remembered. One answer that may be shared ends it at once.
const REMEMBERED: Duration = Duration::from_mins(2);
/// Keys that there is room for; one takes the place of another.
const ROOM: usize = 1 << 14;
/// Bits of a mark that say when it was made, in seconds; the others are the key's.
const TIME: u64 = 0xFFFF;

/// The marks.
pub(super) struct HitForMiss {
    marks: Box<[AtomicU64]>,
    since: Instant,
}

impl Default for HitForMiss {
    fn default() -> Self {
        Self { marks: (0..ROOM).map(|_| AtomicU64::new(0)).collect(), since: Instant::now() }
    }
}

impl HitForMiss {
    /// Whether the last answer to this fetch was one reader's alone.
    pub(super) fn is(&self, key: &Key, now: Instant) -> bool {
        let mark = self.place(key).load(Ordering::Relaxed);
        let age = self.seconds(now).wrapping_sub(mark) & TIME;
        (mark ^ key.local_hash()) & !TIME == 0 && age < REMEMBERED.as_secs()
    }

    /// It was.
    pub(super) fn note(&self, key: &Key, now: Instant) {
        self.place(key).store(key.local_hash() & !TIME | self.seconds(now) & TIME, Ordering::Relaxed);
    }

    /// It was not.
    pub(super) fn forget(&self, key: &Key) {
        let place = self.place(key);
        // Be it as old as may be: after some hours it would look like a new one.
        if (place.load(Ordering::Relaxed) ^ key.local_hash()) & !TIME == 0 {
            place.store(0, Ordering::Relaxed);
        }
    }

    fn place(&self, key: &Key) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let place = key.local_hash() as usize % ROOM;
        &self.marks[place]
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mark_is_of_its_key_and_lasts_its_time() {
        let apart = HitForMiss::default();
        let [one, other] = ["one", "other"].map(|name| Key::new([name], []));
        let at = |seconds| apart.since + Duration::from_secs(seconds);
        assert!(!apart.is(&one, at(0)), "an empty place is no mark");
        for began in [0, 1, 65_500, 65_536, 200_000] {
            apart.note(&one, at(began));
            assert!(apart.is(&one, at(began)) && apart.is(&one, at(began + 119)), "{began}");
            assert!(!apart.is(&one, at(began + 120)) && !apart.is(&other, at(began)), "{began}");
            apart.forget(&other);
            assert!(apart.is(&one, at(began)), "{began}");
            apart.forget(&one);
            assert!(!apart.is(&one, at(began)), "{began}");
        }
        apart.note(&one, at(0));
        apart.forget(&one);
        assert!(!apart.is(&one, at(TIME + 1)), "a mark that is too old to count is taken off too");
    }
}
