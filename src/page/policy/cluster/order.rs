//! The order of purges and fetches in the whole fleet. The stream of purges is its clock: a response carries the last entry that
//! its replica knew when the request for it began, and is not used where a later entry meets it.
//! What is older than the entries that are known counts as met.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::page::source::map::Map;
use crate::page::source::names::Name;

/// Maximum number of tags that are remembered. Beyond it everything counts as purged.
const MAX_TAGS: usize = 100_000;

/// The id of an entry of the stream: milliseconds and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The time of the store, in milliseconds since 1970.
    pub milliseconds: u64,
    /// The number among the entries of one millisecond.
    pub number: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.number)
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (milliseconds, number) = text.split_once('-').ok_or(NotAPosition)?;
        let parse = |text: &str| text.parse().map_err(|_| NotAPosition);
        Ok(Self { milliseconds: parse(milliseconds)?, number: parse(number)? })
    }
}

/// A text is not the id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the id of an entry of a stream")]
pub struct NotAPosition;

/// Which responses a purge meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Those that have one of these surrogate keys, or come from a nanoservice with one of these names.
    Tags(Vec<Name>),
    /// All.
    All,
}

/// How to purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeMode {
    /// The responses are removed.
    Hard,
    /// The responses are stale from now on, and may be shown within their stale allowance.
    Soft,
}

/// Whether a response may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// No purge since its request meets it.
    Current,
    /// It was purged softly, at this time.
    Stale(Instant),
    /// It was purged, or might have been.
    Purged,
}

/// The last purge of one tag.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    hard: Option<Position>,
    soft: Option<(Position, Instant)>,
}

impl Last {
    fn add(&mut self, at: Position, mode: PurgeMode, now: Instant) {
        match mode {
            PurgeMode::Hard => self.hard = self.hard.max(Some(at)),
            PurgeMode::Soft if self.soft.is_none_or(|(before, _)| before < at) => self.soft = Some((at, now)),
            PurgeMode::Soft => {}
        }
    }

    fn order(&self, since: Position) -> Order {
        if self.hard.is_some_and(|hard| hard > since) {
            return Order::Purged;
        }
        self.soft.filter(|(soft, _)| *soft > since).map_or(Order::Current, |(_, at)| Order::Stale(at))
    }
}

/// The purges that one replica knows.
#[derive(Debug, Default)]
pub struct PurgeLog {
    /// The last entry that is known.
    at: Position,
    /// All entries after this one, up to the last, are known.
    since: Position,
    tags: Map<Name, Last>,
    all: Last,
    /// Purges that are not in the stream yet, by the names that their replicas gave them.
    pending: Vec<(String, Purge)>,
}

impl PurgeLog {
    /// The last entry that is known: what a request notes when it begins.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.at
    }

    /// Forgets everything: the stream is read from this entry on.
    pub fn begin_at(&mut self, at: Position) {
        *self = Self { at, since: at, pending: std::mem::take(&mut self.pending), ..Self::default() };
    }

    /// Adds an entry of the stream, and `name`, which its replica gave the purge. Entries come in their order; one that is known
    /// already changes nothing.
    pub fn add(&mut self, at: Position, name: &str, purge: &Purge, mode: PurgeMode, now: Instant) {
        self.pending.retain(|(pending, _)| pending != name);
        if at <= self.at {
            return;
        }
        self.at = at;
        match purge {
            Purge::All => self.all.add(at, mode, now),
            Purge::Tags(tags) => {
                tags.iter().for_each(|tag| self.tags.entry(tag.clone()).or_default().add(at, mode, now));
            }
        }
        if self.tags.len() > MAX_TAGS {
            self.tags = Map::default();
            self.since = at;
        }
    }

    /// Adds a purge that is not in the stream yet. Until it is, nothing that it meets is taken from the store.
    pub fn add_pending(&mut self, name: String, purge: Purge) {
        self.pending.push((name, purge));
    }

    /// Makes one purge of everything, with this name, of all purges that are not in the stream yet.
    pub fn join_pending(&mut self, name: String) {
        self.pending = vec![(name, Purge::All)];
    }

    /// Whether a response may be used whose request noted `since`, and which has these tags.
    pub fn order<'n>(&self, since: Position, tags: impl Iterator<Item = &'n Name>) -> Order {
        if since < self.since {
            return Order::Purged;
        }
        let mut order = self.all.order(since);
        for tag in tags {
            let is_pending = |purge: &Purge| match purge {
                Purge::All => true,
                Purge::Tags(tags) => tags.contains(tag),
            };
            if order == Order::Purged || self.pending.iter().any(|(_, purge)| is_pending(purge)) {
                return Order::Purged;
            }
            let own = self.tags.get(tag).map_or(Order::Current, |last| last.order(since));
            order = match (order, own) {
                (_, Order::Purged) => Order::Purged,
                (Order::Stale(a), Order::Stale(b)) => Order::Stale(a.min(b)),
                (Order::Current, own) => own,
                (order, _) => order,
            };
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Position {
        Position { milliseconds: 1_000, number }
    }

    fn tags(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::from(*name)).collect()
    }

    #[test]
    fn a_position_is_written_as_the_store_writes_it() {
        assert_eq!("1526919030474-55".parse(), Ok(Position { milliseconds: 1_526_919_030_474, number: 55 }));
        assert_eq!(at(7).to_string(), "1000-7");
        for text in ["", "1", "-1", "1-", "1-x", "$", "1-2-3"] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
        }
        assert!(Position { milliseconds: 2, number: 0 } > Position { milliseconds: 1, number: 9 });
    }

    #[test]
    fn a_response_is_met_by_the_purges_after_its_request_began() {
        let now = Instant::now();
        let mut log = PurgeLog::default();
        log.begin_at(at(5));
        log.add(at(6), "", &Purge::Tags(tags(&["a"])), PurgeMode::Hard, now);
        log.add(at(7), "", &Purge::Tags(tags(&["b"])), PurgeMode::Soft, now);
        let order = |log: &PurgeLog, since, names: &[&str]| log.order(at(since), tags(names).iter());
        assert_eq!(order(&log, 5, &["c"]), Order::Current);
        assert_eq!(order(&log, 4, &["c"]), Order::Purged, "what was purged then is not known");
        assert_eq!(order(&log, 5, &["c", "a"]), Order::Purged);
        assert_eq!(order(&log, 6, &["c", "a"]), Order::Current);
        assert_eq!(order(&log, 6, &["b", "a"]), Order::Stale(now));
        assert_eq!(order(&log, 5, &["b", "a"]), Order::Purged);
        log.add(at(8), "", &Purge::All, PurgeMode::Hard, now);
        assert_eq!((order(&log, 7, &["c"]), order(&log, 8, &["c"])), (Order::Purged, Order::Current));
        log.add(at(6), "", &Purge::All, PurgeMode::Hard, now);
        assert_eq!(log.position(), at(8), "an entry that is known already changes nothing");
    }

    #[test]
    fn a_purge_that_is_not_in_the_stream_yet_keeps_out_everything_that_it_meets() {
        let now = Instant::now();
        let mut log = PurgeLog::default();
        log.begin_at(at(5));
        log.add_pending("x".to_owned(), Purge::Tags(tags(&["a"])));
        assert_eq!(log.order(at(99), tags(&["a"]).iter()), Order::Purged);
        assert_eq!(log.order(at(5), tags(&["b"]).iter()), Order::Current);
        log.add(at(6), "x", &Purge::Tags(tags(&["a"])), PurgeMode::Hard, now);
        assert_eq!(log.order(at(5), tags(&["a"]).iter()), Order::Purged);
        assert_eq!(log.order(at(6), tags(&["a"]).iter()), Order::Current);
        (0..9).for_each(|number| log.add_pending(number.to_string(), Purge::Tags(tags(&["a"]))));
        log.join_pending("all".to_owned());
        assert_eq!(log.order(at(6), tags(&["b"]).iter()), Order::Purged);
        log.add(at(7), "all", &Purge::All, PurgeMode::Hard, now);
        assert_eq!(log.order(at(7), tags(&["a"]).iter()), Order::Current);
    }

    #[test]
    fn a_storm_of_purges_is_remembered_in_bounded_memory() {
        let mut log = PurgeLog::default();
        log.begin_at(at(1));
        for number in 0..30 {
            let names: Vec<Name> = (0..10_000).map(|tag| Name::from(format!("{number}-{tag}"))).collect();
            log.add(at(2 + number), "", &Purge::Tags(names), PurgeMode::Hard, Instant::now());
            assert!(log.tags.len() <= MAX_TAGS);
        }
        assert_eq!(log.order(at(1), tags(&["0-0"]).iter()), Order::Purged);
        assert_eq!(log.order(log.position(), tags(&["0-0"]).iter()), Order::Current);
    }
}
