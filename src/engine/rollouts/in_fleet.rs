//! The rollouts of all replicas together: this one adds its counts to the one value in the shared store, decides by comparing and
//! setting it, and takes over what it says. Without the store nothing goes on, and what breaks a bound is held back here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::page::policy::rollout::RolloutRules;
use crate::page::policy::rollout::fleet::{FleetBook, Unusable};
use crate::page::policy::rollout::progress::{Action, Event, Rollout};
use crate::page::policy::rollout::replica::Replica;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

use super::{Books, Live, Refused, Rollouts};
use crate::engine::port::SharedRollouts;

/// How often a change is tried that others come before.
const ATTEMPTS: u32 = 20;
/// The longest pause between two attempts, in milliseconds.
const PAUSE_MS: u64 = 20;

/// What became of something that was asked for.
#[derive(Default)]
struct Answered {
    done: usize,
    refused: Option<String>,
}

impl Rollouts {
    /// From now on decides together with other replicas. `started` and `chance` name this run of the replica.
    pub fn decide_in(&self, shared: Arc<dyn SharedRollouts>, started: Timestamp, chance: u64) {
        let mut books = self.books();
        books.replica = Some(Replica::new(started, chance, &books.book));
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
    }

    /// Reads what all replicas know, before the first site goes live.
    ///
    /// # Errors
    /// The store did not say.
    pub async fn read_shared(&self) -> Result<(), String> {
        let Some(shared) = self.shared() else { return Ok(()) };
        let (value, _) = shared.read().await?;
        if let Some(book) = value.and_then(|value| FleetBook::parse(&value).ok())
            && let Some(replica) = &mut self.books().replica
        {
            replica.knows(book);
        }
        Ok(())
    }

    /// Waits until something should be decided at once.
    pub async fn is_to_decide(&self) {
        self.to_decide.notified().await;
    }

    /// Adds the counts of this replica, decides what is due, and takes over what was decided. Called about once a second.
    pub async fn decide_together(&self) {
        let result = self.ask_all(None).await;
        let is_away = result.is_err();
        if self.is_away.swap(is_away, Ordering::Relaxed) != is_away {
            match result {
                Err(why) => tracing::warn!(
                    "rollouts go on with the steps that are known, because all replicas cannot decide together: {why}"
                ),
                Ok(_) => tracing::info!("all replicas decide about rollouts together again"),
            }
        }
    }

    /// Does on all replicas what an operator asks.
    ///
    /// # Errors
    /// It cannot be done now.
    pub(super) async fn act_together(&self, name: &str, action: Action) -> Result<(), Refused> {
        match self.ask_all(Some((name, action))).await {
            Ok(Answered { done: 0, refused: Some(why) }) => Err(Refused::Impossible(why)),
            Ok(Answered { done: 0, refused: None }) => Err(Refused::Unknown(name.to_owned())),
            Ok(_) => Ok(()),
            Err(why) if action == Action::Abort => {
                tracing::warn!(
                    fragment = name,
                    "aborted here, and on all replicas once the shared store is back: {why}"
                );
                let live = self.live.load_full();
                for one in live.get(name).into_iter().flatten() {
                    let mut books = self.books();
                    let Books { book, replica, .. } = &mut *books;
                    let rollout = book.rollout_mut(name, &one.version).filter(|rollout| rollout.state.is_live());
                    let (Some(rollout), Some(replica)) = (rollout, replica) else { continue };
                    replica.abort_later(name, rollout);
                    let what = self.hold_back(one, rollout);
                    drop(books);
                    self.report(name, &what);
                }
                Ok(())
            }
            Err(why) => Err(Refused::Away(why)),
        }
    }

    /// Shows a version to nobody here, until all replicas together have decided, and returns that in words.
    pub(super) fn hold_back(&self, one: &Live, rollout: &Rollout) -> String {
        self.keep_soon();
        self.to_decide.notify_one();
        one.show(rollout);
        let (name, version, why) = (&one.candidate.name, &one.version, rollout.held.clone().unwrap_or_default());
        tracing::warn!(fragment = &**name, version = &**version, "a version is held back here: {why}");
        format!("{name} {version} is held back here until all replicas have decided: {why}")
    }

    /// Proposes to the store what this replica adds and decides, until the store takes it, and takes over what it has then.
    async fn ask_all(&self, wish: Option<(&str, Action)>) -> Result<Answered, String> {
        let Some(shared) = self.shared() else { return Ok(Answered::default()) };
        let _asking = self.asking.lock().await;
        for _ in 0..ATTEMPTS {
            let (value, now) = shared.read().await?;
            let found = match value.as_deref().map(FleetBook::parse) {
                None => None,
                Some(Ok(book)) => Some(book),
                Some(Err(why @ Unusable::Torn(_))) => {
                    tracing::warn!("the rollouts in the shared store cannot be used: {why}");
                    None
                }
                Some(Err(why @ Unusable::OtherVersion(_))) => return Err(why.to_string()),
            };
            let live = self.live.load_full();
            let proposal = {
                let mut books = self.books();
                let Books { book, replica, .. } = &mut *books;
                let Some(replica) = replica else { return Ok(Answered::default()) };
                let rules = |name: &str, candidate: &str| rules(&live, name, candidate);
                replica.propose(found, book, &rules, wish, now, fastrand::u64(..))
            };
            if proposal.is_changed && !shared.replace(value, proposal.book.to_text().into()).await? {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..PAUSE_MS))).await;
                continue;
            }
            let answered = Answered { done: proposal.done, refused: proposal.refused.clone() };
            let mut books = self.books();
            if let Some(replica) = &mut books.replica {
                replica.accepted(proposal);
            }
            // The live site may be another one by now.
            self.take_over(&mut books, &self.live.load_full(), true);
            return Ok(answered);
        }
        Err("other replicas changed it all the time".to_owned())
    }

    /// Takes over what is known of all replicas.
    pub(super) fn take_over(&self, books: &mut Books, live: &Map<Name, Vec<Arc<Live>>>, is_decided: bool) {
        let Books { book, replica, shown } = books;
        let Some(replica) = replica else { return };
        let adopted = replica.adopt(book, shown, is_decided);
        for (name, candidate, event) in adopted.events {
            match find(live, &name, &candidate) {
                Some(one) => {
                    let what = self.carry_out(book, one, event);
                    self.report(&name, &what);
                }
                None if event == Event::Completed => book.complete(&name, &candidate),
                None => {
                    self.keep_soon();
                    self.report(
                        &name,
                        &format!("{name} {candidate} is not shown to all any more, as on other replicas"),
                    );
                }
            }
        }
        if adopted.is_site_other {
            self.keep_soon();
            self.turns.send_modify(|count| *count += 1);
        }
    }
}

fn find<'l>(live: &'l Map<Name, Vec<Arc<Live>>>, name: &str, candidate: &str) -> Option<&'l Arc<Live>> {
    live.get(name)?.iter().find(|one| *one.version == *candidate)
}

fn rules<'l>(live: &'l Map<Name, Vec<Arc<Live>>>, name: &str, candidate: &str) -> Option<&'l RolloutRules> {
    Some(&find(live, name, candidate)?.rules)
}
