//! What is known of one nanoservice: its counts, its circuits, its health and since when.
//! Requests that a circuit breaker refused were never sent, so they count in neither rate, failures nor latency.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use sketches_ddsketch::DDSketch;

use crate::engine::page::PartOutcome;
use crate::engine::port::CircuitChange;
use crate::page::output::record::CachingReason;
use crate::page::policy::resilience::circuits::CircuitCounts;
use crate::page::policy::resilience::health::{Evidence, Health};
use crate::page::request::address::Target;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Cache, Shown, is_degraded};
use crate::page::response::parsed::{Content, Failure, ParsedResponse};
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::history::Point;
use super::report::{Caching, Latency, NanoserviceStatistics, RecentFailure, merge, rate, share};
use super::window::{MINUTE, Window};

/// The maximum number of failures of a nanoservice that are remembered, and of characters of the details of one.
const MAX_FAILURES: usize = 10;
const MAX_DETAIL: usize = 200;

#[derive(Default)]
pub(super) struct Nanoservice {
    window: Window<NanoserviceCounts>,
    /// The latest outcome of a part that it fills.
    latest: Option<(Shown, Option<Reason>)>,
    /// The digest of its latest response; equal for equal content.
    pub(super) digest: Option<u128>,
    /// Why its latest response was cached, or not.
    caching: Option<CachingReason>,
    endpoints: Map<Name, Endpoint>,
    /// The failure that opened a circuit last.
    opened_by: Option<Reason>,
    /// Its last failures, the latest last.
    pub(super) failures: VecDeque<RecentFailure>,
    health: Option<(Health, Timestamp)>,
}

#[derive(Default)]
struct NanoserviceCounts {
    parts: u64,
    looked_up: u64,
    hits: u64,
    degraded: u64,
    fetches: u64,
    failures: u64,
    refusals: u64,
    slow: u64,
    gone: u64,
    bytes: u64,
    statuses: BTreeMap<u16, u64>,
    took: DDSketch,
}

#[derive(Default)]
struct Endpoint {
    circuits: CircuitCounts,
    /// The slot in which a request was for it last, sent or refused.
    asked: u64,
}

impl Nanoservice {
    /// Adds the outcome of a part this many times.
    pub(super) fn add_part(&mut self, slot: u64, part: &PartOutcome, times: u64) {
        let counts = self.window.at(slot);
        counts.parts += times;
        counts.looked_up += if part.cache.is_some() { times } else { 0 };
        counts.hits += if part.cache == Some(Cache::Hit) { times } else { 0 };
        counts.degraded += if is_degraded(part.shown, part.reason) { times } else { 0 };
        // That a client asked for what does not exist is no evidence about the nanoservice.
        if !matches!(part.reason, Some(Reason::Gone | Reason::NotAllowed)) {
            self.latest = Some((part.shown, part.reason));
        }
    }

    /// Adds a fetch. Returns whether it is one that failed: a refusal is none.
    pub(super) fn add_fetch(
        &mut self,
        slot: u64,
        fetch: &Fetch,
        result: Result<&ParsedResponse, &Failure>,
        attempt: &Attempt,
    ) -> bool {
        if fetch.targets.iter().any(Target::is_named) {
            self.endpoints.values_mut().for_each(|endpoint| endpoint.asked = slot);
        }
        for target in fetch.targets.iter() {
            if let Some(endpoint) = self.endpoints.get_mut(&target.upstream) {
                endpoint.asked = slot;
            }
        }
        let counts = self.window.at(slot);
        if attempt.was_refused(result.err()) {
            counts.refusals += 1;
            return false;
        }
        let took = attempt.ended.saturating_duration_since(attempt.began);
        counts.fetches += 1;
        // Of a request that waited for a permit in vain, the nanoservice knows nothing.
        if attempt.tries > 0 {
            counts.took.add(took.as_secs_f64());
        }
        if let Some(status) = attempt.status {
            *counts.statuses.entry(status.as_u16()).or_default() += 1;
        }
        let Ok(response) = result else {
            counts.failures += 1;
            return true;
        };
        counts.slow += u64::from(took > fetch.timeout / 2);
        // What a mistyped address is answered with says nothing about how other responses are cached.
        if let Content::Gone(_) = response.content {
            counts.gone += 1;
            return false;
        }
        counts.bytes += response.content.length() as u64;
        self.caching = Some(CachingReason::of(response, fetch));
        if let Content::Fragment(_) | Content::Asset(..) = &response.content {
            self.digest = Some(response.digest);
        }
        false
    }

    pub(super) fn change_circuit(&mut self, slot: u64, change: &CircuitChange<'_>) {
        let endpoint = self.endpoints.entry(Arc::clone(change.upstream)).or_default();
        endpoint.circuits.change(change.before, change.after);
        if change.before.is_none() {
            endpoint.asked = slot;
        }
        if endpoint.circuits.is_empty() {
            self.endpoints.remove(change.upstream);
        }
        self.opened_by = change.cause.map(|failure| failure.reason).or(self.opened_by);
    }

    /// The reason of a failure. If a circuit is open, that is the reason which opened it.
    pub(super) fn cause(&self, reason: Reason) -> Reason {
        self.opened_by.filter(|_| reason == Reason::CircuitOpen).unwrap_or(reason)
    }

    /// The worst state among the circuits of each endpoint.
    pub(super) fn circuits(&self) -> BTreeMap<Name, &'static str> {
        let all = self.endpoints.iter();
        all.map(|(upstream, endpoint)| (Arc::clone(upstream), endpoint.circuits.worst().as_str())).collect()
    }

    /// Remembers a failure.
    pub(super) fn add_failure(&mut self, at: Timestamp, failure: &Failure, attempt: &Attempt) {
        if self.failures.len() >= MAX_FAILURES {
            self.failures.pop_front();
        }
        let took = attempt.ended.saturating_duration_since(attempt.began);
        self.failures.push_back(RecentFailure {
            at,
            reason: failure.reason.as_str(),
            detail: failure.detail.chars().take(MAX_DETAIL).collect(),
            endpoint: Arc::clone(&attempt.upstream),
            took_ms: (took.as_secs_f64() * 1e5).round() / 1e2,
        });
    }

    /// What happened in these slots, which together are so many seconds long. `None`: nothing.
    pub(super) fn point(&self, slots: Range<u64>, seconds: f64) -> Option<Point> {
        let (mut fetches, mut failures, mut degraded, mut parts) = (0, 0, 0, 0);
        let mut took = DDSketch::default();
        for counts in self.window.within(slots) {
            fetches += counts.fetches;
            failures += counts.failures;
            degraded += counts.degraded;
            parts += counts.parts;
            merge(&mut took, &counts.took);
        }
        let any = parts > 0 || fetches > 0;
        any.then(|| Point::new([fetches, failures, degraded].map(|count| rate(count, seconds)), Latency::of(&took)))
    }

    /// Its health at a slot, and since when. The time is only used if the health has changed.
    pub(super) fn health(&mut self, slot: u64, now: impl FnOnce() -> Timestamp) -> (Health, Timestamp) {
        let health = Health::of(&self.evidence(slot));
        match self.health {
            Some((before, since)) if before == health => (health, since),
            _ => *self.health.insert((health, now())),
        }
    }

    fn evidence(&self, slot: u64) -> Evidence {
        let sum = |of: fn(&NanoserviceCounts) -> u64| self.window.sum(slot, of);
        let asked = self.endpoints.values().filter(|endpoint| endpoint.asked + MINUTE > slot);
        let (circuits, closed) = asked.fold((0, 0), |(all, closed), Endpoint { circuits, .. }| {
            (all + circuits.all(), closed + circuits.closed())
        });
        Evidence {
            parts: sum(|counts| counts.parts),
            degraded: sum(|counts| counts.degraded),
            fetches: sum(|counts| counts.fetches),
            failures: sum(|counts| counts.failures),
            slow: sum(|counts| counts.slow),
            refusals: sum(|counts| counts.refusals),
            circuits,
            open: circuits.saturating_sub(closed),
        }
    }

    /// Its statistics at a slot, over a minute that is so many seconds long.
    pub(super) fn report(
        &mut self,
        (slot, seconds): (u64, f64),
        now: impl FnOnce() -> Timestamp,
    ) -> NanoserviceStatistics {
        let (health, since) = self.health(slot, now);
        let window = &self.window;
        let sum = |of: fn(&NanoserviceCounts) -> u64| window.sum(slot, of);
        let (parts, fetches, failures) =
            (sum(|counts| counts.parts), sum(|counts| counts.fetches), sum(|counts| counts.failures));
        let gone = sum(|counts| counts.gone);
        let mut took = DDSketch::default();
        let mut statuses = BTreeMap::new();
        for counts in window.recent(slot) {
            merge(&mut took, &counts.took);
            for (status, times) in &counts.statuses {
                *statuses.entry(*status).or_default() += times;
            }
        }
        let caching = |reason: &CachingReason| Caching { cached: reason.is_cached(), why: reason.describe(None) };
        NanoserviceStatistics {
            health,
            since: Some(since),
            latest: self.latest.map(|(shown, _)| shown.as_str()),
            latest_reason: self.latest.and_then(|(_, reason)| reason).map(Reason::as_str),
            per_second: rate(parts, seconds),
            hits: share(sum(|counts| counts.hits), sum(|counts| counts.looked_up)),
            degraded: share(sum(|counts| counts.degraded), parts),
            fetches_per_second: rate(fetches, seconds),
            failures: share(failures, fetches),
            refused: sum(|counts| counts.refusals),
            gone,
            statuses,
            bytes: sum(|counts| counts.bytes).checked_div(fetches - failures - gone).unwrap_or_default(),
            caching: self.caching.as_ref().map(caching),
            took: Latency::of(&took),
        }
    }
}
