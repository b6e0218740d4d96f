//! The responses of a nanoservice: a fragment, which may be cached, or a problem, which may not.
//! A surrogate key that is not a valid header value is left out.

use std::error::Error;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::SourceError;

/// A fragment's HTML, and how it may be cached.
#[derive(Debug)]
pub struct Fragment {
    /// One element; empty if there is nothing to show.
    pub html: String,
    /// How long it is fresh. It is sent in whole seconds.
    pub fresh: Duration,
    /// The surrogate keys by which it may be purged.
    pub keys: Vec<String>,
}

/// A failure as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

/// Describes an error and its causes in one line.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some crates repeat the cause in their own message.
        if !text.ends_with(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = error.source();
    }
    text
}

impl Fragment {
    /// Responds to a request: 200 with the HTML, 204 if it is empty, or 304 if the client already has it.
    #[must_use]
    pub fn respond(self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let is_current = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|known| known == tag || known == "*");
        // No `stale-*` directive: manifest and layout decide how long a stale copy may be shown.
        let cache = format!("public, max-age={}", self.fresh.as_secs());
        let keys = self.keys.join(" ");
        let status = match (self.html.is_empty(), is_current) {
            (true, _) => StatusCode::NO_CONTENT,
            (false, true) => StatusCode::NOT_MODIFIED,
            (false, false) => StatusCode::OK,
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        put(&mut response, header::CACHE_CONTROL, &cache);
        put(&mut response, HeaderName::from_static("surrogate-key"), &keys);
        if status != StatusCode::NO_CONTENT {
            put(&mut response, header::ETAG, &tag);
        }
        if status == StatusCode::OK {
            put(&mut response, header::CONTENT_TYPE, "text/html; charset=utf-8");
            *response.body_mut() = Body::from(self.html);
        }
        response
    }

    fn tag(&self) -> String {
        // A strong tag: equal tags mean equal bytes. Another build may have other tags.
        let mut hasher = DefaultHasher::new();
        self.html.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

impl Problem {
    /// A 400: a parameter is not as the manifest declares it.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad parameter", detail.into())
    }

    /// A 404: what the parameters name does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", detail.into())
    }

    /// A 500: an error in the service itself. It is also logged.
    #[must_use]
    pub fn internal(cause: &dyn Error) -> Self {
        let detail = explain(cause);
        tracing::error!("{detail}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", detail)
    }

    fn new(status: StatusCode, title: &'static str, detail: String) -> Self {
        Self { status, title, detail }
    }
}

impl From<&SourceError> for Problem {
    fn from(error: &SourceError) -> Self {
        // Not logged here, where it would be logged once per request: the source logs it once per read.
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "The source has no data", explain(error))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        put(&mut response, header::CONTENT_TYPE, "application/problem+json");
        put(&mut response, header::CACHE_CONTROL, "no-store");
        response
    }
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    // Only a surrogate key can be an invalid header value; it is then left out.
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(html: &str) -> Fragment {
        Fragment { html: html.to_owned(), fresh: Duration::from_secs(60), keys: vec!["a".to_owned(), "b".to_owned()] }
    }

    fn if_none_match(tag: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let tag = HeaderValue::from_str(tag).expect("a test tag is a header value");
        headers.insert(header::IF_NONE_MATCH, tag);
        headers
    }

    #[test]
    fn a_client_that_has_it_gets_a_304() {
        let first = fragment("<p>x</p>").respond(&HeaderMap::new());
        assert_eq!(first.status(), 200);
        assert_eq!(first.headers()["surrogate-key"], "a b");
        let tag = first.headers()["etag"].to_str().expect("the tag is ASCII");
        for known in [tag, &format!("\"y\", W/{tag}"), "*"] {
            let again = fragment("<p>x</p>").respond(&if_none_match(known));
            assert_eq!(again.status(), 304, "{known}");
            assert_eq!(again.headers()["etag"], tag);
        }
        let changed = fragment("<p>y</p>").respond(&if_none_match(tag));
        assert_eq!(changed.status(), 200);
    }

    #[test]
    fn nothing_to_show_is_a_204() {
        let response = fragment("").respond(&if_none_match("*"));
        assert_eq!(response.status(), 204);
        assert!(response.headers().get("content-type").is_none());
    }

    #[test]
    fn a_problem_is_never_cached() {
        let response = Problem::not_found("no such city").into_response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
