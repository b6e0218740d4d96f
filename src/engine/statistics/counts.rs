//! The counts of pages, nanoservices and failures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sketches_ddsketch::DDSketch;

use crate::engine::page::PartOutcome;
use crate::engine::port::Clock;
use crate::page::output::record::CachingReason;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::response::outcome::{Cache, Shown, is_degraded};
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::report::{FailureGroup, SiteChange};
use super::window::Window;

/// The number of slots in a quarter of an hour, for which all pages together are counted.
pub(super) const HISTORY: u64 = 180;
/// The maximum number of failure groups.
const MAX_FAILURES: usize = 500;
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
    pub(super) took: DDSketch,
}

/// All other counts.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) degraded: Window<u64, HISTORY>,
    pub(super) pages: Map<String, Window<PageCounts>>,
    pub(super) nanoservices: Map<Name, Nanoservice>,
    pub(super) circuits: BTreeMap<String, Circuit>,
    pub(super) failures: Map<(Name, Reason), FailureGroup>,
    pub(super) changes: VecDeque<SiteChange>,
}

#[derive(Default)]
pub(super) struct PageCounts {
    pub(super) composed: u64,
    /// Pages whose parts all came from the cache.
    pub(super) hits: u64,
    /// Pages with a degraded part.
    pub(super) degraded: u64,
}

#[derive(Default)]
pub(super) struct Nanoservice {
    pub(super) window: Window<NanoserviceCounts>,
    /// The latest outcome of a part that it fills.
    pub(super) latest: Option<(Shown, Option<Reason>)>,
    /// The digest of its latest response; equal for equal content.
    pub(super) digest: Option<u128>,
    /// Why its latest response was cached, or not.
    pub(super) caching: Option<CachingReason>,
}

#[derive(Default)]
pub(super) struct NanoserviceCounts {
    pub(super) parts: u64,
    pub(super) looked_up: u64,
    pub(super) hits: u64,
    pub(super) degraded: u64,
    pub(super) fetches: u64,
    pub(super) failures: u64,
    pub(super) bytes: u64,
    pub(super) took: DDSketch,
}

impl RequestCounts {
    pub(super) fn add(&mut self, status: StatusCode, took: Duration, times: u64) {
        self.requests += times;
        self.errors += if status.is_server_error() { times } else { 0 };
        self.took.add_with_count(took.as_secs_f64(), times);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        merge(&mut self.took, &other.took);
    }
}

impl Counts {
    /// Adds the outcome of a part of a page this many times.
    pub(super) fn add_part(&mut self, slot: u64, page: &str, part: &PartOutcome, times: u64, clock: &dyn Clock) {
        if let Some(nanoservice) = self.nanoservice(&part.nanoservice) {
            let counts = nanoservice.window.at(slot);
            counts.parts += times;
            counts.looked_up += if part.cache.is_some() { times } else { 0 };
            counts.hits += if part.cache == Some(Cache::Hit) { times } else { 0 };
            counts.degraded += if is_degraded(part.shown, part.reason) { times } else { 0 };
            // A part whose condition does not hold is no evidence about the nanoservice.
            if part.reason != Some(Reason::Condition) {
                nanoservice.latest = Some((part.shown, part.reason));
            }
        }
        if let Some(reason) = part.reason.filter(|_| is_degraded(part.shown, part.reason)) {
            self.add_failure(&part.nanoservice, reason, None, Some(page), clock);
        }
    }

    /// Adds a failure: of a fetch, with its details, or of a part of a page.
    pub(super) fn add_failure(
        &mut self,
        fragment: &Name,
        reason: Reason,
        detail: Option<&str>,
        page: Option<&str>,
        clock: &dyn Clock,
    ) {
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
            first: now,
            last: now,
            page: None,
        });
        group.last = now;
        // Only parts of pages are counted, as clients see them; the fetch before gives the detail.
        group.count += u64::from(page.is_some());
        if let Some(detail) = detail {
            detail.clone_into(&mut group.detail);
        }
        group.page = page.map(str::to_owned).or_else(|| group.page.take());
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

pub(super) fn merge(all: &mut DDSketch, other: &DDSketch) {
    all.merge(other).expect("all sketches have the same configuration");
}
