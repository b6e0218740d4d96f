//! Pages that are asked for again and again are kept whole: one look instead of one for each part.
//! What is kept is what stitching would make now: with the first part that changes, it is no more.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, ArcSwapWeak};
use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::page::answer::Answer;
use crate::page::context::{Device, Dimension, Visit};
use crate::page::defaults::Defaults;
use crate::page::fetch::Fetch;
use crate::page::headers::{Downstream, Headers};
use crate::page::key::Key;
use crate::page::layout::Template;
use crate::page::map::Map;
use crate::page::names::Name;
use crate::page::outcome::{Outcome, Reason, Shown};
use crate::page::plan::Plan;
use crate::page::stitch::{Gathered, gathered};
use crate::page::verdict::Verdict;
use crate::page::wire;

use super::compose::{Page, Ports, Request};
use super::port::{Held, Observer, Store};

/// Pages that are remembered to have been asked for once.
const ONCE: usize = 1 << 14;
/// The longest that a page is kept whole, be it without any part.
const LONGEST: Duration = Duration::from_hours(1);
/// How often the parts of a page that is sent are looked up, in milliseconds.
const TOUCH: u64 = 250;
/// Bytes that one part of a kept page costs beside the page's bytes: its key, its name, its place in a table.
const PART: usize = 200;
/// Bytes that a kept page costs beside all that.
const PAGE: usize = 2_500;

/// A page that is kept whole.
#[derive(Debug)]
pub struct Whole {
    /// Its bytes, in order, in few pieces.
    pub chunks: Arc<[Bytes]>,
    /// What it says of itself.
    pub headers: Headers,
    /// What it varies on.
    pub dimensions: Vec<Dimension>,
    key: Key,
    /// What was last said of it, in each form and as it is.
    said: [ArcSwapOption<Said>; 4],
    forms: [OnceLock<Option<Arc<[Bytes]>>>; 3],
    /// Which of them are made or being made, as bits.
    begun: AtomicU8,
    /// From when until when conditions of time are what they are, where it has any.
    hours: Option<(Timestamp, Timestamp)>,
    /// From when until when its parts are what they are.
    since: Instant,
    until: Instant,
    /// How long after that its parts were last looked up, in milliseconds.
    touched: AtomicU64,
    // Their addresses are in its key, and stay theirs for as long as it is there.
    _made_from: (Arc<Template>, Arc<Defaults>),
    counted: Counted,
    parts: Vec<Key>,
    number: u64,
    table: Arc<Table>,
}

/// What is said of a page for as long as its `Cache-Control` stays the same.
#[derive(Debug)]
pub struct Said {
    seconds: Option<(u64, u64)>,
    /// Whoever asks.
    pub headers: HeaderMap,
    /// The same with status 200 and its length, as HTTP/1.1 writes it.
    pub head: Vec<u8>,
}

/// A form of a page with fewer bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Whole {
    /// All that is said of it in some form now. What is `added` is the same whoever asks.
    pub fn said(&self, form: Option<Form>, now: Instant, added: impl FnOnce(&mut HeaderMap)) -> Arc<Said> {
        let last = &self.said[form.map_or(0, |form| 1 + form as usize)];
        let seconds = self.headers.downstream.seconds(now);
        if let Some(said) = last.load_full().filter(|said| said.seconds == seconds) {
            return said;
        }
        let mut headers = self.headers.at(now);
        added(&mut headers);
        let chunks = form.and_then(|form| self.form(form)?).unwrap_or_else(|| Arc::clone(&self.chunks));
        let head = wire::head(StatusCode::OK, &headers, Some(chunks.iter().map(Bytes::len).sum()));
        let said = Arc::new(Said { seconds, headers, head });
        last.store(Some(Arc::clone(&said)));
        said
    }

    /// Whether it is time to look its parts up.
    fn is_to_touch(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since).as_millis();
        let age = u64::try_from(age).unwrap_or(u64::MAX);
        let touched = self.touched.load(Ordering::Relaxed);
        let is_time = age.saturating_sub(touched) >= TOUCH;
        is_time && self.touched.compare_exchange(touched, age, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It is sent once more.
    pub fn sent(&self) {
        self.counted.times.fetch_add(1, Ordering::Relaxed);
    }

    /// It was sent once more, or found to be known, this long after it was asked for.
    pub fn answered(&self, known: bool, took: Duration) {
        self.sent();
        let all = if known { &self.counted.known } else { &self.counted.answered };
        all[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// The page in a form; the inner `None` where that is of no use.
    #[must_use]
    pub fn form(&self, form: Form) -> Option<Option<Arc<[Bytes]>>> {
        self.forms[form as usize].get().cloned()
    }

    /// Whether a form is to be made by who asks now.
    #[must_use]
    pub fn begin(&self, form: Form) -> bool {
        let bit = 1 << form as u8;
        self.begun.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What metrics call it.
    pub fragment: Name,
    /// The nanoservice that fills it.
    pub service: Name,
    /// What stands in its place.
    pub shown: Shown,
    /// Why.
    pub reason: Option<Reason>,
}

impl Part {
    /// What became of a hole of a plan.
    #[must_use]
    pub fn of(plan: &Plan, hole: usize, outcome: &Outcome) -> Self {
        let (fragment, service) = (plan.holes[hole].label(), plan.service_name(hole));
        Self { fragment, service, shown: outcome.shown, reason: outcome.reason }
    }
}

/// How often a page was sent since that was last told. So there is no lock that all requests wait for.
struct Counted {
    times: AtomicU64,
    /// How often with a body, by how long that took, and how often with 304.
    answered: Buckets,
    known: Buckets,
    page: String,
    parts: Vec<Part>,
    observer: Arc<dyn Observer>,
}

impl std::fmt::Debug for Counted {
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

impl Counted {
    fn tell(&self) {
        let times = self.times.swap(0, Ordering::Relaxed);
        if times == 0 {
            return;
        }
        self.observer.composed_again(&self.page, &self.parts, times);
        for (status, counts) in [(StatusCode::OK, &self.answered), (StatusCode::NOT_MODIFIED, &self.known)] {
            for (bucket, count) in counts.iter().enumerate() {
                let times = u64::from(count.swap(0, Ordering::Relaxed));
                if times > 0 {
                    self.observer.answered(Some(&self.page), status, middle(bucket), times);
                }
            }
        }
    }
}

/// The place of a page in the store. It is empty from the moment on at which a part of it changes.
#[derive(Debug)]
pub struct Place {
    whole: ArcSwapOption<Whole>,
    size: AtomicUsize,
}

impl Place {
    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }
}

/// Which pages hold which part: their numbers and places.
type Holding = Map<Key, Vec<(u64, Weak<Place>)>>;

/// The same, for all.
#[derive(Debug, Default)]
struct Table(Mutex<Holding>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, Holding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.counted.tell();
        let mut table = self.table.lock();
        for part in &self.parts {
            if let Some(pages) = table.get_mut(part) {
                pages.retain(|(number, _)| *number != self.number);
                if pages.is_empty() {
                    table.remove(part);
                }
            }
        }
    }
}

/// Places of a front, which has one for each of many hashes.
const FRONT: usize = 1 << 12;

/// The pages that are kept whole.
pub(super) struct Hot {
    /// Where pages were found last, by their keys' hashes: the store keeps count of each look, which takes longer than all
    /// else. It keeps none alive.
    front: Box<[ArcSwapWeak<Place>]>,
    table: Arc<Table>,
    /// Hashes of pages that were asked for once. One takes the place of another.
    once: Box<[AtomicU64]>,
    hasher: RandomState,
    next: AtomicU64,
    /// All of them, to be told of.
    all: Mutex<Vec<Weak<Whole>>>,
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            front: (0..FRONT).map(|_| ArcSwapWeak::default()).collect(),
            table: Arc::default(),
            once: (0..ONCE).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            next: AtomicU64::new(0),
            all: Mutex::default(),
        }
    }
}

/// A page that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What tells it from others.
    pub(super) key: Key,
    /// Before its plan was made.
    pub(super) began: Instant,
    /// The time that conditions are judged at.
    pub(super) at: Timestamp,
}

impl Asked {
    pub(super) fn new(request: &Request, began: Instant) -> Self {
        Self { key: key(request), began, at: request.at }
    }
}

/// What tells one page from another: all that it is planned from, but for the time.
fn key(request: &Request) -> Key {
    // Their addresses: what is live is made anew as a whole when something of it changes.
    let template = (Arc::as_ptr(&request.template) as usize).to_le_bytes();
    let defaults = (Arc::as_ptr(&request.defaults) as usize).to_le_bytes();
    let Visit { pattern, parameters, reader, host } = &request.visit;
    let fixed: [&[u8]; 4] = [b"page", &template, &defaults, pattern.as_bytes()];
    let parameters = parameters.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let known = [
        ("device", reader.device.map(Device::as_str)),
        ("region", reader.region.as_deref()),
        ("locale", reader.locale.as_deref()),
    ];
    let known = known.into_iter().filter_map(|(what, value)| Some([what.as_bytes(), value?.as_bytes()])).flatten();
    let pairs = [("variant", &reader.variants), ("cookie", &reader.cookies)];
    let pairs = pairs.into_iter().flat_map(|(what, pairs)| {
        pairs.iter().flat_map(move |(name, value)| [what.as_bytes(), name.as_bytes(), value.as_bytes()])
    });
    let headers = reader.headers.iter();
    let headers = headers.flat_map(|(name, value)| [b"header", name.as_str().as_bytes(), value.as_bytes()]);
    let context = std::iter::once(host.as_bytes()).chain(known).chain(pairs).chain(headers);
    Key::new(fixed.into_iter().chain(parameters), context)
}

impl Hot {
    /// The page that is kept under a key.
    pub(super) fn get(&self, store: &dyn Store, asked: &Asked) -> Option<Arc<Whole>> {
        let is_it = |whole: &Arc<Whole>| {
            // By the time of day: clocks are set, and machines sleep.
            let is_its_hour = whole.hours.is_none_or(|(from, until)| asked.at >= from && asked.at < until);
            asked.began < whole.until && is_its_hour && whole.key == asked.key
        };
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let front = &self.front[asked.key.hashed() as usize % FRONT];
        let whole = front.load().upgrade().and_then(|place| place.whole.load_full()).filter(is_it);
        let whole = match whole {
            Some(whole) => whole,
            None => {
                let Some(Held::Page(place)) = store.get(&asked.key) else { return None };
                front.store(Arc::downgrade(&place));
                place.whole.load_full().filter(is_it)?
            }
        };
        if whole.is_to_touch(asked.began) {
            // Else it and its parts would look as if nobody wanted them, and be the first to go.
            for key in whole.parts.iter().chain([&whole.key]) {
                let _touched = store.get(key);
            }
        }
        Some(whole)
    }

    /// Keeps a page, where it was asked for before, and all its parts are kept and anybody's.
    pub(super) fn offer(&self, ports: &Ports, Asked { key, began, at }: &Asked, page: &Page) {
        let (store, began) = (&ports.store, *began);
        let anybodys = matches!(page.headers.downstream, Downstream::For(_) | Downstream::Asked);
        let is_page = page.verdict == Verdict::Page(StatusCode::OK) && !page.headers.lasting.contains_key(SET_COOKIE);
        if !anybodys || !is_page || !self.was_asked(key) {
            return;
        }
        let changes = page.plan.changes_in.map(|left| began + left);
        let hours = page.plan.changes_in.and_then(|left| Some((*at, at.checked_add(left).ok()?)));
        let parts = page.outcomes.iter().enumerate().filter_map(|(hole, outcome)| Some((hole, outcome.as_ref()?)));
        let asked = || parts.clone().filter(|(_, outcome)| outcome.reason != Some(Reason::Condition));
        let longest = [Some(began + LONGEST), changes].into_iter().flatten().map(Some);
        // `None` is less than any: a part that is not kept.
        let Some(until) = asked().map(|(_, outcome)| outcome.steady_until).chain(longest).min().flatten() else {
            return;
        };
        let useful = until.saturating_duration_since(began);
        if useful.is_zero() {
            return;
        }
        let held: Vec<_> =
            asked().filter_map(|(hole, part)| Some((page.plan.of(hole)?, part.answer.as_ref()?))).collect();
        let Gathered { pieces: chunks, copied } = gathered(&page.chunks);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // What is said of it is kept with each form.
        let said: usize = page.headers.lasting.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let size = copied + PAGE + 4 * said + PART * page.plan.holes.len() + key.as_bytes().len();
        let whole = Arc::new(Whole {
            chunks: chunks.into(),
            key: key.clone(),
            said: Default::default(),
            forms: Default::default(),
            begun: AtomicU8::new(0),
            headers: page.headers.clone(),
            dimensions: page.plan.dimensions.clone(),
            hours,
            since: began,
            until,
            touched: AtomicU64::new(0),
            _made_from: (Arc::clone(&page.plan.template), Arc::clone(page.plan.defaults())),
            counted: Counted {
                times: AtomicU64::new(0),
                answered: std::array::from_fn(|_| AtomicU32::new(0)),
                known: std::array::from_fn(|_| AtomicU32::new(0)),
                page: page.plan.visit.pattern.clone(),
                parts: parts.clone().map(|(hole, outcome)| Part::of(&page.plan, hole, outcome)).collect(),
                observer: Arc::clone(&ports.observer),
            },
            parts: held.iter().map(|(fetch, _)| fetch.key.clone()).collect(),
            number,
            table: Arc::clone(&self.table),
        });
        let place =
            Arc::new(Place { whole: ArcSwapOption::from(Some(Arc::clone(&whole))), size: AtomicUsize::new(size) });
        {
            let mut table = self.table.lock();
            for part in &whole.parts {
                table.entry(part.clone()).or_default().push((number, Arc::downgrade(&place)));
            }
        }
        // What changed before this moment is seen here, and what changes after it is told to the place.
        let is_same = |(fetch, answer): &(&Arc<Fetch>, &Arc<Answer>)| {
            matches!(store.get(&fetch.key), Some(Held::Answer(stored))
                if Arc::ptr_eq(&stored.answer, answer) && stored.kept.softened.is_none())
        };
        if held.iter().all(is_same) {
            self.note(&whole);
            store.put(key, Held::Page(place), useful);
        }
    }

    /// Keeps a form of a page; `None`: it is of no use.
    pub(super) fn keep(&self, store: &dyn Store, whole: &Arc<Whole>, form: Form, made: Option<Bytes>) {
        let size = made.as_ref().map_or(0, Bytes::len);
        if whole.forms[form as usize].set(made.map(|made| Arc::from([made]))).is_err() || size == 0 {
            return;
        }
        // It is put there anew, to be weighed anew.
        if let Some(Held::Page(place)) = store.get(&whole.key)
            && place.whole.load().as_ref().is_some_and(|there| Arc::ptr_eq(there, whole))
        {
            place.size.fetch_add(size, Ordering::Relaxed);
            store.put(&whole.key, Held::Page(place), whole.until.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether a page was asked for not long ago; it is remembered that it was.
    fn was_asked(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let once = &self.once[hash as usize % ONCE];
        once.swap(hash, Ordering::Relaxed) == hash
    }

    /// An answer is another now, or none: pages that hold it are no more.
    pub(super) fn changed(&self, key: &Key) {
        let Some(places) = self.table.lock().remove(key) else { return };
        for place in places.iter().filter_map(|(_, place)| place.upgrade()) {
            drop(place.whole.swap(None));
        }
    }

    fn note(&self, whole: &Arc<Whole>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|whole| whole.strong_count() > 0);
        }
        all.push(Arc::downgrade(whole));
    }

    /// Forgets all pages: what is live is another now, and nobody can ask for them.
    pub(super) fn clear(&self, store: &dyn Store) {
        let all = std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner));
        for whole in all.iter().filter_map(Weak::upgrade) {
            store.remove(&whole.key);
        }
    }

    /// Tells how often pages were sent since the last time.
    pub(super) fn tell(&self) {
        let all: Vec<_> = {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|whole| whole.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        all.iter().for_each(|whole| whole.counted.tell());
    }
}
