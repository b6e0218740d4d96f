//! Pages that are asked for again and again are kept as they were stitched: one look instead of one for each part.
//! What is kept is what stitching would make now: with the first part that changes, it is no more. A page that nobody
//! else may have is kept but for the parts that are its reader's own.

mod counted;
mod stitched;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, ArcSwapWeak};
use bytes::Bytes;
use http::StatusCode;
use http::header::{ETAG, SET_COOKIE};
use jiff::Timestamp;
use smallvec::SmallVec;

use crate::page::answer::Answer;
use crate::page::context::{Device, Dimension, Visit};
use crate::page::fetch::Fetch;
use crate::page::headers::{Downstream, OpenTag};
use crate::page::key::Key;
use crate::page::map::Map;
use crate::page::outcome::{Outcome, Reason};
use crate::page::policy::backoff::Trouble;
use crate::page::stitch::{Gathered, gathered, stitch_open};
use crate::page::verdict::Verdict;

use super::compose::{Page, Ports, Request};
use super::port::{self, Store};

use counted::Counted;
pub use counted::{Again, Part};
pub(super) use stitched::fits;
pub use stitched::{Filled, Form, Said, Stitched};
use stitched::{Gap, Gaps, Held};

/// Pages that are remembered to have been asked for once.
const ONCE: usize = 1 << 14;
/// The longest that a page is kept whole, be it without any part.
const LONGEST: Duration = Duration::from_hours(1);
/// Bytes that one part of a kept page costs beside the page's bytes: its key, its name, its place in a table.
const PART: usize = 200;
/// Fields of a reader that most keys have room for.
const FIELDS: usize = 16;
/// Bytes that a kept page costs beside all that.
const PAGE: usize = 2_500;

/// The place of a page in the store. It is empty from the moment on at which a part of it changes.
#[derive(Debug)]
pub struct Place {
    page: ArcSwapOption<Stitched>,
    size: AtomicUsize,
}

impl Place {
    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }
}

/// Which pages hold which part.
type Holding = Map<Key, Pages>;

/// Pages by their numbers, mostly one. Of a part that many pages hold each has to be found at once, as they go together.
#[derive(Debug)]
enum Pages {
    One(u64, Weak<Place>),
    Many(Map<u64, Weak<Place>>),
}

impl Pages {
    fn add(&mut self, number: u64, place: Weak<Place>) {
        match self {
            Self::One(first, one) => {
                *self = Self::Many(Map::from_iter([(*first, std::mem::take(one)), (number, place)]));
            }
            Self::Many(all) => _ = all.insert(number, place),
        }
    }

    /// Takes one out. `true`: that was the last.
    fn remove(&mut self, number: u64) -> bool {
        match self {
            Self::One(only, _) => *only == number,
            Self::Many(all) => {
                all.remove(&number);
                all.is_empty()
            }
        }
    }

    fn into_places(self) -> Vec<Weak<Place>> {
        match self {
            Self::One(_, place) => vec![place],
            Self::Many(all) => all.into_values().collect(),
        }
    }
}

/// The same, for all.
#[derive(Debug, Default)]
struct Table(Mutex<Holding>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, Holding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page does not hold these parts any more.
    fn remove<'a>(&self, parts: impl Iterator<Item = &'a Key>, number: u64) {
        let mut table = self.lock();
        for part in parts {
            if table.get_mut(part).is_some_and(|pages| pages.remove(number)) {
                table.remove(part);
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
    next: AtomicU64,
    /// All of them, to be told of.
    all: Mutex<Vec<Weak<Stitched>>>,
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            front: (0..FRONT).map(|_| ArcSwapWeak::default()).collect(),
            table: Arc::default(),
            once: (0..ONCE).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicU64::new(0),
            all: Mutex::default(),
        }
    }
}

/// A page that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What tells it from others.
    whole: Key,
    /// What tells it from others but for its personal parts, once that was asked for.
    open: Option<Key>,
    /// Before its plan was made.
    began: Instant,
    /// The time that conditions are judged at.
    at: Timestamp,
}

impl Asked {
    pub(super) fn new(request: &Request, began: Instant) -> Self {
        let Request { template, visit, defaults, .. } = request;
        let make = || key(b"page", request, &template.reads);
        let is_only = template.reads.is_empty() && !template.reads_host && visit.parameters.is_empty();
        let whole = if is_only { template.only.get(defaults, &visit.pattern, make) } else { make() };
        Self { whole, open: None, began, at: request.at }
    }
}

/// What tells one page from another: all that it is planned from, but for the time. Of the reader what these dimensions
/// tell.
fn key(kind: &[u8], request: &Request, dimensions: &[Dimension]) -> Key {
    // Their addresses: what is live is made anew as a whole when something of it changes.
    let template = (Arc::as_ptr(&request.template) as usize).to_le_bytes();
    let defaults = (Arc::as_ptr(&request.defaults) as usize).to_le_bytes();
    let Visit { pattern, parameters, reader, host } = &request.visit;
    let fixed: [&[u8]; 4] = [kind, &template, &defaults, pattern.as_bytes()];
    let parameters = parameters.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let mut context: SmallVec<[&[u8]; FIELDS]> = SmallVec::new();
    if request.template.reads_host {
        context.push(host.as_bytes());
    }
    for dimension in dimensions {
        let known = |what: &'static [u8], value: Option<&'static str>| value.map(|value| [what, value.as_bytes()]);
        match dimension {
            Dimension::Locale => context.extend(reader.locale.iter().flat_map(|locale| [b"locale", locale.as_bytes()])),
            Dimension::Region => context.extend(reader.region.iter().flat_map(|region| [b"region", region.as_bytes()])),
            Dimension::Device => {
                context.extend(known(b"device", reader.device.map(Device::as_str)).into_iter().flatten());
            }
            Dimension::Variant => {
                let all = reader.variants.iter();
                context.extend(all.flat_map(|(name, value)| [b"variant", name.as_bytes(), value.as_bytes()]));
            }
            // Its pattern is in each key.
            Dimension::Page => {}
            Dimension::Cookie(name) => {
                let all = reader.cookies.iter().filter(|(known, _)| known == name);
                context.extend(all.flat_map(|(name, value)| [b"cookie", name.as_bytes(), value.as_bytes()]));
            }
            Dimension::Header(name) => {
                let all = reader.headers.get_all(name).iter();
                context.extend(all.flat_map(|value| [b"header", name.as_bytes(), value.as_bytes()]));
            }
        }
    }
    Key::new(fixed.into_iter().chain(parameters), context)
}

impl Hot {
    /// The page that is kept for a request, whole or else `open`, where that is of use.
    pub(super) fn get(
        &self,
        store: &dyn Store,
        asked: &mut Asked,
        request: &Request,
        open: bool,
    ) -> Option<Arc<Stitched>> {
        let whole = self.look(store, &asked.whole, asked);
        whole.or_else(|| {
            if !open {
                return None;
            }
            let open = key(b"open", request, &request.template.shared);
            let page = self.look(store, &open, asked);
            asked.open = Some(open);
            page
        })
    }

    /// The page that is kept under a key.
    fn look(&self, store: &dyn Store, key: &Key, asked: &Asked) -> Option<Arc<Stitched>> {
        let is_it = |page: &Arc<Stitched>| page.is_for(key, asked);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let front = &self.front[key.hashed() as usize % FRONT];
        let page = front.load().upgrade().and_then(|place| place.page.load_full()).filter(is_it);
        let page = match page {
            Some(page) => page,
            None => {
                let Some(port::Held::Page(place)) = store.get(key) else { return None };
                front.store(Arc::downgrade(&place));
                place.page.load_full().filter(is_it)?
            }
        };
        if page.is_to_touch(asked.began) {
            // Else it and its parts would look as if nobody wanted them, and be the first to go.
            for key in page.parts.iter().map(|part| &part.fetch.key).chain([&page.key]) {
                let _touched = store.get(key);
            }
        }
        Some(page)
    }

    /// Keeps a page, where it was asked for before: whole where it is anybody's and all its parts are kept, and open where
    /// nobody else may have it.
    pub(super) fn offer(&self, ports: &Ports, asked: &Asked, page: &Page) {
        let is_page = page.verdict == Verdict::Page(StatusCode::OK) && !page.headers.lasting.contains_key(SET_COOKIE);
        let is_open = match page.headers.downstream {
            Downstream::For(_) | Downstream::Asked => false,
            Downstream::Private => true,
            Downstream::Never => return,
        };
        let Some(key) = (if is_open { asked.open.as_ref() } else { Some(&asked.whole) }) else { return };
        if !is_page || !self.was_asked(key) || self.look(&*ports.store, key, asked).is_some() {
            return;
        }
        if !is_open {
            self.put(ports, key, None, asked, page);
        } else if let Some(gaps) = gaps(page) {
            self.put(ports, key, Some(&gaps), asked, page);
        }
    }

    /// Keeps a page whole, or but for what fills these holes.
    fn put(&self, ports: &Ports, key: &Key, open: Option<&[usize]>, Asked { began, at, .. }: &Asked, page: &Page) {
        let (store, began) = (&ports.store, *began);
        let changes = page.plan.changes_in.map(|left| began + left);
        let hours = page.plan.changes_in.and_then(|left| Some((*at, at.checked_add(left).ok()?)));
        let is_open = |hole: usize| open.is_some_and(|open| open.binary_search(&hole).is_ok());
        let same = || asked(page).filter(|(hole, _)| !is_open(*hole));
        let mut until = [Some(began + LONGEST), changes].into_iter().flatten().min().unwrap_or(began);
        let (mut held, mut parts) = (Vec::new(), Vec::new());
        for (hole, outcome) in same() {
            // What is not kept, or is old, or came in just now.
            let (Some(fetch), Some(answer), Some(due), Some(fresh_until)) =
                (page.plan.of(hole), outcome.answer.as_ref(), outcome.steady_until, outcome.fresh_until)
            else {
                return;
            };
            // Then it is shown while a new one is fetched, unless that is known to fail.
            let Some(port::Held::Answer(stored)) = store.get(&fetch.key) else { return };
            let old = if stored.trouble.is_none() { answer.lifetime(fetch).while_revalidating } else { Duration::ZERO };
            until = until.min(fresh_until + old);
            held.push((fetch, answer, stored.trouble));
            parts.push(Held { fetch: Arc::clone(fetch), due });
        }
        let due = parts.iter().map(|part| part.due).min();
        let useful = until.saturating_duration_since(began);
        if useful.is_zero() {
            return;
        }
        let (chunks, copied, holes, gaps) = match open {
            Some(open) => {
                let Some(Opened { pieces, copied, holes, gaps }) = Opened::new(page, open) else { return };
                (pieces, copied, holes, Some(gaps))
            }
            None => {
                let Gathered { pieces, copied } = gathered(&page.chunks);
                (pieces, copied, Vec::new(), None)
            }
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // What is said of it is kept with each form.
        let said: usize = page.headers.lasting.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let tag = gaps.as_ref().map_or(0, |gaps| gaps.tag.size());
        let size = copied + PAGE + 4 * said + tag + PART * page.plan.holes.len() + key.as_bytes().len();
        let mut headers = page.headers.clone();
        if gaps.is_some() {
            headers.lasting.remove(ETAG);
        }
        let stitched = Arc::new(Stitched {
            chunks: chunks.into(),
            gaps,
            unfit: AtomicU32::new(0),
            key: key.clone(),
            said: Default::default(),
            forms: Default::default(),
            begun: AtomicU8::new(0),
            headers,
            dimensions: page.plan.dimensions.clone(),
            hours,
            since: began,
            until,
            fresh_until: same().filter_map(|(_, outcome)| outcome.fresh_until).min(),
            touched: AtomicU64::new(0),
            due: AtomicU64::new(due.map_or(u64::MAX, |due| {
                u64::try_from(due.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX)
            })),
            _made_from: (Arc::clone(&page.plan.template), Arc::clone(page.plan.defaults())),
            counted: Counted::new(page, &holes, &ports.observer),
            parts,
            number,
            table: Arc::clone(&self.table),
        });
        let place =
            Arc::new(Place { page: ArcSwapOption::from(Some(Arc::clone(&stitched))), size: AtomicUsize::new(size) });
        {
            let mut table = self.table.lock();
            for part in &stitched.parts {
                let place = Arc::downgrade(&place);
                match table.get_mut(&part.fetch.key) {
                    Some(pages) => pages.add(number, place),
                    None => _ = table.insert(part.fetch.key.clone(), Pages::One(number, place)),
                }
            }
        }
        // What changed before this moment is seen here, and what changes after it is told to the place.
        let is_same = |(fetch, answer, trouble): &(&Arc<Fetch>, &Arc<Answer>, Option<Trouble>)| {
            matches!(store.get(&fetch.key), Some(port::Held::Answer(stored))
                if Arc::ptr_eq(&stored.answer, answer) && stored.kept.softened.is_none() && stored.trouble == *trouble)
        };
        if held.iter().all(is_same) {
            self.note(&stitched);
            store.put(key, port::Held::Page(place), useful);
        }
    }

    /// Keeps a form of a page; `None`: it is of no use.
    pub(super) fn keep(&self, store: &dyn Store, whole: &Arc<Stitched>, form: Form, made: Option<Bytes>) {
        let size = made.as_ref().map_or(0, Bytes::len);
        if whole.forms[form as usize].set(made.map(|made| Arc::from([made]))).is_err() || size == 0 {
            return;
        }
        // It is put there anew, to be weighed anew.
        if let Some(port::Held::Page(place)) = store.get(&whole.key)
            && place.page.load().as_ref().is_some_and(|there| Arc::ptr_eq(there, whole))
        {
            place.size.fetch_add(size, Ordering::Relaxed);
            store.put(&whole.key, port::Held::Page(place), whole.until.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether a page was asked for not long ago; it is remembered that it was.
    fn was_asked(&self, key: &Key) -> bool {
        let hash = key.hashed();
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let once = &self.once[hash as usize % ONCE];
        once.swap(hash, Ordering::Relaxed) == hash
    }

    /// An answer is another now, or none: pages that hold it are no more.
    pub(super) fn changed(&self, key: &Key) {
        let Some(pages) = self.table.lock().remove(key) else { return };
        for place in pages.into_places().iter().filter_map(Weak::upgrade) {
            drop(place.page.swap(None));
        }
    }

    fn note(&self, whole: &Arc<Stitched>) {
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

/// What was asked for, for a page.
fn asked(page: &Page) -> impl Iterator<Item = (usize, &Outcome)> {
    let known = page.outcomes.iter().enumerate().filter_map(|(hole, outcome)| Some((hole, outcome.as_ref()?)));
    known.filter(|(_, outcome)| outcome.reason != Some(Reason::Condition))
}

/// The holes of a page that are open where it is kept but for its reader's own parts: those whose nanoservices are told of
/// him, and those that are not kept. `None`: it cannot be kept so.
fn gaps(page: &Page) -> Option<Vec<usize>> {
    let plan = &page.plan;
    // A part that is missing would not be missing for long.
    if !plan.is_flat() || !page.headers.lasting.contains_key(ETAG) {
        return None;
    }
    // One that came in just now is looked up the next time.
    let is_kept = |hole: usize, outcome: &Outcome| {
        let answered = plan.of(hole).zip(outcome.answer.as_ref());
        answered.is_some_and(|(fetch, answer)| !answer.lifetime(fetch).useful().is_zero())
    };
    let is_open =
        |(hole, outcome): &(usize, &Outcome)| plan.holes[*hole].fragment.is_personal() || !is_kept(*hole, outcome);
    let open: Vec<usize> = asked(page).filter(is_open).map(|(hole, _)| hole).collect();
    let can_be_open = |hole: usize| {
        let answer = page.outcomes[hole].as_ref().and_then(|outcome| outcome.answer.as_deref());
        plan.holes[hole].fragment.origin().is_some() && answer.is_some_and(fits)
    };
    let mut on_page = vec![false; plan.holes.len()];
    plan.in_order(&page.outcomes).into_iter().for_each(|hole| on_page[hole] = true);
    // What was asked for and is not on the page would be asked for, too.
    let all_on_page = asked(page).all(|(hole, _)| on_page[hole]);
    (all_on_page && open.iter().all(|hole| can_be_open(*hole))).then_some(open)
}

/// A page but for what fills some of its holes.
struct Opened {
    pieces: Vec<Bytes>,
    copied: usize,
    /// The holes, in the order in which they stand on it.
    holes: Vec<usize>,
    gaps: Gaps,
}

impl Opened {
    /// `None` where it does not show all of these holes, which are sorted, by bytes alone.
    fn new(page: &Page, open: &[usize]) -> Option<Self> {
        let (chunks, filled) = stitch_open(&page.plan, &page.outcomes);
        let (mut pieces, mut copied, mut from) = (Vec::new(), 0, 0);
        let mut gather = |chunks: &[Bytes]| {
            let gathered = gathered(chunks);
            copied += gathered.copied;
            pieces.extend(gathered.pieces);
            pieces.len()
        };
        // Holes that one fetch of the plan fills are filled by one question.
        let mut known: Map<*const Fetch, usize> = Map::default();
        let (mut all, mut fragments, mut holes) = (Vec::new(), Vec::new(), Vec::new());
        for (chunk, hole) in filled.into_iter().filter(|(_, hole)| open.binary_search(hole).is_ok()) {
            let before = gather(&chunks[from..chunk]);
            from = chunk + 1;
            let filled_by = *known.entry(Arc::as_ptr(page.plan.of(hole)?)).or_insert_with(|| {
                fragments.push(hole);
                fragments.len() - 1
            });
            all.push(Gap { before, filled_by });
            holes.push(hole);
        }
        gather(&chunks[from..]);
        let mut others = asked(page).filter(|(hole, _)| open.binary_search(hole).is_err());
        let is_private =
            others.any(|(_, outcome)| outcome.answer.as_ref().is_some_and(|answer| answer.stated.is_private()));
        let tag = OpenTag::of(&page.plan, &page.outcomes, open);
        let gaps = Gaps { all: all.into(), fragments: fragments.into(), tag, is_private };
        (holes.len() == open.len()).then_some(Self { pieces, copied, holes, gaps })
    }
}
