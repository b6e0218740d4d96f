//! What a site has beside its pages while it is being developed: news of changed files for the browser, and parts that
//! can be made slow, fail, or have nothing to show.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Where all of it is.
const PREFIX: &str = "/_pasteup/dev/";
/// How often a browser hears that there is nothing new: a connection without a word looks dead.
const STILL_HERE: Duration = Duration::from_secs(5);
/// The longest that a part may be made slower.
const SLOWEST: u64 = 60_000;

/// What changed last.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Change {
    /// Another one for each process.
    pub process: u32,
    /// Another one for each change.
    pub version: u64,
    /// The mistakes that files have, drawn for people.
    pub problems: Arc<[String]>,
}

/// What a nanoservice does beside what it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The nanoservice; the host of one that has no manifest.
    pub fragment: String,
    /// How much later it answers.
    pub delay: Duration,
    /// What it answers.
    pub what: Instead,
}

/// What a nanoservice answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// What it would.
    Answer,
    /// An error.
    Fail,
    /// Nothing to show.
    Empty,
}

/// A site that is being developed.
pub struct Dev {
    /// Changes of files.
    pub changes: watch::Receiver<Change>,
    /// Makes a nanoservice slow, fail, or have nothing to show.
    pub tamper: Box<dyn Fn(Fault) + Send + Sync>,
    /// Ends when the server stops.
    pub stop: CancellationToken,
}

impl Change {
    /// Its name among all changes.
    fn name(&self) -> String {
        format!("{} {}", self.process, self.version)
    }
}

impl Dev {
    /// Which state of the files is live.
    pub(super) fn version(&self) -> String {
        self.changes.borrow().name()
    }

    /// `None`: there is nothing at this path.
    pub(super) fn respond(&self, path: &str, request: &Parts) -> Option<Response> {
        match (path.strip_prefix(PREFIX)?, &request.method) {
            ("events", &Method::GET) => Some(self.events()),
            // Browsers send this header to their own site only, unless that allows more.
            ("fault", &Method::POST) if request.headers.contains_key("pasteup-dev") => {
                let status = match fault(request.uri.query().unwrap_or_default()) {
                    Some(fault) => {
                        (self.tamper)(fault);
                        StatusCode::NO_CONTENT
                    }
                    None => StatusCode::BAD_REQUEST,
                };
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                Some(response)
            }
            _ => None,
        }
    }

    /// Server-sent events (HTML, 9.2): the present state, and each that follows.
    fn events(&self) -> Response {
        let first = self.changes.clone();
        let stop = self.stop.clone();
        let events = stream::unfold((first, true), |(mut changes, is_first)| async move {
            let text = if is_first || matches!(timeout(STILL_HERE, changes.changed()).await, Ok(Ok(()))) {
                let change = changes.borrow_and_update().clone();
                format!("data: {}\n\n", serde_json::to_string(&change).unwrap_or_default())
            } else {
                ": still here\n\n".to_owned()
            };
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (changes, false)))
        });
        let mut response = Response::new(Body::from_stream(events.take_until(stop.cancelled_owned()).boxed()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn fault(query: &str) -> Option<Fault> {
    let (mut fragment, mut delay, mut what) = (None, 0, Instead::Answer);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("fragment", value) => fragment = Some(value.to_owned()),
            ("delay_ms", value) => delay = value.parse::<u64>().ok().filter(|delay| *delay <= SLOWEST)?,
            ("what", "answer") => what = Instead::Answer,
            ("what", "fail") => what = Instead::Fail,
            ("what", "empty") => what = Instead::Empty,
            _ => return None,
        }
    }
    Some(Fault { fragment: fragment?, delay: Duration::from_millis(delay), what })
}
