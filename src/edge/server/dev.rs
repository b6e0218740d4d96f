//! What `pasteup dev` adds to a site: events for the browser when files change, and simulated faults of
//! nanoservices. A malformed request gets 400.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The name of the nanoservice, or the host of one that has no manifest.
    pub fragment: String,
    /// The delay before its response, in milliseconds.
    pub delay_ms: u64,
    /// The response that is sent instead of its own.
    pub what: Instead,
}

impl Fault {
    /// Whether there is nothing to simulate.
    fn is_none(&self) -> bool {
        self.delay_ms == 0 && self.what == Instead::Unchanged
    }
}

/// The response of a nanoservice while a fault is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Instead {
    /// Its own response.
    #[serde(rename = "answer")]
    Unchanged,
    /// An error.
    Fail,
    /// A response without content.
    Empty,
}

/// Simulates a fault from now on, or ends the simulation for its nanoservice.
pub type Tamper = Box<dyn Fn(&Fault) + Send + Sync>;

/// The state that exists only while a site is being developed.
pub struct Dev {
    /// Changes of the site's files.
    pub(super) changes: watch::Receiver<Change>,
    tamper: Tamper,
    /// The faults that are simulated, whichever browser set them, by their nanoservice.
    faults: watch::Sender<BTreeMap<String, Fault>>,
    /// Ends when the server stops.
    pub(super) stop: CancellationToken,
    /// The address that the site listens on.
    pub(super) listens_on: IpAddr,
}

impl Dev {
    /// Creates the state without any faults.
    #[must_use]
    pub fn new(changes: watch::Receiver<Change>, tamper: Tamper, stop: CancellationToken, listens_on: IpAddr) -> Self {
        Self { changes, tamper, faults: watch::Sender::default(), stop, listens_on }
    }

    /// Simulates a fault from now on.
    pub(super) fn simulate(&self, fault: Fault) {
        (self.tamper)(&fault);
        self.faults.send_modify(|faults| {
            if fault.is_none() {
                faults.remove(&fault.fragment);
            } else {
                faults.insert(fault.fragment.clone(), fault);
            }
        });
    }

    /// Ends the simulation of all faults.
    pub(super) fn reset(&self) {
        for fault in self.faults() {
            self.simulate(Fault { delay_ms: 0, what: Instead::Unchanged, ..fault });
        }
    }

    /// The faults that are simulated.
    pub(super) fn faults(&self) -> Vec<Fault> {
        self.faults.borrow().values().cloned().collect()
    }

    /// The faults that are simulated, and each change of them.
    pub(super) fn watch_faults(&self) -> watch::Receiver<BTreeMap<String, Fault>> {
        self.faults.subscribe()
    }

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
