//! `/_pasteup/assets/NAME/VERSION/PATH`: what fragments load beside their HTML, so that a nanoservice
//! needs no public host. Only what pages load is served, and nothing of a reader goes with the question.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::engine::{LookupOutcome, Snapshot, Trace};
use crate::page::policy::cache::validation::is_not_modified;
use crate::page::request::fetch::asset;
use crate::page::response::parsed::{Content, ParsedResponse};
use crate::page::source::reason::Reason;

use super::{Pages, error};

/// Where assets are.
pub(super) const PREFIX: &str = "/_pasteup/assets/";

/// Answers with the asset at a normalised path.
pub(super) async fn respond(
    pages: &Pages,
    path: &str,
    request: &Parts,
    snapshot: &Snapshot,
    trace: &Trace,
) -> Response {
    let mut parts = path.trim_start_matches(PREFIX).splitn(3, '/');
    let (Some(name), Some(version), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return error(StatusCode::NOT_FOUND, trace);
    };
    let manifest = snapshot.site.service(name, version);
    let fetch = manifest.and_then(|m| asset(m, &format!("/{rest}"), request.uri.query(), &snapshot.site.defaults));
    let Some(fetch) = fetch else { return error(StatusCode::NOT_FOUND, trace) };
    match pages.compositor.asset(fetch, trace).await.outcome {
        LookupOutcome::Fresh(answer, fresh_for, _) => sent(&answer, fresh_for, &request.headers, trace),
        LookupOutcome::Stale(answer, _) => sent(&answer, Duration::ZERO, &request.headers, trace),
        LookupOutcome::Unavailable(Reason::Timeout | Reason::Budget) => error(StatusCode::GATEWAY_TIMEOUT, trace),
        LookupOutcome::Unavailable(Reason::Overloaded) => error(StatusCode::SERVICE_UNAVAILABLE, trace),
        // It is there, and is nothing that pages load.
        LookupOutcome::Unavailable(Reason::NotHtml) => error(StatusCode::NOT_FOUND, trace),
        LookupOutcome::Unavailable(_) => error(StatusCode::BAD_GATEWAY, trace),
    }
}

fn sent(answer: &ParsedResponse, fresh_for: Duration, request: &HeaderMap, trace: &Trace) -> Response {
    let Content::Asset(media_type, bytes) = &answer.content else { return error(StatusCode::NOT_FOUND, trace) };
    let told = answer.stated.downstream();
    let cache = match &told.uncacheable {
        Some(_) => "private, no-store".to_owned(),
        None if told.no_cache => "public, no-cache".to_owned(),
        None => format!("public, max-age={}", told.max_age.map_or(fresh_for, |told| told.min(fresh_for)).as_secs()),
    };
    let etag = format!("W/\"{:032x}\"", answer.digest);
    let held = is_not_modified(request, &etag);
    let mut response = Response::new(if held { Body::empty() } else { Body::from(bytes.clone()) });
    let headers = response.headers_mut();
    if !held {
        headers.insert(CONTENT_TYPE, media_type.clone());
    }
    // A type is what it says: no browser is to find a script in a picture.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // And a picture that is opened by itself runs nothing.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    );
    for (name, value) in [(CACHE_CONTROL, cache), (ETAG, etag)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if held {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}
