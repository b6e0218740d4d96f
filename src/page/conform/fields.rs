//! Header fields, read strictly: where the compositor makes the best of a value, this tells what is wrong.
//! A list is split at its commas, and a comma in quotes is none.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

/// A header value as it may be shown: no control characters, and not endless.
pub(super) fn shown(value: &HeaderValue) -> String {
    clip(&value.as_bytes().escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

/// A text as it may be shown in one line.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 100;
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &plain[..at]),
        None => plain,
    }
}

/// All values of a header as one text, or what is wrong with them.
///
/// # Errors
/// One of them is no text.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, String> {
    let mut lines = Vec::new();
    for value in headers.get_all(name) {
        lines.push(value.to_str().map_err(|_| format!("`{name}: {}` is no text", shown(value)))?);
    }
    Ok((!lines.is_empty()).then(|| lines.join(", ")))
}

/// The members of a list, without the space around them; empty ones are left out (RFC 9110, 5.6.1).
/// With `angles`, a comma inside `<…>` is none either.
pub(super) fn members(text: &str, separator: char, angles: bool) -> Vec<&str> {
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    let split = text.split(|c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' if !inside => quoted = !quoted,
            '<' if angles && !quoted => inside = true,
            '>' if angles && !quoted => inside = false,
            _ => return c == separator && !quoted && !inside,
        }
        false
    });
    split.map(str::trim).filter(|member| !member.is_empty()).collect()
}

/// A token of HTTP (RFC 9110, 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A text in double quotes, without them; a token as it is. `None` where it is neither.
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

/// An entity tag (RFC 9110, 8.8.3): `"x"` or `W/"x"`.
pub(super) fn is_entity_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    opaque
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .is_some_and(|tag| tag.bytes().all(|b| b == 0x21 || (b > 0x22 && b != 0x7f)))
}

/// A date of HTTP in the form that may be sent (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
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
    fn a_list_is_split_at_its_own_commas() {
        assert_eq!(members("a, ,b=\"x, \\\",y\" ,c", ',', false), ["a", "b=\"x, \\\",y\"", "c"]);
        assert_eq!(members("<a,b>; title=\"<\", <c>", ',', true), ["<a,b>; title=\"<\"", "<c>"]);
        assert_eq!(token_or_quoted("\"a\\\"b\""), Some("a\\\"b"));
        for wrong in ["", "\"", "\"a", "a b", "\"a\"b\"", "\"a\\\""] {
            assert_eq!(token_or_quoted(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tags_and_dates_are_read_strictly() {
        for (text, good) in [
            ("\"a\"", true),
            ("W/\"\"", true),
            ("a", false),
            ("\"a", false),
            ("w/\"a\"", false),
            ("\"a b\"", false),
            ("\"a\"b\"", false),
        ] {
            assert_eq!(is_entity_tag(text), good, "{text}");
        }
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT").map(Timestamp::as_second), Some(784_111_777));
        for wrong in
            ["", "0", "Sun, 06 Nov 1994 08:49:37 +0000", "Mon, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"]
        {
            assert_eq!(date(wrong), None, "{wrong}");
        }
        assert_eq!(shown(&HeaderValue::from_bytes(b"a\xff\"").expect("a value")), "a\\xff\"");
    }
}
