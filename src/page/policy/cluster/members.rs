//! Which replicas there are, by when they were last seen.
//! One that says goodbye is forgotten at once; one that falls silent is unreachable for a while, and then forgotten.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long after it was last seen a replica counts as there.
pub const THERE_FOR: Duration = Duration::from_millis(2_500);
/// How long after it was last seen a replica is listed.
pub const LISTED_FOR: Duration = Duration::from_secs(30);

/// Whether a replica is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It was seen just now.
    There,
    /// It was not seen for a while, and did not say goodbye.
    Unreachable,
}

impl Presence {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::There => "up",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The replicas that one of them knows of.
#[derive(Debug, Default)]
pub struct Members(BTreeMap<String, Instant>);

impl Members {
    /// Records that a replica was last seen at this time.
    pub fn saw(&mut self, name: &str, at: Instant) {
        match self.0.get_mut(name) {
            Some(seen) => *seen = at.max(*seen),
            None => drop(self.0.insert(name.to_owned(), at)),
        }
    }

    /// Records that a replica said goodbye.
    pub fn left(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Replaces the list, by how long ago each was seen.
    pub fn replace(&mut self, seen: impl IntoIterator<Item = (String, Instant)>) {
        self.0 = seen.into_iter().collect();
    }

    /// The replicas that are listed, with how long ago each was seen. Those that are not are forgotten.
    pub fn list(&mut self, now: Instant) -> Vec<(&str, Duration, Presence)> {
        self.0.retain(|_, seen| now.saturating_duration_since(*seen) < LISTED_FOR);
        let presence = |ago| if ago < THERE_FOR { Presence::There } else { Presence::Unreachable };
        let ago = self.0.iter().map(|(name, seen)| (name.as_str(), now.saturating_duration_since(*seen)));
        ago.map(|(name, ago)| (name, ago, presence(ago))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_falls_silent_is_unreachable_and_then_forgotten() {
        let now = Instant::now();
        let mut members = Members::default();
        members.saw("a", now);
        members.saw("b", now);
        members.left("b");
        let at = |members: &mut Members, seconds| {
            let now = now + Duration::from_secs(seconds);
            members
                .list(now)
                .iter()
                .map(|(name, ago, presence)| (name.to_string(), ago.as_secs(), *presence))
                .collect::<Vec<_>>()
        };
        assert_eq!(at(&mut members, 1), [("a".to_owned(), 1, Presence::There)]);
        assert_eq!(at(&mut members, 3), [("a".to_owned(), 3, Presence::Unreachable)]);
        assert_eq!(at(&mut members, 29), [("a".to_owned(), 29, Presence::Unreachable)]);
        assert_eq!(at(&mut members, 30), []);
    }
}
