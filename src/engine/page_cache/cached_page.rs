//! A page that is kept as it was skeleton: whole, or but for the gaps that each reader's own parts leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::page::html::text::{Text, length};
use crate::page::http::http1;
use crate::page::output::headers::{Headers, OpenTag};
use crate::page::output::stitch::gathered;
use crate::page::request::bound::BoundTemplate;
use crate::page::request::fetch::Fetch;
use crate::page::request::key::Key;
use crate::page::response::outcome::Cache;
use crate::page::response::parsed::{Content, ParsedResponse};
use crate::page::source::units;
use crate::page::visit::context::Dimension;

use super::dependents::Dependents;
use super::encodings::{EncodedPage, Encoding, ResponseHead, State};
use super::key::PageKey;
use super::tally::Tally;

/// How often the parts of a page that is sent are looked up, in milliseconds.
const TOUCH: u64 = 250;
/// How often it is seen to that a part is being asked for anew that is to be, in milliseconds.
const AGAIN: u64 = 20;
/// So often in a row it is tried in vain to fill a page's gaps,
const IN_VAIN: u32 = 8;
/// and then once in so many times.
const SELDOM: u32 = 64;

/// A page that is kept.
#[derive(Debug)]
pub struct CachedPage {
    /// As it was skeleton.
    pub plain: Arc<EncodedPage>,
    /// Bytes that it takes in memory but for its forms.
    pub(super) bytes: usize,
    /// What it leaves open; `None`: it is whole.
    pub(super) gaps: Option<Holes>,
    /// How often in a row it was asked for in vain: what filled its gaps changed more of it, or was late.
    pub(super) unfit: AtomicU32,
    /// What it says of itself while it is fresh.
    pub(super) headers: Headers,
    /// What it varies on.
    pub dimensions: Vec<Dimension>,
    pub(super) key: Key,
    pub(super) forms: [ArcSwapOption<EncodedPage>; 3],
    /// Which of them are made or being made, as bits.
    pub(super) begun: AtomicU8,
    /// From when until when conditions of time are what they are, where it has any.
    pub(super) hours: Option<(Timestamp, Timestamp)>,
    /// From when until when its bytes are what they are.
    pub(super) since: Instant,
    pub(super) until: Instant,
    /// When the first of its parts grows old. From then on that one is shown while a new one is fetched.
    pub(super) fresh_until: Option<Instant>,
    /// How long after `since` its parts were last looked up, in milliseconds.
    pub(super) touched: AtomicU64,
    /// How long after that it is time to see whether a part is to be asked for anew.
    pub(super) due: AtomicU64,
    // Its address is in the page's key: no other template may get it while the page is cached.
    pub(super) _made_from: Arc<BoundTemplate>,
    pub(super) counted: Tally,
    pub(super) parts: Vec<Held>,
    pub(super) number: u64,
    pub(super) table: Arc<Dependents<PageSlot>>,
}

/// The place of a page in the store. It is empty from the moment on at which a part of it changes.
#[derive(Debug)]
pub struct PageSlot {
    pub(super) page: ArcSwapOption<CachedPage>,
}

impl PageSlot {
    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        self.page.load().as_ref().map_or(0, |page| page.size())
    }
}

/// From an instant to another.
pub(super) fn milliseconds(since: Instant, until: Instant) -> u64 {
    units::milliseconds(until.saturating_duration_since(since))
}

impl Drop for CachedPage {
    fn drop(&mut self) {
        self.counted.tell();
        self.table.remove(self.parts.iter().map(|part| &part.fetch.key), self.number);
    }
}

/// A part of a page that is kept, too.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) fetch: Arc<Fetch>,
    /// From when on it is asked for anew.
    pub(super) due: Instant,
}

/// What a page leaves open.
#[derive(Debug)]
pub(super) struct Holes {
    /// In document order.
    pub(super) all: Box<[Hole]>,
    /// Which fragments of the layout fill them, each once.
    pub(super) fragments: Box<[usize]>,
    pub(super) tag: OpenTag,
    /// Nobody downstream may keep it, whatever fills them.
    pub(super) is_private: bool,
}

/// Where a part of one reader stands.
#[derive(Debug)]
pub(super) struct Hole {
    /// How many chunks stand before it.
    pub(super) before: usize,
    /// What fills it, by index in [`Holes::fragments`].
    pub(super) filled_by: usize,
}

/// A page with its gaps filled for one reader.
#[derive(Debug)]
pub struct PersonalisedPage {
    /// What it was made from.
    pub skeleton: Arc<CachedPage>,
    /// What fills each of its gaps.
    pub hole_contents: Vec<Text>,
    /// Its `ETag`, where it is whole. What else it says of itself, all readers are told.
    pub etag: Option<HeaderValue>,
}

impl PersonalisedPage {
    /// Its bytes, in order, in few pieces.
    #[must_use]
    pub fn chunks(&self) -> Vec<Text> {
        let mut chunks = Vec::with_capacity(self.skeleton.plain.chunks.len() + self.hole_contents.len());
        let mut filling = self.hole_contents.iter();
        for span in self.skeleton.spans() {
            chunks.extend_from_slice(span);
            chunks.extend(filling.next().cloned());
        }
        gathered(&chunks).pieces
    }
}

/// Whether an answer is nothing but bytes, so that the page around it stays as it is, and so does its head.
pub(in crate::engine) fn fits(answer: &ParsedResponse) -> bool {
    plain(answer).is_some()
}

fn plain(answer: &ParsedResponse) -> Option<&Text> {
    let ParsedResponse { content: Content::Fragment(html), composition: None, tags, assets, cookies, .. } = answer
    else {
        return None;
    };
    (tags.is_empty() && assets.is_empty() && cookies.is_empty()).then_some(html)
}

impl CachedPage {
    /// All that is said of it now, as it is sent. What is `added` is the same whoever asks.
    pub fn head(&self, coded: &EncodedPage, now: Instant, added: impl FnOnce(&mut HeaderMap)) -> Arc<ResponseHead> {
        let state = match self.is_old(now) {
            true => State::Old,
            false => State::Fresh(self.headers.downstream.seconds(now)),
        };
        if let Some(said) = coded.said.load_full().filter(|said| said.state == state) {
            return said;
        }
        let mut headers = self.headers(now);
        added(&mut headers);
        let head = http1::head(StatusCode::OK, &headers, Some(coded.length()));
        let said = Arc::new(ResponseHead { state, headers, head });
        coded.said.store(Some(Arc::clone(&said)));
        said
    }

    /// Whether a part of it is old.
    fn is_old(&self, now: Instant) -> bool {
        self.fresh_until.is_some_and(|until| until <= now)
    }

    /// What it says of itself now.
    #[must_use]
    pub fn headers(&self, now: Instant) -> HeaderMap {
        if self.is_old(now) { self.headers.not_whole() } else { self.headers.at(now) }
    }

    /// Milliseconds since it is kept.
    fn age(&self, now: Instant) -> u64 {
        milliseconds(self.since, now)
    }

    /// Whether it is time to look its parts up, so that they do not look as if nobody wanted them.
    pub(super) fn is_to_touch(&self, now: Instant) -> bool {
        let (age, touched) = (self.age(now), self.touched.load(Ordering::Relaxed));
        let is_time = age.saturating_sub(touched) >= TOUCH;
        is_time && self.touched.compare_exchange(touched, age, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The parts that are to be asked for anew, for who asks first.
    pub(in crate::engine) fn due(&self, now: Instant) -> impl Iterator<Item = &Arc<Fetch>> {
        let (age, due) = (self.age(now), self.due.load(Ordering::Relaxed));
        let is_time =
            age >= due && self.due.compare_exchange(due, age + AGAIN, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.parts.iter().filter(move |part| is_time && part.due <= now).map(|part| &part.fetch)
    }

    /// Whether it is what a request asks for, at that moment.
    pub(super) fn is_for(&self, key: &Key, asked: &PageKey) -> bool {
        // By the time of day: clocks are set, and machines sleep.
        let is_its_hour = self.hours.is_none_or(|(from, until)| asked.at >= from && asked.at < until);
        asked.began < self.until && is_its_hour && self.key == *key
    }

    /// It is sent once more, without any gap.
    pub fn count_served(&self, now: Instant) {
        self.counted.sent(now, std::iter::empty());
    }

    /// Its head left, or that it is known already, this long after it was asked for.
    pub fn count_response(&self, known: bool, took: Duration) {
        self.counted.answered(known, took);
    }

    /// Whether it leaves nothing open.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.gaps.is_none()
    }

    /// Which fragments of its layout fill its gaps.
    pub(in crate::engine) fn open(&self) -> &[usize] {
        self.gaps.as_ref().map(|gaps| &*gaps.fragments).unwrap_or_default()
    }

    /// Whether it is worth while to fill its gaps, rather than to compose it at once.
    pub(in crate::engine) fn is_worth_it(&self) -> bool {
        let unfit = self.unfit.load(Ordering::Relaxed);
        if unfit < IN_VAIN {
            return true;
        }
        self.unfit.store(unfit.wrapping_add(1).max(IN_VAIN), Ordering::Relaxed);
        unfit.is_multiple_of(SELDOM)
    }

    /// It could be filled, or not.
    pub(in crate::engine) fn record_attempt(&self, filled: bool) {
        if !filled {
            self.unfit.fetch_add(1, Ordering::Relaxed);
        } else if self.unfit.load(Ordering::Relaxed) > 0 {
            self.unfit.store(0, Ordering::Relaxed);
        }
    }

    /// The page with its gaps filled. `None` where it takes more than bytes to do that: another head, other
    /// fragments, or a page that may be kept downstream after all.
    pub(in crate::engine) fn filled(
        self: &Arc<Self>,
        with: &[(Arc<ParsedResponse>, Cache)],
        began: Instant,
        max_bytes: u64,
    ) -> Option<PersonalisedPage> {
        let gaps = self.gaps.as_ref()?;
        let texts: Option<Vec<&Text>> = with.iter().map(|(answer, _)| plain(answer)).collect();
        let texts = texts?;
        if !gaps.is_private && !with.iter().any(|(answer, _)| answer.stated.is_private()) {
            return None;
        }
        let filling: Vec<Text> = gaps.all.iter().map(|gap| texts[gap.filled_by].clone()).collect();
        if (self.plain.length() + length(&filling)) as u64 > max_bytes {
            return None;
        }
        let digests = gaps.all.iter().map(|gap| with[gap.filled_by].0.digest);
        let tag = (!self.is_old(began)).then(|| gaps.tag.filled(digests));
        self.counted.sent(began, gaps.all.iter().map(|gap| with[gap.filled_by].1));
        Some(PersonalisedPage { skeleton: Arc::clone(self), hole_contents: filling, etag: tag })
    }

    /// The chunks between its gaps: one span more than there are gaps.
    pub fn spans(&self) -> impl Iterator<Item = &[Text]> {
        let gaps = self.gaps.as_ref().map_or(&[][..], |gaps| &gaps.all);
        let ends = gaps.iter().map(|gap| gap.before).chain([self.plain.chunks.len()]);
        ends.scan(0, |from, to| Some(&self.plain.chunks[std::mem::replace(from, to)..to]))
    }

    /// The page in a form, or as it was skeleton, where the form is of no use. `None`: it is not there yet.
    #[must_use]
    pub fn encoded(&self, form: Encoding) -> Option<Arc<EncodedPage>> {
        self.forms[form as usize].load_full()
    }

    /// Bytes that it takes in memory.
    pub(super) fn size(&self) -> usize {
        let forms = self.forms.iter().filter_map(ArcSwapOption::load_full);
        self.bytes + forms.filter(|coded| coded.encoding.is_some()).map(|coded| coded.length()).sum::<usize>()
    }

    /// Whether a form is to be made by who asks now, for the first time or once more.
    #[must_use]
    pub fn claim_encoding(&self, form: Encoding, once_more: bool) -> bool {
        let bit = 1 << (2 * form as u8 + u8::from(once_more));
        self.begun.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}
