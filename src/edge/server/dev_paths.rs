//! The paths of `pasteup dev`: events for the browser, and simulated faults. A malformed request gets 400.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::sleep;

use crate::page::http::origin::{host, is_foreign, is_own_host};

use super::body::ReplyBody;
use super::dev::{Change, Fault, Instead};
use super::error_page;
use super::own_request::Own;
use super::reply::Reply;
use super::state::Pages;

/// The header that a request for a fault has. A browser lets only pages of this site send it, unless the site allows more.
const FROM_THIS_SITE: &str = "pasteup-dev";
/// How often a comment is sent while there are no events: without it, a connection looks dead.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The longest delay of a simulated fault, in milliseconds.
const MAX_DELAY: u64 = 60_000;

/// The query that ends all faults.
const RESET: &str = "reset=all";

/// What browsers are told.
#[derive(Serialize)]
struct Event {
    #[serde(flatten)]
    change: Change,
    /// The faults that are simulated.
    faults: Vec<Fault>,
}

/// Server-sent events (HTML, 9.2): the present version of the files and the faults, and each change of both.
pub(super) async fn events(State(pages): State<Arc<Pages>>, own: Own) -> Reply {
    let Some(dev) = &pages.dev else { return missing(&own) };
    let start = (dev.changes.clone(), dev.watch_faults(), true);
    let events = stream::unfold(start, |(mut changes, mut faults, is_first)| async move {
        let is_changed = is_first
            || tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                changed = faults.changed() => changed.is_ok(),
                () = sleep(KEEP_ALIVE) => false,
            };
        let text = if is_changed {
            let change = changes.borrow_and_update().clone();
            let event = Event { change, faults: faults.borrow_and_update().values().cloned().collect() };
            format!("data: {}\n\n", serde_json::to_string(&event).unwrap_or_default())
        } else {
            ": still here\n\n".to_owned()
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), (changes, faults, false)))
    });
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    let body = Body::from_stream(events.take_until(dev.stop.clone().cancelled_owned()).boxed());
    Reply::new(StatusCode::OK, headers, ReplyBody::Streamed(body))
}

/// Simulates a fault, or ends all of them.
pub(super) async fn fault(State(pages): State<Arc<Pages>>, own: Own) -> Reply {
    let Some(dev) = &pages.dev else { return missing(&own) };
    let request = &own.exchange.request;
    if !request.headers.contains_key(FROM_THIS_SITE) {
        return error_page::reply(StatusCode::METHOD_NOT_ALLOWED, &own.exchange.trace);
    }
    let host = host(&request.uri, &request.headers);
    if is_foreign(&request.headers, host) {
        return error_page::reply(StatusCode::FORBIDDEN, &own.exchange.trace);
    }
    if !is_own_host(host, dev.listens_on) {
        return error_page::reply(StatusCode::MISDIRECTED_REQUEST, &own.exchange.trace);
    }
    let query = request.uri.query().unwrap_or_default();
    let status = match read_fault(query) {
        _ if query == RESET => {
            dev.reset();
            StatusCode::NO_CONTENT
        }
        Some(fault) => {
            dev.simulate(fault);
            StatusCode::NO_CONTENT
        }
        None => StatusCode::BAD_REQUEST,
    };
    Reply::new(status, HeaderMap::new(), ReplyBody::default())
}

fn missing(own: &Own) -> Reply {
    error_page::reply(StatusCode::NOT_FOUND, &own.exchange.trace)
}

/// Reads a fault from a query. `None`: it is malformed.
fn read_fault(query: &str) -> Option<Fault> {
    let (mut fragment, mut delay_ms, mut what) = (None, 0, Instead::Unchanged);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("fragment", value) => fragment = Some(value.to_owned()),
            ("delay_ms", value) => delay_ms = value.parse::<u64>().ok().filter(|delay| *delay <= MAX_DELAY)?,
            ("what", "answer") => what = Instead::Unchanged,
            ("what", "fail") => what = Instead::Fail,
            ("what", "empty") => what = Instead::Empty,
            _ => return None,
        }
    }
    Some(Fault { fragment: fragment?, delay_ms, what })
}
