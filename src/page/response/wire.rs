//! Responses as they are kept in a store that several replicas share: versioned, compressed as in memory, and with a checksum.
//! A value that cannot be read, for whatever reason, is as if it were not there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::page::html::text::Text;
use crate::page::layout::Composition;
use crate::page::manifest::assets::{Asset, AssetParts};
use crate::page::policy::cache::directives::{CacheDirectives, Directives};
use crate::page::policy::cache::freshness::FreshnessRules;
use crate::page::policy::cache::validation::Validation;
use crate::page::policy::cluster::order::Position;
use crate::page::request::fetch::Fetch;
use crate::page::source::names::Name;

use super::parsed::{Content, MAX_TAGS, ParsedResponse};

/// What a value begins with; the last byte is the version. Values of another version are not read.
const MAGIC: [u8; 4] = *b"PUa\x01";
/// The bytes before the description: magic, checksum of all that follows, and the length of the description.
const HEAD: usize = MAGIC.len() + size_of::<u64>() + size_of::<u32>();

/// A response in the shared store.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedResponse {
    /// The response.
    pub response: Arc<ParsedResponse>,
    /// Of the rules of all fetches that it was fetched for, those by which it may be used longest.
    pub longest: FreshnessRules,
    /// How long it is of use, from its arrival on.
    pub useful: Duration,
    /// The last purge that was known when the request for it began.
    pub since: Position,
    /// The name of the nanoservice that sent it.
    pub nanoservice: Name,
}

/// Whether a response may leave this process: it is for anybody, here and downstream, and sets no cookies.
#[must_use]
pub fn may_be_shared(response: &ParsedResponse) -> bool {
    response.is_shareable() && !response.stated.is_private() && response.cookies.is_empty()
}

/// Everything of a response but its text.
#[derive(Serialize, Deserialize)]
struct Description {
    content: Kind,
    compositor: Stated,
    downstream: Option<Stated>,
    /// The fields of the response that a 304 may update, if it has a validator. Each byte is a character.
    fields: Option<Vec<(String, String)>>,
    tags: Vec<String>,
    assets: Vec<AssetParts>,
    deprecation: Option<String>,
    digest: String,
    is_esi: bool,
    is_composition: bool,
    rules: Rules,
    useful: Duration,
    since: String,
    nanoservice: String,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    /// The number of bytes of the text, and of each of its blocks if it is packed.
    Fragment(usize, Option<Vec<usize>>),
    Asset(String),
    Empty,
    Gone(u16),
    Redirect(u16, Option<String>),
}

#[derive(Serialize, Deserialize)]
struct Stated {
    must_revalidate: bool,
    browsers_must_revalidate: bool,
    no_cache: bool,
    browser_max_age: Option<Duration>,
    public: bool,
    max_age: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
struct Rules {
    ttl: Option<Duration>,
    default_ttl: Duration,
    max_ttl: Option<Duration>,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
}

impl Stated {
    fn of(directives: &Directives) -> Self {
        Self {
            must_revalidate: directives.must_revalidate,
            browsers_must_revalidate: directives.browsers_must_revalidate,
            no_cache: directives.no_cache,
            browser_max_age: directives.browser_max_age,
            public: directives.public,
            max_age: directives.max_age,
            stale_while_revalidate: directives.stale_while_revalidate,
            stale_if_error: directives.stale_if_error,
        }
    }

    fn read(self) -> Directives {
        Directives {
            uncacheable: None,
            no_cache: self.no_cache,
            must_revalidate: self.must_revalidate,
            browsers_must_revalidate: self.browsers_must_revalidate,
            browser_max_age: self.browser_max_age,
            public: self.public,
            max_age: self.max_age,
            stale_while_revalidate: self.stale_while_revalidate,
            stale_if_error: self.stale_if_error,
        }
    }
}

impl SharedResponse {
    /// The value for the store.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let response = &*self.response;
        let (content, body): (Kind, Vec<Bytes>) = match &response.content {
            Content::Fragment(text) => {
                let blocks = text.blocks();
                let lengths = blocks.as_ref().map(|blocks| blocks.iter().map(Bytes::len).collect());
                (Kind::Fragment(text.len(), lengths), blocks.map_or_else(|| vec![text.bytes()], <[Bytes]>::to_vec))
            }
            Content::Asset(media_type, bytes) => (Kind::Asset(latin1(media_type)), vec![bytes.clone()]),
            Content::Empty => (Kind::Empty, Vec::new()),
            Content::Gone(status) => (Kind::Gone(status.as_u16()), Vec::new()),
            Content::Redirect(status, location) => (Kind::Redirect(status.as_u16(), location.clone()), Vec::new()),
        };
        let fields = response.validation.as_ref().map(|validation| {
            validation.fields().iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value))).collect()
        });
        let FreshnessRules { ttl, default_ttl, max_ttl, stale_while_revalidate, stale_if_error } = self.longest;
        let description = Description {
            content,
            compositor: Stated::of(&response.stated.compositor),
            downstream: response.stated.downstream.as_deref().map(Stated::of),
            fields,
            tags: response.tags.iter().map(ToString::to_string).collect(),
            assets: response.assets.iter().map(Asset::parts).collect(),
            deprecation: response.deprecation.as_ref().map(ToString::to_string),
            digest: format!("{:032x}", response.digest),
            is_esi: response.is_esi,
            is_composition: response.composition.is_some(),
            rules: Rules { ttl, default_ttl, max_ttl, stale_while_revalidate, stale_if_error },
            useful: self.useful,
            since: self.since.to_string(),
            nanoservice: self.nanoservice.to_string(),
        };
        let description = serde_json::to_vec(&description).expect("texts and numbers can be written as JSON");
        let length = HEAD + description.len() + body.iter().map(Bytes::len).sum::<usize>();
        let mut value = Vec::with_capacity(length);
        value.extend(MAGIC);
        value.extend([0; size_of::<u64>()]);
        value.extend(u32::try_from(description.len()).unwrap_or(u32::MAX).to_le_bytes());
        value.extend(description);
        body.iter().for_each(|block| value.extend_from_slice(block));
        let checksum = xxh3_64(&value[MAGIC.len() + size_of::<u64>()..]);
        value[MAGIC.len()..][..size_of::<u64>()].copy_from_slice(&checksum.to_le_bytes());
        value.into()
    }

    /// Reads a value as the response to a fetch. `None`: it is not one, or was written by another version.
    #[must_use]
    pub fn read(value: &Bytes, fetch: &Fetch) -> Option<Self> {
        let rest = value.strip_prefix(&MAGIC)?;
        let (checksum, rest) = rest.split_first_chunk()?;
        if xxh3_64(rest) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let (length, _) = rest.split_first_chunk()?;
        let end = HEAD.checked_add(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let description: Description = serde_json::from_slice(value.get(HEAD..end)?).ok()?;
        let body = value.slice(end..);
        let content = match description.content {
            Kind::Fragment(length, blocks) => Content::Fragment(Text::of_blocks(&body, length, blocks.as_deref())?),
            Kind::Asset(media_type) => Content::Asset(value_of(&media_type)?, Bytes::copy_from_slice(&body)),
            Kind::Empty => Content::Empty,
            Kind::Gone(status) => Content::Gone(StatusCode::from_u16(status).ok()?),
            Kind::Redirect(status, location) => Content::Redirect(StatusCode::from_u16(status).ok()?, location),
        };
        let composition = match (&content, &fetch.manifest) {
            (Content::Fragment(html), Some(manifest)) if description.is_composition => {
                Some(Arc::new(Composition::of_response(&html.bytes(), manifest, description.is_esi)?))
            }
            _ => None,
        };
        let validation = match description.fields {
            None => None,
            Some(fields) => {
                let mut headers = HeaderMap::new();
                for (name, value) in &fields {
                    headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value_of(value)?);
                }
                Some(Validation::read(&headers)?)
            }
        };
        let assets =
            description.assets.into_iter().map(|(rel, href, attributes)| Asset::of_parts(&rel, href, attributes));
        let tags: Box<[Name]> = description.tags.into_iter().take(MAX_TAGS).map(Name::from).collect();
        let Rules { ttl, default_ttl, max_ttl, stale_while_revalidate, stale_if_error } = description.rules;
        let response = ParsedResponse {
            content,
            composition,
            stated: CacheDirectives {
                compositor: description.compositor.read(),
                downstream: description.downstream.map(|stated| Box::new(stated.read())),
            },
            validation,
            tags,
            assets: assets.collect::<Option<_>>()?,
            cookies: Box::default(),
            deprecation: description.deprecation.map(Into::into),
            digest: u128::from_str_radix(&description.digest, 16).ok()?,
            is_esi: description.is_esi,
        };
        Some(Self {
            response: Arc::new(response),
            longest: FreshnessRules { ttl, default_ttl, max_ttl, stale_while_revalidate, stale_if_error },
            useful: description.useful,
            since: description.since.parse().ok()?,
            nanoservice: Name::from(description.nanoservice),
        })
    }
}

/// The bytes of a header value, each as a character.
fn latin1(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

/// The header value of such a text.
fn value_of(text: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::layout::{Candidates, FragmentSource, FragmentUse};
    use crate::page::manifest::Manifest;
    use crate::page::policy::cache::directives::Arrival;
    use crate::page::request::defaults::Defaults;
    use crate::page::request::fetch::Origin;
    use crate::page::source::diagnostic::{Source, SourceSpan};
    use crate::page::visit::context::Visit;
    use proptest::prelude::*;

    fn fetch() -> Fetch {
        let text = "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://a.test/\"\ncomposes = [\"b\"]\nesi = true\n";
        let manifest = Arc::new(Manifest::parse(&Source::new("a", text)).0.expect("a manifest"));
        let at = SourceSpan::new(&Source::new("a", ""), 0..0);
        let fragment = FragmentUse::new(Name::from("a"), FragmentSource::Named(Candidates::one(&manifest)), at);
        Fetch::new(&fragment, Origin::Named(&manifest), &Visit::default(), &Defaults::default()).expect("a fetch")
    }

    fn shared(html: &str, headers: &[(&'static str, &str)]) -> SharedResponse {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
        });
        let headers: HeaderMap = headers.collect();
        let content = Content::Fragment(Bytes::copy_from_slice(html.as_bytes()).into());
        let arrival = Arrival { at: jiff::Timestamp::UNIX_EPOCH, delay: Duration::ZERO };
        SharedResponse {
            response: Arc::new(ParsedResponse::new(content, &headers, &fetch(), arrival)),
            longest: FreshnessRules { ttl: Some(Duration::from_secs(9)), ..FreshnessRules::default() },
            useful: Duration::from_millis(1_234),
            since: Position { milliseconds: 5, number: 6 },
            nanoservice: Name::from("a"),
        }
    }

    #[test]
    fn a_response_is_read_as_it_was_written() {
        let many = [
            ("cache-control", "max-age=60, stale-if-error=5, stale-while-revalidate=7, must-revalidate"),
            ("etag", "\"x\u{e9}\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("surrogate-key", "b c"),
            ("link", "</a.css>; rel=stylesheet; media=print, </b.js>; rel=modulepreload; crossorigin"),
            ("deprecation", "@1688169599"),
        ];
        let long = "<li class=\"item\">one of many</li>".repeat(6_000);
        for (html, headers) in [
            ("<p>short</p>", &[][..]),
            ("", &many),
            (&*long, &many),
            ("<p>a<fragment name=\"b\">c</fragment></p>", &many),
            ("<esi:remove>x</esi:remove>y<fragment name=b />", &[("surrogate-control", "content=\"ESI/1.0\"")]),
            ("<p>targeted</p>", &[("cache-control", "max-age=1"), ("fragment-cache-control", "max-age=9")]),
        ] {
            let before = shared(html, headers);
            let value = before.write();
            let after = SharedResponse::read(&value, &fetch()).expect(html);
            assert_eq!(before, after, "{html}");
            assert!(html.len() < 10_000 || value.len() < html.len() / 10, "it is compressed");
        }
        let before = shared("", &[]);
        for content in [
            Content::Empty,
            Content::Gone(StatusCode::GONE),
            Content::Redirect(StatusCode::FOUND, Some("/x".to_owned())),
            Content::Asset(HeaderValue::from_static("font/woff2"), Bytes::from_static(b"\0\xff")),
        ] {
            let response = Arc::new(ParsedResponse { content, digest: 7, ..(*before.response).clone() });
            let before = SharedResponse { response, ..before.clone() };
            assert_eq!(SharedResponse::read(&before.write(), &fetch()), Some(before));
        }
    }

    #[test]
    fn what_is_for_one_client_never_leaves_the_process() {
        let may = |headers: &[(&'static str, &str)]| may_be_shared(&shared("x", headers).response);
        assert!(may(&[("cache-control", "max-age=60")]));
        for line in ["no-store", "private", "no-cache", "private=\"x\""] {
            assert!(!may(&[("cache-control", line)]), "{line}");
            assert!(!may(&[("cache-control", line), ("fragment-cache-control", "no-store")]), "{line}");
        }
        assert!(!may(&[("cache-control", "private"), ("fragment-cache-control", "max-age=9")]));
        assert!(!may(&[("set-cookie", "a=b"), ("cache-control", "max-age=60")]));
        assert!(!may(&[("vary", "cookie"), ("cache-control", "max-age=60")]));
    }

    proptest! {
        #[test]
        fn rubbish_is_as_if_it_were_not_there(rubbish: Vec<u8>, at in 0usize..4_000, bit in 0u8..8) {
            prop_assert_eq!(SharedResponse::read(&rubbish.into(), &fetch()), None);
            let mut value = shared(&"<p>text</p>".repeat(900), &[("etag", "\"x\"")]).write().to_vec();
            let at = at % value.len();
            let whole = Bytes::from(value.clone());
            prop_assert_eq!(SharedResponse::read(&whole.slice(..at), &fetch()), None);
            value[at] ^= 1 << bit;
            prop_assert_eq!(SharedResponse::read(&value.into(), &fetch()), None);
        }
    }
}
