//! The measured sites, and the cores on which they run.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use crate::load::{Cell, Target};
use crate::plain::Plain;
use crate::support::{Client, Running, Site, last_core};

/// Settings without effective limits, since complete pages are measured. Streaming is off, because a streamed page states
/// no length, and is not cached any sooner.
const SETTINGS: &str = "[page]\nstream = false\nbudget = \"1m\"\nmax_fragments = 100000\n\
    [fragment]\ntimeout = \"1m\"\n[telemetry]\nlog = \"error\"\n[cache]\nmemory = \"16GiB\"\n";

/// The cores, as lists for taskset.
pub(crate) struct Cores {
    /// The last core, for the measured process.
    pub(crate) measured: String,
    /// The other cores, for clients and nanoservices.
    pub(crate) others: String,
    /// All cores.
    pub(crate) all: String,
}

impl Cores {
    pub(crate) fn of_this_machine() -> Self {
        let last = last_core();
        let others = last.saturating_sub(1);
        Self { measured: last.to_string(), others: format!("0-{others}"), all: format!("0-{last}") }
    }

    /// Restricts this process to the other cores.
    pub(crate) fn leave_measured_core(&self) {
        let own = std::process::id().to_string();
        let taskset = Command::new("taskset").args(["-c", "-p", &self.others, &own]).output().unwrap();
        assert!(taskset.status.success(), "taskset: {taskset:?}");
    }
}

/// The processes around a measurement: the nanoservices, and the limit.
pub(crate) struct Rig {
    services: Plain,
    limit: Plain,
}

impl Rig {
    pub(crate) fn start(cores: &Cores) -> Self {
        Self { services: Plain::start(&cores.others), limit: Plain::start(&cores.measured) }
    }

    /// A site with one nanoservice, `part`, that responds with as many bytes as its parameter `s` states.
    pub(crate) fn site(&self) -> Site {
        site(self.services.address)
    }

    /// A cell of the limit with pages of this size.
    pub(crate) fn limit(&self, bytes: usize, clients: usize) -> Cell {
        let target = always(format!("/?s={bytes}"));
        Cell { process: self.limit.id(), address: self.limit.address, clients, target, bytes }
    }
}

/// A site whose nanoservice `part` is at this address.
pub(crate) fn site(service: SocketAddr) -> Site {
    let site = Site::new(SETTINGS);
    let parameters = "[params.s]\ntype = \"integer\"\n[params.n]\ntype = \"integer\"\n";
    site.fragment("part", service, parameters);
    site
}

/// A cell of a compositor with pages of this size.
pub(crate) fn cell(of: &Running, target: Target, bytes: usize, clients: usize) -> Cell {
    Cell { process: of.process.id(), address: of.pages, clients, target, bytes }
}

/// The same target every time.
pub(crate) fn always(target: String) -> Target {
    Arc::new(move || target.clone())
}

/// A page of this many fragments with this many bytes each, of which the first `uncacheable` ones are not cacheable.
pub(crate) fn layout(front: &str, fragments: usize, bytes: usize, uncacheable: usize) -> String {
    let mut text = format!("+++\n{front}\n+++\n");
    for n in 0..fragments {
        let ttl = if n < uncacheable { "" } else { " ttl=1h" };
        write!(text, "<fragment name=part{ttl} data-s={bytes} data-n={n} />").unwrap();
    }
    text
}

/// Requests a page from a compositor once.
pub(crate) async fn once(of: &Running, target: &str) {
    let mut client = Client::new(of.pages).await.unwrap();
    assert_eq!(client.get(target, "").await.unwrap().0, 200, "{target}");
}
