//! One replica's part in the rollouts of all: what it proposes to the shared store, and what it takes over from there.
//! Only the store's one value goes on or back. A replica that cannot reach it holds back what breaks a bound, and keeps its counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::RolloutRules;
use super::book::Book;
use super::fleet::{Counts, FleetBook, FleetRollout, Id};
use super::progress::{Action, Event, Rollout};
use super::side::Side;

/// One replica.
#[derive(Debug, Default)]
pub struct Replica {
    /// The name of this run, which comes after those of all earlier ones in their order.
    run: String,
    /// What the store had last.
    known: Option<FleetBook>,
    /// Answers that are in no proposal yet.
    growing: Vec<Counts>,
    /// Answers of the last proposal, until it is known that the store took it.
    sent: Vec<Counts>,
    /// The number of that proposal.
    number: u64,
    /// What is to be told to the store once: versions that are shown to all now, or not any more.
    settled: Vec<Settled>,
    /// Rollouts that somebody ended while the store could not be reached.
    aborted: Vec<Id>,
    /// The nanoservices whose versions this replica knows by itself, and does not take from the others.
    own: BTreeSet<String>,
    /// Rollouts that were taken over although their version was shown to all here: each once in each past of the store.
    corrected: Vec<(u64, Id)>,
}

/// Versions of a nanoservice that are shown to all now, or not any more.
#[derive(Debug, Clone)]
struct Settled {
    name: String,
    removed: BTreeSet<String>,
    added: BTreeSet<String>,
}

/// A version that a range of the live site shows to all.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The name of the nanoservice.
    pub name: String,
    /// The version.
    pub version: String,
    /// Its checksum.
    pub checksum: String,
    /// Whether its manifest states how it takes over.
    pub has_rules: bool,
    /// All versions of the nanoservice in the catalogue.
    pub catalogue: BTreeSet<String>,
}

/// A value for the store.
#[derive(Debug)]
pub struct Proposal {
    /// The value.
    pub book: FleetBook,
    /// Whether it differs from what the store has.
    pub is_changed: bool,
    /// How many rollouts did what was asked of them.
    pub done: usize,
    /// Why one did not.
    pub refused: Option<String>,
    /// How many of the versions and of the ends that were to be told are in it.
    told: (usize, usize),
}

/// What a replica has taken over from the others.
#[derive(Debug, Default)]
pub struct Adopted {
    /// What happened to which version of which nanoservice.
    pub events: Vec<(String, String, Event)>,
    /// Whether versions that were shown to all are not any more, so that the site is to be built again.
    pub is_site_other: bool,
}

/// The rules of a version that is rolled out on the live site. `None`: it is not.
pub type RulesOf<'r> = dyn Fn(&str, &str) -> Option<&'r RolloutRules> + 'r;

impl Replica {
    /// A replica that has just started, with the book of its last run.
    #[must_use]
    pub fn new(started: Timestamp, chance: u64, book: &Book) -> Self {
        let own = book.0.iter().filter(|(_, entry)| !entry.chosen.is_empty()).map(|(name, _)| name.clone()).collect();
        Self { run: format!("{:012x}-{chance:016x}", started.as_millisecond()), own, ..Self::default() }
    }

    /// Counts an answer.
    pub fn record(&mut self, name: &str, rollout: &Rollout, is_candidate: bool, failed: bool, took: Duration) {
        let of = Id::of(name, rollout);
        let at = self.growing.iter().position(|counts| counts.of == of).unwrap_or_else(|| {
            self.growing.push(Counts { of, stable: Side::default(), candidate: Side::default() });
            self.growing.len() - 1
        });
        let Counts { stable, candidate, .. } = &mut self.growing[at];
        if is_candidate { candidate } else { stable }.record(failed, took);
    }

    /// Notes that a site has gone live that shows other versions to all.
    pub fn settle(&mut self, name: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) {
        let (removed, added) = (before - after, after - before);
        // Nothing was shown before at the start.
        if !before.is_empty() && before != after {
            self.settled.push(Settled { name: name.to_owned(), removed, added });
        }
    }

    /// Notes that somebody ended a rollout while the store could not be reached. Until it can be, it is held back here.
    pub fn abort_later(&mut self, name: &str, rollout: &mut Rollout) {
        rollout.held = Some("somebody aborted it".to_owned());
        self.aborted.push(Id::of(name, rollout));
    }

    /// What is to be in the store, which has `found` now. Proposed again and again until the store takes it, since others may
    /// have changed it meanwhile. `now` is the time of the store, `chance` a number that nobody else draws.
    pub fn propose(
        &mut self,
        found: Option<FleetBook>,
        book: &Book,
        rules: &RulesOf<'_>,
        wish: Option<(&str, Action)>,
        now: Timestamp,
        chance: u64,
    ) -> Proposal {
        let before = found.clone();
        let mut fleet = match (found, &self.known) {
            (Some(mut found), Some(known)) => {
                if found.history != known.history || found.revision < known.revision {
                    found.join(known);
                }
                found
            }
            (Some(found), None) => found,
            // The store was emptied: all that is known is written again.
            (None, known) => FleetBook { history: chance, ..known.clone().unwrap_or_default() },
        };
        for Settled { name, removed, added } in &self.settled {
            fleet.fragments.entry(name.clone()).or_default().change_chosen(removed, added);
        }
        for (name, entry) in &book.0 {
            let known = fleet.fragments.entry(name.clone()).or_default();
            if known.chosen.is_empty() {
                known.chosen.clone_from(&entry.chosen);
            }
            for rollout in entry.rollouts.iter().filter(|rollout| rules(name, &rollout.candidate).is_some()) {
                known.contribute(name, self.without_own_counts(name, rollout), now);
            }
        }
        if self.sent.is_empty() && !self.growing.is_empty() {
            self.number += 1;
            self.sent = std::mem::take(&mut self.growing);
        }
        for counts in &self.sent {
            if let Some(entry) = fleet.fragments.get_mut(&counts.of.name) {
                entry.add(counts, &self.run, self.number);
            }
        }
        let (mut done, mut refused) = (0, None);
        for (name, entry) in &mut fleet.fragments {
            let mut over = Vec::new();
            for FleetRollout { rollout, is_over, .. } in &mut entry.rollouts {
                let is_here = book.0.get(name).and_then(|own| own.rollout(&rollout.candidate));
                let is_here = is_here.is_some_and(|own| Id::of(name, own).is_of(rollout));
                let Some(rules) = rules(name, &rollout.candidate).filter(|_| is_here && !*is_over) else { continue };
                let id = Id::of(name, rollout);
                let mut event = None;
                if self.aborted.contains(&id) && rollout.state.is_live() {
                    event = rollout.act(Action::Abort, rules, now).ok();
                }
                if let Some((_, action)) = wish.filter(|(of, _)| of == name) {
                    match rollout.act(action, rules, now) {
                        Ok(happened) => {
                            done += 1;
                            event = Some(happened);
                        }
                        Err(why) => refused = Some(why),
                    }
                }
                let event = if event.is_some() { event } else { rollout.advance(rules, now) };
                over.extend((event == Some(Event::Completed)).then_some(id));
            }
            over.iter().for_each(|id| entry.complete(id));
        }
        let is_changed = before.as_ref() != Some(&fleet);
        if is_changed {
            fleet.revision += 1;
        }
        Proposal { book: fleet, is_changed, done, refused, told: (self.settled.len(), self.aborted.len()) }
    }

    /// Records that the store has a value that this replica proposed.
    pub fn accepted(&mut self, proposal: Proposal) {
        let (settled, aborted) = proposal.told;
        self.known = Some(proposal.book);
        self.sent.clear();
        self.settled.drain(..settled);
        self.aborted.drain(..aborted);
    }

    /// Records what the store has, before anything was proposed to it.
    pub fn knows(&mut self, book: FleetBook) {
        self.known = Some(book);
    }

    /// Takes over what is known of all replicas. `is_decided`: the answers of this one are in it, so what it held back alone is
    /// held back no longer.
    pub fn adopt(&mut self, book: &mut Book, shown: &[Shown], is_decided: bool) -> Adopted {
        let mut adopted = Adopted::default();
        let Some(known) = self.known.take() else { return adopted };
        self.adopt_versions(&known, book, shown, &mut adopted);
        for (name, entry) in &mut book.0 {
            for own in &mut entry.rollouts {
                let Some(fleet) = known.find(&Id::of(name, own)) else { continue };
                let mut next = fleet.rollout.clone();
                if (own.round, !own.state.is_live()) > (next.round, fleet.went_back()) {
                    // The store does not know yet what is known here.
                    continue;
                }
                let event = if fleet.is_over {
                    Some(Event::Completed)
                } else {
                    self.add_own_counts(name, &mut next);
                    next.held =
                        own.held.clone().filter(|_| !is_decided && next.round == own.round && next.state.is_live());
                    let event = happened(own, &next);
                    *own = next;
                    event
                };
                adopted.events.extend(event.map(|event| (name.clone(), own.candidate.clone(), event)));
            }
        }
        self.known = Some(known);
        adopted
    }

    /// Takes over which versions are shown to all, where this replica does not know it by itself: it has just started, without
    /// the state of an earlier run. And what is not shown to all anywhere else is not here.
    fn adopt_versions(&mut self, known: &FleetBook, book: &mut Book, shown: &[Shown], adopted: &mut Adopted) {
        let mut new: BTreeMap<&str, Vec<&Shown>> = BTreeMap::new();
        for one in shown.iter().filter(|one| !self.own.contains(&one.name)) {
            new.entry(one.name.as_str()).or_default().push(one);
        }
        for (name, versions) in new {
            let (Some(fleet), Some(entry)) = (known.fragments.get(name), book.0.get_mut(name)) else { continue };
            self.own.insert(name.to_owned());
            let follows = |one: &&Shown| {
                one.has_rules && !fleet.chosen.contains(&one.version) && !fleet.chosen.is_disjoint(&one.catalogue)
            };
            if versions.iter().any(follows) {
                entry.chosen.clone_from(&fleet.chosen);
                let is_ours = |rollout: &Rollout| {
                    versions.iter().any(|one| one.version == rollout.candidate && one.checksum == rollout.checksum)
                };
                let rollouts = fleet.rollouts.iter().filter(|known| !known.is_over).map(|known| &known.rollout);
                entry.rollouts.extend(rollouts.filter(|rollout| is_ours(rollout)).cloned());
                adopted.is_site_other = true;
            } else if fleet.chosen != entry.chosen {
                let (removed, added) = (fleet.chosen.clone(), entry.chosen.clone());
                self.settled.push(Settled { name: name.to_owned(), removed: &removed - &added, added });
            }
        }
        for one in shown {
            let (Some(fleet), Some(entry)) = (known.fragments.get(&one.name), book.0.get_mut(&one.name)) else {
                continue;
            };
            let is_it = |known: &&FleetRollout| {
                let Rollout { stable, candidate, checksum, .. } = &known.rollout;
                let is_shown_here = *candidate == one.version && *checksum == one.checksum;
                let is_on_its_way = one.has_rules && !known.is_over && !fleet.chosen.contains(candidate);
                is_shown_here && (known.went_back() || is_on_its_way) && one.catalogue.contains(stable)
            };
            let Some(FleetRollout { rollout, .. }) = fleet.rollouts.iter().find(is_it) else { continue };
            let this = (known.history, Id::of(&one.name, rollout));
            if entry.chosen.contains(&one.version) && !self.corrected.contains(&this) {
                entry.chosen.remove(&one.version);
                entry.chosen.insert(rollout.stable.clone());
                entry.rollouts.retain(|own| own.candidate != one.version);
                entry.rollouts.push(rollout.clone());
                let event = if rollout.state.is_live() { Event::Began } else { Event::WentBack };
                adopted.events.push((one.name.clone(), one.version.clone(), event));
                adopted.is_site_other = true;
                self.corrected.push(this);
            }
        }
    }

    /// The answers that are counted here, and that the store may not know.
    fn own_counts(&self, of: Id) -> impl Iterator<Item = &Counts> {
        self.sent.iter().chain(&self.growing).filter(move |counts| counts.of == of)
    }

    fn add_own_counts(&self, name: &str, rollout: &mut Rollout) {
        if rollout.state.is_live() {
            for Counts { stable, candidate, .. } in self.own_counts(Id::of(name, rollout)) {
                rollout.stable_side.add(stable);
                rollout.candidate_side.add(candidate);
            }
        }
    }

    fn without_own_counts(&self, name: &str, own: &Rollout) -> Rollout {
        let mut rollout = Rollout { held: None, ..own.clone() };
        for Counts { stable, candidate, .. } in self.own_counts(Id::of(name, own)) {
            rollout.stable_side.subtract(stable);
            rollout.candidate_side.subtract(candidate);
        }
        rollout
    }
}

/// What happened between two states of a rollout. `None`: nothing but answers.
fn happened(before: &Rollout, after: &Rollout) -> Option<Event> {
    if !after.state.is_live() {
        return before.state.is_live().then_some(Event::WentBack);
    }
    if before.round != after.round {
        return Some(Event::Began);
    }
    if before.step != after.step {
        return Some(Event::Promoted);
    }
    (before.state != after.state || before.held.is_some() != after.held.is_some()).then_some(Event::Held)
}
