//! A cached page as it was stitched: whole, or a skeleton with holes that are personalised for each client.
//! It is valid until the first of its parts changes, or until stitching it would give another page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::engine::port::Hits;
use crate::page::html::text::{Text, length};
use crate::page::http::http1;
use crate::page::output::headers::{Headers, SkeletonTag};
use crate::page::output::stitch::merge_small_chunks;
use crate::page::request::bound::BoundTemplate;
use crate::page::request::fetch::Fetch;
use crate::page::request::key::Key;
use crate::page::response::outcome::Cache;
use crate::page::response::parsed::{Content, ParsedResponse};
use crate::page::source::units;
use crate::page::visit::context::Dimension;
use crate::page::visit::window::TimeWindow;

use super::dependents::Dependents;
use super::encodings::{EncodedPage, Encoding, HeadState, ResponseHead};
use super::key::PageKey;
use super::tally::Tally;

/// The interval at which a page that is served looks its parts up in the store, in milliseconds.
const TOUCH_INTERVAL: u64 = 250;
/// The interval at which a page checks that a part that is due is being refreshed, in milliseconds.
const REFRESH_INTERVAL: u64 = 20;
/// Failed attempts in a row after which personalising a page is tried only once in [`RETRY_EVERY`] requests.
const MAX_FAILED_ATTEMPTS: u32 = 8;
/// A page whose personalising failed too often is tried once in this many requests.
const RETRY_EVERY: u32 = 64;

/// A cached page.
#[derive(Debug)]
pub struct CachedPage {
    /// The page without an encoding.
    pub plain: Arc<EncodedPage>,
    /// Bytes that it takes in memory, without its encodings.
    pub(super) base_bytes: usize,
    /// The holes of a skeleton; `None`: the page is whole.
    pub(super) holes: Option<Holes>,
    /// The number of attempts in a row to personalise it that failed, because of the responses for its holes or of the time
    /// they took.
    pub(super) failed_attempts: AtomicU32,
    /// The headers while it is fresh.
    pub(super) headers: Headers,
    /// The dimensions that it varies on.
    pub dimensions: Vec<Dimension>,
    pub(super) key: Key,
    pub(super) encodings: [ArcSwapOption<EncodedPage>; 3],
    /// Which encodings were begun, as bits; see [`CachedPage::claim_encoding`].
    pub(super) encodings_begun: AtomicU8,
    /// The period in which its conditions on the time keep their values.
    pub(super) window: TimeWindow,
    /// When the request that it was stitched for began.
    pub(super) since: Instant,
    /// When it ceases to be valid.
    pub(super) until: Instant,
    /// When the first of its parts becomes stale. From then on that part is shown while a new one is fetched.
    pub(super) fresh_until: Option<Instant>,
    /// When its parts were last looked up, in milliseconds after `since`.
    pub(super) touched: AtomicU64,
    /// When to check next whether a part is to be refreshed, in milliseconds after `since`.
    pub(super) next_refresh_check: AtomicU64,
    // Its address is in the page's key: no other template may get it while the page is cached.
    pub(super) _made_from: Arc<BoundTemplate>,
    pub(super) tally: Tally,
    /// The stored parts, except those that fill holes.
    pub(super) parts: Vec<CachedPart>,
    /// Identifies it among its parts' dependents.
    pub(super) id: u64,
    pub(super) dependents: Arc<Dependents<PageSlot>>,
}

/// The place of a cached page in the store. It is emptied at once when one of the page's parts changes: a store cannot be
/// called from within the notification of its own change.
#[derive(Debug)]
pub struct PageSlot {
    pub(super) page: ArcSwapOption<CachedPage>,
}

impl PageSlot {
    /// Bytes that it takes in memory, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.page.load().as_ref().map_or(0, |page| page.size())
    }
}

/// A part of a cached page.
#[derive(Debug)]
pub(super) struct CachedPart {
    pub(super) fetch: Arc<Fetch>,
    /// When it is due to be refreshed.
    pub(super) due: Instant,
    /// How often its response was used, with this page and otherwise.
    pub(super) hits: Hits,
}

/// The holes of a skeleton.
#[derive(Debug)]
pub(super) struct Holes {
    /// All holes, in document order.
    pub(super) all: Box<[Hole]>,
    /// The fragments of the template that fill them, each once.
    pub(super) fragments: Box<[usize]>,
    pub(super) tag: SkeletonTag,
    /// Whether no cache downstream may store the page, whatever fills its holes.
    pub(super) is_private: bool,
}

/// A hole of a skeleton.
#[derive(Debug)]
pub(super) struct Hole {
    /// The number of chunks before it.
    pub(super) chunks_before: usize,
    /// The fragment that fills it, as an index of [`Holes::fragments`].
    pub(super) fragment: usize,
}

/// A skeleton with its holes filled for one client.
#[derive(Debug)]
pub struct PersonalisedPage {
    /// The skeleton.
    pub skeleton: Arc<CachedPage>,
    /// The content of each hole.
    pub hole_contents: Vec<Text>,
    /// Its `ETag`, unless a part is stale. The other headers are those of the skeleton.
    pub etag: Option<HeaderValue>,
}

impl PersonalisedPage {
    /// The bytes, in order, in few pieces.
    #[must_use]
    pub fn chunks(&self) -> Vec<Text> {
        let mut chunks = Vec::with_capacity(self.skeleton.plain.chunks.len() + self.hole_contents.len());
        let mut contents = self.hole_contents.iter();
        for span in self.skeleton.spans() {
            chunks.extend_from_slice(span);
            chunks.extend(contents.next().cloned());
        }
        merge_small_chunks(&chunks).chunks
    }
}

/// Whether a response consists of HTML only, so that it fills a hole without a change to the page around it or to its head.
pub(in crate::engine) fn fits_hole(response: &ParsedResponse) -> bool {
    plain_html(response).is_some()
}

fn plain_html(response: &ParsedResponse) -> Option<&Text> {
    let ParsedResponse { content: Content::Fragment(html), composition: None, tags, assets, cookies, .. } = response
    else {
        return None;
    };
    (tags.is_empty() && assets.is_empty() && cookies.is_empty()).then_some(html)
}

/// The milliseconds from one instant to another.
pub(super) fn milliseconds(since: Instant, until: Instant) -> u64 {
    units::milliseconds(until.saturating_duration_since(since))
}

impl Drop for CachedPage {
    fn drop(&mut self) {
        self.flush_counters();
        self.dependents.remove(self.parts.iter().map(|part| &part.fetch.key), self.id);
    }
}

impl CachedPage {
    /// The head of a response that begins now. `add` adds headers that are the same for every client.
    pub fn head(&self, encoded: &EncodedPage, now: Instant, add: impl FnOnce(&mut HeaderMap)) -> Arc<ResponseHead> {
        let state = match self.is_stale(now) {
            true => HeadState::Stale,
            false => HeadState::Fresh(self.headers.downstream.seconds(now)),
        };
        if let Some(head) = encoded.head.load_full().filter(|head| head.state == state) {
            return head;
        }
        let mut headers = self.headers(now);
        add(&mut headers);
        let head = http1::head(StatusCode::OK, &headers, Some(encoded.length()));
        let head = Arc::new(ResponseHead { state, headers, head });
        encoded.head.store(Some(Arc::clone(&head)));
        head
    }

    /// The headers of a response that begins now.
    #[must_use]
    pub fn headers(&self, now: Instant) -> HeaderMap {
        if self.is_stale(now) { self.headers.incomplete() } else { self.headers.at(now) }
    }

    /// Whether it is whole rather than a skeleton.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.holes.is_none()
    }

    /// The chunks between its holes: one span more than there are holes.
    pub fn spans(&self) -> impl Iterator<Item = &[Text]> {
        let holes = self.holes.as_ref().map_or(&[][..], |holes| &holes.all);
        let ends = holes.iter().map(|hole| hole.chunks_before).chain([self.plain.chunks.len()]);
        ends.scan(0, |from, to| Some(&self.plain.chunks[std::mem::replace(from, to)..to]))
    }

    /// The page in an encoding, or without one if that is not worthwhile. `None`: it is not encoded yet.
    #[must_use]
    pub fn encoded(&self, encoding: Encoding) -> Option<Arc<EncodedPage>> {
        self.encodings[encoding as usize].load_full()
    }

    /// Whether the caller is to encode the page, since no other caller does. `again`: whether it is to be encoded a second
    /// time, for a better result.
    #[must_use]
    pub fn claim_encoding(&self, encoding: Encoding, again: bool) -> bool {
        let bit = 1 << (2 * encoding as u8 + u8::from(again));
        self.encodings_begun.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Counts that the page was served, without any hole.
    pub fn count_served(&self, now: Instant) {
        self.tally.count_served(now, std::iter::empty());
    }

    /// Reports how often it was served since the last time, and counts that for the responses that it is made of. Returns it.
    pub(super) fn flush_counters(&self) -> u64 {
        let times = self.tally.flush();
        if times > 0 {
            self.parts.iter().for_each(|part| part.hits.add(times));
        }
        times
    }

    /// Counts a response whose head was sent this long after its request arrived.
    pub fn count_response(&self, not_modified: bool, took: Duration) {
        self.tally.count_response(not_modified, took);
    }

    /// Bytes that it takes in memory.
    pub(super) fn size(&self) -> usize {
        let encodings = self.encodings.iter().filter_map(ArcSwapOption::load_full);
        let encoded = encodings.filter(|encoded| encoded.encoding.is_some());
        self.base_bytes + encoded.map(|encoded| encoded.length()).sum::<usize>()
    }

    /// Whether it is the page for a request.
    pub(super) fn is_for(&self, key: &Key, request: &PageKey) -> bool {
        // Compared by the time of day, not by instants: clocks are set, and machines sleep.
        request.began < self.until && self.window.contains(request.at) && self.key == *key
    }

    /// Whether its parts are to be looked up now, so that the store does not take them for unused.
    pub(super) fn claim_touch(&self, now: Instant) -> bool {
        let (age, touched) = (self.age(now), self.touched.load(Ordering::Relaxed));
        let is_time = age.saturating_sub(touched) >= TOUCH_INTERVAL;
        is_time && self.touched.compare_exchange(touched, age, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The parts that are due to be refreshed. They are returned once per [`REFRESH_INTERVAL`], and more often only in a
    /// millisecond in which another part becomes due.
    pub(in crate::engine) fn due(&self, now: Instant) -> impl Iterator<Item = &Arc<Fetch>> {
        let (age, check) = (self.age(now), self.next_refresh_check.load(Ordering::Relaxed));
        let is_time = age >= check && {
            // Stitching would refresh the other parts at their own times. A part that becomes due at this very moment is
            // checked again too: the lookup may refresh it only after this moment.
            let others =
                self.parts.iter().filter(|part| part.due >= now).map(|part| milliseconds(self.since, part.due));
            let next = others.fold(age + REFRESH_INTERVAL, u64::min);
            self.next_refresh_check.compare_exchange(check, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        self.parts.iter().filter(move |part| is_time && part.due <= now).map(|part| &part.fetch)
    }

    /// The fragments of its template that fill its holes.
    pub(in crate::engine) fn hole_fragments(&self) -> &[usize] {
        self.holes.as_ref().map(|holes| &*holes.fragments).unwrap_or_default()
    }

    /// Whether personalising it is likely enough to succeed; otherwise the page is composed at once.
    pub(in crate::engine) fn is_worth_personalising(&self) -> bool {
        let failed = self.failed_attempts.load(Ordering::Relaxed);
        if failed < MAX_FAILED_ATTEMPTS {
            return true;
        }
        self.failed_attempts.store(failed.wrapping_add(1).max(MAX_FAILED_ATTEMPTS), Ordering::Relaxed);
        failed.is_multiple_of(RETRY_EVERY)
    }

    /// Records whether it could be personalised.
    pub(in crate::engine) fn record_attempt(&self, succeeded: bool) {
        if !succeeded {
            self.failed_attempts.fetch_add(1, Ordering::Relaxed);
        } else if self.failed_attempts.load(Ordering::Relaxed) > 0 {
            self.failed_attempts.store(0, Ordering::Relaxed);
        }
    }

    /// Fills its holes with these responses, one per fragment. `None`: a response is more than HTML, the page would be too
    /// large, or downstream caches might store it.
    pub(in crate::engine) fn personalise(
        self: &Arc<Self>,
        responses: &[(Arc<ParsedResponse>, Cache)],
        began: Instant,
        max_bytes: u64,
    ) -> Option<PersonalisedPage> {
        let holes = self.holes.as_ref()?;
        let texts: Option<Vec<&Text>> = responses.iter().map(|(response, _)| plain_html(response)).collect();
        let texts = texts?;
        if !holes.is_private && !responses.iter().any(|(response, _)| response.stated.is_private()) {
            return None;
        }
        let hole_contents: Vec<Text> = holes.all.iter().map(|hole| texts[hole.fragment].clone()).collect();
        if (self.plain.length() + length(&hole_contents)) as u64 > max_bytes {
            return None;
        }
        let digests = holes.all.iter().map(|hole| responses[hole.fragment].0.digest);
        let etag = (!self.is_stale(began)).then(|| holes.tag.filled(digests));
        self.tally.count_served(began, holes.all.iter().map(|hole| responses[hole.fragment].1));
        Some(PersonalisedPage { skeleton: Arc::clone(self), hole_contents, etag })
    }

    /// Whether a part of it is stale.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        self.fresh_until.is_some_and(|until| until <= now)
    }

    /// The milliseconds since it was requested.
    fn age(&self, now: Instant) -> u64 {
        milliseconds(self.since, now)
    }
}
