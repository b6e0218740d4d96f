//! The counts of pages, nanoservices and failures.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sketches_ddsketch::DDSketch;

use crate::engine::page::PartOutcome;
use crate::engine::port::Clock;
use crate::page::response::outcome::is_degraded;
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::nanoservice::Nanoservice;
use super::report::{FailureGroup, SiteChange, merge};
use super::window::Window;

/// The number of slots in a quarter of an hour, for which all pages together are counted.
pub(super) const HISTORY: u64 = 180;
/// The maximum number of failure groups.
const MAX_FAILURES: usize = 500;
/// The maximum number of pages that a failure group names.
const MAX_PAGES: usize = 20;
/// The maximum number of paths of a page that are remembered, and the maximum length of one.
const MAX_PATHS: usize = 8;
pub(super) const MAX_PATH: usize = 200;
/// The maximum number of changes.
const MAX_CHANGES: usize = 100;
/// The maximum number of pages, nanoservices and endpoints that are counted: `src` may name any number of hosts.
pub(super) const MAX_COUNTED: usize = 10_000;

/// The requests that some of the threads responded to.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) total: Window<RequestCounts, HISTORY>,
    pub(super) pages: Map<String, Window<RequestCounts>>,
}

#[derive(Default, Clone)]
pub(super) struct RequestCounts {
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// How many responses had each status: a list, since there are few.
    statuses: Vec<(StatusCode, u64)>,
    pub(super) took: DDSketch,
}

/// All other counts.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) degraded: Window<u64, HISTORY>,
    pub(super) pages: Map<String, CountedPage>,
    pub(super) nanoservices: Map<Name, Nanoservice>,
    pub(super) failures: Map<(Name, Reason), FailureGroup>,
    pub(super) changes: VecDeque<SiteChange>,
}

/// What is counted of a page when it is composed.
#[derive(Default)]
pub(super) struct CountedPage {
    pub(super) window: Window<PageCounts>,
    /// The last different paths that it was composed for, the latest last.
    pub(super) paths: VecDeque<String>,
}

#[derive(Default)]
pub(super) struct PageCounts {
    pub(super) composed: u64,
    /// Pages whose parts all came from the cache.
    pub(super) hits: u64,
    /// Pages with a degraded part.
    pub(super) degraded: u64,
}

impl RequestCounts {
    pub(super) fn add(&mut self, status: StatusCode, took: Duration, times: u64) {
        self.requests += times;
        self.errors += if status.is_server_error() { times } else { 0 };
        self.add_status(status, times);
        self.took.add_with_count(took.as_secs_f64(), times);
    }

    fn add_status(&mut self, status: StatusCode, times: u64) {
        match self.statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += times,
            None => self.statuses.push((status, times)),
        }
    }

    pub(super) fn statuses(&self) -> BTreeMap<u16, u64> {
        self.statuses.iter().map(|(status, times)| (status.as_u16(), *times)).collect()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        other.statuses.iter().for_each(|(status, times)| self.add_status(*status, *times));
        merge(&mut self.took, &other.took);
    }
}

impl CountedPage {
    /// Remembers a path that the page was composed for.
    pub(super) fn add_path(&mut self, path: String) {
        if self.paths.back() == Some(&path) {
            return;
        }
        self.paths.retain(|known| *known != path);
        if self.paths.len() >= MAX_PATHS {
            self.paths.pop_front();
        }
        self.paths.push_back(path);
    }
}

impl Counts {
    /// Adds the outcome of a part of a page this many times.
    pub(super) fn add_part(&mut self, slot: u64, page: &str, part: &PartOutcome, times: u64, clock: &dyn Clock) {
        // Nobody wants to see a part whose condition does not hold.
        if part.reason == Some(Reason::Condition) {
            return;
        }
        if let Some(nanoservice) = self.nanoservice(&part.nanoservice) {
            nanoservice.add_part(slot, part, times);
        }
        if let Some(reason) = part.reason.filter(|_| is_degraded(part.shown, part.reason)) {
            let group = self.failure_group(&part.nanoservice, reason, clock);
            group.count += times;
            group.refused += if reason == Reason::CircuitOpen { times } else { 0 };
            group.page = Some(page.to_owned());
            if group.pages.len() < MAX_PAGES && !group.pages.contains(page) {
                group.pages.insert(page.to_owned());
            }
        }
    }

    /// The group of the failures of a nanoservice with a reason, to which one more belongs now. While a circuit is open, that is
    /// the group of the failures that opened it.
    // Only parts of pages are counted in it, as clients see them; the fetch before them gives the detail.
    pub(super) fn failure_group(&mut self, fragment: &Name, reason: Reason, clock: &dyn Clock) -> &mut FailureGroup {
        let reason = self.nanoservices.get(fragment).map_or(reason, |nanoservice| nanoservice.cause(reason));
        let now = clock.wall();
        if self.failures.len() >= MAX_FAILURES && !self.failures.contains_key(&(Arc::clone(fragment), reason)) {
            let oldest = self.failures.iter().min_by_key(|(_, group)| group.last).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.failures.remove(&key));
        }
        let group = self.failures.entry((Arc::clone(fragment), reason)).or_insert_with(|| FailureGroup {
            fragment: Arc::clone(fragment),
            reason: reason.as_str(),
            detail: String::new(),
            count: 0,
            refused: 0,
            first: now,
            last: now,
            page: None,
            pages: BTreeSet::new(),
        });
        group.last = now;
        group
    }

    pub(super) fn add_change(&mut self, change: SiteChange) {
        if self.changes.len() >= MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// The counts of a nanoservice. `None`: too many others are counted already.
    pub(super) fn nanoservice(&mut self, name: &Name) -> Option<&mut Nanoservice> {
        if self.nanoservices.len() >= MAX_COUNTED && !self.nanoservices.contains_key(name) {
            return None;
        }
        Some(self.nanoservices.entry(Arc::clone(name)).or_default())
    }
}
