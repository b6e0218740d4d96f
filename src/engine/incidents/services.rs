//! Which nanoservices fail, and which circuits are open.
//! The first failure of a kind has a line of its own. Those that follow within a minute are counted, and so are all refusals.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::port::CircuitChange;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::response::parsed::Failure;
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::budget::{LineBudget, MINUTE};

/// The maximum number of kinds of failures that are known, and of circuits.
const MAX_KNOWN: usize = 1_000;
/// The maximum number of nanoservices that a line names.
const MAX_NAMED: usize = 10;

pub(super) struct Services {
    budget: LineBudget,
    /// When each kind of failure or warning occurred last.
    failing: Map<(Name, &'static str), Instant>,
    /// The circuits that are open, or were within a minute, by nanoservice and endpoint.
    circuits: Map<(Name, Name), OpenCircuit>,
    counts: Counts,
}

/// Something to be logged about a nanoservice.
#[derive(Debug)]
pub(super) enum ServiceEvent {
    /// A circuit opened.
    Opened { fragment: Name, upstream: Name, cause: Failure },
    /// A circuit closed, after so long.
    Closed { fragment: Name, upstream: Name, lasted: Duration },
    /// A circuit opened and closed again and again.
    Flapped { fragment: Name, upstream: Name, changes: u64, is_open: bool },
    /// What had no line of its own within a minute.
    Minute { failed: u64, refused: u64, counts: String, unlogged: u64 },
}

/// What had no line of its own.
#[derive(Default)]
struct Counts {
    /// When the first of it happened.
    since: Option<Instant>,
    fragments: BTreeMap<Name, FragmentCounts>,
    /// Lines that would have been too many.
    unlogged: u64,
}

#[derive(Default)]
struct FragmentCounts {
    failed: BTreeMap<Reason, u64>,
    refused: u64,
    warnings: u64,
}

struct OpenCircuit {
    is_open: bool,
    opened: Instant,
    /// When its last line was logged.
    logged: Instant,
    /// Whether it was logged that it closed.
    is_end_logged: bool,
    /// The changes since its last line.
    changes: u64,
}

impl Default for Services {
    fn default() -> Self {
        let budget = LineBudget::new(20, 4);
        Self { budget, failing: Map::default(), circuits: Map::default(), counts: Counts::default() }
    }
}

impl Counts {
    fn of(&mut self, fragment: &Name, now: Instant) -> &mut FragmentCounts {
        self.since.get_or_insert(now);
        self.fragments.entry(Arc::clone(fragment)).or_default()
    }
}

impl Services {
    /// Adds a failed request. Returns whether it is to be logged.
    pub(super) fn failed(&mut self, fragment: &Name, reason: Reason, now: Instant) -> bool {
        let is_logged = self.has_line(fragment, reason.as_str(), now);
        if !is_logged {
            *self.counts.of(fragment, now).failed.entry(reason).or_default() += 1;
        }
        is_logged
    }

    /// Adds a warning about a nanoservice, or about a page. Returns whether it is to be logged.
    pub(super) fn warned(&mut self, subject: &Name, warning: &'static str, now: Instant) -> bool {
        let is_logged = self.has_line(subject, warning, now);
        if !is_logged {
            self.counts.of(subject, now).warnings += 1;
        }
        is_logged
    }

    /// Whether something has a line of its own: it did not occur within the last minute.
    fn has_line(&mut self, subject: &Name, kind: &'static str, now: Instant) -> bool {
        let key = (Arc::clone(subject), kind);
        let has_room = self.failing.len() < MAX_KNOWN || self.failing.contains_key(&key);
        let before = if has_room { self.failing.insert(key, now) } else { None };
        before.is_none_or(|before| now.saturating_duration_since(before) >= MINUTE) && self.budget.take(now)
    }

    /// Adds a request that a circuit breaker refused.
    pub(super) fn refused(&mut self, fragment: &Name, now: Instant) {
        self.counts.of(fragment, now).refused += 1;
    }

    pub(super) fn circuit_changed(&mut self, change: &CircuitChange<'_>, now: Instant) -> Option<ServiceEvent> {
        let key = (Arc::clone(change.nanoservice), Arc::clone(change.upstream));
        let (fragment, upstream) = key.clone();
        let event = match (change.before, change.after) {
            (Some(Circuit::Closed), Some(Circuit::Open)) => {
                if let Some(known) = self.circuits.get_mut(&key) {
                    (known.is_open, known.opened) = (true, now);
                    known.changes += 1;
                    return None;
                }
                if self.circuits.len() < MAX_KNOWN {
                    let opened =
                        OpenCircuit { is_open: true, opened: now, logged: now, is_end_logged: false, changes: 0 };
                    self.circuits.insert(key, opened);
                }
                ServiceEvent::Opened { fragment, upstream, cause: change.cause?.clone() }
            }
            (Some(Circuit::Open | Circuit::HalfOpen), Some(Circuit::Closed)) => {
                let known = self.circuits.get_mut(&key)?;
                known.is_open = false;
                if known.is_end_logged || known.changes > 0 {
                    known.changes += 1;
                    return None;
                }
                (known.is_end_logged, known.logged) = (true, now);
                ServiceEvent::Closed { fragment, upstream, lasted: now.saturating_duration_since(known.opened) }
            }
            (Some(_), None) => {
                self.circuits.remove(&key);
                return None;
            }
            // A probe, and a circuit that is new, change nothing for anybody.
            _ => return None,
        };
        if self.budget.take(now) {
            return Some(event);
        }
        self.counts.since.get_or_insert(now);
        self.counts.unlogged += 1;
        None
    }

    /// What is to be logged because time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<ServiceEvent> {
        let is_over = |at: Instant| now.saturating_duration_since(at) >= MINUTE;
        self.failing.retain(|_, last| !is_over(*last));
        let mut events = Vec::new();
        let budget = &mut self.budget;
        self.circuits.retain(|(fragment, upstream), known| {
            if !is_over(known.logged) {
                return true;
            }
            if known.changes == 0 {
                // The end of a circuit that stays open has a line of its own, even if it opened and closed often before.
                known.is_end_logged = false;
                return known.is_open;
            }
            let (changes, is_open) = (known.changes, known.is_open);
            (known.changes, known.logged) = (0, now);
            if budget.take(now) {
                let (fragment, upstream) = (Arc::clone(fragment), Arc::clone(upstream));
                events.push(ServiceEvent::Flapped { fragment, upstream, changes, is_open });
            }
            true
        });
        if self.counts.since.is_some_and(is_over) {
            events.extend(self.sum_up());
        }
        events
    }

    /// The counts of what had no line of its own, which begin anew.
    pub(super) fn sum_up(&mut self) -> Option<ServiceEvent> {
        let Counts { since, fragments, unlogged } = std::mem::take(&mut self.counts);
        since?;
        let failed = fragments.values().flat_map(|counts| counts.failed.values()).sum();
        let refused = fragments.values().map(|counts| counts.refused).sum();
        let mut most: Vec<(Name, FragmentCounts)> = fragments.into_iter().collect();
        most.sort_by_key(|(_, counts)| Reverse(counts.failed.values().sum::<u64>() + counts.refused + counts.warnings));
        let more = most.len().saturating_sub(MAX_NAMED);
        let mut words: Vec<String> =
            most.iter().take(MAX_NAMED).map(|(name, counts)| format!("{name}: {}", counts.describe())).collect();
        words.extend((more > 0).then(|| format!("and {more} more")));
        Some(ServiceEvent::Minute { failed, refused, counts: words.join("; "), unlogged })
    }
}

impl FragmentCounts {
    /// In words: `200 status, 1617 refused`.
    fn describe(&self) -> String {
        let failed = self.failed.iter().map(|(reason, count)| format!("{count} {reason}"));
        let refused = (self.refused > 0).then(|| format!("{} refused", self.refused));
        let warnings = (self.warnings > 0).then(|| format!("{} warnings", self.warnings));
        failed.chain(refused).chain(warnings).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines about one nanoservice with one circuit.
    struct Watched {
        services: Services,
        fragment: Name,
        upstream: Name,
        now: Instant,
        lines: Vec<String>,
    }

    impl Watched {
        fn new() -> Self {
            let (fragment, upstream) = (Name::from("a"), Name::from("http://a"));
            Self { services: Services::default(), fragment, upstream, now: Instant::now(), lines: Vec::new() }
        }

        fn change(&mut self, before: Circuit, after: Circuit) {
            let cause = Failure::new(Reason::Status, "it answered 500");
            let change = CircuitChange {
                nanoservice: &self.fragment,
                upstream: &self.upstream,
                before: Some(before),
                after: Some(after),
                cause: Some(&cause),
            };
            let event = self.services.circuit_changed(&change, self.now);
            self.lines.extend(event.map(|event| format!("{event:?}")));
        }

        fn wait(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                let events = self.services.tick(self.now);
                self.lines.extend(events.iter().map(|event| format!("{event:?}")));
            }
        }

        fn count(&self, text: &str) -> usize {
            self.lines.iter().filter(|line| line.contains(text)).count()
        }
    }

    #[test]
    fn a_circuit_has_one_line_when_it_opens_and_one_when_it_closes_whatever_its_probes_do() {
        let mut watched = Watched::new();
        watched.change(Circuit::Closed, Circuit::Open);
        for _ in 0..100 {
            watched.wait(10);
            watched.change(Circuit::Open, Circuit::HalfOpen);
            watched.change(Circuit::HalfOpen, Circuit::Open);
        }
        watched.change(Circuit::Open, Circuit::HalfOpen);
        watched.change(Circuit::HalfOpen, Circuit::Closed);
        watched.wait(300);
        assert_eq!((watched.count("Opened"), watched.count("Closed"), watched.lines.len()), (1, 1, 2));
        assert!(watched.lines[1].contains("lasted: 1000s"), "{:?}", watched.lines);
        assert!(watched.services.circuits.is_empty());
    }

    #[test]
    fn a_circuit_that_opens_again_and_again_has_one_line_a_minute() {
        let mut watched = Watched::new();
        for _ in 0..300 {
            watched.change(Circuit::Closed, Circuit::Open);
            watched.wait(1);
            watched.change(Circuit::Open, Circuit::HalfOpen);
            watched.change(Circuit::HalfOpen, Circuit::Closed);
            watched.wait(1);
        }
        let flapped = watched.count("Flapped");
        assert!((9..=11).contains(&flapped) && watched.lines.len() <= flapped + 2, "{:#?}", watched.lines);
        // Then it stays open for long.
        watched.change(Circuit::Closed, Circuit::Open);
        watched.wait(300);
        watched.change(Circuit::Open, Circuit::Closed);
        watched.wait(300);
        assert!(watched.lines.last().is_some_and(|line| line.contains("Closed") && line.contains("lasted: 300s")));
        assert!(watched.services.circuits.is_empty());
    }

    #[test]
    fn what_has_no_line_is_counted() {
        let (mut services, now) = (Services::default(), Instant::now());
        let name = |number: usize| Name::from(format!("s{number:03}"));
        let failed = |services: &mut Services, number| services.failed(&name(number), Reason::Connect, now);
        let logged = (0..200).filter(|number| failed(&mut services, *number)).count();
        let again = (0..200).filter(|number| failed(&mut services, *number)).count();
        assert_eq!((logged, again), (20, 0), "only a burst");
        (0..7).for_each(|_| services.refused(&name(3), now));
        assert!(!services.warned(&name(4), "odd", now));
        assert!(services.tick(now + MINUTE - Duration::from_secs(1)).is_empty(), "the minute is not over");
        let events = services.tick(now + MINUTE);
        let [ServiceEvent::Minute { failed, refused, counts, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*failed, *refused), (180 + 200, 7));
        let expected = "s003: 1 connect, 7 refused; s004: 1 connect, 1 warnings; s020: 2 connect; ";
        assert!(counts.starts_with(expected) && counts.ends_with("; and 190 more"), "{counts}");
        assert!(services.tick(now + 3 * MINUTE).is_empty(), "it is over");
    }
}
