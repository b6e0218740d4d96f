//! A nanoservice's response as read: its content, and everything that its headers state of it.
//! Malformed headers are ignored; a response that may not be stored is marked so, with the reason.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use xxhash_rust::xxh3::xxh3_128;

use crate::page::esi;
use crate::page::html::balance;
use crate::page::html::text::Text;
use crate::page::http::fields;
use crate::page::layout::Composition;
use crate::page::manifest::Boundary;
use crate::page::manifest::assets::Asset;
use crate::page::policy::cache::directives::{Arrival, CacheDirectives, Directives, Uncacheable};
use crate::page::policy::cache::freshness::{FreshnessRules, Lifetime, ResponseTraits, lifetime};
use crate::page::policy::cache::validation::Validation;
use crate::page::request::fetch::{Fetch, FetchKind};
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

/// Maximum number of surrogate keys of one response.
pub const MAX_TAGS: usize = 64;
/// Maximum number of bytes of one surrogate key.
const MAX_TAG: usize = 256;

const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// A response that fulfils the contract.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedResponse {
    /// Its content.
    pub content: Content,
    /// Its HTML in segments, if it requests other fragments.
    pub composition: Option<Arc<Composition>>,
    /// How it may be stored.
    pub stated: CacheDirectives,
    /// How it can be revalidated.
    pub validation: Option<Box<Validation>>,
    /// The keys that it can be purged by, in addition to the name of its nanoservice.
    pub tags: Box<[Name]>,
    /// The assets that it needs in the page's head.
    pub assets: Box<[Asset]>,
    /// Cookies that its manifest lets it set.
    pub cookies: Box<[HeaderValue]>,
    /// The nanoservice's announcement of its own end (RFC 9745, RFC 8594).
    pub deprecation: Option<Box<str>>,
    /// Equal for responses that show the same bytes, on all machines.
    pub digest: u128,
    /// Whether ESI in it is processed.
    pub is_esi: bool,
}

impl ParsedResponse {
    /// The response to a fetch.
    #[must_use]
    pub fn new(content: Content, headers: &HeaderMap, fetch: &Fetch, arrival: Arrival) -> Self {
        let is_esi = is_esi(headers, fetch);
        let content = if is_esi { content.esi_unwrapped() } else { content };
        let content = match fetch.html {
            Boundary::Balanced => content.balanced(),
            Boundary::Raw => content,
        };
        let digest = match &content {
            Content::Fragment(text) => xxh3_128(&text.bytes()),
            Content::Asset(_, bytes) => xxh3_128(bytes),
            Content::Empty | Content::Gone(_) | Content::Redirect(..) => 0,
        };
        let composition = match (&content, &fetch.manifest) {
            (Content::Fragment(html), Some(manifest)) => {
                Composition::of_response(&html.bytes(), manifest, is_esi).map(Arc::new)
            }
            _ => None,
        };
        Self::with_body((content, composition, digest, is_esi), headers, fetch, arrival).packed(fetch)
    }

    /// The same response; its text is compressed if it will be stored.
    fn packed(self, fetch: &Fetch) -> Self {
        // Pages are made of a composition's segments, which hold the text.
        if self.composition.is_some() || self.lifetime(fetch).retention().is_zero() {
            return self;
        }
        match self.content {
            Content::Fragment(text) => Self { content: Content::Fragment(text.packed()), ..self },
            _ => self,
        }
    }

    fn with_body(
        (content, composition, digest, is_esi): (Content, Option<Arc<Composition>>, u128, bool),
        headers: &HeaderMap,
        fetch: &Fetch,
        arrival: Arrival,
    ) -> Self {
        let mut stated = CacheDirectives::read(headers, arrival);
        if let Some(never) = undeclared_vary(headers, fetch) {
            stated.mark_uncacheable(&never);
        }
        let has_authorization = fetch.headers.iter().any(|(name, _)| *name == header::AUTHORIZATION);
        if has_authorization && !stated.compositor.public {
            stated.mark_uncacheable(&Uncacheable::Authorization);
        }
        let nanoservice = fetch.manifest.as_ref().map(|manifest| (&*manifest.name, &manifest.version));
        Self {
            content,
            composition,
            stated,
            validation: Validation::read(headers),
            tags: tags(headers),
            assets: Asset::read(headers, fetch.target().address.base(), nanoservice),
            cookies: cookies(headers, fetch),
            deprecation: deprecation(headers),
            digest,
            is_esi,
        }
    }

    /// The same response, updated by a `304`. `None`: the `304` is about another response (RFC 9111, 4.3.4).
    #[must_use]
    pub fn revalidated(&self, headers: &HeaderMap, fetch: &Fetch, arrival: Arrival) -> Option<Self> {
        let validation = self.validation.as_ref().filter(|validation| validation.is_confirmed_by(headers))?;
        let updated = validation.updated_by(headers);
        let body = (self.content.clone(), self.composition.clone(), self.digest, self.is_esi);
        Some(Self::with_body(body, &updated, fetch, arrival))
    }

    /// Whether concurrent requests may share it.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        self.stated.compositor.is_reusable()
    }

    /// How long it may be used according to the rules of a fetch.
    #[must_use]
    pub fn lifetime(&self, fetch: &Fetch) -> Lifetime {
        self.lifetime_by(&fetch.rules)
    }

    /// How long it may be used according to some rules.
    #[must_use]
    pub fn lifetime_by(&self, rules: &FreshnessRules) -> Lifetime {
        let fragment = !matches!(self.content, Content::Gone(_) | Content::Redirect(..));
        lifetime(
            &self.stated.compositor,
            rules,
            ResponseTraits { is_fragment: fragment, has_validator: self.validation.is_some() },
        )
    }

    /// The approximate number of bytes that it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let body = match &self.content {
            Content::Fragment(text) => text.size(),
            Content::Asset(media_type, bytes) => media_type.len() + bytes.len(),
            Content::Redirect(_, location) => location.as_ref().map_or(0, String::len),
            Content::Empty | Content::Gone(_) => 0,
        };
        let validation = self.validation.as_ref().map_or(0, |validation| validation.size());
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 4 * size_of::<usize>()).sum();
        let assets: usize = self.assets.iter().map(Asset::size).sum();
        let downstream = self.stated.downstream.as_ref().map_or(0, |_| size_of::<Directives>());
        let deprecation = self.deprecation.as_ref().map_or(0, |text| text.len());
        let composition = self.composition.as_ref().map_or(0, |composition| composition.size());
        size_of::<Self>() + body + composition + validation + tags + assets + downstream + deprecation
    }
}

/// The content of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// HTML in UTF-8.
    Fragment(Text),
    /// A file that a page loads beside its HTML: its media type and its bytes.
    Asset(HeaderValue, Bytes),
    /// Nothing to show, which is not an error.
    Empty,
    /// The fragment does not exist: 404 or 410.
    Gone(StatusCode),
    /// A redirect, which the compositor does not follow: its status and its `Location`.
    Redirect(StatusCode, Option<String>),
}

impl Content {
    /// The same content, its HTML balanced so that it cannot affect the page around it.
    #[must_use]
    pub fn balanced(self) -> Self {
        self.map_html(balance::balanced)
    }

    /// The same content, with the HTML that ESI hides from programs that do not know it.
    #[must_use]
    pub fn esi_unwrapped(self) -> Self {
        self.map_html(esi::unwrap)
    }

    /// The number of bytes that it shows.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Fragment(text) => text.len(),
            Self::Asset(_, bytes) => bytes.len(),
            Self::Empty | Self::Gone(_) | Self::Redirect(..) => 0,
        }
    }

    fn map_html(self, change: fn(&str) -> Cow<'_, str>) -> Self {
        let Self::Fragment(html) = self else { return self };
        let bytes = html.bytes();
        let text = std::str::from_utf8(&bytes).expect("a fragment was decoded as UTF-8");
        match change(text) {
            Cow::Borrowed(_) => Self::Fragment(html),
            Cow::Owned(changed) if changed.is_empty() => Self::Empty,
            Cow::Owned(changed) => Self::Fragment(Bytes::from(changed).into()),
        }
    }
}

/// Whether ESI in a response is processed: both the manifest and the response's `Surrogate-Control` have to declare it (Edge
/// Architecture Specification, 2.2).
fn is_esi(headers: &HeaderMap, fetch: &Fetch) -> bool {
    let declares = |member: &str| {
        let (name, value) = fields::pair(member);
        name == "content" && value.is_some_and(|value| value.split_ascii_whitespace().any(|kind| kind == "ESI/1.0"))
    };
    fetch.manifest.as_ref().is_some_and(|manifest| manifest.esi)
        && fields::members(headers, &SURROGATE_CONTROL).any(declares)
}

/// Why a fetch has no usable response: a reason that may be public, and details for those who run the site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// The details.
    pub detail: String,
}

impl Failure {
    /// A failure with a reason and details.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The first name in `Vary` that is not declared context. Declared context is in the key, so that responses to different values
/// of it are stored separately (RFC 9111, 4.1).
fn undeclared_vary(headers: &HeaderMap, fetch: &Fetch) -> Option<Uncacheable> {
    if headers.get_all(header::VARY).iter().any(|line| line.to_str().is_err()) {
        return Some(Uncacheable::Unreadable);
    }
    let declared = |name: &str| {
        // A request for an asset carries nothing that the response could vary on.
        if fetch.kind == FetchKind::Asset {
            return name != "*";
        }
        let context = fetch.manifest.as_ref().map(|manifest| manifest.context.as_slice()).unwrap_or_default();
        name.eq_ignore_ascii_case("accept-encoding")
            || context.iter().any(|dimension| dimension.header().eq_ignore_ascii_case(name))
    };
    let name = fields::members(headers, &header::VARY).find(|name| !declared(name))?;
    Some(Uncacheable::Vary(Name::from(name)))
}

fn tags(headers: &HeaderMap) -> Box<[Name]> {
    let lines = |name: &'static str| headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let spaced = lines("surrogate-key").chain(lines("xkey"));
    let listed = lines("cache-tag");
    let all =
        spaced.flat_map(str::split_ascii_whitespace).chain(listed.flat_map(|line| line.split(',')).map(str::trim));
    let mut tags: Vec<Name> = Vec::new();
    for tag in all.filter(|tag| !tag.is_empty() && tag.len() <= MAX_TAG) {
        if tags.len() < MAX_TAGS && !tags.iter().any(|known| &**known == tag) {
            tags.push(Name::from(tag));
        }
    }
    tags.into()
}

/// The cookies that the manifest declares; all others are dropped.
fn cookies(headers: &HeaderMap, fetch: &Fetch) -> Box<[HeaderValue]> {
    let allowed = fetch.manifest.as_ref().map(|manifest| manifest.cookies.as_slice()).unwrap_or_default();
    let named = |line: &&HeaderValue| {
        let name = line.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        allowed.iter().any(|allowed| allowed.as_bytes() == name.trim_ascii())
    };
    headers.get_all(header::SET_COOKIE).iter().filter(named).cloned().collect()
}

/// The day from which on a nanoservice may be gone, if it announces one (RFC 8594).
#[must_use]
pub fn sunset(headers: &HeaderMap) -> Option<jiff::civil::Date> {
    let sunset = headers.get(HeaderName::from_static("sunset"))?.to_str().ok()?;
    let sunset = jiff::Timestamp::try_from(httpdate::parse_http_date(sunset).ok()?).ok()?;
    Some(sunset.to_zoned(jiff::tz::TimeZone::UTC).date())
}

/// A nanoservice's announcement of its own end, in words.
#[must_use]
pub fn deprecation(headers: &HeaderMap) -> Option<Box<str>> {
    let text = |name| headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok());
    // An at sign and seconds since 1970 (RFC 9745, 2.1); the drafts had `true` or a date.
    let since = text("deprecation").map(|since| {
        let seconds = since.strip_prefix('@').and_then(|seconds| seconds.parse().ok());
        match seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(since) => format!("deprecated since {}", since.strftime("%Y-%m-%d")),
            None => "deprecated".to_owned(),
        }
    });
    let sunset = text("sunset").map(|sunset| match httpdate::parse_http_date(sunset).map(jiff::Timestamp::try_from) {
        Ok(Ok(sunset)) => format!("gone from {} on", sunset.strftime("%Y-%m-%d")),
        _ => format!("gone after `{sunset}`"),
    });
    let all: Vec<String> = since.into_iter().chain(sunset).collect();
    (!all.is_empty()).then(|| all.join(", ").into())
}
