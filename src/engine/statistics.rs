//! What operators look at: what became of pages and nanoservices in the last minute, and what went wrong since the
//! start. All of it comes from what the engine tells its observer; nothing is measured here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use sketches_ddsketch::DDSketch;
use tokio::time::Instant;

use crate::page::output::record::CachingReason;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Cache, Outcome, Shown, is_degraded};
use crate::page::response::parsed::{Content, Failure, ParsedResponse};
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::page::{CachedPageCounts, Page, PartOutcome};
use super::port::{Clock, Observer};

/// A minute is looked at, in so many pieces, of which the oldest goes as a new one begins.
const PIECES: u64 = 12;
/// How long one of them is.
const PIECE: Duration = Duration::from_secs(5);
/// Of all pages together a quarter of an hour is looked at, in pieces as long.
const HISTORY: u64 = 180;
/// Kinds of trouble that are remembered.
const TROUBLES: usize = 500;
/// Marks of changes that are remembered.
const MARKS: usize = 100;
/// Pages and nanoservices that are counted; `src` may name any number of hosts.
const MANY: usize = 10_000;

/// Threads count requests apart from each other, up to so many: else all of them would wait for one lock.
const APART: usize = 16;

/// The board.
pub struct Statistics {
    clock: Arc<dyn Clock>,
    began: Instant,
    requests: [Mutex<Requests>; APART],
    known: Mutex<Known>,
}

/// Requests that some threads answered.
#[derive(Default)]
struct Requests {
    total: Window<RequestCount, HISTORY>,
    pages: Map<String, Window<RequestCount>>,
}

#[derive(Default, Clone)]
struct RequestCount {
    requests: u64,
    errors: u64,
    took: DDSketch,
}

impl RequestCount {
    fn add(&mut self, status: StatusCode, took: Duration, times: u64) {
        self.requests += times;
        self.errors += if status.is_server_error() { times } else { 0 };
        self.took.add_with_count(took.as_secs_f64(), times);
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        merge(&mut self.took, &other.took);
    }
}

#[derive(Default)]
struct Known {
    degraded: Window<u64, HISTORY>,
    pages: Map<String, Window<PageCount>>,
    services: Map<Name, Service>,
    circuits: BTreeMap<String, Circuit>,
    troubles: Map<(Name, Reason), Trouble>,
    marks: VecDeque<Mark>,
}

#[derive(Default)]
struct Service {
    window: Window<ServiceCount>,
    /// What became of it the last time.
    latest: Option<(Shown, Option<Reason>)>,
    /// Equal for the same bytes to show, the last time.
    digest: Option<u128>,
    keep: Option<CachingReason>,
}

#[derive(Default)]
struct PageCount {
    composed: u64,
    /// All parts were kept.
    kept: u64,
    /// A part is not as it should be.
    degraded: u64,
}

#[derive(Default)]
struct ServiceCount {
    parts: u64,
    looked_up: u64,
    hits: u64,
    degraded: u64,
    fetches: u64,
    failures: u64,
    bytes: u64,
    took: DDSketch,
}

/// Counts of the last pieces of time.
struct Window<T, const N: u64 = PIECES>(VecDeque<(u64, T)>);

impl<T, const N: u64> Default for Window<T, N> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Default, const N: u64> Window<T, N> {
    fn now(&mut self, piece: u64) -> &mut T {
        self.forget(piece);
        if self.0.back().is_none_or(|(last, _)| *last != piece) {
            self.0.push_back((piece, T::default()));
        }
        let (_, last) = self.0.back_mut().expect("one was put there");
        last
    }

    fn forget(&mut self, piece: u64) {
        while self.0.front().is_some_and(|(first, _)| first + N <= piece) {
            self.0.pop_front();
        }
    }

    /// The pieces that are not too old.
    fn pieces(&self, piece: u64) -> impl Iterator<Item = &T> {
        self.0.iter().filter(move |(at, _)| at + N > piece).map(|(_, count)| count)
    }

    fn sum(&self, piece: u64, of: impl Fn(&T) -> u64) -> u64 {
        self.pieces(piece).map(of).sum()
    }
}

/// How a page was lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PageSeen {
    /// Requests a second.
    pub per_second: f64,
    /// Requests that were answered with an error of the server, from 0 to 1.
    pub errors: f64,
    /// Pages all of whose parts were kept, from 0 to 1.
    pub hits: f64,
    /// Pages with a part that was not as it should be, from 0 to 1.
    pub degraded: f64,
    /// From the request to the head of its answer.
    #[serde(flatten)]
    pub took: Latency,
}

/// How a nanoservice was lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ServiceSeen {
    /// `well`, `degraded`, `failing`; `unknown` where nobody asked.
    pub health: &'static str,
    /// What stood in its place the last time.
    pub latest: Option<&'static str>,
    /// And why.
    pub latest_reason: Option<&'static str>,
    /// Parts of pages that it was to fill, a second.
    pub per_second: f64,
    /// Of those that were looked up, how many a fresh kept copy filled, from 0 to 1.
    pub hits: f64,
    /// Parts that were not as they should be, from 0 to 1.
    pub degraded: f64,
    /// Requests to it a second.
    pub fetches_per_second: f64,
    /// Of those, how many failed, from 0 to 1.
    pub failures: f64,
    /// Bytes of an answer, on average.
    pub bytes: u64,
    /// What was made of its last answer.
    pub keeping: Option<Keeping>,
    /// From asking it to its last byte.
    #[serde(flatten)]
    pub took: Latency,
}

/// Whether an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keeping {
    /// Whether it is.
    pub kept: bool,
    /// For how long and by whose word, or why it is not.
    pub why: String,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_ms: Option<f64>,
    /// 19 of 20 are faster.
    pub p95_ms: Option<f64>,
    /// 99 of 100 are faster.
    pub p99_ms: Option<f64>,
}

/// All pages together, five seconds at a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct History {
    /// When each piece began.
    pub seconds_ago: Vec<u64>,
    /// Requests.
    pub per_second: Vec<f64>,
    /// Pages with a part that was not as it should be.
    pub degraded_per_second: Vec<f64>,
    /// From the request to the head of its answer: half are faster.
    pub p50_ms: Vec<Option<f64>>,
    /// 19 of 20 are faster.
    pub p95_ms: Vec<Option<f64>>,
    /// 99 of 100 are faster.
    pub p99_ms: Vec<Option<f64>>,
}

/// Something that went wrong, as often as it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trouble {
    /// The nanoservice.
    pub fragment: Name,
    /// Why.
    pub reason: &'static str,
    /// What it said of itself the last time, or what is known of the last time.
    pub detail: String,
    /// How often.
    pub count: u64,
    /// The first time,
    pub first: Timestamp,
    /// and the last.
    pub last: Timestamp,
    /// Which pages it was on the last time.
    pub page: Option<String>,
}

/// A change that may explain what came after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub what: String,
}

impl Statistics {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, began: Instant::now(), requests: Default::default(), known: Mutex::default() }
    }

    /// Notes a change.
    pub fn mark(&self, what: String) {
        let mut known = self.known();
        if known.marks.len() >= MARKS {
            known.marks.pop_front();
        }
        known.marks.push_back(Mark { at: self.clock.wall(), what });
    }

    /// How all pages together were in the last quarter of an hour.
    #[must_use]
    pub fn history(&self) -> History {
        let (now, _) = self.now();
        let mut counts: BTreeMap<u64, RequestCount> = BTreeMap::new();
        for requests in &self.requests {
            for (piece, count) in &lock(requests).total.0 {
                counts.entry(*piece).or_default().merge(count);
            }
        }
        let known = self.known();
        let mut history = History::default();
        let seconds = PIECE.as_secs_f64();
        let none = RequestCount::default();
        // The piece that it is now is not whole.
        for piece in now.saturating_sub(HISTORY)..now {
            let count = counts.get(&piece).unwrap_or(&none);
            let took = Latency::of(&count.took);
            let degraded = known.degraded.0.iter().find(|(at, _)| *at == piece).map_or(0, |(_, count)| *count);
            history.seconds_ago.push((now - piece) * PIECE.as_secs());
            history.per_second.push(per(count.requests, seconds));
            history.degraded_per_second.push(per(degraded, seconds));
            history.p50_ms.push(took.p50_ms);
            history.p95_ms.push(took.p95_ms);
            history.p99_ms.push(took.p99_ms);
        }
        history
    }

    /// How a page was in the last minute, by the pattern of its route.
    #[must_use]
    pub fn page(&self, pattern: &str) -> PageSeen {
        let (piece, seconds) = self.now();
        let mut all = RequestCount::default();
        for requests in &self.requests {
            if let Some(window) = lock(requests).pages.get(pattern) {
                window.pieces(piece).for_each(|count| all.merge(count));
            }
        }
        let known = self.known();
        let sum = |of: fn(&PageCount) -> u64| known.pages.get(pattern).map_or(0, |window| window.sum(piece, of));
        let composed = sum(|count| count.composed);
        PageSeen {
            per_second: per(all.requests, seconds),
            errors: share(all.errors, all.requests),
            hits: share(sum(|count| count.kept), composed),
            degraded: share(sum(|count| count.degraded), composed),
            took: Latency::of(&all.took),
        }
    }

    /// How a nanoservice was in the last minute.
    #[must_use]
    pub fn service(&self, name: &str) -> ServiceSeen {
        let (piece, seconds) = self.now();
        let known = self.known();
        let Some(service) = known.services.get(name) else {
            return ServiceSeen { health: "unknown", ..ServiceSeen::default() };
        };
        let window = &service.window;
        let sum = |of: fn(&ServiceCount) -> u64| window.sum(piece, of);
        let (parts, fetches) = (sum(|count| count.parts), sum(|count| count.fetches));
        let answered = fetches - sum(|count| count.failures);
        let mut took = DDSketch::default();
        window.pieces(piece).for_each(|count| merge(&mut took, &count.took));
        let seen = ServiceSeen {
            health: "well",
            latest: service.latest.map(|(shown, _)| shown.as_str()),
            latest_reason: service.latest.and_then(|(_, reason)| reason).map(Reason::as_str),
            per_second: per(parts, seconds),
            hits: share(sum(|count| count.hits), sum(|count| count.looked_up)),
            degraded: share(sum(|count| count.degraded), parts),
            fetches_per_second: per(fetches, seconds),
            failures: share(fetches - answered, fetches),
            bytes: sum(|count| count.bytes).checked_div(answered).unwrap_or_default(),
            keeping: service.keep.as_ref().map(|keep| Keeping { kept: keep.is_cached(), why: keep.describe(None) }),
            took: Latency::of(&took),
        };
        let health = match service.latest {
            _ if parts + fetches == 0 => "unknown",
            Some((shown, reason)) if is_degraded(shown, reason) => {
                if shown == Shown::Stale {
                    "degraded"
                } else {
                    "failing"
                }
            }
            _ if seen.degraded > 0.0 || seen.failures > 0.0 => "degraded",
            _ => "well",
        };
        ServiceSeen { health, ..seen }
    }

    /// The nanoservices that were on some page, or were asked, in the last minute.
    #[must_use]
    pub fn services(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.known().services.keys().cloned().collect();
        names.sort();
        names
    }

    /// Nanoservices that showed the same bytes the last time, each group in order.
    #[must_use]
    pub fn same(&self) -> Vec<Vec<Name>> {
        let mut groups: BTreeMap<u128, Vec<Name>> = BTreeMap::new();
        for (name, service) in &self.known().services {
            if let Some(digest) = service.digest {
                groups.entry(digest).or_default().push(Arc::clone(name));
            }
        }
        let mut same: Vec<Vec<Name>> = groups.into_values().filter(|group| group.len() > 1).collect();
        same.iter_mut().for_each(|group| group.sort());
        same.sort();
        same
    }

    /// The state of each endpoint's breaker that ever changed.
    #[must_use]
    pub fn circuits(&self) -> BTreeMap<String, &'static str> {
        let known = self.known();
        known.circuits.iter().map(|(upstream, circuit)| (upstream.clone(), circuit.as_str())).collect()
    }

    /// What went wrong since the start, the latest first.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles: Vec<Trouble> = self.known().troubles.values().cloned().collect();
        troubles.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.fragment.cmp(&b.fragment)));
        troubles
    }

    /// What changed since the start, the latest first.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.known().marks.iter().rev().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// The piece of time that it is, and for how many seconds has been counted: a minute at most.
    fn now(&self) -> (u64, f64) {
        let age = self.began.elapsed();
        let piece = age.as_secs() / PIECE.as_secs();
        let whole = u32::try_from(PIECES - 1).unwrap_or(1) * PIECE;
        let into = age.saturating_sub(PIECE * u32::try_from(piece).unwrap_or(u32::MAX));
        (piece, (whole.min(age.saturating_sub(into)) + into).as_secs_f64().max(1.0))
    }

    fn trouble(&self, known: &mut Known, fragment: &Name, reason: Reason, detail: Option<&str>, page: Option<&str>) {
        let now = self.clock.wall();
        if known.troubles.len() >= TROUBLES && !known.troubles.contains_key(&(Arc::clone(fragment), reason)) {
            let oldest = known.troubles.iter().min_by_key(|(_, trouble)| trouble.last).map(|(key, _)| key.clone());
            oldest.and_then(|key| known.troubles.remove(&key));
        }
        let trouble = known.troubles.entry((Arc::clone(fragment), reason)).or_insert_with(|| Trouble {
            fragment: Arc::clone(fragment),
            reason: reason.as_str(),
            detail: String::new(),
            count: 0,
            first: now,
            last: now,
            page: None,
        });
        trouble.last = now;
        // A page tells how often readers saw it; the fetch before it says what it was.
        trouble.count += u64::from(page.is_some());
        if let Some(detail) = detail {
            detail.clone_into(&mut trouble.detail);
        }
        trouble.page = page.map(str::to_owned).or_else(|| trouble.page.take());
    }

    /// Counts what became of a part of a page so many times, in this piece of time.
    fn part(&self, known: &mut Known, piece: u64, page: &str, part: &PartOutcome, times: u64) {
        if known.services.len() < MANY || known.services.contains_key(&part.nanoservice) {
            let service = known.services.entry(Arc::clone(&part.nanoservice)).or_default();
            let count = service.window.now(piece);
            count.parts += times;
            count.looked_up += if part.cache.is_some() { times } else { 0 };
            count.hits += if part.cache == Some(Cache::Hit) { times } else { 0 };
            count.degraded += if is_degraded(part.shown, part.reason) { times } else { 0 };
            // What readers of some kind are not shown says nothing of the service.
            if part.reason != Some(Reason::Condition) {
                service.latest = Some((part.shown, part.reason));
            }
        }
        if let Some(reason) = part.reason.filter(|_| is_degraded(part.shown, part.reason)) {
            self.trouble(known, &part.nanoservice, reason, None, Some(page));
        }
    }
}

fn merge(all: &mut DDSketch, other: &DDSketch) {
    // All have one configuration.
    let _merged = all.merge(other);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which requests this thread counts among.
fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % APART);
    MINE.with(|mine| *mine)
}

impl Latency {
    fn of(took: &DDSketch) -> Self {
        let quantile = |share| took.quantile(share).ok().flatten().map(|seconds: f64| (seconds * 1e5).round() / 1e2);
        Self { p50_ms: quantile(0.5), p95_ms: quantile(0.95), p99_ms: quantile(0.99) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
fn per(count: u64, seconds: f64) -> f64 {
    (count as f64 / seconds * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (count as f64 / of as f64 * 1e4).round() / 1e4 }
}

impl Observer for Statistics {
    fn in_flight(&self, _: &str, _: bool) {}

    fn circuit_changed(&self, upstream: &str, circuit: Circuit) {
        let mut known = self.known();
        if known.circuits.len() < MANY || known.circuits.contains_key(upstream) {
            known.circuits.insert(upstream.to_owned(), circuit);
        }
    }

    fn page_composed(&self, page: &Page) {
        let (piece, _) = self.now();
        let pattern = page.plan.visit.pattern.as_str();
        let mut known = self.known();
        let cache = |outcome: &Outcome| outcome.timing.as_ref().map(|course| course.cache);
        let degraded = page.known().any(|(_, outcome)| is_degraded(outcome.shown, outcome.reason));
        *known.degraded.now(piece) += u64::from(degraded);
        if known.pages.len() < MANY || known.pages.contains_key(pattern) {
            let count = known.pages.entry(pattern.to_owned()).or_default().now(piece);
            count.composed += 1;
            let is_kept = |outcome: &Outcome| matches!(cache(outcome), None | Some(Cache::Hit | Cache::Stale));
            count.kept += u64::from(page.known().all(|(_, outcome)| is_kept(outcome)));
            count.degraded += u64::from(degraded);
        }
        for (hole, outcome) in page.known() {
            self.part(&mut known, piece, pattern, &PartOutcome::of(&page.plan, hole, outcome), 1);
        }
    }

    fn cached_page_served(&self, again: &CachedPageCounts<'_>) {
        let (piece, _) = self.now();
        let mut known = self.known();
        if let Some(window) = known.pages.get_mut(again.page) {
            let count = window.now(piece);
            count.composed += again.times;
            count.kept += again.without_fetch;
        }
        for (part, times) in again.parts {
            self.part(&mut known, piece, again.page, part, *times);
        }
    }

    fn responded(&self, page: Option<&str>, status: StatusCode, took: Duration, times: u64) {
        let Some(page) = page else { return };
        let (piece, _) = self.now();
        let mut requests = lock(&self.requests[mine()]);
        requests.total.now(piece).add(status, took, times);
        let room = requests.pages.len() < MANY;
        let window = match requests.pages.get_mut(page) {
            Some(window) => window,
            None if room => requests.pages.entry(page.to_owned()).or_default(),
            None => return,
        };
        window.now(piece).add(status, took, times);
    }

    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, sent: &Attempt) {
        let (piece, _) = self.now();
        let keep = result.ok().map(|answer| CachingReason::of(answer, fetch));
        let mut known = self.known();
        if known.services.len() >= MANY && !known.services.contains_key(&fetch.nanoservice) {
            return;
        }
        let service = known.services.entry(Arc::clone(&fetch.nanoservice)).or_default();
        let count = service.window.now(piece);
        count.fetches += 1;
        count.took.add(sent.ended.saturating_duration_since(sent.began).as_secs_f64());
        match result {
            Ok(answer) => {
                service.keep = keep;
                count.bytes += answer.content.length() as u64;
                if let Content::Fragment(_) | Content::Asset(..) = &answer.content {
                    service.digest = Some(answer.digest);
                }
            }
            Err(failure) => {
                count.failures += 1;
                self.trouble(&mut known, &fetch.nanoservice, failure.reason, Some(&failure.detail), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    struct Epoch;

    impl Clock for Epoch {
        fn wall(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_is_counted_and_then_forgotten() {
        let board = Statistics::new(Arc::new(Epoch));
        for ms in 1..=100 {
            board.responded(Some("/"), StatusCode::OK, Duration::from_millis(ms), 1);
        }
        board.responded(Some("/"), StatusCode::BAD_GATEWAY, Duration::from_millis(50), 1);
        board.responded(None, StatusCode::NOT_FOUND, Duration::from_millis(50), 1);
        advance(Duration::from_secs(10)).await;
        let seen = board.page("/");
        assert!((seen.per_second - 10.1).abs() < 0.01, "{seen:?}");
        assert!((seen.errors - 0.0099).abs() < 0.0001, "{seen:?}");
        let near = |quantile: Option<f64>, ms: f64| quantile.is_some_and(|found| (found / ms - 1.0).abs() < 0.03);
        assert!(near(seen.took.p50_ms, 50.0) && near(seen.took.p95_ms, 95.0), "{seen:?}");
        let history = board.history();
        assert_eq!((history.seconds_ago.as_slice(), history.per_second.as_slice()), (&[10, 5][..], &[20.2, 0.0][..]));
        advance(Duration::from_secs(60)).await;
        assert_eq!(board.page("/"), PageSeen::default(), "a minute is over");
        assert_eq!(board.history().per_second.iter().sum::<f64>(), 20.2, "of all together more is remembered");
        assert_eq!(board.page("/other"), PageSeen::default());
    }

    #[tokio::test(start_paused = true)]
    async fn threads_count_together() {
        let board = Arc::new(Statistics::new(Arc::new(Epoch)));
        let count =
            |board: Arc<Statistics>| move || board.responded(Some("/"), StatusCode::OK, Duration::from_millis(1), 1);
        for _ in 0..20 {
            std::thread::spawn(count(Arc::clone(&board))).join().expect("it counts");
        }
        assert!((board.page("/").per_second - 20.0).abs() < 0.01, "{:?}", board.page("/"));
    }
}
