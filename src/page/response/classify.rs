//! Judges an answer by the contract: first its head, then its body.
//! Whatever is not a whole, decodable fragment or asset is a failure and never shown.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::page::http::fields::MediaType;
use crate::page::request::fetch::Wants;
use crate::page::source::reason::Reason;

use super::parsed::{Content, Failure};

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
        let fragment = |text: &'static str| Ok(Content::Fragment(Bytes::from_static(text.as_bytes()).into()));
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
