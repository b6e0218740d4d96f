//! What a nanoservice answers: a fragment that may be cached, or a problem that may not.

use std::error::Error;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::SourceError;

/// A fragment's HTML and how long it is good for.
#[derive(Debug)]
pub struct Fragment {
    /// One element; empty for nothing to show.
    pub html: String,
    /// How long it is fresh.
    pub fresh: Duration,
    /// What an editor may purge it by.
    pub keys: Vec<String>,
}

/// A failure as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

/// An error and its causes in one line.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        // Some crates repeat their cause in their own text.
        if !text.ends_with(&told) {
            let _ = write!(text, ": {told}");
        }
        cause = error.source();
    }
    text
}

impl Fragment {
    /// 200 with the fragment, 204 where it is empty, or 304 to one who holds it already.
    #[must_use]
    pub fn answer(self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let held = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|held| held == tag || held == "*");
        // No `stale-*`: how long an old copy may be shown is left to manifest and layout.
        let cache = format!("public, max-age={}", self.fresh.as_secs());
        let keys = self.keys.join(" ");
        let status = match (self.html.is_empty(), held) {
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
        // Strong: the same tag is the same bytes. It need not be the same for another build.
        let mut hasher = DefaultHasher::new();
        self.html.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

impl Problem {
    /// 400: a parameter is not what the manifest says.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad parameter", detail.into())
    }

    /// 404: there is no such thing as the reader asks for.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", detail.into())
    }

    /// 500: a mistake in the service itself.
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
        // Logged where it happened, once a read, rather than here, once a reader.
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "The source gave no data", explain(error))
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
    // A value that is no header value is left out; only a surrogate key could hold one.
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

    fn asked_with(tag: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let tag = HeaderValue::from_str(tag).expect("a test tag is a header value");
        headers.insert(header::IF_NONE_MATCH, tag);
        headers
    }

    #[test]
    fn one_who_holds_it_gets_a_304() {
        let first = fragment("<p>x</p>").answer(&HeaderMap::new());
        assert_eq!(first.status(), 200);
        assert_eq!(first.headers()["surrogate-key"], "a b");
        let tag = first.headers()["etag"].to_str().expect("our own tag");
        for held in [tag, &format!("\"y\", W/{tag}"), "*"] {
            let again = fragment("<p>x</p>").answer(&asked_with(held));
            assert_eq!(again.status(), 304, "{held}");
            assert_eq!(again.headers()["etag"], tag);
        }
        let changed = fragment("<p>y</p>").answer(&asked_with(tag));
        assert_eq!(changed.status(), 200);
    }

    #[test]
    fn nothing_to_show_is_a_204() {
        let response = fragment("").answer(&asked_with("*"));
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
