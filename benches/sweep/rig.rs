//! The sites that are measured, and the cores that they are measured on.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use crate::load::{Cell, Target};
use crate::plain::Plain;
use crate::support::{Reader, Running, Site, last_core};

/// Nothing is cut off or given up, however long it takes here: what is measured is the whole page. A page
/// that is streamed says no length, and is kept whole no sooner than one that is not.
const SETTINGS: &str = "[page]\nstream = false\nbudget = \"1m\"\nmax_fragments = 100000\n\
    [fragment]\ntimeout = \"1m\"\n[telemetry]\nlog = \"error\"\n[cache]\nmemory = \"16GiB\"\n";

/// Which cores do what.
pub(crate) struct Cores {
    /// The last one: what is measured.
    pub(crate) measured: String,
    /// The others: readers and services.
    pub(crate) others: String,
    /// All of them.
    pub(crate) all: String,
}

impl Cores {
    pub(crate) fn of_this_machine() -> Self {
        let last = last_core();
        let others = last.saturating_sub(1);
        Self { measured: last.to_string(), others: format!("0-{others}"), all: format!("0-{last}") }
    }

    /// Keeps this process off the core that is measured.
    pub(crate) fn keep_off(&self) {
        let own = std::process::id().to_string();
        let kept = Command::new("taskset").args(["-c", "-p", &self.others, &own]).output().unwrap();
        assert!(kept.status.success(), "taskset: {kept:?}");
    }
}

/// What stands around a measurement: the services, and the limit.
pub(crate) struct Rig {
    services: Plain,
    limit: Plain,
}

impl Rig {
    pub(crate) fn start(cores: &Cores) -> Self {
        Self { services: Plain::start(&cores.others), limit: Plain::start(&cores.measured) }
    }

    /// A site with one nanoservice, `part`, that answers with as many bytes as its parameter `s` says.
    pub(crate) fn site(&self) -> Site {
        site(self.services.address)
    }

    /// The limit, asked for as many bytes.
    pub(crate) fn limit(&self, bytes: usize, readers: usize) -> Cell {
        let target = always(format!("/?s={bytes}"));
        Cell { process: self.limit.id(), address: self.limit.address, readers, target, bytes }
    }
}

/// A site whose nanoservice is there.
pub(crate) fn site(service: SocketAddr) -> Site {
    let site = Site::new(SETTINGS);
    let parameters = "[params.s]\ntype = \"integer\"\n[params.n]\ntype = \"integer\"\n";
    site.fragment("part", service, parameters);
    site
}

/// A compositor, asked for pages of so many bytes.
pub(crate) fn cell(of: &Running, target: Target, bytes: usize, readers: usize) -> Cell {
    Cell { process: of.process.id(), address: of.pages, readers, target, bytes }
}

/// The same page again and again.
pub(crate) fn always(target: String) -> Target {
    Arc::new(move || target.clone())
}

/// A page of so many fragments of so many bytes each, of which the first ones may not be kept.
pub(crate) fn layout(front: &str, fragments: usize, bytes: usize, uncacheable: usize) -> String {
    let mut text = format!("+++\n{front}\n+++\n");
    for n in 0..fragments {
        let ttl = if n < uncacheable { "" } else { " ttl=1h" };
        write!(text, "<fragment name=part{ttl} data-s={bytes} data-n={n} />").unwrap();
    }
    text
}

/// Asks a compositor for a page once.
pub(crate) async fn once(of: &Running, target: &str) {
    let mut reader = Reader::new(of.pages).await.unwrap();
    assert_eq!(reader.get(target, "").await.unwrap().0, 200, "{target}");
}
