//! Pages that are asked for again and again are kept as they were stitched: one look instead of one for each part.
//! What is kept is what stitching would make now: with the first part that changes, it is no more. A page that nobody
//! else may have is kept but for the parts that are its reader's own.

mod encodings;
mod key;
mod tally;

mod dependents;

mod cached_page;
mod skeleton;
mod store;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, ArcSwapWeak};
use http::StatusCode;
use http::header::{ETAG, SET_COOKIE};

use crate::page::output::headers::Downstream;
use crate::page::output::stitch::{Gathered, gathered};
use crate::page::output::verdict::Verdict;
use crate::page::policy::cache::backoff::RefreshBackoff;
use crate::page::request::fetch::Fetch;
use crate::page::request::key::Key;
use crate::page::response::parsed::ParsedResponse;

use super::page::{Page, PageRequest};
use super::port::{Observer, Store};

pub(super) use cached_page::fits;
pub use cached_page::{CachedPage, PageSlot, PersonalisedPage};
use cached_page::{Held, milliseconds};
use dependents::Dependents;
pub use encodings::{EncodedPage, Encoding, ResponseHead};
pub(super) use key::PageKey;
use skeleton::{Skeleton, asked, gaps};
pub use store::PageStore;
use tally::Tally;

/// Pages that are remembered to have been asked for once.
const ONCE: usize = 1 << 14;
/// The longest that a page is kept, be it without any part.
const LONGEST: Duration = Duration::from_hours(1);
/// Bytes that one part of a kept page costs beside the page's bytes: its key, its name, its place in a table.
const PART: usize = 200;
/// Bytes that a kept page costs beside all that.
const PAGE: usize = 2_500;

/// Places of a front, which has one for each of many hashes.
const FRONT: usize = 1 << 12;

/// The pages that are kept.
pub(super) struct PageCache {
    pages: Arc<dyn PageStore>,
    responses: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
    /// Where pages were found last, by their keys' hashes: the store keeps count of each look, which takes longer than all
    /// else. It keeps none alive.
    front: Box<[ArcSwapWeak<PageSlot>]>,
    table: Arc<Dependents<PageSlot>>,
    /// Hashes of pages that were asked for once. One takes the place of another.
    once: Box<[AtomicU64]>,
    next: AtomicU64,
    /// All of them, to be told of.
    all: Mutex<Vec<Weak<CachedPage>>>,
}

impl PageCache {
    /// A page cache that keeps its pages in one store, and hears of changes to what they are made of from another.
    pub(super) fn new(pages: Arc<dyn PageStore>, responses: Arc<dyn Store>, observer: Arc<dyn Observer>) -> Arc<Self> {
        let cache = Arc::new(Self {
            pages,
            responses,
            observer,
            front: (0..FRONT).map(|_| ArcSwapWeak::default()).collect(),
            table: Arc::default(),
            once: (0..ONCE).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicU64::new(0),
            all: Mutex::default(),
        });
        let listener = Arc::downgrade(&cache);
        cache.responses.on_change(Box::new(move |key| {
            if let Some(cache) = listener.upgrade() {
                cache.changed(key);
            }
        }));
        cache
    }

    /// The page that is kept for a request, whole or else open.
    pub(super) fn get(&self, asked: &mut PageKey, request: &PageRequest) -> Option<Arc<CachedPage>> {
        let whole = self.look(&asked.whole, asked);
        whole.or_else(|| {
            let open = request.template.skeleton_key(&request.visit);
            let page = self.look(&open, asked);
            asked.open = Some(open);
            page
        })
    }

    /// The page that is kept under a key.
    fn look(&self, key: &Key, asked: &PageKey) -> Option<Arc<CachedPage>> {
        let is_it = |page: &Arc<CachedPage>| page.is_for(key, asked);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let front = &self.front[key.local_hash() as usize % FRONT];
        let page = front.load().upgrade().and_then(|place| place.page.load_full()).filter(is_it);
        let page = match page {
            Some(page) => page,
            None => {
                let place = self.pages.get(key)?;
                front.store(Arc::downgrade(&place));
                place.page.load_full().filter(is_it)?
            }
        };
        if page.is_to_touch(asked.began) {
            // Else it and its parts would look as if nobody wanted them, and be the first to go.
            for part in &page.parts {
                let _touched = self.responses.get(&part.fetch.key);
            }
            let _touched = self.pages.get(&page.key);
        }
        Some(page)
    }

    /// Keeps a page, where it was asked for before: whole where it is anybody's and all its parts are kept, and open where
    /// nobody else may have it.
    pub(super) fn offer(&self, asked: &PageKey, page: &Page) {
        let is_page = page.verdict == Verdict::Page(StatusCode::OK) && !page.headers.lasting.contains_key(SET_COOKIE);
        let is_open = match page.headers.downstream {
            Downstream::For(_) | Downstream::Asked => false,
            Downstream::Private => true,
            Downstream::Never => return,
        };
        let Some(key) = (if is_open { asked.open.as_ref() } else { Some(&asked.whole) }) else { return };
        if !is_page || !self.was_asked(key) || self.look(key, asked).is_some() {
            return;
        }
        if !is_open {
            self.put(key, None, asked, page);
        } else if let Some(gaps) = gaps(page) {
            self.put(key, Some(&gaps), asked, page);
        }
    }

    /// Keeps a page whole, or but for what fills these holes.
    fn put(&self, key: &Key, open: Option<&[usize]>, PageKey { began, at, .. }: &PageKey, page: &Page) {
        let began = *began;
        let changes = page.plan.changes_in.map(|left| began + left);
        let hours = page.plan.changes_in.and_then(|left| Some((*at, at.checked_add(left).ok()?)));
        let is_open = |hole: usize| open.is_some_and(|open| open.binary_search(&hole).is_ok());
        let same = || asked(page).filter(|(hole, _)| !is_open(*hole));
        let mut until = [Some(began + LONGEST), changes].into_iter().flatten().min().unwrap_or(began);
        let (mut held, mut parts) = (Vec::new(), Vec::new());
        for (hole, outcome) in same() {
            // What is not kept, or is old, or came in just now.
            let (Some(fetch), Some(answer), Some(due), Some(fresh_until)) =
                (page.plan.of(hole), outcome.response.as_ref(), outcome.unchanged_until, outcome.fresh_until)
            else {
                return;
            };
            // Then it is shown while a new one is fetched, unless that is known to fail.
            let Some(stored) = self.responses.get(&fetch.key) else { return };
            let old =
                if stored.backoff.is_none() { answer.lifetime(fetch).stale_while_revalidate } else { Duration::ZERO };
            until = until.min(fresh_until + old);
            held.push((fetch, answer, stored.backoff));
            parts.push(Held { fetch: Arc::clone(fetch), due });
        }
        let due = parts.iter().map(|part| part.due).min();
        let useful = until.saturating_duration_since(began);
        if useful.is_zero() {
            return;
        }
        let (chunks, copied, holes, gaps) = match open {
            Some(open) => {
                let Some(Skeleton { pieces, copied, holes, gaps }) = Skeleton::new(page, open) else { return };
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
        let stitched = Arc::new(CachedPage {
            plain: Arc::new(EncodedPage::plain(chunks)),
            bytes: size,
            gaps,
            unfit: AtomicU32::new(0),
            key: key.clone(),
            forms: Default::default(),
            begun: AtomicU8::new(0),
            headers,
            dimensions: page.plan.dimensions.clone(),
            hours,
            since: began,
            until,
            fresh_until: same().filter_map(|(_, outcome)| outcome.fresh_until).min(),
            touched: AtomicU64::new(0),
            due: AtomicU64::new(due.map_or(u64::MAX, |due| milliseconds(began, due))),
            _made_from: Arc::clone(&page.plan.template),
            counted: Tally::new(page, &holes, &self.observer),
            parts,
            number,
            table: Arc::clone(&self.table),
        });
        let place = Arc::new(PageSlot { page: ArcSwapOption::from(Some(Arc::clone(&stitched))) });
        self.table.add(stitched.parts.iter().map(|part| &part.fetch.key), number, &place);
        // What changed before this moment is seen here, and what changes after it is told to the place.
        let is_same = |(fetch, answer, trouble): &(&Arc<Fetch>, &Arc<ParsedResponse>, Option<RefreshBackoff>)| {
            self.responses.get(&fetch.key).is_some_and(|stored| {
                Arc::ptr_eq(&stored.response, answer)
                    && stored.times.soft_purged.is_none()
                    && stored.backoff == *trouble
            })
        };
        if held.iter().all(is_same) {
            self.note(&stitched);
            self.pages.put(key, place, useful);
        }
    }

    /// Keeps a form of a page in place of what was kept of it before; `None`: it is of no use.
    pub(super) fn keep(&self, page: &Arc<CachedPage>, form: Encoding, made: Option<EncodedPage>) -> Arc<EncodedPage> {
        let coded = made.map_or_else(|| Arc::clone(&page.plain), Arc::new);
        page.forms[form as usize].store(Some(Arc::clone(&coded)));
        // It is put there anew, to be weighed anew.
        if let Some(place) = self.pages.get(&page.key)
            && place.page.load().as_ref().is_some_and(|there| Arc::ptr_eq(there, page))
        {
            self.pages.put(&page.key, place, page.until.saturating_duration_since(Instant::now()));
        }
        coded
    }

    /// Whether a page was asked for not long ago; it is remembered that it was.
    fn was_asked(&self, key: &Key) -> bool {
        let hash = key.local_hash();
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let once = &self.once[hash as usize % ONCE];
        once.swap(hash, Ordering::Relaxed) == hash
    }

    /// An answer is another now, or none: pages that hold it are no more.
    pub(super) fn changed(&self, key: &Key) {
        for place in self.table.take(key).iter().filter_map(Weak::upgrade) {
            drop(place.page.swap(None));
        }
    }

    fn note(&self, whole: &Arc<CachedPage>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|whole| whole.strong_count() > 0);
        }
        all.push(Arc::downgrade(whole));
    }

    /// Forgets all pages: what is live is another now, and nobody can ask for them.
    pub(super) fn clear(&self) {
        self.pages.clear();
    }

    /// Tells how often pages were sent since the last time.
    pub(super) fn flush_counters(&self) {
        let all: Vec<_> = {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|whole| whole.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        all.iter().for_each(|whole| whole.counted.tell());
    }
}
