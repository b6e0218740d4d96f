//! Reads header fields strictly: where the compositor tolerates a value, this reports what is wrong with it.
//! A value in a message is shortened, and contains no control characters.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::page::visit::context::is_token;

/// A header value for a message: escaped and shortened.
pub(super) fn shown(value: &HeaderValue) -> String {
    clip(&value.as_bytes().escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

/// A text for a message: in one line, and shortened.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 100;
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &plain[..at]),
        None => plain,
    }
}

/// All values of a header, joined with commas. `None`: there is no such header.
///
/// # Errors
/// A value is not visible ASCII.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, String> {
    let mut lines = Vec::new();
    for value in headers.get_all(name) {
        lines.push(value.to_str().map_err(|_| format!("`{name}: {}` is not visible ASCII", shown(value)))?);
    }
    Ok((!lines.is_empty()).then(|| lines.join(", ")))
}

/// The value of a token, or of a quoted string without its quotes. `None`: the text is neither.
pub(super) fn token_or_quoted(text: &str) -> Option<&str> {
    if is_token(text) {
        return Some(text);
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut escaped = false;
    let stray = inner.chars().any(|c| {
        let stray = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        stray
    });
    (!stray && !escaped).then_some(inner)
}

/// Parses an HTTP date in the only format that may be sent (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    (text.len() == 29 && text.ends_with(" GMT"))
        .then(|| jiff::fmt::rfc2822::parse(text).ok())
        .flatten()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_string_has_a_closing_quote() {
        assert_eq!(token_or_quoted("\"a\\\"b\""), Some("a\\\"b"));
        for wrong in ["", "\"", "\"a", "a b", "\"a\"b\"", "\"a\\\""] {
            assert_eq!(token_or_quoted(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_read_strictly() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT").map(Timestamp::as_second), Some(784_111_777));
        for wrong in
            ["", "0", "Sun, 06 Nov 1994 08:49:37 +0000", "Mon, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"]
        {
            assert_eq!(date(wrong), None, "{wrong}");
        }
        assert_eq!(shown(&HeaderValue::from_bytes(b"a\xff\"").expect("a value")), "a\\xff\"");
    }
}
