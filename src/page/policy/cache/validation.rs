//! Asks whether a kept answer still holds, instead of for a new one (RFC 9111, 4.3).
//! A validator that is malformed is none.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::page::http::fields;

/// The fields of an answer that a later `304` may bring up to date (RFC 9111, 3.2), but for `Age` and
/// `Date`, which speak of one answer's way and not of the next one's.
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

/// What an answer can be asked about by, and the fields that another answer may bring up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    fields: HeaderMap,
}

impl Validation {
    /// Reads an answer's validators. `None` where it has none.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Box<Self>> {
        let etag = headers.get(header::ETAG).filter(|tag| fields::is_entity_tag(tag.as_bytes())).map(own);
        let is_date = |value: &&HeaderValue| value.to_str().is_ok_and(|text| httpdate::parse_http_date(text).is_ok());
        let last_modified = headers.get(header::LAST_MODIFIED).filter(is_date).map(own);
        if etag.is_none() && last_modified.is_none() {
            return None;
        }
        let mut fields = HeaderMap::new();
        for name in &UPDATED {
            for value in headers.get_all(name) {
                fields.append(name, own(value));
            }
        }
        Some(Box::new(Self { etag, last_modified, fields }))
    }

    /// The conditions of a request (RFC 9110, 13.1.2 and 13.1.3): by tag, else by date.
    // Not both: a service that compares dates only would answer 304 to a tag that has changed.
    pub fn conditions(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let by_tag = self.etag.clone().map(|tag| (header::IF_NONE_MATCH, tag));
        let by_date = self.last_modified.clone().map(|date| (header::IF_MODIFIED_SINCE, date));
        by_tag.or(by_date).into_iter()
    }

    /// Whether a `304` speaks of this answer (RFC 9111, 4.3.4): its tag, where it has one, is this one's.
    #[must_use]
    pub fn is_meant_by(&self, headers: &HeaderMap) -> bool {
        match (&self.etag, headers.get(header::ETAG)) {
            (Some(ours), Some(theirs)) => fields::opaque(ours.as_bytes()) == fields::opaque(theirs.as_bytes()),
            _ => true,
        }
    }

    /// The answer's fields, brought up to date by a `304` (RFC 9111, 3.2).
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

    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 128).sum();
        size_of::<Self>() + fields
    }
}

/// A value by itself: as it came it is a piece of a larger buffer, which would be kept with it.
fn own(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).expect("a value's bytes are a value's")
}

/// Whether what a client holds is what it would get: `If-None-Match` by weak comparison
/// (RFC 9110, 8.8.3.2 and 13.1.2).
#[must_use]
pub fn is_held(request: &HeaderMap, etag: &str) -> bool {
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
        conditions.map(|(n, v)| (n.to_string(), v.to_str().expect("text").to_owned())).collect()
    }

    #[test]
    fn an_answer_is_asked_about_by_its_tag_else_by_its_date() {
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
    fn a_304_brings_its_fields_up_to_date_and_leaves_the_others() {
        let kept = Validation::read(&headers(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=5"),
            ("age", "3"),
            ("surrogate-key", "x"),
            ("content-type", "text/html"),
        ]))
        .expect("it has a tag");
        let updated = kept.updated_by(&headers(&[("cache-control", "max-age=9"), ("content-type", "text/plain")]));
        assert_eq!(updated, headers(&[("etag", "\"a\""), ("cache-control", "max-age=9"), ("surrogate-key", "x")]));
        assert!(kept.is_meant_by(&headers(&[])));
        assert!(kept.is_meant_by(&headers(&[("etag", "W/\"a\"")])));
        assert!(!kept.is_meant_by(&headers(&[("etag", "\"b\"")])));
    }

    #[test]
    fn a_client_holds_what_any_of_its_tags_names() {
        let held = |value| is_held(&headers(&[("if-none-match", value)]), "W/\"a\"");
        assert!(held("\"a\"") && held("W/\"a\"") && held("\"x\", W/\"a\"") && held("*"));
        assert!(!held("\"b\"") && !held("a") && !is_held(&HeaderMap::new(), "W/\"a\""));
    }
}
