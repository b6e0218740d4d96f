//! The overlay: a page with marks around its parts, what became of each, and a script that draws them. Only who
//! develops the site, or holds a debug token, gets such a page; it is composed for him, and no cache keeps it.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, COOKIE, ETAG, LOCATION, SET_COOKIE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use crate::engine::{Page, Trace};
use crate::page::record::Record;
use crate::page::stitch::stitch_marked;
use crate::page::{csp, scripts};
use crate::secrets::passes::Passes;

/// Where a browser brings a debug token, to get the cookie for it.
pub(super) const ENTRANCE: &str = "/_pasteup/debug";
/// The cookie that holds the token.
pub(super) const TOKEN_COOKIE: &str = "pasteup-debug";
/// The header that does, for programs.
const TOKEN: HeaderName = HeaderName::from_static("pasteup-debug");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Who sees the overlay.
pub enum Overlay {
    /// All, while the site is being developed.
    Everybody,
    /// Who holds a debug token.
    Holders(Arc<Passes>),
}

impl Overlay {
    /// Whether a request is to be answered with it.
    pub(super) fn is_for(&self, request: &HeaderMap, now: impl FnOnce() -> Timestamp) -> bool {
        match self {
            Self::Everybody => true,
            Self::Holders(passes) => token(request).is_some_and(|token| passes.is_good(token, now())),
        }
    }

    /// Takes a token from an address, `?token=…&to=/news`, as a cookie, and goes on. `None`: it is not good.
    pub(super) fn enter(&self, request: &Parts, now: Timestamp) -> Option<Response> {
        let Self::Holders(passes) = self else { return None };
        let query = request.uri.query()?;
        let value = |wanted| form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, v)| v);
        let token = value("token").filter(|token| passes.is_good(token, now))?;
        // Only to this site.
        let to = value("to").filter(|to| to.starts_with('/') && !to.starts_with("//") && !to.contains('\\'));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let cookie = format!("{TOKEN_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
        for (name, value) in [(SET_COOKIE, cookie), (LOCATION, to.map_or_else(|| "/".to_owned(), Into::into))] {
            response.headers_mut().insert(name, HeaderValue::try_from(value).ok()?);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        Some(response)
    }
}

/// The debug token that a request brings.
fn token(request: &HeaderMap) -> Option<&str> {
    if let Some(token) = request.get(TOKEN) {
        return token.to_str().ok();
    }
    let lines = request.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| line.split(';')).map(str::trim);
    cookies.filter_map(|cookie| cookie.split_once('=')).find(|(name, _)| *name == TOKEN_COOKIE).map(|(_, token)| token)
}

/// What the script is told.
#[derive(Serialize)]
struct Told<'a> {
    /// What the marks are called.
    mark: &'a str,
    /// Files are being edited, and parts can be tampered with.
    dev: bool,
    record: Option<&'a Record>,
}

/// A page's chunks with marks around its parts.
pub(super) fn marked(page: &Page, trace: &Trace) -> Vec<Bytes> {
    stitch_marked(&page.plan, &page.outcomes, &mark(trace))
}

/// What the overlay adds at the end of a page: its record, and the script.
pub(super) fn tail(record: Option<&Record>, dev: bool, trace: &Trace) -> Bytes {
    let told = Told { mark: &mark(trace), dev, record };
    // Within a script element no end tag and no comment may stand (HTML, 4.12.1.3).
    let json = serde_json::to_string(&told).unwrap_or_default().replace('<', "\\u003c");
    let script = scripts::overlay();
    Bytes::from(format!(
        "<script type=\"application/json\" id=\"pasteup-overlay\">{json}</script>\
         <script src=\"{}\" integrity=\"{}\" async></script>",
        script.path, script.hash
    ))
}

/// No fragment can know it, and so none can pose as another.
fn mark(trace: &Trace) -> String {
    format!("pasteup:{}", &trace.to_string()[..8])
}

/// What is said of a page that has the overlay.
pub(super) fn adapt(headers: &mut HeaderMap, record: Option<&Record>) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.remove(ETAG);
    for name in [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        let adapted: Vec<HeaderValue> =
            headers.get_all(&name).iter().map(|policy| csp::with_script(policy, scripts::overlay())).collect();
        headers.remove(&name);
        for policy in adapted {
            headers.append(&name, policy);
        }
    }
    let Some(record) = record else { return };
    for (name, value) in [(SERVER_TIMING, record.server_timing()), (CACHE_STATUS, record.cache_status())] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
