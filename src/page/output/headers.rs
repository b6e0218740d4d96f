//! What the parts of a page allow it to say about itself.
//! A page that was not whole is never kept downstream.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::page::plan::{Outcomes, Plan};
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::source::map::Set;
use crate::page::source::reason::Reason;
use crate::page::source::units::hexadecimal;

/// `Surrogate-Key` (space-separated): what caches downstream can purge the page by.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Bytes of `Surrogate-Key`, at most: caches and proxies take no more of one field.
const MAX_KEYS: usize = 16 * 1024;

/// The `Cache-Control` of a page that is one reader's.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
/// That of a page that nobody may keep.
const NOBODY: HeaderValue = HeaderValue::from_static("no-store");

/// What a page says about itself.
#[derive(Debug, Clone)]
pub struct Headers {
    /// `ETag`, `Surrogate-Key` and `Set-Cookie`, and the headers that its layout adds.
    pub lasting: HeaderMap,
    /// How long it may be kept downstream.
    pub downstream: Downstream,
}

impl Headers {
    /// What a page says that is made of these parts. `complete`: all outcomes that it needs are known.
    #[must_use]
    pub fn of(plan: &Plan, outcomes: &Outcomes, complete: bool, now: Instant) -> Self {
        let mut headers: HeaderMap = plan.template.headers.iter().cloned().collect();
        let order = plan.in_order(outcomes);
        if let Ok(keys) = HeaderValue::try_from(surrogate_keys(plan, outcomes, &order)) {
            headers.insert(SURROGATE_KEY, keys);
        }
        if complete && !plan.is_truncated && parts(outcomes).all(is_whole) {
            headers.insert(header::ETAG, etag(plan, outcomes, &order));
        }
        // Of what was tried in vain nothing is on the page.
        let on_page = order.iter().filter_map(|hole| outcomes[*hole].as_ref());
        for cookie in on_page.filter_map(|part| part.response.as_ref()).flat_map(|answer| &answer.cookies) {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        Self { lasting: headers, downstream: Downstream::of(plan, outcomes, complete, now) }
    }

    /// What is left of them once a part is not what it should be: nobody may keep the page.
    #[must_use]
    pub fn not_whole(&self) -> HeaderMap {
        let mut headers = self.lasting.clone();
        headers.remove(header::ETAG);
        let nobody = if self.downstream == Downstream::Private { PRIVATE } else { NOBODY };
        headers.insert(header::CACHE_CONTROL, nobody);
        headers
    }

    /// All of them, as they read now.
    #[must_use]
    pub fn at(&self, now: Instant) -> HeaderMap {
        let mut headers = self.lasting.clone();
        headers.insert(header::CACHE_CONTROL, self.downstream.at(now));
        headers
    }
}

/// How long a page may be kept downstream: the strictest that its parts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downstream {
    /// By nobody, and it is one reader's.
    Private,
    /// By nobody.
    Never,
    /// By all who ask about it each time.
    Asked,
    /// For some time.
    For(Freshness),
}

/// Until when a page is fresh downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Its first part goes stale then.
    until: Option<Instant>,
    /// A condition of time changes it then.
    changes: Option<Instant>,
    /// In seconds, whatever is left.
    most: Option<u64>,
    /// In seconds, in browsers.
    in_browsers: Option<u64>,
    /// Browsers may not show it any longer than that.
    must_revalidate: bool,
}

impl Downstream {
    fn of(plan: &Plan, outcomes: &Outcomes, complete: bool, now: Instant) -> Self {
        let parts = || parts(outcomes);
        if parts().any(|part| part.response.as_ref().is_some_and(|answer| answer.stated.is_private())) {
            return Self::Private;
        }
        if !complete || plan.is_truncated || !parts().all(is_whole) {
            return Self::Never;
        }
        let answers = || parts().filter_map(|part| part.response.as_ref());
        let told = || answers().map(|answer| answer.stated.downstream());
        if told().any(|told| told.no_cache) {
            return Self::Asked;
        }
        // Where a part told caches downstream something else than the compositor (RFC 9213), not longer
        // than that.
        let targeted = answers().filter_map(|answer| answer.stated.downstream.as_ref()?.max_age);
        let most = targeted.chain(plan.template.max_age).map(|most| most.as_secs()).min();
        Self::For(Freshness {
            until: parts().map(|part| part.fresh_until.unwrap_or(now)).min(),
            changes: plan.changes_in.map(|left| now + left),
            most,
            in_browsers: told().filter_map(|told| told.browser_max_age).map(|told| told.as_secs()).min(),
            must_revalidate: told().any(|told| told.browsers_must_revalidate),
        })
    }

    /// What its `Cache-Control` depends on, beside itself: the same one says the same.
    #[must_use]
    pub fn seconds(&self, now: Instant) -> Option<(u64, u64)> {
        match self {
            Self::Private | Self::Never | Self::Asked => None,
            Self::For(freshness) => Some(freshness.seconds(now)),
        }
    }

    /// The `Cache-Control` that says so now.
    #[must_use]
    pub fn at(&self, now: Instant) -> HeaderValue {
        match self {
            Self::Private => PRIVATE,
            Self::Never => NOBODY,
            Self::Asked => HeaderValue::from_static("public, no-cache"),
            Self::For(freshness) => freshness.at(now),
        }
    }
}

impl Freshness {
    /// In caches, and in browsers.
    fn seconds(&self, now: Instant) -> (u64, u64) {
        let left = |until: Instant| until.saturating_duration_since(now);
        // Ages are whole seconds (RFC 9111, 1.2.2): a part that came in just now is as fresh as it says.
        let parts = self.until.map(&left).map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let changes = self.changes.map(|changes| left(changes).as_secs());
        let shared = [parts, changes, self.most].into_iter().flatten().min().unwrap_or_default();
        (shared, self.in_browsers.map_or(shared, |browsers| browsers.min(shared)))
    }

    fn at(&self, now: Instant) -> HeaderValue {
        let (shared, browsers) = self.seconds(now);
        let mut value = BytesMut::with_capacity(64);
        let _ = write!(value, "public, max-age={browsers}");
        if browsers < shared {
            let _ = write!(value, ", s-maxage={shared}");
        }
        if self.must_revalidate {
            value.put_slice(b", must-revalidate");
        }
        HeaderValue::from_maybe_shared(value.freeze()).expect("words and numbers are a value")
    }
}

/// The parts that were asked for.
fn parts(outcomes: &Outcomes) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().flatten().filter(|outcome| outcome.reason != Some(Reason::Condition))
}

/// Whether a part is what it should be.
fn is_whole(outcome: &Outcome) -> bool {
    outcome.shown == Shown::Fresh || (outcome.reason == Some(Reason::Empty) && outcome.fresh_until.is_some())
}

/// The union of the parts' names and keys, in document order; names first, should there be too many.
fn surrogate_keys(plan: &Plan, outcomes: &Outcomes, order: &[usize]) -> String {
    let needed = order.iter().copied().filter(|hole| outcomes[*hole].is_some());
    let names = needed.filter_map(|hole| plan.fetch_of(hole)).map(|fetch| &fetch.nanoservice);
    let tags = parts(outcomes).filter_map(|part| part.response.as_ref()).flat_map(|answer| &answer.tags);
    let mut met = Set::default();
    let mut keys = String::new();
    for key in names.chain(tags).filter(|key| met.insert((*key).clone())) {
        if keys.len() + key.len() < MAX_KEYS {
            let space = if keys.is_empty() { "" } else { " " };
            let _ = write!(keys, "{space}{key}");
        }
    }
    keys
}

/// Weak, since the same page is sent in several content codings (RFC 9110, 8.8.1). Made of the
/// hashes of the parts: the page's bytes are not read for it.
fn etag(plan: &Plan, outcomes: &Outcomes, order: &[usize]) -> HeaderValue {
    let mut hash = Xxh3::new();
    feed(plan, outcomes, order, &mut hash);
    tag(hash.digest128())
}

fn tag(digest: u128) -> HeaderValue {
    let mut tag = *b"W/\"00000000000000000000000000000000\"";
    hexadecimal(&digest.to_be_bytes(), &mut tag[3..35]);
    HeaderValue::from_bytes(&tag).expect("hexadecimal digits are a value")
}

/// What an `ETag` is made of, piece by piece.
trait Fed {
    fn update(&mut self, bytes: &[u8]);

    /// The digest of what fills a hole.
    fn digest(&mut self, _hole: usize, digest: u128) {
        self.update(&digest.to_le_bytes());
    }
}

impl Fed for Xxh3 {
    fn update(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

fn feed(plan: &Plan, outcomes: &Outcomes, order: &[usize], hash: &mut impl Fed) {
    hash.update(env!("CARGO_PKG_VERSION").as_bytes());
    hash.update(&plan.template.html.digest.to_le_bytes());
    decide(plan, None, hash);
    for script in [plan.template.scripts.late, plan.template.scripts.lazy].into_iter().flatten() {
        hash.update(script.path.as_bytes());
    }
    for address in (0..plan.parts.len()).filter_map(|hole| plan.lazy_address(hole)) {
        hash.update(address.as_bytes());
        hash.update(&[0]);
    }
    // By their order on the page: numbers of holes say in which order answers came in.
    for (place, hole) in order.iter().copied().enumerate() {
        hash.update(&place.to_le_bytes());
        hash.update(&plan.nested_digest(hole).to_le_bytes());
        for asset in plan.manifest_of(hole).into_iter().flat_map(|manifest| &manifest.assets) {
            hash.update(asset.html().as_bytes());
        }
        decide(plan, Some(hole), hash);
        let fresh = outcomes[hole].as_ref().filter(|outcome| outcome.shown == Shown::Fresh);
        if let Some(answer) = fresh.and_then(|outcome| outcome.response.as_ref()) {
            hash.digest(hole, answer.digest);
            for asset in &answer.assets {
                hash.update(asset.html().as_bytes());
            }
        }
    }
}

/// What is decided for a reader in the layout, or in what a hole is filled with.
fn decide(plan: &Plan, hole: Option<usize>, hash: &mut impl Fed) {
    let (shown, values) = plan.decisions(hole);
    hash.update(&shown.iter().map(|shown| u8::from(*shown)).collect::<Vec<_>>());
    for value in values {
        hash.update(&value.len().to_le_bytes());
        hash.update(value);
    }
}

/// The `ETag` of a page but for some of its parts.
#[derive(Debug)]
pub struct OpenTag {
    /// What is hashed; where digests are to come it has room for them.
    fed: Box<[u8]>,
    /// Where that is.
    room: Box<[usize]>,
}

impl OpenTag {
    /// That of a page, but for what fills these holes, which are sorted; all of them are filled.
    #[must_use]
    pub fn of(plan: &Plan, outcomes: &Outcomes, open: &[usize]) -> Self {
        let mut fed = Open { open, fed: Vec::new(), room: Vec::new() };
        feed(plan, outcomes, &plan.in_order(outcomes), &mut fed);
        Self { fed: fed.fed.into(), room: fed.room.into() }
    }

    /// The tag, once the digests are known of what fills the holes, in document order.
    #[must_use]
    pub fn filled(&self, digests: impl Iterator<Item = u128>) -> HeaderValue {
        let mut fed = self.fed.clone();
        for (room, digest) in self.room.iter().zip(digests) {
            fed[*room..room + size_of::<u128>()].copy_from_slice(&digest.to_le_bytes());
        }
        tag(xxh3_128(&fed))
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.fed.len() + size_of_val(&*self.room)
    }
}

/// It is told what is hashed, and keeps it.
struct Open<'a> {
    open: &'a [usize],
    fed: Vec<u8>,
    room: Vec<usize>,
}

impl Fed for Open<'_> {
    fn update(&mut self, bytes: &[u8]) {
        self.fed.extend_from_slice(bytes);
    }

    fn digest(&mut self, hole: usize, digest: u128) {
        if self.open.binary_search(&hole).is_ok() {
            self.room.push(self.fed.len());
        }
        self.update(&digest.to_le_bytes());
    }
}
