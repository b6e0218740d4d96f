//! What a nanoservice answered, judged by the contract.
//! Whatever is not a whole, decodable fragment of HTML is a failure and never shown.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use xxhash_rust::xxh3::xxh3_128;

use super::assets::Asset;
use super::fields::{self, MediaType};
use super::html::balance::balanced;
use super::names::Name;
use super::outcome::Reason;
use super::plan::{Fetch, Wants};
use super::policy::directives::{Arrival, Directives, Never, Stated};
use super::policy::freshness::{Lifetime, Nature, lifetime};
use super::policy::validation::Validation;

/// Surrogate keys of one answer, at most.
pub const MAX_TAGS: usize = 64;
/// Bytes of one surrogate key, at most.
const MAX_TAG: usize = 256;

/// An answer that keeps the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub content: Content,
    /// How it may be kept.
    pub stated: Stated,
    /// How it can be asked about.
    pub validation: Option<Box<Validation>>,
    /// What it can be purged by, beside its service's name.
    pub tags: Box<[Name]>,
    /// What it needs in the page's head.
    pub assets: Box<[Asset]>,
    /// Cookies that its manifest lets it set.
    pub cookies: Box<[HeaderValue]>,
    /// That the service is going away, as it says itself (RFC 9745, RFC 8594).
    pub ending: Option<Box<str>>,
    /// Equal for two answers with the same bytes to show, here and on other machines.
    pub digest: u128,
}

impl Answer {
    /// An answer with these headers to this fetch.
    #[must_use]
    pub fn new(content: Content, headers: &HeaderMap, fetch: &Fetch, arrival: Arrival) -> Self {
        let digest = match &content {
            Content::Fragment(bytes) | Content::Asset(_, bytes) => xxh3_128(bytes),
            Content::Empty | Content::Gone(_) | Content::Redirect(..) => 0,
        };
        Self::with_digest(content, digest, headers, fetch, arrival)
    }

    fn with_digest(content: Content, digest: u128, headers: &HeaderMap, fetch: &Fetch, arrival: Arrival) -> Self {
        let mut stated = Stated::read(headers, arrival);
        if let Some(never) = undeclared(headers, fetch) {
            stated.never(&never);
        }
        let lent = fetch.headers.iter().any(|(name, _)| *name == header::AUTHORIZATION);
        if lent && !stated.here.public {
            stated.never(&Never::Authorization);
        }
        Self {
            content,
            stated,
            validation: Validation::read(headers),
            tags: tags(headers),
            assets: Asset::read(headers, fetch),
            cookies: cookies(headers, fetch),
            ending: ending(headers),
            digest,
        }
    }

    /// The same answer, which a `304` says still holds. `None` where that speaks of another one
    /// (RFC 9111, 4.3.4).
    #[must_use]
    pub fn revalidated(&self, headers: &HeaderMap, fetch: &Fetch, arrival: Arrival) -> Option<Self> {
        let validation = self.validation.as_ref().filter(|validation| validation.is_meant_by(headers))?;
        let updated = validation.updated_by(headers);
        Some(Self::with_digest(self.content.clone(), self.digest, &updated, fetch, arrival))
    }

    /// Whether readers who asked at once may share it.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        self.stated.here.never.is_none() && !self.stated.here.no_cache
    }

    /// How long it may be used by the rules of a fetch.
    #[must_use]
    pub fn lifetime(&self, fetch: &Fetch) -> Lifetime {
        let fragment = !matches!(self.content, Content::Gone(_) | Content::Redirect(..));
        lifetime(&self.stated.here, &fetch.rules, Nature { fragment, validatable: self.validation.is_some() })
    }

    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let body = match &self.content {
            Content::Fragment(bytes) | Content::Asset(_, bytes) => bytes.len(),
            Content::Redirect(_, location) => location.as_ref().map_or(0, String::len),
            Content::Empty | Content::Gone(_) => 0,
        };
        let validation = self.validation.as_ref().map_or(0, |validation| validation.size());
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 4 * size_of::<usize>()).sum();
        let assets: usize = self.assets.iter().map(Asset::size).sum();
        let downstream = self.stated.downstream.as_ref().map_or(0, |_| size_of::<Directives>());
        let ending = self.ending.as_ref().map_or(0, |text| text.len());
        size_of::<Self>() + body + validation + tags + assets + downstream + ending
    }
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// HTML in UTF-8.
    Fragment(Bytes),
    /// What a page loads beside its HTML: its type, and its bytes.
    Asset(HeaderValue, Bytes),
    /// Nothing to show, and no error.
    Empty,
    /// There is no fragment here: 404 or 410.
    Gone(StatusCode),
    /// The fragment is elsewhere; nobody goes there.
    Redirect(StatusCode, Option<String>),
}

impl Content {
    /// The same, with HTML that cannot break out of its place on a page.
    #[must_use]
    pub fn within_its_place(self) -> Self {
        let Self::Fragment(html) = self else { return self };
        let text = std::str::from_utf8(&html).expect("a fragment is UTF-8");
        match balanced(text) {
            Cow::Borrowed(_) => Self::Fragment(html),
            Cow::Owned(repaired) if repaired.is_empty() => Self::Empty,
            Cow::Owned(repaired) => Self::Fragment(Bytes::from(repaired)),
        }
    }
}

/// Why an answer is none, in a word for everybody and in more words for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Failure {
    /// The word.
    pub reason: Reason,
    /// What exactly.
    pub detail: String,
}

impl Failure {
    /// A failure.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// What the head of an answer tells about its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// The body is to be read.
    Read(Form),
    /// The body does not matter.
    Done(Content),
    /// What is held still holds.
    NotModified,
}

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// HTML in this charset.
    Html(&'static encoding_rs::Encoding),
    /// An asset of this type.
    Asset(HeaderValue),
    /// Nothing that is of use: it is right only where it is empty.
    Unfit(Failure),
}

/// Statuses that lead elsewhere, where a `Location` says to where.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Judges status and headers, before the body is read. `asked` says whether the request was one that
/// `304` could answer.
///
/// # Errors
/// The answer is a failure whatever its body is.
pub fn judge_head(status: StatusCode, headers: &HeaderMap, wants: Wants, asked: bool) -> Result<Head, Failure> {
    let done = |content| Ok(Head::Done(content));
    match status.as_u16() {
        200 => {
            let form = coding(headers).and_then(|()| match wants {
                Wants::Fragment => charset(headers).map(Form::Html),
                Wants::Asset => asset_type(headers).map(Form::Asset),
            });
            let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
            match form {
                // What has a length that is not zero need not be read first.
                Err(failure) if length.is_some_and(|length| length.trim() != "0") => Err(failure),
                form => Ok(Head::Read(form.unwrap_or_else(Form::Unfit))),
            }
        }
        204 => done(Content::Empty),
        304 if asked => Ok(Head::NotModified),
        304 => Err(Failure::new(Reason::Status, "304 to a request without conditions")),
        404 | 410 => done(Content::Gone(status)),
        redirect @ 300..=399 => {
            // Where it does not say to where, or is none that browsers follow, it leads nowhere.
            let location = headers.get(header::LOCATION).filter(|_| REDIRECTS.contains(&redirect));
            done(Content::Redirect(status, location.and_then(|value| value.to_str().ok()).map(str::to_owned)))
        }
        other => Err(Failure::new(Reason::Status, format!("it answered {other}"))),
    }
}

/// Whether the body of a failure says what is wrong (RFC 9457).
#[must_use]
pub fn is_problem(headers: &HeaderMap) -> bool {
    MediaType::of(headers).is_some_and(|media_type| media_type.kind == "application/problem+json")
}

/// Title and detail of a problem, for the log; nothing where it has neither.
#[must_use]
pub fn problem(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |member: &str| problem.get(member).and_then(serde_json::Value::as_str);
    let said: Vec<&str> = ["title", "detail"].into_iter().filter_map(text).collect();
    (!said.is_empty()).then(|| said.join(": "))
}

/// Codings that the upstream adapter knows are undone by now, and their header gone.
fn coding(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Failure::new(Reason::Encoding, format!("nobody undoes the coding {coding:?}")))
        }
        _ => Ok(()),
    }
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Failure> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Err(Failure::new(Reason::NotHtml, "it has no Content-Type"));
    }
    MediaType::of(headers).ok_or_else(|| unfit(headers))
}

fn unfit(headers: &HeaderMap) -> Failure {
    let value = headers.get(header::CONTENT_TYPE);
    Failure::new(Reason::NotHtml, format!("its Content-Type is {value:?}"))
}

fn charset(headers: &HeaderMap) -> Result<&'static encoding_rs::Encoding, Failure> {
    let media_type = media_type(headers)?;
    if media_type.kind != "text/html" {
        return Err(unfit(headers));
    }
    match media_type.charset() {
        None => Ok(encoding_rs::UTF_8),
        Some(label) => encoding_rs::Encoding::for_label(label.as_bytes())
            .ok_or_else(|| Failure::new(Reason::Encoding, format!("nobody knows the charset {label}"))),
    }
}

/// What pages load beside their HTML. A service's other pages, its metrics above all, are for nobody.
fn asset_type(headers: &HeaderMap) -> Result<HeaderValue, Failure> {
    const KINDS: [&str; 4] = ["image/", "font/", "audio/", "video/"];
    const TYPES: [&str; 6] = [
        "text/css",
        "text/javascript",
        "application/javascript",
        "application/manifest+json",
        "application/wasm",
        "application/font-woff",
    ];
    let MediaType { kind, .. } = media_type(headers)?;
    let known = TYPES.contains(&kind.as_str()) || KINDS.iter().any(|prefix| kind.starts_with(prefix));
    let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
    headers.get(header::CONTENT_TYPE).filter(|_| known).and_then(own).ok_or_else(|| unfit(headers))
}

/// Judges a body, whole and without content codings.
///
/// # Errors
/// It is not what its head says.
pub fn judge_body(form: Form, body: Bytes) -> Result<Content, Failure> {
    let charset = match form {
        // Empty or not, a stylesheet is one.
        Form::Asset(media_type) => return Ok(Content::Asset(media_type, body)),
        _ if body.is_empty() => return Ok(Content::Empty),
        Form::Unfit(failure) => return Err(failure),
        Form::Html(charset) => charset,
    };
    let wrong = || Failure::new(Reason::Encoding, format!("its body is no {}", charset.name()));
    let text = if charset == encoding_rs::UTF_8 {
        let bare = if body.starts_with("\u{feff}".as_bytes()) { body.slice(3..) } else { body };
        std::str::from_utf8(&bare).map_err(|_| wrong())?;
        bare
    } else {
        let (text, _, broken) = charset.decode(&body);
        if broken {
            return Err(wrong());
        }
        Bytes::from(text.into_owned())
    };
    Ok(if text.is_empty() { Content::Empty } else { Content::Fragment(text) })
}

/// The first name in `Vary` that is no declared context. What is declared is in the key, so that
/// different values of it never meet (RFC 9111, 4.1).
fn undeclared(headers: &HeaderMap, fetch: &Fetch) -> Option<Never> {
    if headers.get_all(header::VARY).iter().any(|line| line.to_str().is_err()) {
        return Some(Never::Unreadable);
    }
    let declared = |name: &str| {
        // With the question for an asset goes nothing that it could vary on.
        if fetch.wants == Wants::Asset {
            return name != "*";
        }
        let context = fetch.manifest.as_ref().map(|manifest| manifest.context.as_slice()).unwrap_or_default();
        name.eq_ignore_ascii_case("accept-encoding")
            || context.iter().any(|dimension| dimension.header().eq_ignore_ascii_case(name))
    };
    let name = fields::members(headers, &header::VARY).find(|name| !declared(name))?;
    Some(Never::Vary(Name::from(name)))
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

/// The cookies that a manifest names; all others are dropped.
fn cookies(headers: &HeaderMap, fetch: &Fetch) -> Box<[HeaderValue]> {
    let allowed = fetch.manifest.as_ref().map(|manifest| manifest.cookies.as_slice()).unwrap_or_default();
    let named = |line: &&HeaderValue| {
        let name = line.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        allowed.iter().any(|allowed| allowed.as_bytes() == name.trim_ascii())
    };
    headers.get_all(header::SET_COOKIE).iter().filter(named).cloned().collect()
}

/// What a service says of its own end, in words.
#[must_use]
pub fn ending(headers: &HeaderMap) -> Option<Box<str>> {
    let text = |name| headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok());
    // RFC 9745, 2.1: seconds since 1970 behind an at sign; before it was a standard, `true` or a date.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    fn judge(status: u16, pairs: &[(&'static str, &'static str)], body: &'static [u8]) -> Result<Content, Reason> {
        let headers = headers(pairs);
        let status = StatusCode::from_u16(status).expect("a status");
        match judge_head(status, &headers, Wants::Fragment, false).map_err(|f| f.reason)? {
            Head::Done(content) => Ok(content),
            Head::Read(form) => judge_body(form, Bytes::from_static(body)).map_err(|f| f.reason),
            Head::NotModified => panic!("nothing was asked"),
        }
    }

    const HTML: (&str, &str) = ("content-type", "text/html");

    #[test]
    fn every_rule_of_the_contract_about_one_answer() {
        let fragment = |text: &'static str| Ok(Content::Fragment(Bytes::from_static(text.as_bytes())));
        assert_eq!(judge(200, &[HTML], b"<p>"), fragment("<p>"));
        assert_eq!(judge(200, &[("content-type", "Text/HTML; charset=\"UTF-8\"")], "ü".as_bytes()), fragment("ü"));
        assert_eq!(judge(200, &[("content-type", "text/html; charset=iso-8859-1")], b"\xfc"), fragment("ü"));
        assert_eq!(judge(200, &[HTML], b"\xef\xbb\xbf<p>"), fragment("<p>"));
        assert_eq!(judge(200, &[HTML], b""), Ok(Content::Empty));
        assert_eq!(judge(200, &[("content-length", "0")], b""), Ok(Content::Empty));
        for kind in ["application/json", "nonsense", "text/html; charset=klingon"] {
            assert_eq!(judge(200, &[("content-type", kind)], b""), Ok(Content::Empty), "{kind}");
        }
        assert_eq!(judge(200, &[], b""), Ok(Content::Empty));
        assert_eq!(judge(200, &[("content-type", "text/html ; Charset=iso-8859-1")], b"\xfc"), fragment("ü"));
        for (status, location) in [(300, "/x"), (305, "/x"), (306, "/x")] {
            let nowhere = Ok(Content::Redirect(StatusCode::from_u16(status).expect("a status"), None));
            assert_eq!(judge(status, &[("location", location)], b""), nowhere, "{status}");
        }
        assert_eq!(judge(302, &[], b""), Ok(Content::Redirect(StatusCode::FOUND, None)));
        assert_eq!(judge(204, &[], b""), Ok(Content::Empty));
        assert_eq!(judge(404, &[HTML], b"<p>no"), Ok(Content::Gone(StatusCode::NOT_FOUND)));
        assert_eq!(judge(410, &[], b""), Ok(Content::Gone(StatusCode::GONE)));
        assert_eq!(
            judge(302, &[("location", "/x")], b""),
            Ok(Content::Redirect(StatusCode::FOUND, Some("/x".to_owned())))
        );
        for (status, pairs, body, reason) in [
            (200, vec![("content-type", "application/json")], &b"{}"[..], Reason::NotHtml),
            (200, vec![("content-type", "text/plain"), ("content-length", "5")], b"", Reason::NotHtml),
            (200, vec![("content-type", "text/htmlx")], b"x", Reason::NotHtml),
            (200, vec![], b"<p>", Reason::NotHtml),
            (200, vec![HTML], b"\xff", Reason::Encoding),
            (200, vec![("content-type", "text/html; charset=klingon")], b"x", Reason::Encoding),
            (200, vec![HTML, ("content-encoding", "compress")], b"x", Reason::Encoding),
            (206, vec![HTML], b"x", Reason::Status),
            (304, vec![], b"", Reason::Status),
            (400, vec![HTML], b"x", Reason::Status),
            (403, vec![HTML], b"x", Reason::Status),
            (500, vec![HTML], b"x", Reason::Status),
            (503, vec![HTML], b"x", Reason::Status),
        ] {
            assert_eq!(judge(status, &pairs, body), Err(reason), "{status} {pairs:?}");
        }
    }
}
