//! Parses the values of HTTP header fields: lists, parameters, quoted strings, quality values, dates (RFC 9110).
//! An unclosed quotation mark or bracket extends to the end of the value, and is reported.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The members of a list field, in order, over all lines of that name. A line that is not text is left out.
pub fn members<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> + use<'h> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| split(line, b',').members)
}

/// A text that was split at a separator.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'t> {
    /// The texts between the separators, trimmed. Empty ones are left out.
    pub members: Vec<&'t str>,
    /// Whether every quotation mark and angle bracket is closed.
    pub closed: bool,
}

/// Splits a text at each separator outside of quotation marks and angle brackets.
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

/// An entity tag without the mark of weak tags: the part that a weak comparison compares (RFC 9110, 8.8.3.2).
#[must_use]
pub fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The largest quality value, in thousandths. It is also the default, if a member states none.
pub const MAX_QUALITY: u16 = 1000;

/// Parses a quality value, such as the `0.5` of `q=0.5`, into thousandths (RFC 9110, 12.4.2). `None` if it is
/// malformed, or not between 0 and 1.
#[must_use]
pub fn quality(text: &str) -> Option<u16> {
    let value = text.parse::<f32>().ok().filter(|value| (0.0..=1.0).contains(value))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is between 0 and 1")]
    Some((value * f32::from(MAX_QUALITY)).round() as u16)
}

/// Parses a date in any of the three formats of RFC 9110, 5.6.7.
#[must_use]
pub fn http_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// Maximum length of a type, and of a subtype (RFC 6838, 4.2).
const MAX_TYPE_NAME: usize = 127;

/// A media type, as in `Content-Type` (RFC 9110, 8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// Type and subtype, in lower case.
    pub kind: String,
    parameters: Vec<(String, Option<String>)>,
}

impl MediaType {
    /// The media type of a message. `None` if it states none, several, or one that cannot be read.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(http::header::CONTENT_TYPE).iter().filter(|line| !line.is_empty());
        let line = lines.next()?;
        if lines.any(|other| other != line) {
            return None;
        }
        let parts = split(line.to_str().ok()?, b';').members;
        let (kind, parameters) = parts.split_first()?;
        let (type_name, subtype) = kind.split_once('/')?;
        if ![type_name, subtype].into_iter().all(is_type_name) {
            return None;
        }
        let parameters = parameters.iter().map(|parameter| pair(parameter)).collect();
        Some(Self { kind: kind.to_ascii_lowercase(), parameters })
    }

    /// The value of the `charset` parameter.
    #[must_use]
    pub fn charset(&self) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == "charset").and_then(|(_, label)| label.as_deref())
    }
}

/// Whether a text is a type or a subtype (RFC 6838, 4.2).
fn is_type_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    (1..=MAX_TYPE_NAME).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Splits `name=value`. The name is in lower case, the value without quotation marks; `None` if there is no value.
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
    fn separators_inside_quotes_and_brackets_do_not_separate() {
        let all = |text| split(text, b',');
        assert_eq!(all("a, b ,,c").members, ["a", "b", "c"]);
        assert_eq!(all("private=\"a, max-age=3\", x").members, ["private=\"a, max-age=3\"", "x"]);
        assert_eq!(all("<a,b>; rel=x, <c>").members, ["<a,b>; rel=x", "<c>"]);
        assert_eq!(all("x=\"a\\\", b\", c").members, ["x=\"a\\\", b\"", "c"]);
        assert!(all("x=\"a\"").closed && !all("x=\"a, no-store").closed && !all("<a").closed);
        assert_eq!(all("").members, [""; 0]);
    }

    #[test]
    fn a_media_type_is_one_type_and_one_subtype() {
        let kind = |lines: &[&str]| {
            let lines = lines.iter().map(|line| (http::header::CONTENT_TYPE, line.parse().expect("a value")));
            MediaType::of(&lines.collect()).map(|media_type| media_type.kind)
        };
        for lines in [&["Image/PNG"][..], &["image/png; a=\"b;c\""], &["image/png", "image/png"], &["", "image/png ;"]]
        {
            assert_eq!(kind(lines).as_deref(), Some("image/png"), "{lines:?}");
        }
        let long = format!("image/{}", "x".repeat(128));
        let several = &["image/png", "text/html"][..];
        for lines in [&["image/png, text/html"][..], several, &["image"], &["image/"], &["image/a b"], &[&long], &[""]]
        {
            assert_eq!(kind(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn a_quality_value_is_between_zero_and_one() {
        let all = ["0", "0.5", "1.000", "0.333", "1.001", "-1", "", "high"].map(quality);
        assert_eq!(all, [Some(0), Some(500), Some(1000), Some(333), None, None, None, None]);
    }

    #[test]
    fn a_value_loses_its_quotes() {
        assert_eq!(pair("Max-Age=\"6\""), ("max-age".into(), Some("6".into())));
        assert_eq!(pair(" no-store "), ("no-store".into(), None));
        assert_eq!(pair("a=\"b \\\"c\\\" d\"").1.as_deref(), Some("b \"c\" d"));
        assert_eq!(pair("a=\"b").1.as_deref(), Some("\"b"));
    }
}
