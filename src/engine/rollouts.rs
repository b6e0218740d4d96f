//! The rollouts of the live site: counts the answers of both versions, goes on or back, and says where each rollout stands.
//! What cannot be kept for the next start stays in memory, which is logged once.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::page::manifest::Manifest;
use crate::page::policy::rollout::RolloutRules;
use crate::page::policy::rollout::book::Book;
use crate::page::policy::rollout::progress::{Action, Event, Rollout, State};
use crate::page::policy::rollout::side::Side;
use crate::page::request::fetch::{Fetch, FetchKind};
use crate::page::response::outcome::Attempt;
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::site::Site;
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::visit::side::Standing;

use super::port::{Observer, RolloutStore};

/// The standings as one number: a share of page views, or one of these.
const TAKEN_OVER: u8 = 101;
const WENT_BACK: u8 = 102;

/// The rollouts of the live site.
pub struct Rollouts {
    book: Mutex<Book>,
    /// Those of the live site by the name of the nanoservice, for those who ask often.
    live: ArcSwap<Map<Name, Vec<Arc<Live>>>>,
    store: Mutex<Option<Arc<dyn RolloutStore>>>,
    observer: Arc<dyn Observer>,
    /// Whether the book has changed since it was kept.
    is_changed: AtomicBool,
    /// Whether it was logged that the book cannot be kept.
    is_reported: AtomicBool,
    /// Counts the rollouts that began or ended: the templates of the live site are made again then.
    turns: watch::Sender<u64>,
    /// Is notified when there is something that should be kept at once.
    to_keep: Notify,
}

/// A rollout of the live site.
struct Live {
    stable: Arc<Manifest>,
    candidate: Arc<Manifest>,
    rules: RolloutRules,
    /// The new version as a text.
    version: Arc<str>,
    standing: AtomicU8,
}

/// Why an action was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No version of this name is rolled out, or was.
    #[error("no version of `{0}` is rolled out, or went back")]
    Unknown(String),
    /// It cannot be done now.
    #[error("{0}")]
    Impossible(String),
}

/// A rollout, for programs and for the console.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The name of the nanoservice.
    pub name: String,
    /// The version before.
    pub stable: String,
    /// The new version.
    pub candidate: String,
    /// What became of it.
    pub state: State,
    /// The number of its step, from 1.
    pub step: usize,
    /// The number of its steps.
    pub steps: usize,
    /// How many of a hundred page views show the new version.
    pub share: u8,
    /// Since when it is in this step or state.
    pub since: Timestamp,
    /// Why it is in this state.
    pub why: Option<String>,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// What was seen of both versions.
    pub sides: Sides,
}

/// What was seen of both versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sides {
    /// Of the version before.
    pub stable: SideStatus,
    /// Of the new version.
    pub candidate: SideStatus,
}

/// What was seen of one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SideStatus {
    /// How many answers.
    pub requests: u64,
    /// How many of them were failures.
    pub faults: u64,
    /// The time within which 95 of 100 came, in milliseconds.
    pub p95_ms: Option<f64>,
}

impl From<&Side> for SideStatus {
    fn from(side: &Side) -> Self {
        let p95_ms = side.latencies.p95_ms().map(|ms| (ms * 10.0).round() / 10.0);
        Self { requests: side.requests, faults: side.faults, p95_ms }
    }
}

impl Live {
    fn show(&self, rollout: &Rollout) {
        let standing = if rollout.state.is_live() { rollout.share(&self.rules) } else { WENT_BACK };
        self.standing.store(standing, Ordering::Release);
    }

    fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Acquire) {
            TAKEN_OVER => Standing::TakenOver,
            WENT_BACK => Standing::WentBack,
            share => Standing::Share(share),
        }
    }
}

impl Rollouts {
    /// Rollouts of which nothing is known yet.
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            book: Mutex::default(),
            live: ArcSwap::default(),
            store: Mutex::default(),
            observer,
            is_changed: AtomicBool::new(false),
            is_reported: AtomicBool::new(false),
            turns: watch::Sender::new(0),
            to_keep: Notify::new(),
        }
    }

    /// Goes on from the book of the last run, and keeps it in a store from now on, if there is one.
    pub fn resume(&self, book: Book, store: Option<Arc<dyn RolloutStore>>) {
        *self.book() = book;
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    /// The book as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Book {
        self.book().clone()
    }

    /// Is notified when a rollout began or ended, so that the site is to be built again.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Takes over the versions of a site that is live now.
    pub fn go_live(&self, site: &Site, now: Timestamp) {
        let used = site.used_versions();
        let mut book = self.book();
        let after = book.after(&used, now);
        let mut live: Map<Name, Vec<Arc<Live>>> = Map::default();
        for (name, rollout) in after.rollouts() {
            let manifest =
                |version: &str| site.nanoservice(name, version).filter(|one| one.version.to_string() == version);
            let (Some(stable), Some(candidate)) = (manifest(&rollout.stable), manifest(&rollout.candidate)) else {
                continue;
            };
            // Without rules it takes over at once, and is no rollout any more.
            let Some(rules) = candidate.rollout.clone() else { continue };
            let is_new = book.0.get(name).and_then(|entry| entry.rollout(&rollout.candidate)).is_none_or(|before| {
                before.checksum != rollout.checksum || before.state.is_live() != rollout.state.is_live()
            });
            if is_new && rollout.state.is_live() {
                self.report(
                    name,
                    &format!(
                        "{name} {} begins: {}% of page views show it, instead of {}",
                        rollout.candidate,
                        rollout.share(&rules),
                        rollout.stable
                    ),
                );
            }
            let one = Live {
                stable: Arc::clone(stable),
                candidate: Arc::clone(candidate),
                rules,
                version: rollout.candidate.as_str().into(),
                standing: AtomicU8::new(0),
            };
            one.show(rollout);
            live.entry(Name::from(name)).or_default().push(Arc::new(one));
        }
        for (name, entry) in &after.0 {
            let before = book.0.get(name).map(|entry| &entry.chosen);
            for version in entry
                .chosen
                .iter()
                .filter(|version| before.is_some_and(|before| !before.is_empty() && !before.contains(*version)))
            {
                self.report(name, &format!("{name} {version} has taken over at once"));
            }
        }
        if *book != after {
            *book = after;
            self.keep_soon();
        }
        self.live.store(Arc::new(live));
    }

    /// Where the rollout of a version stands. One that is not known went back.
    #[must_use]
    pub fn standing(&self, name: &str, version: &str) -> Standing {
        let live = self.live.load();
        let found = live.get(name).and_then(|all| all.iter().find(|one| *one.version == *version));
        found.map_or(Standing::WentBack, |one| one.standing())
    }

    /// Counts the answer to a fetch, if its version is rolled out or another one takes over from it.
    pub(super) fn record(
        &self,
        fetch: &Fetch,
        result: Result<&ParsedResponse, &Failure>,
        attempt: &Attempt,
        now: impl Fn() -> Timestamp,
    ) {
        let live = self.live.load();
        if live.is_empty() {
            return;
        }
        let Some(manifest) = fetch.manifest.as_ref().filter(|_| is_answer(fetch, result.err(), attempt)) else {
            return;
        };
        let of_version =
            |one: &&Arc<Live>| [&one.stable, &one.candidate].iter().any(|side| side.version == manifest.version);
        let all: Vec<&Arc<Live>> = live.get(&manifest.name).into_iter().flatten().filter(of_version).collect();
        let took = attempt.ended.saturating_duration_since(attempt.began);
        for one in all.into_iter().filter(|one| matches!(one.standing(), Standing::Share(_))) {
            let event = {
                let mut book = self.book();
                let Some(rollout) = book.rollout_mut(&manifest.name, &one.version) else { continue };
                rollout.record(one.candidate.version == manifest.version, result.is_err(), took);
                self.is_changed.store(true, Ordering::Release);
                rollout.advance(&one.rules, now()).map(|event| self.carry_out(&mut book, one, event))
            };
            if let Some(what) = event {
                self.report(&manifest.name, &what);
            }
        }
    }

    /// Goes on with what is due because time has passed.
    pub(super) fn tick(&self, now: Timestamp) {
        for one in self.live.load().values().flatten().filter(|one| matches!(one.standing(), Standing::Share(_))) {
            let event = {
                let mut book = self.book();
                let event = book
                    .rollout_mut(&one.candidate.name, &one.version)
                    .and_then(|rollout| rollout.advance(&one.rules, now));
                event.map(|event| self.carry_out(&mut book, one, event))
            };
            if let Some(what) = event {
                self.report(&one.candidate.name, &what);
            }
        }
    }

    /// Does what an operator asks of the rollouts of a nanoservice.
    ///
    /// # Errors
    /// There is none, or it cannot be done now.
    pub fn act(&self, name: &str, action: Action, now: Timestamp) -> Result<Vec<RolloutStatus>, Refused> {
        let live = self.live.load();
        let all = live.get(name).ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        let (mut done, mut refused) = (false, None);
        for one in all {
            let event = {
                let mut book = self.book();
                let Some(rollout) = book.rollout_mut(name, &one.version) else { continue };
                match rollout.act(action, &one.rules, now) {
                    Ok(event) => Some(self.carry_out(&mut book, one, event)),
                    Err(why) => {
                        refused = Some(why);
                        None
                    }
                }
            };
            if let Some(what) = event {
                done = true;
                self.report(name, &what);
            }
        }
        match (done, refused) {
            (false, Some(why)) => Err(Refused::Impossible(why)),
            (false, None) => Err(Refused::Unknown(name.to_owned())),
            (true, _) => Ok(self.statuses(now).into_iter().filter(|status| status.name == name).collect()),
        }
    }

    /// All rollouts that run on the live site, and those that went back and are not tried again.
    #[must_use]
    pub fn statuses(&self, now: Timestamp) -> Vec<RolloutStatus> {
        let live = self.live.load();
        let book = self.book();
        let mut all = Vec::new();
        for (name, rollout) in book.rollouts() {
            let Some(one) = live.get(name).and_then(|all| all.iter().find(|one| *one.version == *rollout.candidate))
            else {
                continue;
            };
            all.push(RolloutStatus {
                name: name.to_owned(),
                stable: rollout.stable.clone(),
                candidate: rollout.candidate.clone(),
                state: rollout.state,
                step: (rollout.step + 1).min(one.rules.steps.len()),
                steps: one.rules.steps.len(),
                share: rollout.share(&one.rules),
                since: rollout.since,
                why: rollout.why.clone(),
                waits_for: rollout.waits_for(&one.rules, now),
                sides: Sides { stable: (&rollout.stable_side).into(), candidate: (&rollout.candidate_side).into() },
            });
        }
        all
    }

    /// The two versions of each rollout that goes on by itself: the new one, and the one before.
    pub(super) fn running(&self) -> Vec<(Arc<Manifest>, Arc<Manifest>)> {
        let live = self.live.load();
        let book = self.book();
        let is_running = |one: &&Arc<Live>| {
            let entry = book.0.get(&*one.candidate.name);
            entry.and_then(|entry| entry.rollout(&one.version)).is_some_and(|rollout| rollout.state == State::Running)
        };
        let all = live.values().flatten().filter(is_running);
        all.map(|one| (Arc::clone(&one.candidate), Arc::clone(&one.stable))).collect()
    }

    /// Waits until there is something that should be kept at once.
    pub async fn is_to_keep(&self) {
        self.to_keep.notified().await;
    }

    fn keep_soon(&self) {
        self.is_changed.store(true, Ordering::Release);
        self.to_keep.notify_one();
    }

    /// Keeps the book if it has changed since it was kept. This may take a while.
    pub fn keep(&self) {
        if !self.is_changed.swap(false, Ordering::AcqRel) {
            return;
        }
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(store) = store else { return };
        let book = self.snapshot();
        match store.keep(&book) {
            Ok(()) => self.is_reported.store(false, Ordering::Relaxed),
            Err(why) => {
                self.is_changed.store(true, Ordering::Release);
                if !self.is_reported.swap(true, Ordering::Relaxed) && !self.live.load().is_empty() {
                    tracing::warn!("{why}: after a restart, rollouts begin again");
                }
            }
        }
    }

    /// Carries out what happened to a rollout, and returns it in words.
    fn carry_out(&self, book: &mut Book, one: &Live, event: Event) -> String {
        let (name, version) = (&one.candidate.name, &one.version);
        self.keep_soon();
        if event == Event::Completed {
            book.complete(name, version);
            one.standing.store(TAKEN_OVER, Ordering::Release);
            self.turns.send_modify(|count| *count += 1);
            return format!("{name} {version} has taken over: all page views show it");
        }
        let Some(rollout) = book.rollout_mut(name, version) else { return String::new() };
        one.show(rollout);
        let share = rollout.share(&one.rules);
        match event {
            Event::Promoted => format!("{name} {version} goes on: {share}% of page views show it"),
            Event::WentBack => {
                self.turns.send_modify(|count| *count += 1);
                let why = rollout.why.clone().unwrap_or_default();
                tracing::warn!(fragment = &**name, version = &**version, "a version went back: {why}");
                format!("{name} {version} went back to {}: {why}", rollout.stable)
            }
            Event::Began => {
                self.turns.send_modify(|count| *count += 1);
                format!("{name} {version} begins again at {share}% of page views")
            }
            Event::Held | Event::Completed => {
                format!("{name} {version} is {} at {share}% of page views", rollout.state.as_str())
            }
        }
    }

    fn report(&self, name: &str, what: &str) {
        tracing::info!(fragment = name, "rollout: {what}");
        self.observer.version_changed(what);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a nanoservice was asked, so that its answer says something about it.
fn is_answer(fetch: &Fetch, failure: Option<&Failure>, attempt: &Attempt) -> bool {
    let is_refusal = |failure: &Failure| {
        matches!(failure.reason, Reason::CircuitOpen | Reason::Overloaded | Reason::Internal | Reason::Starting)
    };
    fetch.kind == FetchKind::Fragment && attempt.tries > 0 && !failure.is_some_and(is_refusal)
}
