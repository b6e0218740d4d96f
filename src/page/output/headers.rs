//! Derives the response headers of a page from its parts.
//! An incomplete page is never cached downstream.

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

/// `Surrogate-Key`: the space-separated keys by which downstream caches can purge the page.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Most bytes of `Surrogate-Key`: caches and proxies refuse longer fields.
const MAX_KEYS: usize = 16 * 1024;

/// The `Cache-Control` of a personalised page.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
/// The `Cache-Control` of a page that may not be stored.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The headers of a page.
#[derive(Debug, Clone)]
pub struct Headers {
    /// The headers that do not change with time: `ETag`, `Surrogate-Key`, `Set-Cookie`, and those that the layout adds.
    pub fixed: HeaderMap,
    /// How long the page may be cached downstream.
    pub downstream: Downstream,
}

impl Headers {
    /// The headers of a page with these outcomes. `complete`: whether all outcomes that it needs are known.
    #[must_use]
    pub fn of(plan: &Plan, outcomes: &Outcomes, complete: bool, now: Instant) -> Self {
        let mut headers: HeaderMap = plan.template.headers.iter().cloned().collect();
        let order = plan.in_order(outcomes);
        let keys = surrogate_keys(plan, outcomes, &order);
        if let Some(keys) = Some(keys).filter(|keys| !keys.is_empty()).and_then(|keys| keys.try_into().ok()) {
            headers.insert(SURROGATE_KEY, keys);
        }
        if complete && !plan.is_truncated && plan.template.status.is_none() && parts(outcomes).all(is_whole) {
            headers.insert(header::ETAG, etag(plan, outcomes, &order));
        }
        // Only parts on the page set cookies, not those in a discarded `<esi:attempt>`.
        let on_page = order.iter().filter_map(|part| outcomes[*part].as_ref());
        for cookie in on_page.filter_map(|outcome| outcome.response.as_ref()).flat_map(|response| &response.cookies) {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        Self { fixed: headers, downstream: Downstream::of(plan, outcomes, complete, now) }
    }

    /// The headers if a part is no longer fresh: there is no `ETag`, and the page may not be stored.
    #[must_use]
    pub fn incomplete(&self) -> HeaderMap {
        let mut headers = self.fixed.clone();
        headers.remove(header::ETAG);
        let cache_control = if self.downstream == Downstream::Private { PRIVATE } else { NO_STORE };
        headers.insert(header::CACHE_CONTROL, cache_control);
        headers
    }

    /// All headers, with the `Cache-Control` for now.
    #[must_use]
    pub fn at(&self, now: Instant) -> HeaderMap {
        let mut headers = self.fixed.clone();
        headers.insert(header::CACHE_CONTROL, self.downstream.at(now));
        headers
    }
}

/// How long a page may be cached downstream: the strictest of what its parts state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downstream {
    /// It may not be stored, since it is personalised.
    Private,
    /// It may not be stored.
    NoStore,
    /// It may be stored, but must be revalidated each time.
    NoCache,
    /// It may be stored, and used for this long.
    For(DownstreamLifetime),
}

/// The bounds on how long a page is fresh downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownstreamLifetime {
    /// When its first part becomes stale.
    until: Option<Instant>,
    /// When a condition on the time changes it.
    changes: Option<Instant>,
    /// The upper limit in seconds.
    most: Option<u64>,
    /// The upper limit in browsers, in seconds.
    in_browsers: Option<u64>,
    /// Whether browsers must revalidate it once it is stale.
    must_revalidate: bool,
}

impl Downstream {
    fn of(plan: &Plan, outcomes: &Outcomes, complete: bool, now: Instant) -> Self {
        let parts = || parts(outcomes);
        if parts().any(|outcome| outcome.response.as_ref().is_some_and(|response| response.stated.is_private())) {
            return Self::Private;
        }
        // The page for a status is an error page, which is never stored.
        if !complete || plan.is_truncated || plan.template.status.is_some() || !parts().all(is_whole) {
            return Self::NoStore;
        }
        let responses = || parts().filter_map(|outcome| outcome.response.as_ref());
        let directives = || responses().map(|response| response.stated.downstream());
        if directives().any(|directives| directives.no_cache) {
            return Self::NoCache;
        }
        // A part may state another lifetime for downstream caches than for the compositor (RFC 9213).
        let targeted = responses().filter_map(|response| response.stated.downstream.as_ref()?.max_age);
        let most = targeted.chain(plan.template.max_age).map(|most| most.as_secs()).min();
        Self::For(DownstreamLifetime {
            until: parts().map(|outcome| outcome.fresh_until.unwrap_or(now)).min(),
            changes: plan.changes_in.map(|left| now + left),
            most,
            in_browsers: directives()
                .filter_map(|directives| directives.browser_max_age)
                .map(|max_age| max_age.as_secs())
                .min(),
            must_revalidate: directives().any(|directives| directives.browsers_must_revalidate),
        })
    }

    /// The lifetimes in its `Cache-Control` now, in seconds: in shared caches and in browsers. `None` if the header does
    /// not depend on the time.
    #[must_use]
    pub fn seconds(&self, now: Instant) -> Option<(u64, u64)> {
        match self {
            Self::Private | Self::NoStore | Self::NoCache => None,
            Self::For(lifetime) => Some(lifetime.seconds(now)),
        }
    }

    /// The `Cache-Control` for now.
    #[must_use]
    pub fn at(&self, now: Instant) -> HeaderValue {
        match self {
            Self::Private => PRIVATE,
            Self::NoStore => NO_STORE,
            Self::NoCache => HeaderValue::from_static("public, no-cache"),
            Self::For(lifetime) => lifetime.at(now),
        }
    }
}

impl DownstreamLifetime {
    /// The lifetime in shared caches and in browsers, in seconds.
    fn seconds(&self, now: Instant) -> (u64, u64) {
        let left = |until: Instant| until.saturating_duration_since(now);
        // Ages are whole seconds (RFC 9111, 1.2.2): a part that has just arrived has its full lifetime.
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
        HeaderValue::from_maybe_shared(value.freeze()).expect("directives and numbers are a valid header value")
    }
}

/// The outcomes of the parts whose conditions hold.
fn parts(outcomes: &Outcomes) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().flatten().filter(|outcome| outcome.reason != Some(Reason::Condition))
}

/// Whether a part is fresh. That there is nothing to show, or nothing at an address, is an answer too.
fn is_whole(outcome: &Outcome) -> bool {
    let is_answer = matches!(outcome.reason, Some(Reason::Empty | Reason::Gone));
    outcome.shown == Shown::Fresh || (is_answer && outcome.fresh_until.is_some())
}

/// The names and surrogate keys of all parts, in document order. Names come first, since too many keys are cut off.
fn surrogate_keys(plan: &Plan, outcomes: &Outcomes, order: &[usize]) -> String {
    let needed = order.iter().copied().filter(|part| outcomes[*part].is_some());
    let names = needed.filter_map(|part| plan.fetch_of(part)).map(|fetch| &fetch.nanoservice);
    let tags = parts(outcomes).filter_map(|outcome| outcome.response.as_ref()).flat_map(|response| &response.tags);
    let mut seen = Set::default();
    let mut keys = String::new();
    for key in names.chain(tags).filter(|key| seen.insert((*key).clone())) {
        if keys.len() + key.len() < MAX_KEYS {
            let space = if keys.is_empty() { "" } else { " " };
            let _ = write!(keys, "{space}{key}");
        }
    }
    keys
}

/// The page's `ETag`: weak, since the page is sent in several content codings (RFC 9110, 8.8.1). It is a hash of the
/// parts' digests, so the page's bytes are not read for it.
fn etag(plan: &Plan, outcomes: &Outcomes, order: &[usize]) -> HeaderValue {
    let mut hash = Xxh3::new();
    hash_page(plan, outcomes, order, &mut hash);
    tag(hash.digest128())
}

fn tag(digest: u128) -> HeaderValue {
    let mut tag = *b"W/\"00000000000000000000000000000000\"";
    hexadecimal(&digest.to_be_bytes(), &mut tag[3..35]);
    HeaderValue::from_bytes(&tag).expect("hexadecimal digits are a valid header value")
}

/// Hashes what the `ETag` depends on, or records it to be hashed later.
trait TagHasher {
    /// Adds these bytes.
    fn update(&mut self, bytes: &[u8]);

    /// Adds the digest of the response that fills a part.
    fn digest(&mut self, _hole: usize, digest: u128) {
        self.update(&digest.to_le_bytes());
    }
}

impl TagHasher for Xxh3 {
    fn update(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Hashes what the page's bytes depend on, without reading them.
fn hash_page(plan: &Plan, outcomes: &Outcomes, order: &[usize], hash: &mut impl TagHasher) {
    hash.update(env!("CARGO_PKG_VERSION").as_bytes());
    hash.update(&plan.template.html.digest.to_le_bytes());
    hash_decisions(plan, None, hash);
    for script in [plan.template.scripts.late, plan.template.scripts.lazy].into_iter().flatten() {
        hash.update(script.path.as_bytes());
    }
    for address in (0..plan.parts.len()).filter_map(|part| plan.lazy_address(part)) {
        hash.update(address.as_bytes());
        hash.update(&[0]);
    }
    // In page order: the numbers of parts depend on the order in which responses arrived.
    for (place, part) in order.iter().copied().enumerate() {
        hash.update(&place.to_le_bytes());
        hash.update(&plan.nested_digest(part).to_le_bytes());
        for asset in plan.manifest_of(part).into_iter().flat_map(|manifest| &manifest.assets) {
            hash.update(asset.html().as_bytes());
        }
        hash_decisions(plan, Some(part), hash);
        // Which fallback is shown depends on the reason. A fresh part has none.
        if let Some(reason) = outcomes[part].as_ref().and_then(|outcome| outcome.reason) {
            hash.update(&[reason as u8]);
        }
        let fresh = outcomes[part].as_ref().filter(|outcome| outcome.shown == Shown::Fresh);
        if let Some(response) = fresh.and_then(|outcome| outcome.response.as_ref()) {
            hash.digest(part, response.digest);
            for asset in &response.assets {
                hash.update(asset.html().as_bytes());
            }
        }
    }
}

/// Hashes the conditions and values of the layout for this client, or those in the HTML of a part.
fn hash_decisions(plan: &Plan, part: Option<usize>, hash: &mut impl TagHasher) {
    let (shown, values) = plan.decisions(part);
    hash.update(&shown.iter().map(|shown| u8::from(*shown)).collect::<Vec<_>>());
    for value in values {
        hash.update(&value.len().to_le_bytes());
        hash.update(value);
    }
}

/// The `ETag` of a skeleton, in which the digests of the responses in its holes are still missing.
#[derive(Debug)]
pub struct SkeletonTag {
    /// The bytes to hash, with placeholders for the digests.
    bytes: Box<[u8]>,
    /// The positions of the placeholders.
    placeholders: Box<[usize]>,
}

impl SkeletonTag {
    /// The tag of a page without the digests of these parts, which are holes of the skeleton. They are sorted and have
    /// outcomes.
    #[must_use]
    pub fn of(plan: &Plan, outcomes: &Outcomes, holes: &[usize]) -> Self {
        let mut builder = SkeletonTagBuilder { holes, bytes: Vec::new(), placeholders: Vec::new() };
        hash_page(plan, outcomes, &plan.in_order(outcomes), &mut builder);
        Self { bytes: builder.bytes.into(), placeholders: builder.placeholders.into() }
    }

    /// The complete tag, given the digests of the responses in the holes, in document order.
    #[must_use]
    pub fn filled(&self, digests: impl Iterator<Item = u128>) -> HeaderValue {
        let mut bytes = self.bytes.clone();
        for (at, digest) in self.placeholders.iter().zip(digests) {
            bytes[*at..at + size_of::<u128>()].copy_from_slice(&digest.to_le_bytes());
        }
        tag(xxh3_128(&bytes))
    }

    /// Its size in memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.placeholders)
    }
}

/// Records the bytes to hash, and where the digests of the holes are in them.
struct SkeletonTagBuilder<'a> {
    holes: &'a [usize],
    bytes: Vec<u8>,
    placeholders: Vec<usize>,
}

impl TagHasher for SkeletonTagBuilder<'_> {
    fn update(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn digest(&mut self, part: usize, digest: u128) {
        if self.holes.binary_search(&part).is_ok() {
            self.placeholders.push(self.bytes.len());
        }
        self.update(&digest.to_le_bytes());
    }
}
