//! Reads a site again as it changes. A bad change keeps the last good state and is told once.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::{Flags, Settings};
use crate::edge::discovery::{Discovered, Sources};
use crate::edge::files::{SiteFolder, Watch};
use crate::edge::server::dev::Change;
use crate::engine::{Compositor, Live, Snapshot, Statistics};
use crate::page::site::{BoundSite, Site};
use crate::page::source::diagnostic::Diagnostic;

use super::loading::{self, Loaded};
use super::report;
use super::serve::change;

/// How long a site must be quiet before it is read: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// The longest that a site which is never quiet is waited for.
const NEVER_QUIET: Duration = Duration::from_secs(2);

/// Ends when no change has come for a while. `false`: none will ever come.
async fn quiet(changes: &mut mpsc::Receiver<()>) -> bool {
    let latest = Instant::now() + NEVER_QUIET;
    loop {
        match timeout_at(latest.min(Instant::now() + QUIET), changes.recv()).await {
            Err(_) => return true,
            Ok(Some(())) if Instant::now() < latest => {}
            Ok(Some(())) => return true,
            Ok(None) => return false,
        }
    }
}

/// Reads the site again after each change, and puts what is good of it in place.
pub(super) struct Reloader {
    pub(super) folder: SiteFolder,
    pub(super) watch: Watch,
    pub(super) flags: Flags,
    pub(super) live: Arc<Live>,
    pub(super) compositor: Compositor,
    pub(super) board: Arc<Statistics>,
    /// The last good ones.
    pub(super) settings: Settings,
    /// The mistakes that were told.
    pub(super) known: Vec<Diagnostic>,
    /// Browsers that show a site which is being developed hear of changes here.
    pub(super) seen: watch::Sender<Change>,
    pub(super) fingerprint: u64,
    /// Which services are asked for what they tell of themselves,
    pub(super) sources: watch::Sender<Sources>,
    /// and what they told.
    pub(super) discovered: watch::Receiver<Discovered>,
}

impl Reloader {
    pub(super) async fn run(mut self, mut changes: mpsc::Receiver<()>) {
        let mut discovering = true;
        loop {
            let goes_on = tokio::select! {
                change = changes.recv() => change.is_some() && quiet(&mut changes).await,
                told = self.discovered.changed(), if discovering => {
                    discovering = told.is_ok();
                    true
                }
            };
            if !goes_on {
                return;
            }
            // Whatever a file holds, the next change is seen.
            if AssertUnwindSafe(self.round()).catch_unwind().await.is_err() {
                tracing::error!("reading the site again crashed; what was live stays live");
            }
        }
    }

    async fn round(&mut self) {
        // Before the reading: what changes after it makes news again.
        self.watch.renew();
        let (folder, flags) = (self.folder.clone(), self.flags);
        let (present, settings) = (self.live.now(), self.settings.clone());
        let discovered = self.discovered.borrow_and_update().clone();
        let read = move || loading::load(&folder, flags, Some((&present.site, &settings)), |_| discovered);
        match tokio::task::spawn_blocking(read).await {
            Ok(loaded) if loaded.fingerprint == self.fingerprint => {}
            Ok(loaded) => self.take(loaded),
            Err(error) => tracing::error!(%error, "the site could not be read; what was live stays live"),
        }
    }

    fn take(&mut self, loaded: Loaded) {
        let problems = loaded.problems();
        self.fingerprint = loaded.fingerprint;
        let settings = loaded.settings;
        // Live first: who reads that it was reloaded finds it so.
        self.live.swap(snapshot(loaded.site, &settings, problems.clone()));
        self.board.mark(changes(&problems));
        self.compositor.clear_pages();
        tell(&problems, &self.known, &self.live.now().site);
        self.seen.send_modify(|seen| *seen = change(seen.version + 1, &problems));
        self.known = problems;
        if settings.server != self.settings.server || settings.cache_memory != self.settings.cache_memory {
            tracing::warn!("settings below [server] and [cache] take effect at the next start");
        }
        if settings.discovery != self.settings.discovery {
            self.sources.send_replace(settings.discovery.clone());
        }
        self.settings = settings;
    }
}

/// What is live of a site.
pub(super) fn snapshot(site: Site, settings: &Settings, problems: Vec<Diagnostic>) -> Snapshot {
    Snapshot {
        site: BoundSite::bind(site, Arc::new(settings.defaults.clone())),
        problems,
        readers: settings.readers.clone(),
        stream: settings.stream,
    }
}

/// What a reload changed, for those who look for the cause of something.
fn changes(problems: &[Diagnostic]) -> String {
    let errors: Vec<&Diagnostic> = problems.iter().filter(|problem| problem.is_error()).collect();
    let files: BTreeSet<&str> = errors.iter().map(|error| error.at.source.file.as_str()).collect();
    let files = files.into_iter().collect::<Vec<_>>().join(", ");
    match errors.len() {
        0 => "Reloaded".to_owned(),
        1 => format!("Reload failed: 1 error ({files})"),
        count => format!("Reload failed: {count} errors ({files})"),
    }
}

/// Tells each mistake once, and that files are right again.
fn tell(problems: &[Diagnostic], known: &[Diagnostic], site: &Site) {
    for problem in problems.iter().filter(|problem| !told(problem, known)) {
        anstream::eprintln!("{}\n", report::human(problem));
    }
    if !site.kept.is_empty() && problems.iter().any(|problem| problem.is_error() && !told(problem, known)) {
        tracing::warn!(files = site.kept.join(", "), "their last good state stays live");
    }
    if problems == known {
        tracing::info!(pages = site.templates.len(), "reloaded");
    } else {
        tracing::info!(pages = site.templates.len(), "reloaded: {}", report::count(problems));
    }
}

/// Whether a mistake was told before. Lines above it may have moved since.
fn told(problem: &Diagnostic, known: &[Diagnostic]) -> bool {
    let same = |other: &&Diagnostic| {
        other.code == problem.code && other.message == problem.message && other.at.source.file == problem.at.source.file
    };
    known.iter().any(|other| same(&other))
}
