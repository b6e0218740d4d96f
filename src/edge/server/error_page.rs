//! The page that stands where no page can. It holds a status, a kind word and a request id.

use std::sync::LazyLock;

use askama::Template;
use bytes::Bytes;
use http::StatusCode;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    status: u16,
    title: &'a str,
    message: &'a str,
    request_id: Option<&'a str>,
}

/// The page for who comes while there is too much to do. It is made once: whoever is sent away should cost
/// next to nothing.
pub(super) static BUSY: LazyLock<Bytes> = LazyLock::new(|| render(StatusCode::SERVICE_UNAVAILABLE, None).into());

/// The page for a status.
#[must_use]
pub fn html(status: StatusCode, request_id: &str) -> String {
    render(status, Some(request_id))
}

fn render(status: StatusCode, request_id: Option<&str>) -> String {
    let (title, message) = match status {
        StatusCode::NOT_FOUND => {
            ("Page not found", "There is nothing at this address. It may have moved, or the link to it may be wrong.")
        }
        StatusCode::GONE => ("Page removed", "What was at this address has been taken away for good."),
        StatusCode::BAD_REQUEST => {
            ("Request not understood", "The address in your browser is not one that this site can read.")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            ("Not possible here", "Pages of this site can be read, and nothing else can be done with them.")
        }
        StatusCode::URI_TOO_LONG => {
            ("Address too long", "The address in your browser is longer than this site can read.")
        }
        StatusCode::BAD_GATEWAY => (
            "Page not available",
            "A part that this page cannot do without gave an answer that makes no sense. We have been told.",
        ),
        StatusCode::GATEWAY_TIMEOUT => (
            "Page took too long",
            "A part that this page cannot do without did not answer in time. Please try again in a moment.",
        ),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("Page not available just now", "This page cannot be shown at the moment. Please try again in a moment.")
        }
        _ => ("Something went wrong", "This page cannot be shown. The fault is ours, not yours."),
    };
    let page = ErrorPage { status: status.as_u16(), title, message, request_id };
    // A template of plain texts renders; if it ever did not, its title says what happened.
    page.render().unwrap_or_else(|_| format!("<!DOCTYPE html><title>{title}</title><h1>{title}</h1>"))
}
