//! How often a page that is kept was sent since that was last told. So there is no lock that all requests wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::engine::page::{CachedPageCounts, Page, PartOutcome};
use crate::engine::port::Observer;
use crate::page::response::outcome::{Cache, Outcome};

/// How often a page was sent since that was last told.
pub(super) struct Tally {
    times: AtomicU64,
    /// How often of these somebody was asked.
    asked: AtomicU64,
    /// How often with a body, by how long that took, and how often with 304.
    answered: Buckets,
    known: Buckets,
    page: String,
    /// What is the same each time, but that it grows old; what does so first comes first.
    same: Vec<Same>,
    /// What is not, and how often it was what.
    gaps: Vec<(PartOutcome, [AtomicU64; CACHES.len()])>,
    observer: Arc<dyn Observer>,
}

/// A part that is the same each time.
struct Same {
    part: PartOutcome,
    /// From when on it is old, where it grows so.
    old_from: Option<Instant>,
    /// How often it was.
    old: AtomicU64,
}

/// What the store may do for what fills a gap.
const CACHES: [Cache; 3] = [Cache::Hit, Cache::Miss, Cache::Joined];

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.times.fmt(f)
    }
}

/// Counts by time: two of each power of two, from about a microsecond to four seconds.
type Buckets = [AtomicU32; 2 * OCTAVES];

const OCTAVES: usize = 22;
/// The least time that is told from shorter ones, in nanoseconds, is two to the power of this.
const SHORTEST: u32 = 10;

/// In which bucket a time is counted.
fn bucket(took: Duration) -> usize {
    let nanoseconds = took.as_nanos().max(1 << SHORTEST);
    let octave = nanoseconds.ilog2();
    let half = (nanoseconds >> (octave - 1)) & 1;
    (2 * (octave - SHORTEST) as usize + half as usize).min(2 * OCTAVES - 1)
}

/// The middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let (octave, half) = (bucket as u64 / 2, bucket as u64 % 2);
    Duration::from_nanos((1 << (u64::from(SHORTEST) + octave)) / 4 * (5 + 2 * half))
}

impl Tally {
    /// A page that is sent like this one, but for what fills its `gaps`, which are holes of its plan.
    pub(super) fn new(page: &Page, gaps: &[usize], observer: &Arc<dyn Observer>) -> Self {
        let part = |hole: usize, outcome: &Outcome| {
            let part = PartOutcome::of(&page.plan, hole, outcome);
            // Somebody was asked, for the one that it is like.
            PartOutcome { cache: part.cache.map(|_| Cache::Hit), ..part }
        };
        let same = page.known().filter(|(hole, _)| !gaps.contains(hole));
        let same = same.map(|(hole, outcome)| Same {
            part: part(hole, outcome),
            old_from: outcome.fresh_until,
            old: AtomicU64::new(0),
        });
        let mut same: Vec<Same> = same.collect();
        same.sort_by_key(|one| (one.old_from.is_none(), one.old_from));
        let open = gaps.iter().filter_map(|hole| Some(part(*hole, page.outcomes[*hole].as_ref()?)));
        Self {
            times: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            answered: std::array::from_fn(|_| AtomicU32::new(0)),
            known: std::array::from_fn(|_| AtomicU32::new(0)),
            page: page.plan.visit.pattern.clone(),
            same,
            gaps: open.map(|part| (part, [const { AtomicU64::new(0) }; CACHES.len()])).collect(),
            observer: Arc::clone(observer),
        }
    }

    /// It was sent as it is at an instant, and what the store did for what fills its gaps was this.
    pub(super) fn sent(&self, now: Instant, filled: impl Iterator<Item = Cache>) {
        for one in self.same.iter().take_while(|one| one.old_from.is_some_and(|from| from <= now)) {
            one.old.fetch_add(1, Ordering::Relaxed);
        }
        let mut asked = false;
        for ((_, counts), cache) in self.gaps.iter().zip(filled) {
            asked |= cache != Cache::Hit;
            if let Some(which) = CACHES.iter().position(|known| *known == cache) {
                counts[which].fetch_add(1, Ordering::Relaxed);
            }
        }
        self.times.fetch_add(1, Ordering::Relaxed);
        if asked {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its head left, or that it is known already, this long after it was asked for.
    pub(super) fn answered(&self, known: bool, took: Duration) {
        let all = if known { &self.known } else { &self.answered };
        all[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tell(&self) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let times = take(&self.times);
        if times == 0 {
            return;
        }
        let same = self.same.iter().flat_map(|Same { part, old, .. }| {
            let old = take(old);
            [(part.clone(), times.saturating_sub(old)), (part.grown_old(), old)]
        });
        let open = self.gaps.iter().flat_map(|(part, counts)| {
            let each = CACHES.into_iter().zip(counts);
            each.map(|(cache, count)| (PartOutcome { cache: Some(cache), ..part.clone() }, take(count)))
        });
        let parts: Vec<_> = same.chain(open).filter(|(_, times)| *times > 0).collect();
        let again =
            CachedPageCounts { page: &self.page, times, kept: times.saturating_sub(take(&self.asked)), parts: &parts };
        self.observer.cached_page_served(&again);
        for (status, counts) in [(StatusCode::OK, &self.answered), (StatusCode::NOT_MODIFIED, &self.known)] {
            for (bucket, count) in counts.iter().enumerate() {
                let times = u64::from(count.swap(0, Ordering::Relaxed));
                if times > 0 {
                    self.observer.responded(Some(&self.page), status, middle(bucket), times);
                }
            }
        }
    }
}
