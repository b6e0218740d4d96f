//! `/_pasteup/assets/NAME/VERSION/PATH`: the files that fragments load in addition to their HTML, so that a nanoservice needs no
//! public host. Only what pages load is served, and nothing about the client is sent to the nanoservice.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::engine::LookupOutcome;
use crate::page::http::range::{Wanted, wanted};
use crate::page::policy::cache::validation::is_not_modified;
use crate::page::request::fetch::asset;
use crate::page::response::parsed::{Content, ParsedResponse};
use crate::page::source::reason::Reason;

use super::body::ReplyBody;
use super::coding::{self, Compression};
use super::error_page;
use super::own_request::Own;
use super::reply::{Head, Reply};
use super::state::Pages;

/// The route of all assets.
pub(super) const ROUTE: &str = "/_pasteup/assets/{*asset}";
/// The prefix of their paths.
const PREFIX: &str = "/_pasteup/assets/";

/// Serves an asset.
pub(super) async fn respond(State(pages): State<Arc<Pages>>, Extension(own): Own) -> Reply {
    let exchange = &own.exchange;
    let (request, snapshot, trace) = (&exchange.request, &exchange.snapshot, &exchange.trace);
    let error = |status| error_page::reply(status, trace);
    let mut parts = own.path.trim_start_matches(PREFIX).splitn(3, '/');
    let (Some(name), Some(version), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return error(StatusCode::NOT_FOUND);
    };
    let manifest = snapshot.site.nanoservice(name, version);
    let fetch = manifest.and_then(|m| asset(m, &format!("/{path}"), request.uri.query(), &snapshot.site.defaults));
    let Some(fetch) = fetch else { return error(StatusCode::NOT_FOUND) };
    let (response, fresh_for) = match pages.compositor.asset(fetch, trace).await.outcome {
        LookupOutcome::Fresh(response, fresh_for, _) => (response, fresh_for),
        LookupOutcome::Stale(response, _) => (response, Duration::ZERO),
        LookupOutcome::Unavailable(Reason::Timeout | Reason::Budget) => return error(StatusCode::GATEWAY_TIMEOUT),
        LookupOutcome::Unavailable(Reason::Overloaded | Reason::Starting | Reason::Crashed) => {
            return error(StatusCode::SERVICE_UNAVAILABLE);
        }
        // It exists, but is not an asset.
        LookupOutcome::Unavailable(Reason::NotHtml) => return error(StatusCode::NOT_FOUND),
        LookupOutcome::Unavailable(_) => return error(StatusCode::BAD_GATEWAY),
    };
    reply(&response, fresh_for, request, pages.compression).unwrap_or_else(|| error(StatusCode::NOT_FOUND))
}

/// The reply with an asset, or with the part of it that the request is for. `None`: the response is not an asset.
fn reply(response: &ParsedResponse, fresh_for: Duration, request: &Parts, offered: Compression) -> Option<Reply> {
    let Content::Asset(media_type, bytes) = &response.content else { return None };
    let stated = response.stated.downstream();
    let cache = match &stated.uncacheable {
        Some(_) => "private, no-store".to_owned(),
        None if stated.no_cache => "public, no-cache".to_owned(),
        None => {
            let max_age = stated.max_age.map_or(fresh_for, |max_age| max_age.min(fresh_for));
            format!("public, max-age={}", max_age.as_secs())
        }
    };
    let mut headers = HeaderMap::from_iter([
        (CONTENT_TYPE, media_type.clone()),
        // Browsers must not detect another type, such as a script in an image.
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // An SVG image that is opened on its own must not run scripts.
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox")),
    ]);
    let body = ReplyBody::from(bytes.clone());
    let may_be_encoded = offered.any() && coding::is_worth_it(StatusCode::OK, &headers, &body);
    if may_be_encoded {
        coding::add_vary(&mut headers);
    }
    // A strong tag is that of the same bytes, so an asset that is sent in several encodings has a weak one.
    let etag = format!("{}\"{:032x}\"", if may_be_encoded { "W/" } else { "" }, response.digest);
    let is_held = is_not_modified(&request.headers, &etag);
    let wanted = wanted(&request.method, &request.headers, bytes.len(), &etag);
    for (name, value) in [(CACHE_CONTROL, cache), (ETAG, etag), (ACCEPT_RANGES, "bytes".to_owned())] {
        headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
    let (status, range, body) = match wanted {
        Wanted::Part(part) if !is_held => {
            let range = format!("bytes {}-{}/{}", part.start, part.end - 1, bytes.len());
            (StatusCode::PARTIAL_CONTENT, range, bytes.slice(part).into())
        }
        Wanted::Unsatisfiable if !is_held => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{}", bytes.len()), ReplyBody::default())
        }
        _ => return Some(Reply::unless_held(is_held, Head::Own(StatusCode::OK, headers), || body)),
    };
    headers.insert(CONTENT_RANGE, HeaderValue::try_from(range).ok()?);
    Some(Reply::new(status, headers, body).encodable(false))
}
