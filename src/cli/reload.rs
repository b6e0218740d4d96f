//! Reloads a site when its files or published manifests change.
//! A file with an error keeps its last good version live, and each error is reported once.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::{Flags, Settings};
use crate::edge::admin::ReloadResult;
use crate::edge::discovery::{Discovered, Sources};
use crate::edge::files::{SiteFolder, Watch, WatchMode, program};
use crate::edge::server::dev::Change;
use crate::edge::upstream::component;
use crate::engine::{Compositor, Live, Statistics};
use crate::page::browser::lazy_address::AddressKey;
use crate::page::manifest::Manifest;
use crate::page::site::{PublicFile, Site};
use crate::page::source::diagnostic::{self, Diagnostic};

use super::site_loading::{self, Loaded, OnDemand};
use super::{report, terminal};

/// How long a site must be unchanged before it is read: editors write a file in several steps.
const QUIET_PERIOD: Duration = Duration::from_millis(100);
/// How often the files of programs, while a site is developed, and of components are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Longest delay of a reload while files keep changing.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Is told that a changed program or component answers from now on.
pub(super) type OnReplaced = dyn Fn(&Manifest) + Send + Sync;

/// Reloads the site after each change, and makes every valid file live.
pub(super) struct Reloader {
    pub(super) folder: SiteFolder,
    pub(super) watch: Arc<Mutex<Watch>>,
    pub(super) flags: Flags,
    pub(super) live: Arc<Live>,
    pub(super) compositor: Compositor,
    pub(super) on_demand: OnDemand,
    /// Is called with the manifest of each component that was replaced.
    pub(super) replaced: Arc<OnReplaced>,
    /// The files of each program's folder, by their fingerprint. `None`: only its manifest is watched.
    pub(super) program_files: Option<HashMap<PathBuf, u64>>,
    /// The files of `public/` when they were looked at last. `None`: they are not looked at.
    pub(super) public_files: Option<Vec<PublicFile>>,
    pub(super) statistics: Arc<Statistics>,
    /// The last good settings.
    pub(super) settings: Settings,
    /// The key that signs the addresses of standalone fragments, which stays the same until the next start.
    pub(super) address_key: AddressKey,
    /// The problems that were reported.
    pub(super) reported: Vec<Diagnostic>,
    /// Notifies browsers that show a site in development of each reload.
    pub(super) reloaded: watch::Sender<Change>,
    /// The fingerprint of the last reading.
    pub(super) fingerprint: u64,
    /// The sources that discovery requests manifests from.
    pub(super) sources: watch::Sender<Sources>,
    /// The manifests that discovery found.
    pub(super) discovered: watch::Receiver<Discovered>,
    /// Is notified when a rollout began or ended.
    pub(super) turns: watch::Receiver<u64>,
}

/// What asks for a reload.
pub(super) struct Triggers {
    /// Changes of files.
    pub(super) changes: mpsc::Receiver<()>,
    /// Requests of operators, each of which wants the result.
    pub(super) requests: mpsc::Receiver<oneshot::Sender<ReloadResult>>,
    /// SIGHUP.
    pub(super) hangups: Signal,
}

impl Reloader {
    /// Runs until the sender of changes is dropped.
    pub(super) async fn run(mut self, mut triggers: Triggers) {
        let mut is_discovering = true;
        self.restart_changed_programs().await;
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (mut requested, mut waiting) = (false, None);
            let goes_on = tokio::select! {
                change = triggers.changes.recv() => change.is_some() && quiet(&mut triggers.changes).await,
                discovered = self.discovered.changed(), if is_discovering => {
                    is_discovering = discovered.is_ok();
                    true
                }
                turn = self.turns.changed() => turn.is_ok(),
                request = triggers.requests.recv() => {
                    (requested, waiting) = (true, request);
                    waiting.is_some()
                }
                // Where no events come from files: in folders that are not watched because they are new or elsewhere.
                _ = looks.tick(), if self.settings.server.watch != WatchMode::Off => {
                    self.restart_changed_programs().await;
                    self.show_changed_files().await;
                    if !self.on_demand.components.have_changed() {
                        continue;
                    }
                    true
                }
                _ = triggers.hangups.recv() => {
                    requested = true;
                    true
                }
            };
            if !goes_on {
                return;
            }
            self.restart_changed_programs().await;
            // A file whose content causes a panic must not stop later reloads.
            match AssertUnwindSafe(self.reload()).catch_unwind().await {
                // Whoever asks for a reload wants to see that there was one.
                Ok(false) if requested => tracing::info!("reloaded: nothing has changed"),
                Ok(_) => {}
                Err(_) => tracing::error!("reloading the site crashed; keeping the last good version"),
            }
            if let Some(waiting) = waiting {
                let errors = self.reported.iter().filter(|problem| problem.is_error()).count();
                let pages = self.live.now().site.templates.len();
                // Whoever asked may have left.
                let _left = waiting.send(ReloadResult { pages, errors, warnings: self.reported.len() - errors });
            }
        }
    }

    /// Restarts the programs whose files have changed since they were looked at last.
    async fn restart_changed_programs(&mut self) {
        let Some(known) = &mut self.program_files else { return };
        let folders = self.on_demand.programs.folders();
        let look =
            move || folders.into_iter().map(|folder| (program::fingerprint(&folder), folder)).collect::<Vec<_>>();
        let Ok(found) = tokio::task::spawn_blocking(look).await else { return };
        let mut now = HashMap::new();
        for (fingerprint, folder) in found {
            if known.get(&folder).is_some_and(|before| *before != fingerprint) {
                tracing::info!(folder = %folder.display(), "the files of a program have changed");
                self.on_demand.programs.restart(&folder);
            }
            now.insert(folder, fingerprint);
        }
        *known = now;
    }

    /// Makes browsers load their page again if a file of `public/` has changed, which pages do not depend on.
    async fn show_changed_files(&mut self) {
        let Some(known) = &mut self.public_files else { return };
        let folder = self.folder.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || folder.public_files()).await else { return };
        if now != *known {
            *known = now;
            tracing::info!("the files of public/ have changed");
            self.reloaded.send_modify(|last| *last = change(last.version + 1, &self.reported));
        }
    }

    /// Reads the site, and returns whether anything has changed.
    async fn reload(&mut self) -> bool {
        let (folder, flags) = (self.folder.clone(), self.flags);
        let (live, settings) = (self.live.now(), self.settings.clone());
        let discovered = self.discovered.borrow_and_update().clone();
        let (watch, components) = (Arc::clone(&self.watch), self.on_demand.components.clone());
        let (last, book) = (self.fingerprint, self.compositor.rollouts().snapshot());
        let read = move || {
            // Renewed before reading, so that a change during the reading causes another reload.
            watch.lock().unwrap_or_else(PoisonError::into_inner).renew();
            let loaded = site_loading::load_again(&folder, flags, (&live.site, &settings), discovered, book);
            // Those that have changed are compiled before they are needed.
            (loaded.fingerprint != last).then(|| {
                let components = components.load(site_loading::live_manifests(&loaded.site));
                (loaded, components)
            })
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(None) => return false,
            Ok(Some((loaded, components))) => self.apply(loaded, components),
            Err(error) => tracing::error!(%error, "the site could not be read; keeping the last good version"),
        }
        true
    }

    fn apply(&mut self, loaded: Loaded, components: component::Loaded) {
        let problems = with_components(loaded.problems(), components.problems);
        self.fingerprint = loaded.fingerprint;
        let settings = loaded.settings;
        // The snapshot goes live before the log reports the reload, so that a client that waits for the log line finds it.
        self.live.swap(site_loading::snapshot(loaded.site, &settings, &self.address_key, problems.clone()));
        let site = &self.live.now().site;
        self.compositor.rollouts().go_live(site, self.compositor.now());
        self.on_demand.programs.declare(site_loading::live_manifests(site), settings.max_processes);
        self.statistics.record_change(event(&problems));
        self.compositor.clear_pages();
        components.replaced.iter().for_each(|manifest| (self.replaced)(manifest));
        log(&problems, &self.reported, &self.live.now().site);
        self.reloaded.send_modify(|last| *last = change(last.version + 1, &problems));
        self.reported = problems;
        let waiting = settings.waiting_for_restart(&self.settings);
        if !waiting.is_empty() {
            tracing::warn!("changed settings take effect after a restart: {}", waiting.join(", "));
        }
        if settings.discovery != self.settings.discovery {
            self.sources.send_replace(settings.discovery.clone());
        }
        self.settings = settings;
    }
}

/// The problems of a site with those of its components. A build that runs none has reported that at its start; it is no
/// problem of the site.
pub(super) fn with_components(mut problems: Vec<Diagnostic>, components: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if component::IS_AVAILABLE {
        problems.extend(components);
        diagnostic::tidy(&mut problems);
    }
    problems
}

/// Waits until no change has come for [`QUIET_PERIOD`], at most [`MAX_DELAY`]. `false`: the channel is closed.
async fn quiet(changes: &mut mpsc::Receiver<()>) -> bool {
    let latest = Instant::now() + MAX_DELAY;
    loop {
        match timeout_at(latest.min(Instant::now() + QUIET_PERIOD), changes.recv()).await {
            Err(_) => return true,
            Ok(Some(())) if Instant::now() < latest => {}
            Ok(Some(())) => return true,
            Ok(None) => return false,
        }
    }
}

/// The event that browsers are sent about a reload while a site is in development.
pub(super) fn change(version: u64, problems: &[Diagnostic]) -> Change {
    let errors = problems.iter().filter(|problem| problem.is_error());
    Change { process: std::process::id(), version, problems: errors.map(report::plain).collect() }
}

/// The entry for a reload in the console's list of errors, where it may explain errors that follow it.
fn event(problems: &[Diagnostic]) -> String {
    let errors: Vec<&Diagnostic> = problems.iter().filter(|problem| problem.is_error()).collect();
    if errors.is_empty() {
        return "Reloaded".to_owned();
    }
    let files: BTreeSet<&str> = errors.iter().map(|error| error.at.source.file.as_str()).collect();
    let files: Vec<&str> = files.into_iter().collect();
    format!("Reload failed: {} ({})", report::counted(errors.len(), "error"), files.join(", "))
}

/// Reports each new problem, and logs the reload.
fn log(problems: &[Diagnostic], reported: &[Diagnostic], site: &Site) {
    let new: Vec<&Diagnostic> = problems.iter().filter(|problem| !is_reported(problem, reported)).collect();
    for problem in &new {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    if !site.last_good.is_empty() && new.iter().any(|problem| problem.is_error()) {
        tracing::warn!(files = site.last_good.join(", "), "keeping the last good version");
    }
    let pages = site.templates.len();
    match report::count(problems) {
        _ if problems == reported => tracing::info!(pages, "reloaded"),
        Some(count) => tracing::info!(pages, "reloaded: {count}"),
        None => tracing::info!(pages, "reloaded: no problems left"),
    }
}

/// Whether a problem was reported before. Its position is not compared, since lines above it may have been added.
fn is_reported(problem: &Diagnostic, reported: &[Diagnostic]) -> bool {
    let is_same = |other: &Diagnostic| {
        other.code == problem.code && other.message == problem.message && other.at.source.file == problem.at.source.file
    };
    reported.iter().any(is_same)
}
