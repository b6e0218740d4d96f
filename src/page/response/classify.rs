//! Classifies a response according to the contract: first its head, then its body.
//! Everything that is not a complete, decodable fragment or asset is a failure, and is never shown.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::page::http::coding::ContentCoding;
use crate::page::http::fields::MediaType;
use crate::page::request::fetch::FetchKind;
use crate::page::source::reason::Reason;

use super::parsed::{Content, Failure};

/// What the head of a response states about its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadClass {
    /// The body has to be read.
    Read(BodyKind),
    /// The body is irrelevant.
    Done(Content),
    /// The stored response is still valid.
    NotModified,
}

/// How a body is interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyKind {
    /// HTML in this character encoding.
    Html(&'static encoding_rs::Encoding),
    /// An asset of this type.
    Asset(HeaderValue),
    /// Neither HTML nor an asset. This is a failure unless the body is empty.
    Unusable(Failure),
}

/// How many characters of a `Content-Type` messages show.
const MAX_SHOWN: usize = 200;
/// The statuses that redirect to their `Location`.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Classifies status and headers, before the body is read. `conditional`: the request had conditions, so that the response may
/// be a `304`.
///
/// # Errors
/// The response is a failure, whatever its body is.
pub fn classify_head(
    status: StatusCode,
    headers: &HeaderMap,
    kind: FetchKind,
    conditional: bool,
) -> Result<HeadClass, Failure> {
    let done = |content| Ok(HeadClass::Done(content));
    match status.as_u16() {
        200 => {
            let body = check_coding(headers).and_then(|()| match kind {
                FetchKind::Fragment => charset(headers).map(BodyKind::Html),
                FetchKind::Asset => asset_type(headers).map(BodyKind::Asset),
            });
            let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
            match body {
                // A body that is known not to be empty need not be read to fail.
                Err(failure) if length.is_some_and(|length| length.trim() != "0") => Err(failure),
                body => Ok(HeadClass::Read(body.unwrap_or_else(BodyKind::Unusable))),
            }
        }
        204 => done(Content::Empty),
        304 if conditional => Ok(HeadClass::NotModified),
        304 => Err(Failure::new(Reason::Status, "304 to a request without conditions")),
        404 | 410 => done(Content::Gone(status)),
        redirect @ 300..=399 => {
            // Without a target, or with a status that browsers do not follow, it redirects nowhere.
            let location = headers.get(header::LOCATION).filter(|_| REDIRECTS.contains(&redirect));
            done(Content::Redirect(status, location.and_then(|value| value.to_str().ok()).map(str::to_owned)))
        }
        other => Err(Failure::new(Reason::Status, format!("it answered {other}"))),
    }
}

/// Whether the body of a failure describes the problem (RFC 9457).
#[must_use]
pub fn is_problem(headers: &HeaderMap) -> bool {
    MediaType::of(headers).is_some_and(|media_type| media_type.kind == "application/problem+json")
}

/// The title and detail of a problem, for the log. `None`: it has neither.
#[must_use]
pub fn problem(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |member: &str| problem.get(member).and_then(serde_json::Value::as_str);
    let texts: Vec<&str> = ["title", "detail"].into_iter().filter_map(text).collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}

/// Refuses content codings that are left: the upstream adapter has decoded those that it knows, and removed their header.
fn check_coding(headers: &HeaderMap) -> Result<(), Failure> {
    let coding = match ContentCoding::of(headers) {
        Ok(None) => return Ok(()),
        Ok(Some(coding)) => coding.as_str().to_owned(),
        Err(codings) => codings,
    };
    Err(Failure::new(Reason::Encoding, format!("the content coding {coding:?} is not supported")))
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Failure> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Err(Failure::new(Reason::NotHtml, "it has no Content-Type"));
    }
    MediaType::of(headers).ok_or_else(|| wrong_type(headers))
}

fn wrong_type(headers: &HeaderMap) -> Failure {
    let lines = headers.get_all(header::CONTENT_TYPE).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let shown: String = lines.collect::<Vec<_>>().join(", ").chars().take(MAX_SHOWN).collect();
    Failure::new(Reason::NotHtml, format!("its Content-Type is {shown:?}"))
}

fn charset(headers: &HeaderMap) -> Result<&'static encoding_rs::Encoding, Failure> {
    let media_type = media_type(headers)?;
    if media_type.kind != "text/html" {
        return Err(wrong_type(headers));
    }
    match media_type.charset() {
        None => Ok(encoding_rs::UTF_8),
        Some(label) => encoding_rs::Encoding::for_label(label.as_bytes())
            .ok_or_else(|| Failure::new(Reason::Encoding, format!("the charset {label} is unknown"))),
    }
}

/// The media type of an asset. Anything else that a nanoservice serves, such as its metrics, is not passed on.
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
    let media_type = media_type(headers)?;
    let kind = media_type.kind.as_str();
    let known = TYPES.contains(&kind) || KINDS.iter().any(|prefix| kind.starts_with(prefix));
    // Of its parameters only the charset means something to a browser. A name for it that is not known means nothing.
    let charset = media_type.charset().and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    let own = match charset {
        Some(charset) => HeaderValue::try_from(format!("{kind}; charset={}", charset.name().to_ascii_lowercase())),
        None => HeaderValue::from_str(kind),
    };
    own.ok().filter(|_| known).ok_or_else(|| wrong_type(headers))
}

/// Classifies a body, complete and without content codings.
///
/// # Errors
/// The body is not what its head states.
pub fn classify_body(kind: BodyKind, body: Bytes) -> Result<Content, Failure> {
    let charset = match kind {
        // An asset may be empty.
        BodyKind::Asset(media_type) => return Ok(Content::Asset(media_type, body)),
        _ if body.is_empty() => return Ok(Content::Empty),
        BodyKind::Unusable(failure) => return Err(failure),
        BodyKind::Html(charset) => charset,
    };
    let wrong = || Failure::new(Reason::Encoding, format!("its body is not valid {}", charset.name()));
    let text = if charset == encoding_rs::UTF_8 {
        let unmarked = if body.starts_with("\u{feff}".as_bytes()) { body.slice(3..) } else { body };
        std::str::from_utf8(&unmarked).map_err(|_| wrong())?;
        unmarked
    } else {
        let (text, _, broken) = charset.decode(&body);
        if broken {
            return Err(wrong());
        }
        Bytes::from(text.into_owned())
    };
    Ok(if text.is_empty() { Content::Empty } else { Content::Fragment(text.into()) })
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

    fn classify(status: u16, pairs: &[(&'static str, &'static str)], body: &'static [u8]) -> Result<Content, Reason> {
        let headers = headers(pairs);
        let status = StatusCode::from_u16(status).expect("a status");
        match classify_head(status, &headers, FetchKind::Fragment, false).map_err(|f| f.reason)? {
            HeadClass::Done(content) => Ok(content),
            HeadClass::Read(kind) => classify_body(kind, Bytes::from_static(body)).map_err(|f| f.reason),
            HeadClass::NotModified => panic!("the request had no conditions"),
        }
    }

    const HTML: (&str, &str) = ("content-type", "text/html");

    #[test]
    fn an_asset_has_one_type_and_keeps_nothing_else_of_its_header() {
        let asset = |text: &'static str| match classify_head(
            StatusCode::OK,
            &headers(&[("content-type", text)]),
            FetchKind::Asset,
            false,
        ) {
            Ok(HeadClass::Read(BodyKind::Asset(kind))) => Some(kind),
            Ok(HeadClass::Read(BodyKind::Unusable(_))) => None,
            other => panic!("{other:?}"),
        };
        for (text, kept) in [
            ("image/png", "image/png"),
            ("Image/SVG+xml; x=\"y\"", "image/svg+xml"),
            ("text/css; charset=Latin1; x=y", "text/css; charset=windows-1252"),
            ("text/css; charset=klingon", "text/css"),
        ] {
            assert_eq!(asset(text).expect(text), kept);
        }
        for text in ["image/png, text/html", "text/html", "image/", "image/a b", "text/plain"] {
            assert_eq!(asset(text), None, "{text}");
        }
    }

    #[test]
    fn every_rule_of_the_contract_about_one_response() {
        let fragment = |text: &'static str| Ok(Content::Fragment(Bytes::from_static(text.as_bytes()).into()));
        assert_eq!(classify(200, &[HTML], b"<p>"), fragment("<p>"));
        assert_eq!(classify(200, &[("content-type", "Text/HTML; charset=\"UTF-8\"")], "ü".as_bytes()), fragment("ü"));
        assert_eq!(classify(200, &[("content-type", "text/html; charset=iso-8859-1")], b"\xfc"), fragment("ü"));
        assert_eq!(classify(200, &[HTML], b"\xef\xbb\xbf<p>"), fragment("<p>"));
        for coding in ["", "identity", ","] {
            assert_eq!(classify(200, &[HTML, ("content-encoding", coding)], b"<p>"), fragment("<p>"), "{coding:?}");
        }
        assert_eq!(classify(200, &[HTML], b""), Ok(Content::Empty));
        assert_eq!(classify(200, &[("content-length", "0")], b""), Ok(Content::Empty));
        for kind in ["application/json", "nonsense", "text/html; charset=klingon"] {
            assert_eq!(classify(200, &[("content-type", kind)], b""), Ok(Content::Empty), "{kind}");
        }
        assert_eq!(classify(200, &[], b""), Ok(Content::Empty));
        assert_eq!(classify(200, &[("content-type", "text/html ; Charset=iso-8859-1")], b"\xfc"), fragment("ü"));
        for (status, location) in [(300, "/x"), (305, "/x"), (306, "/x")] {
            let nowhere = Ok(Content::Redirect(StatusCode::from_u16(status).expect("a status"), None));
            assert_eq!(classify(status, &[("location", location)], b""), nowhere, "{status}");
        }
        assert_eq!(classify(302, &[], b""), Ok(Content::Redirect(StatusCode::FOUND, None)));
        assert_eq!(classify(204, &[], b""), Ok(Content::Empty));
        assert_eq!(classify(404, &[HTML], b"<p>no"), Ok(Content::Gone(StatusCode::NOT_FOUND)));
        assert_eq!(classify(410, &[], b""), Ok(Content::Gone(StatusCode::GONE)));
        assert_eq!(
            classify(302, &[("location", "/x")], b""),
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
            (200, vec![HTML, ("content-encoding", "gzip, br")], b"x", Reason::Encoding),
            (206, vec![HTML], b"x", Reason::Status),
            (304, vec![], b"", Reason::Status),
            (400, vec![HTML], b"x", Reason::Status),
            (403, vec![HTML], b"x", Reason::Status),
            (500, vec![HTML], b"x", Reason::Status),
            (503, vec![HTML], b"x", Reason::Status),
        ] {
            assert_eq!(classify(status, &pairs, body), Err(reason), "{status} {pairs:?}");
        }
    }
}
