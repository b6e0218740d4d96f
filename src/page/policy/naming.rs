//! Which places the name of a service stands for, and when it is looked up again.
//! A look-up that fails changes nothing until none of the last places answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest time between two look-ups of one name, whatever its time to live; and the time after a failed one.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// Longest time between two look-ups of one name, whatever its time to live.
pub const LONGEST: Duration = Duration::from_secs(30);

/// The kind of records that a service is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Naming {
    /// A and AAAA: each is the address of an endpoint, all of which have the same port.
    Addresses,
    /// SRV: each has the name and the port of an endpoint (RFC 2782).
    Services,
}

impl Naming {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Addresses, Self::Services];

    /// What stands before `http://` in the URL of a service that is found by these records.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Addresses => "dns+",
            Self::Services => "dnssrv+",
        }
    }

    /// Takes the prefix off a URL. `None`: it has none.
    #[must_use]
    pub fn split(text: &str) -> (Option<Self>, &str) {
        let found = Self::ALL.into_iter().find_map(|naming| Some((naming, text.strip_prefix(naming.prefix())?)));
        found.map_or((None, text), |(naming, rest)| (Some(naming), rest))
    }
}

/// One place where a service is: one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Requests go to the places with the lowest number, unless none of them can be used.
    pub priority: u16,
    /// The address.
    pub address: SocketAddr,
    /// The name and port that requests are for, as in `Host`.
    pub host: Arc<str>,
    /// Of two places of one priority, the one with twice the weight gets twice the requests.
    pub weight: u16,
}

/// What is known of one name.
#[derive(Debug)]
pub struct NameState {
    places: Arc<[Place]>,
    due: Instant,
    /// Whether the last look-up failed.
    is_failing: bool,
    /// Those of the places that did not answer since they last did.
    silent: BTreeSet<SocketAddr>,
}

impl NameState {
    /// A name that is looked up for the first time now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { places: Arc::default(), due: now, is_failing: false, silent: BTreeSet::new() }
    }

    /// The places that it stands for.
    #[must_use]
    pub const fn places(&self) -> &Arc<[Place]> {
        &self.places
    }

    /// Whether the last look-up failed.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// When it is looked up again.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Records the places that a look-up found, and how long they are valid.
    pub fn found(&mut self, mut places: Vec<Place>, ttl: Duration, now: Instant) {
        if places.is_empty() {
            self.failed(now);
            return;
        }
        places.sort_unstable();
        places.dedup();
        self.is_failing = false;
        self.due = now + ttl.clamp(SHORTEST, LONGEST);
        // The same list stays the same value, so that whoever has it can see at once that nothing has changed.
        if *self.places != *places {
            self.places = places.into();
            let known: BTreeSet<SocketAddr> = self.places.iter().map(|place| place.address).collect();
            self.silent.retain(|address| known.contains(address));
        }
    }

    /// Records that a look-up failed, or found nothing.
    pub fn failed(&mut self, now: Instant) {
        self.is_failing = true;
        self.due = now + SHORTEST;
        self.forget_silent();
    }

    /// Records whether a place answered a request.
    pub fn answered(&mut self, address: SocketAddr, answered: bool) {
        if answered {
            self.silent.remove(&address);
        } else if self.places.iter().any(|place| place.address == address) {
            self.silent.insert(address);
            self.forget_silent();
        }
    }

    fn forget_silent(&mut self) {
        if self.is_failing && self.places.iter().all(|place| self.silent.contains(&place.address)) {
            self.places = Arc::default();
            self.silent.clear();
        }
    }
}

/// Chooses the places of the highest priority among some, with their weights: the index of one, for a random number from 0 up
/// to 1. `None`: there are none. One without a weight is chosen seldom beside one that has a weight.
#[must_use]
pub fn choose(places: &[(u16, u16)], chance: f64) -> Option<usize> {
    let first = places.iter().map(|(priority, _)| *priority).min()?;
    let weight = |weight: u16| f64::from(weight) * 100.0 + 1.0;
    let of_first = || places.iter().enumerate().filter(move |(_, (priority, _))| *priority == first);
    let mut left = chance * of_first().map(|(_, place)| weight(place.1)).sum::<f64>();
    let last = of_first().next_back().map(|(index, _)| index);
    let chosen = of_first().find(|(_, place)| {
        left -= weight(place.1);
        left < 0.0
    });
    chosen.map(|(index, _)| index).or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> Place {
        Place { priority: 0, address: ([10, 0, 0, last], 80).into(), host: "a:80".into(), weight: 0 }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_name_is_looked_up_again_when_its_time_to_live_ends_within_bounds() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        assert_eq!(state.due(), now);
        for (ttl, next) in [(0, 1), (1, 1), (7, 7), (30, 30), (86_400, 30)] {
            state.found(vec![place(1)], s(ttl), now);
            assert_eq!(state.due(), now + s(next), "{ttl}");
        }
        state.failed(now + s(9));
        assert_eq!(state.due(), now + s(10));
        state.found(Vec::new(), s(20), now + s(10));
        assert!(state.is_failing() && state.due() == now + s(11), "nothing found is a failure");
    }

    #[test]
    fn the_last_places_are_kept_until_none_of_them_answers() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        state.found(vec![place(2), place(1), place(2)], s(5), now);
        let known = Arc::clone(state.places());
        assert_eq!(*known, [place(1), place(2)]);
        state.found(vec![place(1), place(2)], s(5), now);
        assert!(Arc::ptr_eq(&known, state.places()), "an unchanged list is the same value");
        state.answered(place(1).address, false);
        state.answered(place(2).address, false);
        assert_eq!(state.places().len(), 2, "the name still resolves");
        state.answered(place(2).address, true);
        state.failed(now);
        assert_eq!(state.places().len(), 2, "one of them answers");
        state.answered(place(9).address, false);
        state.answered(place(2).address, false);
        assert_eq!(state.places().len(), 0);
        state.found(vec![place(2)], s(5), now);
        assert_eq!(**state.places(), [place(2)]);
    }

    #[test]
    fn requests_go_to_the_first_priority_by_weight() {
        let places = [(10, 1), (5, 0), (5, 3), (5, 1)];
        let mut counts = [0; 4];
        for step in 0..1_000 {
            counts[choose(&places, f64::from(step) / 1_000.0).expect("there are places")] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1] < 5 && counts[2] > 700 && counts[3] > 200, "{counts:?}");
        assert_eq!(choose(&[], 0.5), None);
        let equal = [(0, 0), (0, 0)];
        assert_eq!((choose(&equal, 0.1), choose(&equal, 0.9), choose(&equal, 1.0)), (Some(0), Some(1), Some(1)));
    }
}
