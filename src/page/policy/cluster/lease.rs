//! Leases: which replica fetches a response, and which ones wait for it.
//! A lease that nobody gives back ends by itself; whoever waited then asks the service.

use std::str::FromStr;
use std::time::Duration;

use super::order::{Order, Position, PurgeLog};
use crate::page::source::names::Name;

/// How long after its first look a replica that waits looks again.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// What a lease says: who holds it, and the last purge that its holder knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A number that no other lease has.
    pub holder: u64,
    /// The last purge that its holder knew when it took the lease.
    pub known: Position,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x} {}", self.holder, self.known)
    }
}

impl FromStr for Note {
    type Err = NotANote;

    fn from_str(text: &str) -> Result<Self, NotANote> {
        let (holder, known) = text.split_once(' ').ok_or(NotANote)?;
        let holder = u64::from_str_radix(holder, 16).map_err(|_| NotANote)?;
        Ok(Self { holder, known: known.parse().map_err(|_| NotANote)? })
    }
}

/// A text is not what a lease says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a lease")]
pub struct NotANote;

/// What a replica does that did not get the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// It waits for the response of the holder.
    Wait,
    /// It asks the service itself.
    Fetch,
}

/// What to do instead. `tags` are those that the response is known to have; what the holder brings is checked once more.
#[must_use]
pub fn instead<'n>(held: &str, log: &PurgeLog, tags: impl Iterator<Item = &'n Name>) -> Instead {
    let Ok(note) = held.parse::<Note>() else { return Instead::Fetch };
    match log.order(note.known, tags) {
        Order::Current => Instead::Wait,
        // Its holder did not know this purge when it began to ask: what it brings will not be used.
        Order::Stale(_) | Order::Purged => Instead::Fetch,
    }
}

/// The pause before the next look, after this many.
#[must_use]
pub fn pause(looks: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << looks.min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::super::order::{Purge, PurgeMode};
    use super::*;
    use std::time::Instant;

    #[test]
    fn nobody_waits_for_a_holder_that_does_not_know_a_purge() {
        let at = |number| Position { milliseconds: 1, number };
        let note = Note { holder: 0xabc, known: at(3) };
        assert_eq!(note.to_string().parse(), Ok(note.clone()));
        let tags = [Name::from("a")];
        let mut log = PurgeLog::default();
        log.begin_at(at(2));
        let what = |log: &PurgeLog| instead(&note.to_string(), log, tags.iter());
        assert_eq!(what(&log), Instead::Wait);
        log.add(at(4), "", &Purge::Tags(vec![Name::from("b")]), PurgeMode::Hard, Instant::now());
        assert_eq!(what(&log), Instead::Wait, "it does not meet the response");
        log.add(at(5), "", &Purge::Tags(vec![Name::from("a")]), PurgeMode::Soft, Instant::now());
        assert_eq!(what(&log), Instead::Fetch);
        for rubbish in ["", "x", "zz 1-1", "1 1"] {
            assert_eq!(instead(rubbish, &log, tags.iter()), Instead::Fetch, "{rubbish}");
        }
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!([0, 1, 2, 9, u32::MAX].map(|looks| pause(looks).as_millis()), [2, 4, 8, 20, 20]);
    }
}
