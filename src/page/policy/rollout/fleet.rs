//! The rollouts of all replicas together, as one value that is compared and set.
//! A value that is torn or foreign is replaced by what replicas know; that of another version of Pasteup is left alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::progress::Rollout;
use super::side::Side;

/// The name of the notation.
const FORMAT: &str = "pasteup rollouts 1";
/// How the names of all such notations begin.
const FORMATS: &str = "pasteup rollouts ";
/// The longest value that is read, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// Rollouts of one nanoservice that are kept: beyond them the one that nobody has had for longest is forgotten.
const MAX_ROLLOUTS: usize = 32;
/// Runs of replicas that are remembered in a rollout.
const MAX_RUNS: usize = 256;
/// How long nobody has a rollout until it is as if it were not there, in seconds.
const GONE_AFTER: i64 = 300;

/// What all replicas know together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetBook {
    /// A number that is drawn by whoever finds no value: two values with the same number have one past.
    pub history: u64,
    /// The number of the last change.
    pub revision: u64,
    /// The nanoservices by name.
    pub fragments: BTreeMap<String, FleetEntry>,
}

/// What all replicas know of one nanoservice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEntry {
    /// The versions that have taken over wholly.
    pub chosen: BTreeSet<String>,
    /// The rollouts that run, those that went back, and those of the chosen versions.
    pub rollouts: Vec<FleetRollout>,
}

/// A rollout of all replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRollout {
    /// The rollout, with the answers of all replicas.
    pub rollout: Rollout,
    /// Whether the new version has taken over wholly.
    pub is_over: bool,
    /// The number of the last counts that each run of a replica has added.
    pub added: BTreeMap<String, u64>,
    /// When a replica last had it, within a minute.
    pub touched: Timestamp,
}

/// Which rollout of which nanoservice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// The name of the nanoservice.
    pub name: String,
    /// The version before.
    pub stable: String,
    /// The new version.
    pub candidate: String,
    /// Its checksum.
    pub checksum: String,
    /// How often it was tried before.
    pub round: u64,
}

/// Answers that one replica has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Of which rollout.
    pub of: Id,
    /// The answers of the version before.
    pub stable: Side,
    /// The answers of the new version.
    pub candidate: Side,
}

/// Why a value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is replaced by what the replicas know.
    #[error("{0}; it is replaced by what the replicas know")]
    Torn(String),
    /// It is left alone.
    #[error(
        "{0}: run the same version of Pasteup on all replicas; until then this one goes on with the steps that it knows"
    )]
    OtherVersion(String),
}

/// The value in the store.
#[derive(Serialize, Deserialize)]
struct Content<B> {
    format: String,
    #[serde(flatten)]
    book: B,
}

/// The part of the value that every version of the notation has.
#[derive(Deserialize)]
struct Format {
    format: String,
}

impl Id {
    /// Of this rollout.
    #[must_use]
    pub fn of(name: &str, rollout: &Rollout) -> Self {
        Self {
            name: name.to_owned(),
            stable: rollout.stable.clone(),
            candidate: rollout.candidate.clone(),
            checksum: rollout.checksum.clone(),
            round: rollout.round,
        }
    }

    /// Whether it is of this rollout, tried as often as that or not.
    #[must_use]
    pub fn is_of(&self, rollout: &Rollout) -> bool {
        self.stable == rollout.stable && self.candidate == rollout.candidate && self.checksum == rollout.checksum
    }
}

impl FleetRollout {
    /// Whether no page view shows the new version any more.
    #[must_use]
    pub const fn went_back(&self) -> bool {
        !self.is_over && !self.rollout.state.is_live()
    }

    /// How far it is: of two that have no common past, the further one is taken. One that went back is further than any other
    /// of its round, so that it does not come back.
    fn rank(&self) -> (u64, bool, bool, usize, u64) {
        let Rollout { round, step, stable_side, candidate_side, .. } = &self.rollout;
        (*round, self.went_back(), self.is_over, *step, stable_side.requests + candidate_side.requests)
    }
}

impl FleetEntry {
    /// The rollout with an id, tried as often as that or not.
    #[must_use]
    pub fn find(&self, id: &Id) -> Option<&FleetRollout> {
        self.rollouts.iter().find(|known| id.is_of(&known.rollout))
    }

    /// The same, to change it.
    pub fn find_mut(&mut self, id: &Id) -> Option<&mut FleetRollout> {
        self.rollouts.iter_mut().find(|known| id.is_of(&known.rollout))
    }

    /// Adds what a replica knows of a rollout, unless more is known of it.
    pub fn contribute(&mut self, name: &str, own: Rollout, now: Timestamp) {
        let id = Id::of(name, &own);
        let own = FleetRollout { is_over: false, added: BTreeMap::new(), touched: now, rollout: own };
        // All replicas measure its duration by the clock of the store.
        let begun = |own: FleetRollout| FleetRollout { rollout: Rollout { since: now, ..own.rollout }, ..own };
        match self.find_mut(&id) {
            None => {
                // All others have taken it over, and nobody remembers the rollout.
                let is_over = own.rollout.state.is_live()
                    && self.chosen.contains(&id.candidate)
                    && !self.chosen.contains(&id.stable);
                self.rollouts.push(FleetRollout { is_over, ..begun(own) });
            }
            Some(known) => {
                let began_again = !known.is_over
                    && known.rollout.state.is_live()
                    && own.rollout.step == 0
                    && now.as_second() - known.touched.as_second() > GONE_AFTER
                    && own.rollout.since > known.touched;
                let is_further = (own.rollout.round, own.went_back()) > (known.rollout.round, known.went_back());
                if began_again || is_further {
                    *known = begun(own);
                } else if now.as_second() - known.touched.as_second() >= 60 {
                    known.touched = now;
                }
            }
        }
        if self.rollouts.len() > MAX_ROLLOUTS {
            let oldest = self.rollouts.iter().enumerate().min_by_key(|(_, known)| known.touched);
            if let Some((at, _)) = oldest {
                self.rollouts.remove(at);
            }
        }
    }

    /// Adds the counts of a run of a replica, if it has not added them yet.
    pub fn add(&mut self, counts: &Counts, run: &str, number: u64) {
        let Some(known) = self.find_mut(&counts.of) else { return };
        if known.added.get(run).is_some_and(|added| *added >= number) {
            return;
        }
        known.added.insert(run.to_owned(), number);
        if known.added.len() > MAX_RUNS {
            // The names of runs are in the order of their beginnings.
            known.added.pop_first();
        }
        if known.rollout.round == counts.of.round && known.rollout.state.is_live() && !known.is_over {
            known.rollout.stable_side.add(&counts.stable);
            known.rollout.candidate_side.add(&counts.candidate);
        }
    }

    /// Records that the new version of a rollout has taken over wholly.
    pub fn complete(&mut self, id: &Id) {
        if let Some(known) = self.find_mut(id) {
            known.is_over = true;
        }
        self.change_chosen(&BTreeSet::from([id.stable.clone()]), &BTreeSet::from([id.candidate.clone()]));
    }

    /// Records which versions have taken over wholly, and which are not shown to all any more. If such a version is rolled out
    /// again, it begins again.
    pub fn change_chosen(&mut self, removed: &BTreeSet<String>, added: &BTreeSet<String>) {
        self.chosen.retain(|version| !removed.contains(version));
        self.chosen.extend(added.iter().cloned());
        self.rollouts.retain(|known| {
            let candidate = &known.rollout.candidate;
            if known.is_over { !removed.contains(candidate) } else { known.went_back() || !added.contains(candidate) }
        });
    }

    /// Joins what is known from another past.
    fn join(&mut self, other: &Self, is_newer: bool) {
        for theirs in &other.rollouts {
            match self.find_mut(&Id::of("", &theirs.rollout)) {
                Some(own) if own.rank() >= theirs.rank() => {}
                Some(own) => *own = theirs.clone(),
                None => self.rollouts.push(theirs.clone()),
            }
        }
        if is_newer {
            self.chosen.clone_from(&other.chosen);
        }
        let over: Vec<Rollout> =
            self.rollouts.iter().filter(|known| known.is_over).map(|known| known.rollout.clone()).collect();
        self.rollouts.retain(|known| !known.is_over || !over.iter().any(|next| next.stable == known.rollout.candidate));
        for known in &self.rollouts {
            let Rollout { stable, candidate, .. } = &known.rollout;
            if known.is_over {
                self.chosen.remove(stable);
                self.chosen.insert(candidate.clone());
            } else if known.went_back() && self.chosen.remove(candidate) {
                self.chosen.insert(stable.clone());
            }
        }
    }
}

impl FleetBook {
    /// Reads a value.
    ///
    /// # Errors
    /// It is torn, or not ours: what is done with it.
    pub fn parse(text: &[u8]) -> Result<Self, Unusable> {
        let torn = |error: serde_json::Error| Unusable::Torn(format!("it is torn, or another program's ({error})"));
        if text.len() > MAX_BYTES {
            return Err(Unusable::Torn("it is too large".to_owned()));
        }
        let Format { format } = serde_json::from_slice(text).map_err(torn)?;
        if format != FORMAT {
            let why = format!("its format is `{format}`, not `{FORMAT}`");
            return Err(if format.starts_with(FORMATS) { Unusable::OtherVersion(why) } else { Unusable::Torn(why) });
        }
        let content: Content<serde_json::Value> = serde_json::from_slice(text).map_err(torn)?;
        serde_json::from_value(content.book).map_err(torn)
    }

    /// The value of the store.
    #[must_use]
    pub fn to_text(&self) -> String {
        let content = Content { format: FORMAT.to_owned(), book: self };
        serde_json::to_string(&content).expect("texts and numbers can be written as JSON")
    }

    /// The rollout with an id, tried as often as that or not.
    #[must_use]
    pub fn find(&self, id: &Id) -> Option<&FleetRollout> {
        self.fragments.get(&id.name)?.find(id)
    }

    /// Joins what is known from another past, or from a later time than that of this value: the store was emptied meanwhile.
    pub fn join(&mut self, known: &Self) {
        let is_newer = known.revision > self.revision;
        for (name, theirs) in &known.fragments {
            self.fragments.entry(name.clone()).or_default().join(theirs, is_newer);
        }
        self.revision = self.revision.max(known.revision);
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::State;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn counts(round: u64, answers: u64) -> Counts {
        let rollout = Rollout { round, ..Rollout::begin("1", "2", "x", at(0)) };
        let mut candidate = Side::default();
        (0..answers).for_each(|ms| candidate.record(false, Duration::from_millis(ms)));
        Counts { of: Id::of("a", &rollout), stable: Side::default(), candidate }
    }

    fn book(rollout: Rollout, revision: u64) -> FleetBook {
        let mut entry = FleetEntry { chosen: BTreeSet::from([rollout.stable.clone()]), ..FleetEntry::default() };
        entry.contribute("a", rollout, at(0));
        FleetBook { history: revision, revision, fragments: BTreeMap::from([("a".to_owned(), entry)]) }
    }

    #[test]
    fn a_value_that_was_written_is_read_back_and_what_is_not_ours_is_told() {
        let mut known = book(Rollout::begin("1", "2", "x", at(0)), 7);
        known.fragments.get_mut("a").expect("it is there").add(&counts(0, 9), "run", 1);
        let text = known.to_text();
        assert_eq!(FleetBook::parse(text.as_bytes()), Ok(known));
        for torn in
            ["", "{", "[1]", "{}", "{\"format\":\"other\"}", &text[..text.len() / 2], &text.replace("revision", "r")]
        {
            assert!(matches!(FleetBook::parse(torn.as_bytes()), Err(Unusable::Torn(_))), "{torn}");
        }
        let other = text.replace(FORMAT, "pasteup rollouts 2");
        assert!(matches!(FleetBook::parse(other.as_bytes()), Err(Unusable::OtherVersion(_))));
    }

    #[test]
    fn counts_are_added_once_and_only_to_their_round() {
        let mut entry = book(Rollout::begin("1", "2", "x", at(0)), 1).fragments.remove("a").expect("it is there");
        let answers = |entry: &FleetEntry| entry.rollouts[0].rollout.candidate_side.requests;
        entry.add(&counts(0, 3), "run", 1);
        entry.add(&counts(0, 3), "run", 1);
        assert_eq!(answers(&entry), 3);
        entry.add(&counts(0, 2), "run", 2);
        entry.add(&counts(0, 2), "other", 1);
        entry.add(&counts(1, 9), "other", 2);
        assert_eq!(answers(&entry), 7);
        entry.rollouts[0].rollout.state = State::RolledBack;
        entry.add(&counts(0, 9), "run", 3);
        assert_eq!(answers(&entry), 7, "what went back counts nothing");
    }

    #[test]
    fn what_nobody_had_for_long_begins_again_and_what_went_back_stays() {
        let mut entry = FleetEntry::default();
        let step = |step| Rollout { step, ..Rollout::begin("1", "2", "x", at(0)) };
        entry.contribute("a", step(2), at(0));
        entry.contribute("a", Rollout::begin("1", "2", "x", at(100)), at(100));
        assert_eq!(entry.rollouts[0].rollout.step, 2, "another replica is further");
        entry.contribute("a", Rollout::begin("1", "2", "x", at(1_000)), at(1_000));
        assert_eq!(entry.rollouts[0].rollout.step, 0, "nobody had it any more");
        entry.rollouts[0].rollout.state = State::RolledBack;
        entry.contribute("a", Rollout::begin("1", "2", "x", at(9_000)), at(9_000));
        assert!(entry.rollouts[0].went_back());
    }

    #[test]
    fn a_version_that_has_taken_over_is_rolled_out_again_only_after_it_was_not_chosen() {
        let mut entry = book(Rollout::begin("1", "2", "x", at(0)), 1).fragments.remove("a").expect("it is there");
        entry.complete(&counts(0, 0).of);
        assert_eq!((&entry.chosen, entry.rollouts[0].is_over), (&BTreeSet::from(["2".to_owned()]), true));
        entry.contribute("a", Rollout::begin("1", "2", "x", at(5)), at(5));
        assert!(entry.rollouts[0].is_over, "a replica that comes late finds that it is over");
        let back = Rollout::begin("2", "1", "y", at(6));
        entry.contribute("a", back.clone(), at(6));
        entry.complete(&Id::of("a", &back));
        entry.contribute("a", Rollout::begin("1", "2", "x", at(7)), at(7));
        assert!(!entry.find(&counts(0, 0).of).expect("it is there").is_over);
    }

    fn any_book() -> impl Strategy<Value = FleetBook> {
        let rollout = (0_u64..3, 0_usize..4, 0..4_usize, any::<bool>(), 0_u64..5);
        (proptest::collection::vec(rollout, 1..4), 0_u64..4, 0_u64..9).prop_map(|(all, history, revision)| {
            let mut entry = FleetEntry::default();
            for (number, (round, step, state, is_over, answers)) in all.into_iter().enumerate() {
                let candidate = (number + 2).to_string();
                let begun = Rollout::begin("1", &candidate, "x", at(0));
                entry.contribute("a", Rollout { round, step, state: State::ALL[state], ..begun }, at(0));
                let last = entry.rollouts.last_mut().expect("it was added");
                last.rollout.candidate_side.requests = answers;
                last.is_over = is_over;
            }
            FleetBook { history, revision, fragments: BTreeMap::from([("a".to_owned(), entry)]) }
        })
    }

    proptest! {
        #[test]
        fn pasts_are_joined_in_any_order_and_what_went_back_never_comes_back(a in any_book(), b in any_book()) {
            let ranks = |book: &FleetBook| {
                let mut all: Vec<_> =
                    book.fragments["a"].rollouts.iter().map(|one| (one.rollout.candidate.clone(), one.rank())).collect();
                all.sort();
                all
            };
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.join(&b);
            ba.join(&a);
            prop_assert_eq!(ranks(&ab), ranks(&ba));
            let mut again = ab.clone();
            again.join(&b);
            prop_assert_eq!(ranks(&again), ranks(&ab));
            for before in a.fragments["a"].rollouts.iter().chain(&b.fragments["a"].rollouts) {
                let after = ab.find(&Id::of("a", &before.rollout)).expect("nothing is lost");
                let is_same_round = after.rollout.round == before.rollout.round;
                prop_assert!(after.rank() >= before.rank() && (!is_same_round || !before.went_back() || after.went_back()));
            }
        }
    }
}
