//! The book of versions: for each nanoservice the versions that pages were filled with last, and the rollouts of new ones.
//! It outlives the process. What it does not know takes over at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::progress::Rollout;

/// How many rollouts that went back are remembered of a nanoservice.
const MAX_ENDED: usize = 16;

/// The versions of all nanoservices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Book(pub BTreeMap<String, Entry>);

/// The versions of one nanoservice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The versions that have taken over wholly.
    pub chosen: BTreeSet<String>,
    /// The rollouts that run, and those that went back.
    pub rollouts: Vec<Rollout>,
}

/// The version that a range of a page chooses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Used {
    /// The name of the nanoservice.
    pub name: String,
    /// The version.
    pub version: String,
    /// The version that it takes over from, with its own checksum. `None`: it has taken over, or does so at once.
    pub after: Option<(String, String)>,
}

impl Entry {
    /// The rollout of a version.
    #[must_use]
    pub fn rollout(&self, version: &str) -> Option<&Rollout> {
        self.rollouts.iter().find(|rollout| rollout.candidate == version)
    }

    /// Whether a version went back, and is not tried again with this checksum.
    #[must_use]
    pub fn went_back(&self, version: &str, checksum: impl FnOnce() -> String) -> bool {
        self.rollout(version).is_some_and(|rollout| !rollout.state.is_live() && rollout.checksum == checksum())
    }
}

impl Book {
    /// The book after a site has gone live whose ranges choose these versions.
    #[must_use]
    pub fn after(&self, used: &[Used], now: Timestamp) -> Self {
        let mut names: BTreeMap<&str, Vec<&Used>> = BTreeMap::new();
        for one in used {
            names.entry(&one.name).or_default().push(one);
        }
        let mut book = self.clone();
        for (name, entry) in &mut book.0 {
            if !names.contains_key(name.as_str()) {
                // Nobody uses it: what was chosen is remembered for its next use, but nothing can go on.
                entry.rollouts.retain(|rollout| !rollout.state.is_live());
            }
        }
        for (name, used) in names {
            let entry = book.0.entry(name.to_owned()).or_default();
            let settled = used.iter().map(|one| one.after.as_ref().map_or(&one.version, |(before, _)| before));
            entry.chosen = settled.cloned().collect();
            let mut rollouts: Vec<Rollout> =
                entry.rollouts.iter().filter(|rollout| !rollout.state.is_live()).cloned().collect();
            for (version, (before, checksum)) in used.iter().filter_map(|one| Some((&one.version, one.after.as_ref()?)))
            {
                if rollouts.iter().any(|known| known.candidate == *version && known.checksum == *checksum) {
                    continue;
                }
                rollouts.retain(|known| known.candidate != *version);
                let same =
                    entry.rollout(version).filter(|known| known.checksum == *checksum && known.stable == *before);
                rollouts.push(same.cloned().unwrap_or_else(|| Rollout::begin(before, version, checksum, now)));
            }
            let ended = rollouts.iter().filter(|rollout| !rollout.state.is_live()).count();
            let mut forgotten = ended.saturating_sub(MAX_ENDED);
            rollouts.retain(|rollout| {
                let is_forgotten = !rollout.state.is_live() && forgotten > 0;
                forgotten -= usize::from(is_forgotten);
                !is_forgotten
            });
            entry.rollouts = rollouts;
        }
        book
    }

    /// Records that a version has taken over wholly.
    pub fn complete(&mut self, name: &str, candidate: &str) {
        let Some(entry) = self.0.get_mut(name) else { return };
        if let Some(at) = entry.rollouts.iter().position(|rollout| rollout.candidate == candidate) {
            let rollout = entry.rollouts.remove(at);
            entry.chosen.remove(&rollout.stable);
            entry.chosen.insert(rollout.candidate);
        }
    }

    /// All rollouts, each with the name of its nanoservice.
    pub fn rollouts(&self) -> impl Iterator<Item = (&str, &Rollout)> {
        self.0.iter().flat_map(|(name, entry)| entry.rollouts.iter().map(move |rollout| (name.as_str(), rollout)))
    }

    /// A rollout.
    pub fn rollout_mut(&mut self, name: &str, candidate: &str) -> Option<&mut Rollout> {
        self.0.get_mut(name)?.rollouts.iter_mut().find(|rollout| rollout.candidate == candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::State;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn used(version: &str, after: Option<&str>) -> Used {
        let after = after.map(|before| (before.to_owned(), format!("sum of {version}")));
        Used { name: "weather".to_owned(), version: version.to_owned(), after }
    }

    fn entry(book: &Book) -> (Vec<&str>, Vec<(&str, &str)>) {
        let entry = &book.0["weather"];
        let rollouts = entry.rollouts.iter().map(|one| (one.candidate.as_str(), one.state.as_str())).collect();
        (entry.chosen.iter().map(String::as_str).collect(), rollouts)
    }

    #[test]
    fn a_third_version_takes_the_candidates_place_and_the_stable_one_stays() {
        let book = Book::default().after(&[used("1.0.0", None)], at(0));
        assert_eq!(entry(&book), (vec!["1.0.0"], vec![]));
        let mut book = book.after(&[used("1.1.0", Some("1.0.0"))], at(1));
        assert_eq!(entry(&book), (vec!["1.0.0"], vec![("1.1.0", "running")]));
        book.rollout_mut("weather", "1.1.0").expect("it runs").step = 2;
        assert_eq!(book.after(&[used("1.1.0", Some("1.0.0"))], at(2)), book, "it goes on");
        let book = book.after(&[used("1.2.0", Some("1.0.0"))], at(3));
        assert_eq!(entry(&book), (vec!["1.0.0"], vec![("1.2.0", "running")]));
        assert_eq!(book.0["weather"].rollouts[0].step, 0);
    }

    #[test]
    fn what_went_back_is_not_tried_again_until_its_checksum_changes() {
        let mut book = Book::default().after(&[used("1.0.0", None)], at(0));
        book = book.after(&[used("1.1.0", Some("1.0.0"))], at(1));
        book.rollout_mut("weather", "1.1.0").expect("it runs").state = State::RolledBack;
        assert!(book.0["weather"].went_back("1.1.0", || "sum of 1.1.0".to_owned()));
        assert!(!book.0["weather"].went_back("1.1.0", || "another".to_owned()));
        let again = book.after(&[used("1.1.0", Some("1.0.0"))], at(2));
        assert_eq!(entry(&again), (vec!["1.0.0"], vec![("1.1.0", "rolled-back")]));
        let mut changed = used("1.1.0", Some("1.0.0"));
        changed.after = changed.after.map(|(before, _)| (before, "another".to_owned()));
        assert_eq!(entry(&book.after(&[changed], at(2))), (vec!["1.0.0"], vec![("1.1.0", "running")]));
        let third = book.after(&[used("1.2.0", Some("1.0.0"))], at(2));
        assert_eq!(entry(&third).1, [("1.1.0", "rolled-back"), ("1.2.0", "running")]);
    }

    #[test]
    fn a_version_that_has_taken_over_is_the_next_stable_one() {
        let mut book = Book::default().after(&[used("1.0.0", None)], at(0));
        book = book.after(&[used("1.1.0", Some("1.0.0"))], at(1));
        book.complete("weather", "1.1.0");
        assert_eq!(entry(&book), (vec!["1.1.0"], vec![]));
        assert_eq!(entry(&book.after(&[], at(2))).0, ["1.1.0"], "it is remembered for its next use");
    }
}
