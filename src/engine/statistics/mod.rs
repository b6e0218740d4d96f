//! Statistics for operators: how pages and nanoservices did in the last minute, and what failed since the start.
//! All of it comes from what the engine reports to its observer; nothing is measured here. Beyond a maximum number of pages or
//! nanoservices, new ones are not counted.

mod window;

mod report;

mod history;
mod nanoservice;
mod unrouted;

mod counts;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::page::policy::resilience::health::Health;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Cache, Outcome, is_degraded};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::map::Map;
use crate::page::source::names::Name;

use super::page::{CachedPageCounts, Page, PartOutcome};
use super::port::{CircuitChange, Clock, Observer};

use counts::{Counts, HISTORY, MAX_COUNTED, MAX_PATH, PageCounts, RequestCounts, Requests};
use history::{Histories, Point};
use nanoservice::Nanoservice;
pub use report::{
    Caching, FailureGroup, History, Latency, NanoserviceStatistics, PageStatistics, RecentFailure, SiteChange,
    UnroutedPath, UnroutedStatistics,
};
use report::{rate, share};
use unrouted::Unrouted;
use window::{MINUTE, SLOT};

/// The number of shards that threads count requests in; with a single one, all threads would wait for its lock.
const SHARDS: usize = 16;

/// The statistics.
pub struct Statistics {
    clock: Arc<dyn Clock>,
    began: Instant,
    requests: [Mutex<Requests>; SHARDS],
    counts: Mutex<Counts>,
    unrouted: Mutex<Unrouted>,
    histories: Mutex<Histories>,
}

impl Statistics {
    /// Statistics without any counts.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (requests, counts, unrouted, histories) = Default::default();
        Self { clock, began: Instant::now(), requests, counts, unrouted, histories }
    }

    /// Records a change of layouts, manifests or settings.
    pub fn record_change(&self, what: String) {
        self.counts().add_change(SiteChange { at: self.clock.wall(), what });
    }

    /// The history of all pages together in the last quarter of an hour.
    #[must_use]
    pub fn history(&self) -> History {
        let (now, _) = self.now();
        let mut requests: BTreeMap<u64, RequestCounts> = BTreeMap::new();
        for shard in &self.requests {
            for (slot, counts) in lock(shard).total.all() {
                requests.entry(*slot).or_default().merge(counts);
            }
        }
        let counts = self.counts();
        let mut history = History::default();
        let seconds = SLOT.as_secs_f64();
        let none = RequestCounts::default();
        // The present slot is left out, since it has not ended.
        for slot in now.saturating_sub(HISTORY)..now {
            let requests = requests.get(&slot).unwrap_or(&none);
            let took = Latency::of(&requests.took);
            let degraded = counts.degraded.all().find(|(at, _)| *at == slot).map_or(0, |(_, count)| *count);
            let rates = [requests.requests, requests.errors, degraded].map(|count| rate(count, seconds));
            history.add((now - slot) * SLOT.as_secs(), rates, took);
        }
        history
    }

    /// The history of a page in the last quarter of an hour, by the pattern of its route.
    #[must_use]
    pub fn history_of_page(&self, pattern: &str) -> History {
        let (slot, _) = self.now();
        lock(&self.histories).pages.report(pattern, slot)
    }

    /// The history of a nanoservice in the last quarter of an hour.
    #[must_use]
    pub fn history_of_nanoservice(&self, name: &str) -> History {
        let (slot, _) = self.now();
        lock(&self.histories).nanoservices.report(name, slot)
    }

    /// The last different paths that a page was composed for, the latest first, by the pattern of its route. Pages that came
    /// from the cache as a whole are not among them.
    #[must_use]
    pub fn recent_paths(&self, pattern: &str) -> Vec<String> {
        let counts = self.counts();
        counts.pages.get(pattern).into_iter().flat_map(|page| page.paths.iter().rev()).cloned().collect()
    }

    /// The last failures of a nanoservice, the latest first.
    #[must_use]
    pub fn recent_failures(&self, nanoservice: &str) -> Vec<RecentFailure> {
        let counts = self.counts();
        let known = counts.nanoservices.get(nanoservice).into_iter();
        known.flat_map(|nanoservice| nanoservice.failures.iter().rev()).cloned().collect()
    }

    /// The statistics of all pages together in the last minute.
    #[must_use]
    pub fn all_pages(&self) -> PageStatistics {
        let (slot, seconds) = self.now();
        let mut all = RequestCounts::default();
        for shard in &self.requests {
            lock(shard).total.within(slot.saturating_sub(MINUTE - 1)..slot + 1).for_each(|counts| all.merge(counts));
        }
        let counts = self.counts();
        let sum = |of: fn(&PageCounts) -> u64| counts.pages.values().map(|page| page.window.sum(slot, of)).sum();
        page_statistics(&all, seconds, [sum(|page| page.composed), sum(|page| page.hits), sum(|page| page.degraded)])
    }

    /// Adds a point to each history if one is due.
    fn record_histories(&self, slot: u64) {
        // Whoever comes while another thread does it has nothing to do.
        let Ok(mut histories) = self.histories.try_lock() else { return };
        let Some((slots, seconds)) = histories.due(slot) else { return };
        let mut pages: Map<String, RequestCounts> = Map::default();
        for shard in &self.requests {
            // One page at a time, so that no thread waits long for the lock.
            let names: Vec<String> = lock(shard).pages.keys().cloned().collect();
            for name in names.into_iter().filter(|name| histories.pages.has_room(name.as_str())) {
                let mut requests = RequestCounts::default();
                if let Some(window) = lock(shard).pages.get(&name) {
                    window.within(slots.clone()).for_each(|counts| requests.merge(counts));
                }
                if requests.requests > 0 {
                    pages.entry(name).or_default().merge(&requests);
                }
            }
        }
        let counts = self.counts();
        for (name, requests) in pages {
            let composed = counts.pages.get(&name).into_iter().flat_map(|page| page.window.within(slots.clone()));
            let degraded = composed.map(|page| page.degraded).sum();
            let rates = [requests.requests, requests.errors, degraded].map(|count| rate(count, seconds));
            histories.pages.add(name, &slots, Point::new(rates, Latency::of(&requests.took)));
        }
        for (name, nanoservice) in &counts.nanoservices {
            if histories.nanoservices.has_room(name)
                && let Some(point) = nanoservice.point(slots.clone(), seconds)
            {
                histories.nanoservices.add(Arc::clone(name), &slots, point);
            }
        }
    }

    /// The statistics of a page in the last minute, by the pattern of its route.
    #[must_use]
    pub fn page(&self, pattern: &str) -> PageStatistics {
        let (slot, seconds) = self.now();
        let mut all = RequestCounts::default();
        for shard in &self.requests {
            if let Some(window) = lock(shard).pages.get(pattern) {
                window.recent(slot).for_each(|counts| all.merge(counts));
            }
        }
        let counts = self.counts();
        let sum = |of: fn(&PageCounts) -> u64| counts.pages.get(pattern).map_or(0, |page| page.window.sum(slot, of));
        page_statistics(&all, seconds, [sum(|page| page.composed), sum(|page| page.hits), sum(|page| page.degraded)])
    }

    /// The statistics of a nanoservice in the last minute.
    #[must_use]
    pub fn nanoservice(&self, name: &str) -> NanoserviceStatistics {
        let now = self.now();
        let mut counts = self.counts();
        let known = counts.nanoservices.get_mut(name);
        known.map(|nanoservice| nanoservice.report(now, || self.clock.wall())).unwrap_or_default()
    }

    /// The health of all nanoservices that are counted.
    #[must_use]
    pub fn health(&self) -> BTreeMap<Name, Health> {
        let (slot, _) = self.now();
        let mut counts = self.counts();
        let all = counts.nanoservices.iter_mut();
        all.map(|(name, nanoservice)| (Arc::clone(name), nanoservice.health(slot, || self.clock.wall()).0)).collect()
    }

    /// The names of all nanoservices that are counted, sorted.
    #[must_use]
    pub fn nanoservices(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.counts().nanoservices.keys().cloned().collect();
        names.sort();
        names
    }

    /// Groups of nanoservices whose latest responses have the same content, each group sorted.
    #[must_use]
    pub fn same_content(&self) -> Vec<Vec<Name>> {
        let mut groups: BTreeMap<u128, Vec<Name>> = BTreeMap::new();
        for (name, nanoservice) in &self.counts().nanoservices {
            if let Some(digest) = nanoservice.digest {
                groups.entry(digest).or_default().push(Arc::clone(name));
            }
        }
        let mut same: Vec<Vec<Name>> = groups.into_values().filter(|group| group.len() > 1).collect();
        same.iter_mut().for_each(|group| group.sort());
        same.sort();
        same
    }

    /// The worst state among the circuits of each endpoint of a nanoservice that was asked.
    #[must_use]
    pub fn circuits(&self, nanoservice: &str) -> BTreeMap<Name, &'static str> {
        self.counts().nanoservices.get(nanoservice).map(Nanoservice::circuits).unwrap_or_default()
    }

    /// The requests that no layout has a route for.
    #[must_use]
    pub fn unrouted_requests(&self) -> UnroutedStatistics {
        lock(&self.unrouted).report(Instant::now())
    }

    /// The failures since the start, the latest first.
    #[must_use]
    pub fn failures(&self) -> Vec<FailureGroup> {
        let mut failures: Vec<FailureGroup> = self.counts().failures.values().cloned().collect();
        failures.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.fragment.cmp(&b.fragment)));
        failures
    }

    /// The changes since the start, the latest first.
    #[must_use]
    pub fn changes(&self) -> Vec<SiteChange> {
        self.counts().changes.iter().rev().cloned().collect()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts)
    }

    /// The number of the present slot, and the length of the last minute in seconds, as far as it was counted.
    fn now(&self) -> (u64, f64) {
        let age = self.began.elapsed();
        let slot = age.as_secs() / SLOT.as_secs();
        let complete = u32::try_from(MINUTE - 1).unwrap_or(1) * SLOT;
        let into_slot = age.saturating_sub(SLOT * u32::try_from(slot).unwrap_or(u32::MAX));
        (slot, (complete.min(age.saturating_sub(into_slot)) + into_slot).as_secs_f64().max(1.0))
    }
}

fn page_statistics(requests: &RequestCounts, seconds: f64, [composed, hits, degraded]: [u64; 3]) -> PageStatistics {
    PageStatistics {
        per_second: rate(requests.requests, seconds),
        errors: share(requests.errors, requests.requests),
        hits: share(hits, composed),
        degraded: share(degraded, composed),
        statuses: requests.statuses(),
        took: Latency::of(&requests.took),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shard in which the present thread counts requests.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    SHARD.with(|shard| *shard)
}

impl Observer for Statistics {
    fn in_flight(&self, _: &str, _: bool) {}

    fn circuit_changed(&self, change: &CircuitChange<'_>) {
        let (slot, _) = self.now();
        if let Some(nanoservice) = self.counts().nanoservice(change.nanoservice) {
            nanoservice.change_circuit(slot, change);
        }
    }

    fn version_changed(&self, what: &str) {
        self.record_change(what.to_owned());
    }

    fn page_composed(&self, page: &Page) {
        let (slot, _) = self.now();
        let pattern = page.plan.visit.pattern.as_str();
        let mut counts = self.counts();
        let cache = |outcome: &Outcome| outcome.timing.as_ref().map(|timing| timing.cache);
        let is_degraded = page.known().any(|(_, outcome)| is_degraded(outcome.shown, outcome.reason));
        *counts.degraded.at(slot) += u64::from(is_degraded);
        if counts.pages.len() < MAX_COUNTED || counts.pages.contains_key(pattern) {
            let counted = counts.pages.entry(pattern.to_owned()).or_default();
            let path = page.plan.visit.filled_path().filter(|path| path.len() <= MAX_PATH);
            path.into_iter().for_each(|path| counted.add_path(path));
            let page_counts = counted.window.at(slot);
            page_counts.composed += 1;
            let is_hit = |outcome: &Outcome| matches!(cache(outcome), None | Some(Cache::Hit | Cache::Stale));
            page_counts.hits += u64::from(page.known().all(|(_, outcome)| is_hit(outcome)));
            page_counts.degraded += u64::from(is_degraded);
        }
        for (part, outcome) in page.known() {
            counts.add_part(slot, pattern, &PartOutcome::of(&page.plan, part, outcome), 1, &*self.clock);
        }
    }

    fn cached_page_served(&self, served: &CachedPageCounts<'_>) {
        let (slot, _) = self.now();
        let mut counts = self.counts();
        if let Some(page) = counts.pages.get_mut(served.page) {
            let page_counts = page.window.at(slot);
            page_counts.composed += served.times;
            page_counts.hits += served.without_fetch;
        }
        for (part, times) in served.parts {
            counts.add_part(slot, served.page, part, *times, &*self.clock);
        }
    }

    fn responded(&self, page: Option<&str>, status: StatusCode, took: Duration, times: u64) {
        let Some(page) = page else { return };
        let (slot, _) = self.now();
        let mut requests = lock(&self.requests[shard()]);
        requests.total.at(slot).add(status, took, times);
        let has_room = requests.pages.len() < MAX_COUNTED;
        let window = match requests.pages.get_mut(page) {
            Some(window) => window,
            None if has_room => requests.pages.entry(page.to_owned()).or_default(),
            None => return,
        };
        window.at(slot).add(status, took, times);
    }

    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, attempt: &Attempt) {
        let (slot, _) = self.now();
        let mut counts = self.counts();
        let Some(nanoservice) = counts.nanoservice(&fetch.nanoservice) else { return };
        let failed = nanoservice.add_fetch(slot, fetch, result, attempt);
        if let Some(failure) = result.err().filter(|_| failed) {
            let group = counts.failure_group(&fetch.nanoservice, failure.reason, &*self.clock);
            failure.detail.clone_into(&mut group.detail);
            if let Some(nanoservice) = counts.nanoservice(&fetch.nanoservice) {
                nanoservice.add_failure(self.clock.wall(), failure, attempt);
            }
        }
    }

    fn unrouted(&self, path: &str) {
        lock(&self.unrouted).add(path, Instant::now());
    }

    /// Notices when the health of a nanoservice has changed, and adds to the histories.
    fn tick(&self) {
        let (slot, _) = self.now();
        for nanoservice in self.counts().nanoservices.values_mut() {
            nanoservice.health(slot, || self.clock.wall());
        }
        self.record_histories(slot);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use tokio::time::advance;

    struct Epoch;

    impl Clock for Epoch {
        fn wall(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_reported_for_a_minute() {
        let statistics = Statistics::new(Arc::new(Epoch));
        for ms in 1..=100 {
            statistics.responded(Some("/"), StatusCode::OK, Duration::from_millis(ms), 1);
        }
        statistics.responded(Some("/"), StatusCode::BAD_GATEWAY, Duration::from_millis(50), 1);
        statistics.responded(None, StatusCode::NOT_FOUND, Duration::from_millis(50), 1);
        advance(Duration::from_secs(10)).await;
        let seen = statistics.page("/");
        assert!((seen.per_second - 10.1).abs() < 0.01, "{seen:?}");
        assert!((seen.errors - 0.0099).abs() < 0.0001, "{seen:?}");
        let near = |quantile: Option<f64>, ms: f64| quantile.is_some_and(|found| (found / ms - 1.0).abs() < 0.03);
        assert!(near(seen.took.p50_ms, 50.0) && near(seen.took.p95_ms, 95.0), "{seen:?}");
        let history = statistics.history();
        assert_eq!((history.seconds_ago.as_slice(), history.per_second.as_slice()), (&[10, 5][..], &[20.2, 0.0][..]));
        advance(Duration::from_secs(60)).await;
        assert_eq!(statistics.page("/"), PageStatistics::default(), "a minute is over");
        assert_eq!(statistics.history().per_second.iter().sum::<f64>(), 20.2, "the history of all pages is longer");
        assert_eq!(statistics.page("/other"), PageStatistics::default());
    }

    #[tokio::test(start_paused = true)]
    async fn counts_of_all_threads_are_added() {
        let statistics = Arc::new(Statistics::new(Arc::new(Epoch)));
        let count = |statistics: Arc<Statistics>| {
            move || statistics.responded(Some("/"), StatusCode::OK, Duration::from_millis(1), 1)
        };
        for _ in 0..20 {
            std::thread::spawn(count(Arc::clone(&statistics))).join().expect("the thread ends");
        }
        assert!((statistics.page("/").per_second - 20.0).abs() < 0.01, "{:?}", statistics.page("/"));
    }
}
