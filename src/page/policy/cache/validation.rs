//! Validates a stored response: checks whether it is still current, instead of fetching a new one (RFC 9111, 4.3).
//! A malformed validator counts as absent.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::page::http::fields;

/// The fields of a stored response that a later `304` may update (RFC 9111, 3.2). `Age` and `Date` are not
/// among them: each describes one response only, and is taken from the `304`.
const UPDATED: [HeaderName; 13] = [
    header::CACHE_CONTROL,
    HeaderName::from_static("fragment-cache-control"),
    header::EXPIRES,
    header::ETAG,
    header::LAST_MODIFIED,
    header::VARY,
    header::LINK,
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("xkey"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("deprecation"),
    HeaderName::from_static("sunset"),
];

/// A response's validators, and those of its fields that a `304` may update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    fields: HeaderMap,
}

impl Validation {
    /// Reads a response's validators. `None` if it has none.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Box<Self>> {
        let etag = headers.get(header::ETAG).filter(|tag| fields::is_entity_tag(tag.as_bytes())).map(copied);
        let last_modified = headers.get(header::LAST_MODIFIED);
        let last_modified = last_modified.filter(|date| fields::http_date(date).is_some()).map(copied);
        if etag.is_none() && last_modified.is_none() {
            return None;
        }
        let mut fields = HeaderMap::new();
        for name in &UPDATED {
            for value in headers.get_all(name) {
                fields.append(name, copied(value));
            }
        }
        Some(Box::new(Self { etag, last_modified, fields }))
    }

    /// The condition of a request that validates the response: its entity tag, or its date if it has no
    /// tag (RFC 9110, 13.1.2 and 13.1.3).
    // Not both: a service that compares only dates would answer 304 even if the tag has changed.
    pub fn conditions(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let by_tag = self.etag.clone().map(|tag| (header::IF_NONE_MATCH, tag));
        let by_date = self.last_modified.clone().map(|date| (header::IF_MODIFIED_SINCE, date));
        by_tag.or(by_date).into_iter()
    }

    /// Its fields that a `304` may update, the validators among them.
    #[must_use]
    pub const fn fields(&self) -> &HeaderMap {
        &self.fields
    }

    /// Whether a `304` with these headers is about this response: if it has an entity tag, that must be
    /// the stored one (RFC 9111, 4.3.4).
    #[must_use]
    pub fn is_confirmed_by(&self, headers: &HeaderMap) -> bool {
        match (&self.etag, headers.get(header::ETAG)) {
            (Some(ours), Some(theirs)) => fields::opaque(ours.as_bytes()) == fields::opaque(theirs.as_bytes()),
            _ => true,
        }
    }

    /// The response's fields as a `304` with these headers updates them (RFC 9111, 3.2).
    #[must_use]
    pub fn updated_by(&self, headers: &HeaderMap) -> HeaderMap {
        let mut fields = self.fields.clone();
        for name in &UPDATED {
            if headers.contains_key(name) {
                fields.remove(name);
            }
            for value in headers.get_all(name) {
                fields.append(name, value.clone());
            }
        }
        for name in [header::AGE, header::DATE, header::SET_COOKIE] {
            for value in headers.get_all(&name) {
                fields.append(&name, value.clone());
            }
        }
        fields
    }

    /// The approximate number of bytes that it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 128).sum();
        size_of::<Self>() + fields
    }
}

/// Copies a value's bytes. As received, a value is a slice of the buffer of all headers; storing the slice
/// would keep that buffer alive.
fn copied(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).expect("the bytes of a header value are a valid header value")
}

/// Whether a client's `If-None-Match` names the entity tag of what it would be sent, by weak comparison, so
/// that the response is a `304` (RFC 9110, 8.8.3.2 and 13.1.2).
#[must_use]
pub fn is_not_modified(request: &HeaderMap, etag: &str) -> bool {
    fields::members(request, &header::IF_NONE_MATCH)
        .any(|held| held == "*" || fields::opaque(held.as_bytes()) == fields::opaque(etag.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn conditions(lines: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let validation = Validation::read(&headers(lines));
        let conditions = validation.iter().flat_map(|validation| validation.conditions());
        conditions.map(|(n, v)| (n.to_string(), v.to_str().expect("it is text").to_owned())).collect()
    }

    #[test]
    fn a_response_is_validated_by_its_tag_or_without_one_by_its_date() {
        const DATE: &str = "Sat, 21 Nov 2026 12:00:00 GMT";
        let tag = |tag: &str| vec![("if-none-match".to_owned(), tag.to_owned())];
        assert_eq!(conditions(&[("etag", "\"a\""), ("last-modified", DATE)]), tag("\"a\""));
        assert_eq!(conditions(&[("etag", "W/\"a\"")]), tag("W/\"a\""));
        assert_eq!(conditions(&[("last-modified", DATE)]), [("if-modified-since".to_owned(), DATE.to_owned())]);
        for malformed in ["a", "\"a", "'a'", "w/\"a\"", "\"a\"b\"", ""] {
            assert_eq!(conditions(&[("etag", malformed)]), [], "{malformed}");
        }
        assert_eq!(conditions(&[("last-modified", "yesterday")]), []);
    }

    #[test]
    fn a_304_updates_only_the_listed_fields() {
        let stored = Validation::read(&headers(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=5"),
            ("age", "3"),
            ("surrogate-key", "x"),
            ("content-type", "text/html"),
        ]))
        .expect("it has an entity tag");
        let updated = stored.updated_by(&headers(&[("cache-control", "max-age=9"), ("content-type", "text/plain")]));
        assert_eq!(updated, headers(&[("etag", "\"a\""), ("cache-control", "max-age=9"), ("surrogate-key", "x")]));
        assert!(stored.is_confirmed_by(&headers(&[])));
        assert!(stored.is_confirmed_by(&headers(&[("etag", "W/\"a\"")])));
        assert!(!stored.is_confirmed_by(&headers(&[("etag", "\"b\"")])));
    }

    #[test]
    fn any_of_the_tags_of_if_none_match_may_match() {
        let matches = |value| is_not_modified(&headers(&[("if-none-match", value)]), "W/\"a\"");
        assert!(matches("\"a\"") && matches("W/\"a\"") && matches("\"x\", W/\"a\"") && matches("*"));
        assert!(!matches("\"b\"") && !matches("a") && !is_not_modified(&HeaderMap::new(), "W/\"a\""));
    }
}
