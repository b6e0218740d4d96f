//! Ranges of bytes (RFC 9110, 14): which part of a representation a request is for.
//! A field that cannot be read, or that asks for several ranges, is ignored: the reply is then the whole.

use std::ops::Range;

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, Method};

use super::fields::is_entity_tag;

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// These bytes of it, at least one.
    Part(Range<usize>),
    /// Bytes behind its end.
    Unsatisfiable,
}

/// Reads which bytes a request is for, of a representation of `length` bytes with this `ETag`.
#[must_use]
pub fn wanted(method: &Method, headers: &HeaderMap, length: usize, etag: &str) -> Wanted {
    let mut lines = headers.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Wanted::Whole };
    if *method != Method::GET || !headers.get(IF_RANGE).is_none_or(|tag| is_strongly_equal(tag.as_bytes(), etag)) {
        return Wanted::Whole;
    }
    line.to_str().ok().and_then(|line| part(line, length)).unwrap_or(Wanted::Whole)
}

/// Whether a value of `If-Range` is the `ETag`, and both are strong (RFC 9110, 13.1.5). A date never is.
fn is_strongly_equal(tag: &[u8], etag: &str) -> bool {
    tag.starts_with(b"\"") && is_entity_tag(tag) && tag == etag.as_bytes()
}

/// The part that a value of `Range` names (RFC 9110, 14.1.2). `None`: it is malformed, or names several.
fn part(value: &str, length: usize) -> Option<Wanted> {
    let (unit, range) = value.split_once('=')?;
    let (first, last) = range.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    let range = match (number(first)?, number(last)?) {
        (Some(first), Some(last)) if first > last => return None,
        (Some(first), last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
        (None, Some(last)) => length.saturating_sub(last)..length,
        (None, None) => return None,
    };
    Some(if range.is_empty() { Wanted::Unsatisfiable } else { Wanted::Part(range) })
}

/// Reads a number, which may be left out: `Some(None)`. One that is too large counts as the largest.
fn number(text: &str) -> Option<Option<usize>> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((!text.is_empty()).then(|| text.parse().unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_range_is_read_and_everything_else_is_ignored() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (range, expected) in [
            ("bytes=0-1", Part(0..2)),
            ("bytes=0-0", Part(0..1)),
            ("bytes=3-", Part(3..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-99", Part(0..10)),
            ("bytes=9-99999999999999999999999", Part(9..10)),
            ("BYTES=0-18446744073709551615", Part(0..10)),
            ("bytes= 0-4 ", Part(0..5)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-12", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=2-1", Whole),
            ("bytes=-", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0", Whole),
            ("pages=0-1", Whole),
            ("", Whole),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]);
            assert_eq!(wanted(&Method::GET, &headers, 10, "\"a\""), expected, "{range}");
            assert_eq!(wanted(&Method::HEAD, &headers, 10, "\"a\""), Whole, "ranges are defined for GET only");
        }
        let empty = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-"))]);
        assert_eq!(wanted(&Method::GET, &empty, 0, "\"a\""), Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_version_is_not_sent() {
        for (condition, etag, is_part) in [
            ("\"a\"", "\"a\"", true),
            ("\"b\"", "\"a\"", false),
            ("W/\"a\"", "W/\"a\"", false),
            ("\"a\"", "W/\"a\"", false),
            ("Tue, 15 Nov 1994 12:45:26 GMT", "\"a\"", false),
        ] {
            let headers = HeaderMap::from_iter([
                (RANGE, HeaderValue::from_static("bytes=0-1")),
                (IF_RANGE, HeaderValue::from_static(condition)),
            ]);
            assert_eq!(wanted(&Method::GET, &headers, 10, etag) == Wanted::Part(0..2), is_part, "{condition} {etag}");
        }
    }
}
