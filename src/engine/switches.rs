//! Switches nanoservices off for a time, without a change of files: their parts show their fallbacks, and they are not asked.
//! A switch ends by itself. It outlives reloads, but not the process.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::page::source::map::Map;
use crate::page::source::names::Name;

/// The nanoservices that are switched off.
#[derive(Default)]
pub(super) struct Switches(ArcSwap<Map<Name, Switch>>);

/// A nanoservice is switched off until this moment, by the clock of durations and by that of the day.
#[derive(Clone, Copy)]
struct Switch {
    until: Instant,
    shown: Timestamp,
}

impl Switches {
    /// Switches a nanoservice off, and returns until when; `now`: the time of day.
    pub(super) fn turn_off(&self, name: &Name, lasts: Duration, now: Timestamp) -> Timestamp {
        let shown = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
        let switch = Switch { until: Instant::now() + lasts, shown };
        self.change(|all| _ = all.insert(Arc::clone(name), switch));
        shown
    }

    /// Ends a switch. `false`: the nanoservice was not switched off.
    pub(super) fn turn_on(&self, name: &str) -> bool {
        let was_off = self.is_off(name);
        self.change(|all| _ = all.remove(name));
        was_off
    }

    /// Whether a nanoservice is switched off now.
    pub(super) fn is_off(&self, name: &str) -> bool {
        let all = self.0.load();
        !all.is_empty() && all.get(name).is_some_and(|switch| Instant::now() < switch.until)
    }

    /// When the switch of a nanoservice ends. `None`: it is not switched off.
    pub(super) fn ends(&self, name: &str) -> Option<Timestamp> {
        let all = self.0.load();
        all.get(name).filter(|switch| Instant::now() < switch.until).map(|switch| switch.shown)
    }

    /// Changes the switches, and forgets those that have ended.
    fn change(&self, change: impl Fn(&mut Map<Name, Switch>)) {
        let now = Instant::now();
        self.0.rcu(|all| {
            let mut all: Map<Name, Switch> = all.iter().map(|(name, switch)| (Arc::clone(name), *switch)).collect();
            all.retain(|_, switch| now < switch.until);
            change(&mut all);
            all
        });
    }
}
