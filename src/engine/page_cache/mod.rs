//! The page cache: pages that are requested repeatedly are cached as they were stitched, so that one look-up serves them
//! instead of one per part.
//! A cached page is what stitching would produce now: when one of its parts changes, it is invalidated. A page that only one
//! client may have is cached as a skeleton, without its personalised parts.

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
use crate::page::output::stitch::{MergedChunks, merge_small_chunks};
use crate::page::output::verdict::Verdict;
use crate::page::policy::cache::backoff::RefreshBackoff;
use crate::page::request::fetch::Fetch;
use crate::page::request::key::Key;
use crate::page::response::parsed::ParsedResponse;
use crate::page::visit::window::TimeWindow;

use super::page::{Page, PageRequest};
use super::port::{Observer, Store};

pub(super) use cached_page::fits_hole;
pub use cached_page::{CachedPage, PageSlot, PersonalisedPage};
use cached_page::{CachedPart, milliseconds};
use dependents::Dependents;
pub use encodings::{EncodedPage, Encoding, ResponseHead};
pub(super) use key::PageKey;
use skeleton::{Skeleton, hole_parts, requested};
pub use store::PageStore;
use tally::Tally;

/// The number of pages that are remembered as requested once.
const REQUESTED_ONCE: usize = 1 << 14;
/// The longest time for which a page is cached, even if it has no parts.
const MAX_AGE: Duration = Duration::from_hours(1);
/// Bytes that one part takes in addition to the page's text: its key, its name, its entry among the dependents.
const PART_OVERHEAD: usize = 200;
/// Bytes that a page takes in addition to its text and its parts.
const PAGE_OVERHEAD: usize = 2_500;
/// The number of slots of the front table.
const FRONT: usize = 1 << 12;

/// The page cache.
pub(super) struct PageCache {
    pages: Arc<dyn PageStore>,
    responses: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
    /// Where pages were found last, by the hashes of their keys. The store counts each look-up, which takes longer than all
    /// other steps. The table keeps no page alive.
    front: Box<[ArcSwapWeak<PageSlot>]>,
    dependents: Arc<Dependents<PageSlot>>,
    /// Hashes of pages that were requested once; a later one overwrites an earlier one.
    requested_once: Box<[AtomicU64]>,
    next_id: AtomicU64,
    /// All pages that are alive, to flush their counters.
    all: Mutex<Vec<Weak<CachedPage>>>,
}

impl PageCache {
    /// A page cache that stores its pages in `pages`, and invalidates them when the responses that they are made of change.
    pub(super) fn new(pages: Arc<dyn PageStore>, responses: Arc<dyn Store>, observer: Arc<dyn Observer>) -> Arc<Self> {
        let cache = Arc::new(Self {
            pages,
            responses,
            observer,
            front: (0..FRONT).map(|_| ArcSwapWeak::default()).collect(),
            dependents: Arc::default(),
            requested_once: (0..REQUESTED_ONCE).map(|_| AtomicU64::new(0)).collect(),
            next_id: AtomicU64::new(0),
            all: Mutex::default(),
        });
        let listener = Arc::downgrade(&cache);
        cache.responses.on_change(Box::new(move |key| {
            if let Some(cache) = listener.upgrade() {
                cache.invalidate(key);
            }
        }));
        cache
    }

    /// The cached page for a request: the whole page, or otherwise its skeleton.
    pub(super) fn get(&self, key: &mut PageKey, request: &PageRequest) -> Option<Arc<CachedPage>> {
        let whole = self.find(&key.whole, key);
        whole.or_else(|| {
            let skeleton = request.template.skeleton_key(&request.visit);
            let page = self.find(&skeleton, key);
            key.skeleton = Some(skeleton);
            page
        })
    }

    /// The valid page under one of the keys of a request.
    fn find(&self, key: &Key, request: &PageKey) -> Option<Arc<CachedPage>> {
        let is_valid = |page: &Arc<CachedPage>| page.is_for(key, request);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is suitable")]
        let front = &self.front[key.local_hash() as usize % FRONT];
        let page = front.load().upgrade().and_then(|slot| slot.page.load_full()).filter(is_valid);
        let page = match page {
            Some(page) => page,
            None => {
                let slot = self.pages.get(key)?;
                front.store(Arc::downgrade(&slot));
                slot.page.load_full().filter(is_valid)?
            }
        };
        if page.claim_touch(request.began) {
            // Otherwise the page and its parts would look unused to the store, and be the first to be evicted.
            for part in &page.parts {
                let _touched = self.responses.get(&part.fetch.key);
            }
            let _touched = self.pages.get(&page.key);
        }
        Some(page)
    }

    /// Caches a page if it was requested before: whole if it is the same for all clients and all its parts are stored, or as a
    /// skeleton if it is private.
    pub(super) fn offer(&self, request: &PageKey, page: &Page) {
        let is_page = page.verdict == Verdict::Page(StatusCode::OK) && !page.headers.fixed.contains_key(SET_COOKIE);
        let is_private = match page.headers.downstream {
            Downstream::For(_) | Downstream::NoCache => false,
            Downstream::Private => true,
            Downstream::NoStore => return,
        };
        let Some(key) = (if is_private { request.skeleton.as_ref() } else { Some(&request.whole) }) else { return };
        if !is_page || !self.was_requested(key) || self.find(key, request).is_some() {
            return;
        }
        if !is_private {
            self.put(key, None, request, page);
        } else if let Some(holes) = hole_parts(page) {
            self.put(key, Some(&holes), request, page);
        }
    }

    /// Caches a page, as a skeleton if some of its parts are holes.
    fn put(&self, key: &Key, holes: Option<&[usize]>, PageKey { began, at, .. }: &PageKey, page: &Page) {
        let began = *began;
        let changes = page.plan.changes_in.map(|left| began + left);
        let window_end = page.plan.changes_in.and_then(|left| at.checked_add(left).ok());
        let window = window_end.map(|until| TimeWindow { from: Some(*at), until: Some(until) }).unwrap_or_default();
        let is_hole = |part: usize| holes.is_some_and(|holes| holes.binary_search(&part).is_ok());
        let fixed = || requested(page).filter(|(part, _)| !is_hole(*part));
        let mut until = [Some(began + MAX_AGE), changes].into_iter().flatten().min().unwrap_or(began);
        let (mut made_of, mut parts) = (Vec::new(), Vec::new());
        for (part, outcome) in fixed() {
            // A part that is not stored, or is stale, or was fetched for this very page.
            let (Some(fetch), Some(response), Some(due), Some(fresh_until)) =
                (page.plan.fetch_of(part), outcome.response.as_ref(), outcome.unchanged_until, outcome.fresh_until)
            else {
                return;
            };
            let Some(stored) = self.responses.get(&fetch.key) else { return };
            // A stale part is shown while a new one is fetched, unless the refresh is known to fail.
            let stale = match stored.backoff {
                None => response.lifetime(fetch).stale_while_revalidate,
                Some(_) => Duration::ZERO,
            };
            until = until.min(fresh_until + stale);
            made_of.push((fetch, response, stored.backoff));
            parts.push(CachedPart { fetch: Arc::clone(fetch), due, hits: stored.hits });
        }
        let due = parts.iter().map(|part| part.due).min();
        let useful = until.saturating_duration_since(began);
        if useful.is_zero() {
            return;
        }
        let (chunks, copied, hole_parts, holes) = match holes {
            Some(holes) => {
                let Some(Skeleton { chunks, copied, parts, holes }) = Skeleton::new(page, holes) else { return };
                (chunks, copied, parts, Some(holes))
            }
            None => {
                let MergedChunks { chunks, copied } = merge_small_chunks(&page.chunks);
                (chunks, copied, Vec::new(), None)
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // Each encoding has a head of its own, in addition to these headers.
        let head: usize = page.headers.fixed.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let tag = holes.as_ref().map_or(0, |holes| holes.tag.size());
        let parts_bytes = PART_OVERHEAD * page.plan.parts.len();
        let base_bytes = copied + PAGE_OVERHEAD + 4 * head + tag + parts_bytes + key.as_bytes().len();
        let mut headers = page.headers.clone();
        if holes.is_some() {
            headers.fixed.remove(ETAG);
        }
        let cached = Arc::new(CachedPage {
            plain: Arc::new(EncodedPage::plain(chunks)),
            base_bytes,
            holes,
            failed_attempts: AtomicU32::new(0),
            key: key.clone(),
            encodings: Default::default(),
            encodings_begun: AtomicU8::new(0),
            headers,
            dimensions: page.plan.dimensions.clone(),
            window,
            since: began,
            until,
            fresh_until: fixed().filter_map(|(_, outcome)| outcome.fresh_until).min(),
            touched: AtomicU64::new(0),
            next_refresh_check: AtomicU64::new(due.map_or(u64::MAX, |due| milliseconds(began, due))),
            _made_from: Arc::clone(&page.plan.template),
            tally: Tally::new(page, &hole_parts, &self.observer),
            parts,
            id,
            dependents: Arc::clone(&self.dependents),
        });
        let slot = Arc::new(PageSlot { page: ArcSwapOption::from(Some(Arc::clone(&cached))) });
        self.dependents.add(cached.parts.iter().map(|part| &part.fetch.key), id, &slot);
        // From here on the slot is emptied when a response changes. Earlier changes are found by this comparison.
        let is_unchanged =
            |(fetch, response, backoff): &(&Arc<Fetch>, &Arc<ParsedResponse>, Option<RefreshBackoff>)| {
                self.responses.get(&fetch.key).is_some_and(|stored| {
                    Arc::ptr_eq(&stored.response, response)
                        && stored.times.soft_purged.is_none()
                        && stored.backoff == *backoff
                })
            };
        if made_of.iter().all(is_unchanged) {
            self.register(&cached);
            self.pages.put(key, slot, useful);
        }
    }

    /// Stores an encoding of a cached page in place of an earlier one. `None`: the encoding is not worthwhile.
    pub(super) fn store_encoding(
        &self,
        page: &Arc<CachedPage>,
        encoding: Encoding,
        encoded: Option<EncodedPage>,
    ) -> Arc<EncodedPage> {
        let encoded = encoded.map_or_else(|| Arc::clone(&page.plain), Arc::new);
        page.encodings[encoding as usize].store(Some(Arc::clone(&encoded)));
        // The slot is stored again, so that its size is measured again.
        if let Some(slot) = self.pages.get(&page.key)
            && slot.page.load().as_ref().is_some_and(|there| Arc::ptr_eq(there, page))
        {
            self.pages.put(&page.key, slot, page.until.saturating_duration_since(Instant::now()));
        }
        encoded
    }

    /// Whether a page was requested recently. From now on it counts as requested.
    fn was_requested(&self, key: &Key) -> bool {
        let hash = key.local_hash();
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is suitable")]
        let last = &self.requested_once[hash as usize % REQUESTED_ONCE];
        last.swap(hash, Ordering::Relaxed) == hash
    }

    /// Invalidates all pages that depend on a response.
    pub(super) fn invalidate(&self, response: &Key) {
        for slot in self.dependents.take(response).iter().filter_map(Weak::upgrade) {
            drop(slot.page.swap(None));
        }
    }

    /// Removes all pages.
    pub(super) fn clear(&self) {
        self.pages.clear();
    }

    /// Reports to the observer how often pages were served since the last time, and to `want` how often each of their parts was.
    pub(super) fn flush_counters(&self, want: &mut dyn FnMut(&Key, u64)) {
        let all: Vec<_> = {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|page| page.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        for page in &all {
            let times = page.flush_counters();
            if times > 0 {
                page.parts.iter().for_each(|part| want(&part.fetch.key, times));
            }
        }
    }

    /// Registers a page whose counters are to be flushed.
    fn register(&self, page: &Arc<CachedPage>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|page| page.strong_count() > 0);
        }
        all.push(Arc::downgrade(page));
    }
}
