//! What `pasteup dev` adds to a site: events for the browser when files change, and simulated faults of
//! nanoservices. A malformed request gets 400.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The path of the events.
pub(super) const EVENTS: &str = "/_pasteup/dev/events";
/// The path to which a fault is posted.
pub(super) const FAULT: &str = "/_pasteup/dev/fault";

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
    /// The address that the site listens on.
    pub listens_on: IpAddr,
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
