//! Counts how often a cached page is served, with atomic counters of its own: shared counters would be contended by all requests.
//! The counts are flushed to the observer once a second, and when the page is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::engine::page::{CachedPageCounts, Page, PartOutcome};
use crate::engine::port::Observer;
use crate::page::response::outcome::{Cache, Outcome};

/// How often a page was served since the last flush.
pub(super) struct Tally {
    served: AtomicU64,
    /// How often something was fetched for it.
    fetched: AtomicU64,
    /// Responses with a body, by the time that they took.
    ok: Buckets,
    /// Responses with status 304, by the time that they took.
    not_modified: Buckets,
    /// The pattern of the page's route.
    page: String,
    /// The variants of experiments that it shows; of a skeleton they differ, and are reported as it is personalised.
    variants: Vec<(String, String)>,
    /// The parts whose outcome only changes by becoming stale, ordered by when they do.
    fixed: Vec<FixedPart>,
    /// The parts in holes, and how often each value of [`HOLE_CACHES`] occurred.
    holes: Vec<(PartOutcome, [AtomicU64; HOLE_CACHES.len()])>,
    observer: Arc<dyn Observer>,
}

/// A part whose outcome only changes by becoming stale.
struct FixedPart {
    outcome: PartOutcome,
    /// When it becomes stale.
    stale_from: Option<Instant>,
    /// How often it was served stale.
    stale: AtomicU64,
}

/// What the store may do for the content of a hole.
const HOLE_CACHES: [Cache; 3] = [Cache::Hit, Cache::Miss, Cache::Joined];

/// Counts by duration: two buckets per power of two, from about a microsecond to four seconds.
type Buckets = [AtomicU32; 2 * OCTAVES];

/// The number of powers of two.
const OCTAVES: usize = 22;
/// The exponent of the shortest duration with a bucket of its own: a power of two, in nanoseconds.
const SHORTEST: u32 = 10;

/// The bucket of a duration.
fn bucket(took: Duration) -> usize {
    let nanoseconds = took.as_nanos().max(1 << SHORTEST);
    let octave = nanoseconds.ilog2();
    let half = (nanoseconds >> (octave - 1)) & 1;
    (2 * (octave - SHORTEST) as usize + half as usize).min(2 * OCTAVES - 1)
}

/// The duration in the middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let (octave, half) = (bucket as u64 / 2, bucket as u64 % 2);
    Duration::from_nanos((1 << (u64::from(SHORTEST) + octave)) / 4 * (5 + 2 * half))
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.served.fmt(f)
    }
}

impl Tally {
    /// The tally of a page that is cached with these parts as holes.
    pub(super) fn new(page: &Page, open: &[usize], observer: &Arc<dyn Observer>) -> Self {
        let outcome_of = |part: usize, outcome: &Outcome| {
            let part = PartOutcome::of(&page.plan, part, outcome);
            // For this page it may have been fetched; from the cache it is a hit.
            PartOutcome { cache: part.cache.map(|_| Cache::Hit), ..part }
        };
        let fixed = page.known().filter(|(part, _)| !open.contains(part));
        let fixed = fixed.map(|(part, outcome)| FixedPart {
            outcome: outcome_of(part, outcome),
            stale_from: outcome.fresh_until,
            stale: AtomicU64::new(0),
        });
        let mut fixed: Vec<FixedPart> = fixed.collect();
        fixed.sort_by_key(|part| (part.stale_from.is_none(), part.stale_from));
        let holes = open.iter().filter_map(|part| Some(outcome_of(*part, page.outcomes[*part].as_ref()?)));
        Self {
            served: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            ok: std::array::from_fn(|_| AtomicU32::new(0)),
            not_modified: std::array::from_fn(|_| AtomicU32::new(0)),
            page: page.plan.visit.pattern.clone(),
            variants: if open.is_empty() { page.plan.visit.reader.variants.clone() } else { Vec::new() },
            fixed,
            holes: holes.map(|part| (part, [const { AtomicU64::new(0) }; HOLE_CACHES.len()])).collect(),
            observer: Arc::clone(observer),
        }
    }

    /// Counts that the page was served, with what the store did for each hole.
    pub(super) fn count_served(&self, now: Instant, holes: impl Iterator<Item = Cache>) {
        for part in self.fixed.iter().take_while(|part| part.stale_from.is_some_and(|from| from <= now)) {
            part.stale.fetch_add(1, Ordering::Relaxed);
        }
        let mut fetched = false;
        for ((_, counts), cache) in self.holes.iter().zip(holes) {
            fetched |= cache != Cache::Hit;
            if let Some(which) = HOLE_CACHES.iter().position(|known| *known == cache) {
                counts[which].fetch_add(1, Ordering::Relaxed);
            }
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        if fetched {
            self.fetched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a response whose head was sent this long after its request arrived.
    pub(super) fn count_response(&self, not_modified: bool, took: Duration) {
        let buckets = if not_modified { &self.not_modified } else { &self.ok };
        buckets[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// Reports the counts to the observer, and resets them. Returns how often the page was served.
    pub(super) fn flush(&self) -> u64 {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let times = take(&self.served);
        if times == 0 {
            return 0;
        }
        let fixed = self.fixed.iter().flat_map(|FixedPart { outcome, stale, .. }| {
            let stale = take(stale);
            [(outcome.clone(), times.saturating_sub(stale)), (outcome.stale_while_revalidating(), stale)]
        });
        let holes = self.holes.iter().flat_map(|(part, counts)| {
            let each = HOLE_CACHES.into_iter().zip(counts);
            each.map(|(cache, count)| (PartOutcome { cache: Some(cache), ..part.clone() }, take(count)))
        });
        let parts: Vec<_> = fixed.chain(holes).filter(|(_, times)| *times > 0).collect();
        let without_fetch = times.saturating_sub(take(&self.fetched));
        let (page, variants) = (&*self.page, &*self.variants);
        self.observer.cached_page_served(&CachedPageCounts { page, times, without_fetch, variants, parts: &parts });
        for (status, counts) in [(StatusCode::OK, &self.ok), (StatusCode::NOT_MODIFIED, &self.not_modified)] {
            for (bucket, count) in counts.iter().enumerate() {
                let times = u64::from(count.swap(0, Ordering::Relaxed));
                if times > 0 {
                    self.observer.responded(Some(&self.page), status, middle(bucket), times);
                }
            }
        }
        times
    }
}
