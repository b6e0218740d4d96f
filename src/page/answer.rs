//! What a nanoservice answered, judged by the contract.
//! Whatever is not a whole, decodable fragment of HTML is a failure and never shown.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::outcome::Reason;
use super::policy::freshness::Directives;

/// An answer that keeps the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub content: Content,
    /// How it may be kept.
    pub directives: Directives,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// HTML in UTF-8.
    Fragment(Bytes),
    /// Nothing to show, and no error.
    Empty,
    /// There is no fragment here: 404 or 410.
    Gone(StatusCode),
    /// The fragment is elsewhere; nobody goes there.
    Redirect(StatusCode, Option<String>),
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
    /// The body is to be read; it is in this charset.
    Read(&'static encoding_rs::Encoding),
    /// The body does not matter.
    Done(Answer),
}

/// Judges status and headers, before the body is read.
///
/// # Errors
/// The answer is a failure whatever its body is.
pub fn judge_head(status: StatusCode, headers: &HeaderMap) -> Result<Head, Failure> {
    let done = |content| Ok(Head::Done(Answer { content, directives: Directives::read(headers) }));
    match status.as_u16() {
        200 => {
            coding(headers)?;
            charset(headers).map(Head::Read)
        }
        204 => done(Content::Empty),
        // Nothing was asked that 304 could answer.
        304 => Err(Failure::new(Reason::Status, "304 to a request without conditions")),
        404 | 410 => done(Content::Gone(status)),
        300..=399 => {
            let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
            done(Content::Redirect(status, location))
        }
        other => Err(Failure::new(Reason::Status, format!("it answered {other}"))),
    }
}

/// Codings that the upstream adapter knows are undone by now, and their header gone.
fn coding(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => {
            Err(Failure::new(Reason::Encoding, format!("nobody undoes the coding {coding:?}")))
        }
        _ => Ok(()),
    }
}

fn charset(headers: &HeaderMap) -> Result<&'static encoding_rs::Encoding, Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        // An empty body needs no type; one that is not empty is judged with the body.
        return if headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0") {
            Ok(encoding_rs::UTF_8)
        } else {
            Err(Failure::new(Reason::NotHtml, "it has no Content-Type"))
        };
    };
    let mime: Option<mime::Mime> = value.to_str().ok().and_then(|text| text.parse().ok());
    let mime = mime
        .filter(|mime| mime.essence_str() == "text/html")
        .ok_or_else(|| Failure::new(Reason::NotHtml, format!("its Content-Type is {value:?}")))?;
    match mime.get_param(mime::CHARSET) {
        None => Ok(encoding_rs::UTF_8),
        Some(label) => encoding_rs::Encoding::for_label(label.as_str().as_bytes())
            .ok_or_else(|| Failure::new(Reason::Encoding, format!("nobody knows the charset {label}"))),
    }
}

/// Judges a body, whole and without content codings.
///
/// # Errors
/// It is not the text that its head says.
pub fn judge_body(
    headers: &HeaderMap,
    charset: &'static encoding_rs::Encoding,
    body: Bytes,
) -> Result<Answer, Failure> {
    let directives = Directives::read(headers);
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
    let content = if text.is_empty() { Content::Empty } else { Content::Fragment(text) };
    Ok(Answer { content, directives })
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
        let answer = match judge_head(status, &headers).map_err(|f| f.reason)? {
            Head::Done(answer) => answer,
            Head::Read(charset) => judge_body(&headers, charset, Bytes::from_static(body)).map_err(|f| f.reason)?,
        };
        Ok(answer.content)
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
        assert_eq!(judge(204, &[], b""), Ok(Content::Empty));
        assert_eq!(judge(404, &[HTML], b"<p>no"), Ok(Content::Gone(StatusCode::NOT_FOUND)));
        assert_eq!(judge(410, &[], b""), Ok(Content::Gone(StatusCode::GONE)));
        assert_eq!(
            judge(302, &[("location", "/x")], b""),
            Ok(Content::Redirect(StatusCode::FOUND, Some("/x".to_owned())))
        );
        for (status, pairs, body, reason) in [
            (200, vec![("content-type", "application/json")], &b"{}"[..], Reason::NotHtml),
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
