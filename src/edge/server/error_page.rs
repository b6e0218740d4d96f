//! The page that is sent if no page of the site can be sent: a status, a friendly sentence and the id of the request.
//! It quotes nothing of the request.

use std::sync::LazyLock;

use askama::Template;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::engine::Trace;

use super::reply::{HTML, Reply};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    status: u16,
    title: &'a str,
    message: &'a str,
    request_id: Option<&'a str>,
}

/// The page for a request that gets no permit. It is rendered once: under overload a refusal should cost almost nothing.
static BUSY: LazyLock<Bytes> = LazyLock::new(|| render(StatusCode::SERVICE_UNAVAILABLE, None).into());

/// The HTML of the error page for a status.
#[must_use]
pub fn html(status: StatusCode, request_id: &str) -> String {
    render(status, Some(request_id))
}

/// The reply with the error page for a status.
pub(super) fn reply(status: StatusCode, trace: &Trace) -> Reply {
    let mut headers = headers();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Reply::new(status, headers, html(status, &trace.to_string()).into())
}

/// The reply to a request that gets no permit.
pub(super) fn busy() -> Reply {
    let mut headers = headers();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Reply::new(StatusCode::SERVICE_UNAVAILABLE, headers, BUSY.clone().into())
}

/// The headers of every error page.
fn headers() -> HeaderMap {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    HeaderMap::from_iter([
        (CONTENT_TYPE, HTML),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
    ])
}

fn render(status: StatusCode, request_id: Option<&str>) -> String {
    let (title, message) = match status {
        StatusCode::NOT_FOUND => {
            ("Page not found", "There is nothing at this address. It may have moved, or the link to it may be wrong.")
        }
        StatusCode::GONE => ("Page removed", "The page at this address was removed for good."),
        StatusCode::BAD_REQUEST => {
            ("Request not understood", "The address in your browser is not one that this site can read.")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            ("Not possible here", "Pages of this site can be read, and nothing else can be done with them.")
        }
        StatusCode::FORBIDDEN => ("Not allowed", "A page of another site cannot do this here."),
        StatusCode::MISDIRECTED_REQUEST => ("Not here", "The address in your browser is not one that this site has."),
        StatusCode::URI_TOO_LONG => {
            ("Address too long", "The address in your browser is longer than this site can read.")
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "Request too long",
            "Your browser sent more than this site can read. It may help to delete the cookies of this site.",
        ),
        StatusCode::BAD_GATEWAY => (
            "Page not available",
            "A part that this page cannot do without sent something unusable. The error was logged.",
        ),
        StatusCode::GATEWAY_TIMEOUT => (
            "Page took too long",
            "A part that this page cannot do without did not arrive in time. Please try again in a moment.",
        ),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("Page not available just now", "This page cannot be shown at the moment. Please try again in a moment.")
        }
        _ => ("Something went wrong", "This page cannot be shown. The fault is ours, not yours."),
    };
    let page = ErrorPage { status: status.as_u16(), title, message, request_id };
    // Rendering plain strings does not fail. If it did, the title would still report what happened.
    page.render().unwrap_or_else(|_| format!("<!DOCTYPE html><title>{title}</title><h1>{title}</h1>"))
}
