//! Takes the values of HTTP header fields apart: lists, parameters, quoted strings (RFC 9110, 5.6).
//! What is not closed reaches to the end, and says so.

use http::{HeaderMap, HeaderName};

/// The members of a list that may stand in several lines, in order. A line that is no text is left out.
pub fn members<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> + use<'h> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| split(line, b',').members)
}

/// A text, split.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'t> {
    /// What stands between the separators, trimmed, empty ones left out.
    pub members: Vec<&'t str>,
    /// Every quotation mark and angle bracket is closed.
    pub closed: bool,
}

/// Splits where a separator stands outside of quotation marks and angle brackets.
#[must_use]
pub fn split(text: &str, separator: u8) -> Split<'_> {
    let mut members = Vec::new();
    let mut start = 0;
    let mut inside = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (inside, byte) {
            (Some(b'"'), b'\\') => {
                bytes.next();
            }
            (Some(end), _) if byte == end => inside = None,
            (None, b'"') => inside = Some(b'"'),
            (None, b'<') => inside = Some(b'>'),
            (None, _) if byte == separator => {
                members.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&text[start..]);
    let members = members.into_iter().map(str::trim).filter(|member| !member.is_empty()).collect();
    Split { members, closed: inside.is_none() }
}

/// Whether a text is an entity tag (RFC 9110, 8.8.3): `"x"` or `W/"x"`.
#[must_use]
pub fn is_entity_tag(tag: &[u8]) -> bool {
    let inner = opaque(tag).strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| inner.iter().all(|b| *b == 0x21 || (*b > 0x22 && *b != 0x7f)))
}

/// An entity tag without what marks it as weak: all that a weak comparison looks at (8.8.3.2).
#[must_use]
pub fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// `Content-Type` (RFC 9110, 8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// Type and subtype, in lower case.
    pub kind: String,
    parameters: Vec<(String, Option<String>)>,
}

impl MediaType {
    /// The type of a message. `None` where it does not say, or says what cannot be read.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
        let parts = split(text, b';').members;
        let (kind, parameters) = parts.split_first()?;
        let parameters = parameters.iter().map(|parameter| pair(parameter)).collect();
        Some(Self { kind: kind.to_ascii_lowercase(), parameters })
    }

    /// What it says of the charset.
    #[must_use]
    pub fn charset(&self) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == "charset").and_then(|(_, label)| label.as_deref())
    }
}

/// A name, in lower case, and its value where there is one, unquoted.
#[must_use]
pub fn pair(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        None => (text.trim().to_ascii_lowercase(), None),
        Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(unquote(value.trim()))),
    }
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return text.to_owned() };
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_inside_quotes_and_brackets_separate_nothing() {
        let all = |text| split(text, b',');
        assert_eq!(all("a, b ,,c").members, ["a", "b", "c"]);
        assert_eq!(all("private=\"a, max-age=3\", x").members, ["private=\"a, max-age=3\"", "x"]);
        assert_eq!(all("<a,b>; rel=x, <c>").members, ["<a,b>; rel=x", "<c>"]);
        assert_eq!(all("x=\"a\\\", b\", c").members, ["x=\"a\\\", b\"", "c"]);
        assert!(all("x=\"a\"").closed && !all("x=\"a, no-store").closed && !all("<a").closed);
        assert_eq!(all("").members, [""; 0]);
    }

    #[test]
    fn a_value_loses_its_quotes() {
        assert_eq!(pair("Max-Age=\"6\""), ("max-age".into(), Some("6".into())));
        assert_eq!(pair(" no-store "), ("no-store".into(), None));
        assert_eq!(pair("a=\"b \\\"c\\\" d\"").1.as_deref(), Some("b \"c\" d"));
        assert_eq!(pair("a=\"b").1.as_deref(), Some("\"b"));
    }
}
