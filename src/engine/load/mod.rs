//! Load runs: requests that carry the token of the current run are recorded, so that `pasteup load` can name the part that
//! clients waited for. Nothing else about them is different.
//! There is one run at a time; a new one forgets what was recorded before.

mod recorder;

pub mod blame;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use crate::page::layout::FragmentUse;
use crate::page::output::waterfall::{Bar, PageKind};
use crate::page::plan::{Outcomes, Plan};
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Cache, LookupTiming, Shown};

use recorder::Recorder;

pub use recorder::{PageReport, PartReport, RunReport, SampledWaterfall, trace_hash};

/// A run whose token nobody has used for so many calls of [`LoadRuns::tick`], which are a second apart, has ended: an hour.
const IDLE_TICKS: u64 = 3600;

/// The load runs of a compositor: none, or the current one.
pub struct LoadRuns {
    /// Whether the token of the current run is accepted. Read for every request, so it is one flag.
    is_live: AtomicBool,
    current: ArcSwapOption<LoadRun>,
    /// How many of the slowest records of each page are kept.
    slowest: usize,
    /// How many ticks have passed without a recorded request, and the number of requests at the last one.
    idle: AtomicU64,
    seen: AtomicU64,
}

/// One load run.
pub struct LoadRun {
    /// Identifies it.
    pub id: String,
    /// What its requests carry. It cannot be guessed.
    pub token: String,
    /// When it began.
    pub started: Timestamp,
    recorder: Mutex<Recorder>,
}

/// A request of a load run whose page is not cached as a whole.
pub struct MeasuredRequest {
    run: Arc<LoadRun>,
    /// Path and query as they were requested.
    target: String,
    trace: u128,
    began: Instant,
    state: Mutex<Progress>,
}

/// What is known of a measured request.
enum Progress {
    /// Neither its parts nor its response.
    Begun,
    /// Its parts; its response is not ready.
    Composed(Vec<Bar>, PageKind),
    /// Its response, whose body is being streamed: the last part is not known.
    Answered,
    /// All of it.
    Recorded,
}

impl LoadRuns {
    /// No run, with room for so many of the slowest records of each page.
    #[must_use]
    pub fn new(slowest: usize) -> Self {
        Self {
            is_live: AtomicBool::new(false),
            current: ArcSwapOption::empty(),
            slowest,
            idle: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        }
    }

    /// Begins a run, and forgets the one before.
    pub fn begin(&self, id: String, token: String, started: Timestamp) {
        let recorder = Mutex::new(Recorder::new(self.slowest));
        self.current.store(Some(Arc::new(LoadRun { id, token, started, recorder })));
        self.idle.store(0, Ordering::Relaxed);
        self.is_live.store(true, Ordering::Release);
    }

    /// The run whose token is accepted at present; `None` nearly always.
    #[must_use]
    pub fn live(&self) -> Option<Arc<LoadRun>> {
        if self.is_live.load(Ordering::Acquire) { self.current.load_full() } else { None }
    }

    /// What was recorded for a run. `None`: it is not the current one.
    #[must_use]
    pub fn report(&self, id: &str) -> Option<RunReport> {
        let run = self.current.load_full().filter(|run| run.id == id)?;
        let recorder = run.recorder();
        Some(recorder.report(run.id.clone(), run.started))
    }

    /// Called about once a second: ends a run whose token has not been used for an hour. What it recorded is kept.
    pub fn tick(&self) {
        let Some(run) = self.live() else { return };
        let requests = run.recorder().requests();
        if self.seen.swap(requests, Ordering::Relaxed) != requests {
            self.idle.store(0, Ordering::Relaxed);
        } else if self.idle.fetch_add(1, Ordering::Relaxed) >= IDLE_TICKS {
            self.is_live.store(false, Ordering::Release);
        }
    }
}

impl LoadRun {
    /// Records a page that was cached as a whole. `target`: path and query as they were requested.
    pub fn cached(&self, target: &str, trace: u128, took: Duration, kind: PageKind) {
        self.recorder().record(target, trace, took, kind, None);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MeasuredRequest {
    /// A request that arrived at `began`.
    #[must_use]
    pub fn new(run: Arc<LoadRun>, target: &str, trace: u128, began: Instant) -> Self {
        Self { run, target: target.to_owned(), trace, began, state: Mutex::new(Progress::Begun) }
    }

    /// All parts are known of the page that was planned at `planned`.
    pub fn composed(&self, plan: &Plan, outcomes: &Outcomes, planned: Instant) {
        let bars = self.run.recorder().bars(&self.target, plan, outcomes, planned);
        self.parts(bars, PageKind::of(outcomes));
    }

    /// The holes of a skeleton, each a fragment with its fetch, are filled.
    pub(super) fn personalised<'a>(
        &self,
        holes: impl Iterator<Item = (&'a FragmentUse, &'a Fetch, &'a LookupTiming)>,
        began: Instant,
    ) {
        let mut is_hit = true;
        let mut recorder = self.run.recorder();
        let bars = holes.map(|(fragment, fetch, timing)| {
            is_hit &= timing.cache == Cache::Hit;
            let name = recorder.name(&self.target, &fragment.id, &fetch.nanoservice, &fragment.at);
            Bar::of(name, timing, Shown::Fresh, began)
        });
        let bars = bars.collect();
        drop(recorder);
        self.parts(bars, PageKind { is_hit, ..PageKind::HIT });
    }

    /// The response is ready, or its head, if the body is streamed.
    pub fn answered(&self) {
        let mut state = self.state();
        match std::mem::replace(&mut *state, Progress::Recorded) {
            Progress::Begun => *state = Progress::Answered,
            Progress::Composed(bars, kind) => self.record(bars, kind),
            Progress::Answered | Progress::Recorded => {}
        }
    }

    fn parts(&self, bars: Vec<Bar>, kind: PageKind) {
        let mut state = self.state();
        match std::mem::replace(&mut *state, Progress::Recorded) {
            Progress::Begun | Progress::Composed(..) => *state = Progress::Composed(bars, kind),
            Progress::Answered => self.record(bars, kind),
            // The site's own page for an error follows the page that failed.
            Progress::Recorded => {}
        }
    }

    fn record(&self, bars: Vec<Bar>, kind: PageKind) {
        // By the engine's clock, which tests can pause.
        let took = tokio::time::Instant::now().into_std().saturating_duration_since(self.began);
        self.run.recorder().record(&self.target, self.trace, took, kind, Some(bars));
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MeasuredRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeasuredRequest").field("target", &self.target).finish_non_exhaustive()
    }
}

impl PartialEq for MeasuredRequest {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for MeasuredRequest {}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(runs: &LoadRuns, id: &str) -> Arc<LoadRun> {
        runs.begin(id.to_owned(), "token".to_owned(), Timestamp::UNIX_EPOCH);
        runs.live().expect("it has just begun")
    }

    #[test]
    fn a_new_run_forgets_the_one_before() {
        let runs = LoadRuns::new(10);
        assert!(runs.live().is_none() && runs.report("a").is_none());
        run_of(&runs, "a").cached("/", 1, Duration::from_millis(1), PageKind::HIT);
        assert_eq!(runs.report("a").expect("it is current").requests, 1);
        run_of(&runs, "b");
        assert!(runs.report("a").is_none(), "it is forgotten");
        assert_eq!(runs.report("b").expect("it is current").requests, 0);
    }

    #[test]
    fn a_run_that_nobody_uses_ends_after_an_hour_and_its_records_stay() {
        let runs = LoadRuns::new(10);
        let run = run_of(&runs, "a");
        for second in 0..IDLE_TICKS {
            if second == 100 {
                run.cached("/", 1, Duration::from_millis(1), PageKind::HIT);
            }
            runs.tick();
        }
        assert!(runs.live().is_some(), "it was used within the last hour");
        (0..=200).for_each(|_| runs.tick());
        assert!(runs.live().is_none());
        assert_eq!(runs.report("a").expect("it is still the current one").requests, 1);
    }

    #[test]
    fn a_streamed_page_is_recorded_once_its_last_part_is_known() {
        let runs = LoadRuns::new(10);
        let request = MeasuredRequest::new(run_of(&runs, "a"), "/", 7, Instant::now());
        let requests = || runs.report("a").expect("it is current").requests;
        request.answered();
        assert_eq!(requests(), 0);
        request.parts(Vec::new(), PageKind::HIT);
        request.parts(Vec::new(), PageKind::HIT);
        request.answered();
        assert_eq!(requests(), 1);
    }

    #[test]
    fn a_whole_page_is_recorded_once_its_response_is_ready() {
        let runs = LoadRuns::new(10);
        let request = MeasuredRequest::new(run_of(&runs, "a"), "/", 7, Instant::now());
        let requests = || runs.report("a").expect("it is current").requests;
        request.parts(Vec::new(), PageKind::HIT);
        assert_eq!(requests(), 0);
        request.answered();
        assert_eq!(requests(), 1);
    }
}
