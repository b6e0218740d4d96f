//! What is kept of a load run: per page its counts, its slowest records and a histogram per part, and a uniform sample of all
//! requests. Its memory does not grow with the number of requests.
//! Beyond [`MAX_PAGES`] pages, the others share one entry.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::page::output::waterfall::{self, Bar, PageKind, PartName, PartNames, Waterfall, milliseconds};
use crate::page::plan::{Outcomes, Plan};
use crate::page::source::diagnostic::SourceSpan;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

/// Maximum number of pages that are told apart.
const MAX_PAGES: usize = 500;
/// What the pages beyond that are called.
const OTHER_PAGES: &str = "other pages";
/// The number of requests in the uniform sample.
const SAMPLE: usize = 2_000;

/// What was recorded so far.
pub(super) struct Recorder {
    slowest: usize,
    known: Map<Box<str>, usize>,
    pages: Vec<PageLog>,
    /// The page of the last request. The next one is often for the same.
    last: usize,
    /// The requests whose traces have the lowest hashes: a uniform sample, which a client can draw too, since it knows the
    /// traces. The highest hash is at the top.
    sample: BinaryHeap<Ranked<u64>>,
    requests: u64,
}

/// What was recorded of one page.
struct PageLog {
    path: Box<str>,
    requests: u64,
    hits: u64,
    stale: u64,
    fallbacks: u64,
    /// The slowest requests; the fastest of them is at the top.
    slowest: BinaryHeap<Ranked<std::cmp::Reverse<u64>>>,
    names: PartNames,
    /// How long each part took, in microseconds, by the index of its name.
    parts: Vec<Histogram<u32>>,
}

/// A waterfall with what decides whether it is kept.
struct Ranked<R> {
    rank: R,
    page: usize,
    waterfall: Arc<Waterfall>,
}

/// What was recorded of a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// How many requests were recorded.
    pub requests: u64,
    /// Each page.
    pub pages: Vec<PageReport>,
    /// A uniform sample of all requests.
    pub sample: Vec<SampledWaterfall>,
}

/// What was recorded of one page.
#[derive(Debug, Serialize, Deserialize)]
pub struct PageReport {
    /// Path and query as they were requested.
    pub path: String,
    /// How many requests were recorded.
    pub requests: u64,
    /// For how many every part was fresh and in memory.
    pub hits: u64,
    /// How many had a stale part.
    pub stale: u64,
    /// How many had a part that showed its fallback, or nothing, because something went wrong.
    pub fallbacks: u64,
    /// Its parts, to which the bars of its waterfalls refer by their index.
    pub parts: Vec<PartReport>,
    /// Its slowest requests, the slowest first.
    pub slowest: Vec<Waterfall>,
}

/// What was recorded of one part of a page.
#[derive(Debug, Serialize, Deserialize)]
pub struct PartReport {
    /// What names it.
    #[serde(flatten)]
    pub name: PartName,
    /// How often it was looked up.
    pub lookups: u64,
    /// How long that took.
    pub p50_ms: f64,
    /// How long that took.
    pub p99_ms: f64,
    /// How long that took.
    pub max_ms: f64,
}

/// A request of the uniform sample.
#[derive(Debug, Serialize, Deserialize)]
pub struct SampledWaterfall {
    /// The page, as an index of the pages.
    pub page: usize,
    /// What happened.
    #[serde(flatten)]
    pub waterfall: Waterfall,
}

impl<R: Ord> PartialEq for Ranked<R> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<R: Ord> Eq for Ranked<R> {}

impl<R: Ord> PartialOrd for Ranked<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord> Ord for Ranked<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// Whether a waterfall of this rank is among the `most` that are kept: those that rank lowest.
fn is_kept<R: Ord>(kept: &BinaryHeap<Ranked<R>>, most: usize, rank: &R) -> bool {
    kept.len() < most || kept.peek().is_some_and(|worst| *rank < worst.rank)
}

fn keep<R: Ord>(kept: &mut BinaryHeap<Ranked<R>>, most: usize, one: Ranked<R>) {
    kept.push(one);
    if kept.len() > most {
        kept.pop();
    }
}

/// The hash of a trace, by which the sample is drawn. Clients choose the ids of their traces, so they are mixed.
#[must_use]
pub fn trace_hash(trace: u128) -> u64 {
    let bytes = trace.to_le_bytes();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

impl Recorder {
    pub(super) fn new(slowest: usize) -> Self {
        Self { slowest, known: Map::default(), pages: Vec::new(), last: 0, sample: BinaryHeap::new(), requests: 0 }
    }

    pub(super) const fn requests(&self) -> u64 {
        self.requests
    }

    /// The bars of a page that was planned at `planned`.
    pub(super) fn bars(&mut self, target: &str, plan: &Plan, outcomes: &Outcomes, planned: Instant) -> Vec<Bar> {
        let page = self.page(target);
        waterfall::bars(plan, outcomes, planned, &mut self.pages[page].names)
    }

    /// The index of a part's name.
    pub(super) fn name(&mut self, target: &str, id: &Name, nanoservice: &Name, at: &SourceSpan) -> usize {
        let page = self.page(target);
        self.pages[page].names.index(id, nanoservice, at)
    }

    /// Records a request. `bars`: its parts; `None` if its page was cached as a whole.
    pub(super) fn record(&mut self, target: &str, trace: u128, took: Duration, kind: PageKind, bars: Option<Vec<Bar>>) {
        let index = self.page(target);
        let page = &mut self.pages[index];
        self.requests += 1;
        page.requests += 1;
        page.hits += u64::from(kind.is_hit);
        page.stale += u64::from(kind.is_stale);
        page.fallbacks += u64::from(kind.is_fallback);
        for bar in bars.iter().flatten() {
            page.count(bar);
        }
        let nanoseconds = std::cmp::Reverse(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        let hash = trace_hash(trace);
        let is_slow = is_kept(&page.slowest, self.slowest, &nanoseconds);
        let is_sampled = is_kept(&self.sample, SAMPLE, &hash);
        if !is_slow && !is_sampled {
            return;
        }
        let waterfall = Waterfall { trace, took_ms: milliseconds(took), bars: bars.unwrap_or_default() };
        let waterfall = Arc::new(waterfall);
        if is_slow {
            let one = Ranked { rank: nanoseconds, page: index, waterfall: Arc::clone(&waterfall) };
            keep(&mut page.slowest, self.slowest, one);
        }
        if is_sampled {
            keep(&mut self.sample, SAMPLE, Ranked { rank: hash, page: index, waterfall });
        }
    }

    pub(super) fn report(&self, run: String, started: Timestamp) -> RunReport {
        let sample =
            self.sample.iter().map(|one| SampledWaterfall { page: one.page, waterfall: (*one.waterfall).clone() });
        RunReport {
            run,
            started,
            requests: self.requests,
            pages: self.pages.iter().map(PageLog::report).collect(),
            sample: sample.collect(),
        }
    }

    /// The index of a page.
    fn page(&mut self, target: &str) -> usize {
        if self.pages.get(self.last).is_none_or(|page| *page.path != *target) {
            self.last = self.other_page(target);
        }
        self.last
    }

    fn other_page(&mut self, target: &str) -> usize {
        if let Some(index) = self.known.get(target) {
            return *index;
        }
        let path = if self.pages.len() < MAX_PAGES { target } else { OTHER_PAGES };
        if let Some(index) = self.known.get(path) {
            return *index;
        }
        self.known.insert(path.into(), self.pages.len());
        self.pages.push(PageLog::new(path));
        self.pages.len() - 1
    }
}

impl PageLog {
    fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            requests: 0,
            hits: 0,
            stale: 0,
            fallbacks: 0,
            slowest: BinaryHeap::new(),
            names: PartNames::default(),
            parts: Vec::new(),
        }
    }

    fn count(&mut self, bar: &Bar) {
        while self.parts.len() <= bar.part {
            let histogram = Histogram::new(2).expect("two significant digits are allowed");
            self.parts.push(histogram);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float that is too large saturates"
        )]
        let microseconds = ((bar.end_ms - bar.start_ms) * 1e3) as u64;
        // It grows as it has to.
        let _recorded = self.parts[bar.part].record(microseconds);
    }

    fn report(&self) -> PageReport {
        let mut slowest: Vec<Waterfall> = self.slowest.iter().map(|one| (*one.waterfall).clone()).collect();
        slowest.sort_by(|a, b| b.took_ms.total_cmp(&a.took_ms));
        let part = |(name, took): (&PartName, Option<&Histogram<u32>>)| {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of a request fit")]
            let ms = |microseconds: u64| microseconds as f64 / 1e3;
            let quantile = |quantile: f64| took.map_or(0.0, |took| ms(took.value_at_quantile(quantile)));
            PartReport {
                name: name.clone(),
                lookups: took.map_or(0, Histogram::len),
                p50_ms: quantile(0.5),
                p99_ms: quantile(0.99),
                max_ms: took.map_or(0.0, |took| ms(took.max())),
            }
        };
        let names = self.names.all.iter().enumerate().map(|(index, name)| (name, self.parts.get(index)));
        PageReport {
            path: self.path.to_string(),
            requests: self.requests,
            hits: self.hits,
            stale: self.stale,
            fallbacks: self.fallbacks,
            parts: names.map(part).collect(),
            slowest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(slowest: usize, requests: impl Iterator<Item = (String, u64)>) -> RunReport {
        let mut recorder = Recorder::new(slowest);
        for (trace, (path, took)) in requests.enumerate() {
            recorder.record(&path, trace as u128 + 1, Duration::from_millis(took), PageKind::HIT, None);
        }
        recorder.report("run".to_owned(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_slowest_records_of_each_page_are_kept() {
        let report = recorded(3, (0..1_000).map(|number| (format!("/{}", number % 2), number)));
        for (page, expected) in report.pages.iter().zip([[998.0, 996.0, 994.0], [999.0, 997.0, 995.0]]) {
            assert_eq!(page.slowest.iter().map(|one| one.took_ms).collect::<Vec<_>>(), expected, "{}", page.path);
            assert_eq!(page.requests, 500);
        }
    }

    #[test]
    fn the_sample_is_uniform_and_bounded() {
        let report = recorded(1, (0..100_000).map(|number| ("/".to_owned(), number / 1_000)));
        assert_eq!(report.sample.len(), SAMPLE);
        let early = report.sample.iter().filter(|one| one.waterfall.took_ms < 50.0).count();
        // Of 2,000 that are drawn with probability one half: within five standard deviations.
        assert!((888..=1_112).contains(&early), "{early} of the first half");
    }

    #[test]
    fn pages_beyond_the_maximum_share_an_entry() {
        let report = recorded(2, (0..2_000).map(|number| (format!("/{number}"), number)));
        assert_eq!(report.pages.len(), MAX_PAGES + 1);
        let others = report.pages.last().expect("there are pages");
        assert_eq!((&*others.path, others.requests), (OTHER_PAGES, 1_500));
        assert_eq!(report.requests, 2_000);
    }
}
