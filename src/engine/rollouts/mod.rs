//! The rollouts of the live site: counts the answers of both versions, goes on or back, and says where each rollout stands.
//! What cannot be kept for the next start stays in memory, which is logged once.

mod status;

mod in_fleet;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::page::manifest::Manifest;
use crate::page::policy::rollout::RolloutRules;
use crate::page::policy::rollout::book::Book;
use crate::page::policy::rollout::progress::{Action, Event, Rollout, State};
use crate::page::policy::rollout::replica::{Replica, Shown};
use crate::page::request::fetch::{Fetch, FetchKind};
use crate::page::response::outcome::Attempt;
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::site::Site;
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::visit::side::Standing;

use super::port::{Observer, RolloutStore, SharedRollouts};

pub use status::{RolloutStatus, SideStatus, Sides};

/// The standings as one number: a share of page views, or one of these.
const TAKEN_OVER: u8 = 101;
const WENT_BACK: u8 = 102;

/// The rollouts of the live site.
pub struct Rollouts {
    books: Mutex<Books>,
    /// Those of the live site by the name of the nanoservice, for those who ask often.
    live: ArcSwap<Map<Name, Vec<Arc<Live>>>>,
    store: Mutex<Option<Arc<dyn RolloutStore>>>,
    /// Where all replicas decide together. `None`: this one decides alone.
    shared: Mutex<Option<Arc<dyn SharedRollouts>>>,
    /// Is held by whoever asks there.
    asking: tokio::sync::Mutex<()>,
    /// Whether it cannot be reached, or is of no use.
    is_away: AtomicBool,
    /// Is notified when something should be decided at once.
    to_decide: Notify,
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

/// What is known of versions.
#[derive(Default)]
struct Books {
    book: Book,
    /// The part of this replica in the rollouts of all. `None`: it decides alone.
    replica: Option<Replica>,
    /// The versions that the live site shows to all.
    shown: Vec<Shown>,
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
    /// It is for all replicas to decide together, and the store in which they do so was of no use.
    #[error(
        "the shared store did not say that it was done: {0}; look at `pasteup rollout status` before you repeat it"
    )]
    Away(String),
}

impl Live {
    fn show(&self, rollout: &Rollout) {
        let standing = if rollout.is_shown() { rollout.share(&self.rules) } else { WENT_BACK };
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
            books: Mutex::default(),
            live: ArcSwap::default(),
            store: Mutex::default(),
            shared: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            is_away: AtomicBool::new(false),
            to_decide: Notify::new(),
            observer,
            is_changed: AtomicBool::new(false),
            is_reported: AtomicBool::new(false),
            turns: watch::Sender::new(0),
            to_keep: Notify::new(),
        }
    }

    /// Goes on from the book of the last run, and keeps it in a store from now on, if there is one.
    pub fn resume(&self, book: Book, store: Option<Arc<dyn RolloutStore>>) {
        *self.books() = Books { book, ..Books::default() };
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    /// The book as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Book {
        self.books().book.clone()
    }

    /// Is notified when a rollout began or ended, so that the site is to be built again.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Takes over the versions of a site that is live now.
    pub fn go_live(&self, site: &Site, now: Timestamp) {
        let used = site.used_versions();
        let mut books = self.books();
        let book = std::mem::take(&mut books.book);
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
            let Some(before) = before.filter(|before| !before.is_empty()) else { continue };
            for version in entry.chosen.difference(before) {
                self.report(name, &format!("{name} {version} has taken over at once"));
            }
            if let Some(replica) = &mut books.replica {
                replica.settle(name, before, &entry.chosen);
            }
        }
        if book != after {
            self.keep_soon();
        }
        books.book = after;
        books.shown = site.shown_versions();
        // Before any page view sees it: what went back elsewhere is not shown here even once.
        self.take_over(&mut books, &live, false);
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
                let mut books = self.books();
                let Books { book, replica, .. } = &mut *books;
                let Some(rollout) = book.rollout_mut(&manifest.name, &one.version) else { continue };
                let (is_candidate, failed) = (one.candidate.version == manifest.version, result.is_err());
                self.is_changed.store(true, Ordering::Release);
                match replica {
                    Some(replica) => {
                        replica.record(&manifest.name, rollout, is_candidate, failed, took);
                        rollout.record(is_candidate, failed, took);
                        rollout.hold_back_if_broken(&one.rules, now()).then(|| self.hold_back(one, rollout))
                    }
                    None => {
                        rollout.record(is_candidate, failed, took);
                        rollout.advance(&one.rules, now()).map(|event| self.carry_out(book, one, event))
                    }
                }
            };
            if let Some(what) = event {
                self.report(&manifest.name, &what);
            }
        }
    }

    /// Goes on with what is due because time has passed, if this replica decides alone.
    pub(super) fn tick(&self, now: Timestamp) {
        if self.books().replica.is_some() {
            return;
        }
        for one in self.live.load().values().flatten().filter(|one| matches!(one.standing(), Standing::Share(_))) {
            let event = {
                let book = &mut self.books().book;
                let event = book
                    .rollout_mut(&one.candidate.name, &one.version)
                    .and_then(|rollout| rollout.advance(&one.rules, now));
                event.map(|event| self.carry_out(book, one, event))
            };
            if let Some(what) = event {
                self.report(&one.candidate.name, &what);
            }
        }
    }

    /// Does what an operator asks of the rollouts of a nanoservice: on all replicas, if they decide together.
    ///
    /// # Errors
    /// There is none, or it cannot be done now.
    pub async fn act(&self, name: &str, action: Action, now: Timestamp) -> Result<Vec<RolloutStatus>, Refused> {
        let live = self.live.load_full();
        let all = live.get(name).ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        if self.shared().is_some() {
            self.act_together(name, action).await?;
            return Ok(self.statuses(now).into_iter().filter(|status| status.name == name).collect());
        }
        let (mut done, mut refused) = (false, None);
        for one in all {
            let event = {
                let book = &mut self.books().book;
                let Some(rollout) = book.rollout_mut(name, &one.version) else { continue };
                match rollout.act(action, &one.rules, now) {
                    Ok(event) => Some(self.carry_out(book, one, event)),
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
        let is_away = self.is_away.load(Ordering::Relaxed);
        let books = self.books();
        let mut all = Vec::new();
        for (name, rollout) in books.book.rollouts() {
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
                why: rollout.held.as_ref().map(|why| format!("held back here: {why}")).or_else(|| rollout.why.clone()),
                waits_for: match rollout.waits_for(&one.rules, now) {
                    None if is_away && rollout.state.is_live() => {
                        Some("the shared store, which cannot be reached".to_owned())
                    }
                    waits_for => waits_for,
                },
                sides: Sides { stable: (&rollout.stable_side).into(), candidate: (&rollout.candidate_side).into() },
            });
        }
        all
    }

    /// The two versions of each rollout that goes on by itself: the new one, and the one before.
    pub(super) fn running(&self) -> Vec<(Arc<Manifest>, Arc<Manifest>)> {
        let live = self.live.load();
        let books = self.books();
        let is_running = |one: &&Arc<Live>| {
            let entry = books.book.0.get(&*one.candidate.name);
            entry
                .and_then(|entry| entry.rollout(&one.version))
                .is_some_and(|rollout| rollout.state == State::Running && rollout.held.is_none())
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

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> Option<Arc<dyn SharedRollouts>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a nanoservice was asked, so that its answer says something about it.
fn is_answer(fetch: &Fetch, failure: Option<&Failure>, attempt: &Attempt) -> bool {
    let is_refusal = |failure: &Failure| {
        matches!(failure.reason, Reason::CircuitOpen | Reason::Overloaded | Reason::Internal | Reason::Starting)
    };
    fetch.kind == FetchKind::Fragment && attempt.tries > 0 && !failure.is_some_and(is_refusal)
}
