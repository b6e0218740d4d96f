//! What `pasteup dev` adds to a site: events for the browser when files change, and simulated faults of
//! nanoservices. A malformed request gets 400.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::ReplyBody;
use super::own_paths::Own;
use super::reply::Reply;
use super::{Pages, error_page};

/// The path of the events.
pub(super) const EVENTS: &str = "/_pasteup/dev/events";
/// The path to which a fault is posted.
pub(super) const FAULT: &str = "/_pasteup/dev/fault";
/// The header that a request for a fault has. A browser lets only pages of this site send it, unless the site allows more.
const FROM_THIS_SITE: &str = "pasteup-dev";
/// How often a comment is sent while there are no events: without it, a connection looks dead.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The longest delay of a simulated fault, in milliseconds.
const MAX_DELAY: u64 = 60_000;

/// The last change of the site's files.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Change {
    /// The id of the process: another process starts counting again.
    pub process: u32,
    /// The number of the change.
    pub version: u64,
    /// The errors in the files, formatted for people.
    pub problems: Arc<[String]>,
}

/// A simulated fault of a nanoservice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the nanoservice, or the host of one that has no manifest.
    pub fragment: String,
    /// The delay before its response.
    pub delay: Duration,
    /// The response that is sent instead of its own.
    pub what: Instead,
}

/// The response of a nanoservice while a fault is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// Its own response.
    Unchanged,
    /// An error.
    Fail,
    /// A response without content.
    Empty,
}

/// The state that exists only while a site is being developed.
pub struct Dev {
    /// Changes of the site's files.
    pub changes: watch::Receiver<Change>,
    /// Simulates a fault from now on.
    pub tamper: Box<dyn Fn(Fault) + Send + Sync>,
    /// Ends when the server stops.
    pub stop: CancellationToken,
}

impl Dev {
    /// The name of the version of the files that is live.
    pub(super) fn version(&self) -> String {
        let change = self.changes.borrow();
        format!("{} {}", change.process, change.version)
    }
}

/// Whether a request is for one of these paths, whose methods are not those of pages.
pub(super) fn is_for(method: &Method, path: &str) -> bool {
    matches!((path, method), (EVENTS, &Method::GET) | (FAULT, &Method::POST))
}

/// Server-sent events (HTML, 9.2): the present version of the files, and each that follows.
pub(super) async fn events(State(pages): State<Arc<Pages>>, own: Own) -> Reply {
    let Some(dev) = &pages.dev else { return missing(&own) };
    let events = stream::unfold((dev.changes.clone(), true), |(mut changes, is_first)| async move {
        let text = if is_first || matches!(timeout(KEEP_ALIVE, changes.changed()).await, Ok(Ok(()))) {
            let change = changes.borrow_and_update().clone();
            format!("data: {}\n\n", serde_json::to_string(&change).unwrap_or_default())
        } else {
            ": still here\n\n".to_owned()
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), (changes, false)))
    });
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    let body = Body::from_stream(events.take_until(dev.stop.clone().cancelled_owned()).boxed());
    Reply::new(StatusCode::OK, headers, ReplyBody::Streamed(body))
}

/// Simulates a fault.
pub(super) async fn fault(State(pages): State<Arc<Pages>>, own: Own) -> Reply {
    let Some(dev) = &pages.dev else { return missing(&own) };
    let request = &own.exchange.request;
    if !request.headers.contains_key(FROM_THIS_SITE) {
        return error_page::reply(StatusCode::METHOD_NOT_ALLOWED, &own.exchange.trace);
    }
    let status = match read_fault(request.uri.query().unwrap_or_default()) {
        Some(fault) => {
            (dev.tamper)(fault);
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
    let (mut fragment, mut delay, mut what) = (None, 0, Instead::Unchanged);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("fragment", value) => fragment = Some(value.to_owned()),
            ("delay_ms", value) => delay = value.parse::<u64>().ok().filter(|delay| *delay <= MAX_DELAY)?,
            ("what", "answer") => what = Instead::Unchanged,
            ("what", "fail") => what = Instead::Fail,
            ("what", "empty") => what = Instead::Empty,
            _ => return None,
        }
    }
    Some(Fault { fragment: fragment?, delay: Duration::from_millis(delay), what })
}
