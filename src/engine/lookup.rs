//! Looks up the response to one fetch of a plan: in the store if it is fresh, otherwise at the nanoservice, otherwise stale.
//! A lookup always ends at the earlier of the fragment's and the page's deadline, at the latest.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use crate::page::policy::cache::backoff::RefreshBackoff;
use crate::page::policy::cache::directives::Uncacheable;
use crate::page::policy::cache::freshness::{
    EntryTimes, Freshness, FreshnessRules, freshness, is_refresh_due, refresh_lead,
};
use crate::page::policy::cluster::order::Position;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Cache, LookupTiming};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::reason::Reason;

use super::collapse::{Collapser, Waiter};
use super::fetch::FetchJob;
use super::hit_for_miss::HitForMiss;
use super::port::{Ports, StoredResponse};
use super::purge::{Purge, PurgeMode, Purges};
use super::rollouts::Rollouts;
use super::shared::{PageWait, Shared};
use super::switches::Switches;
use super::trace::Trace;
use super::upstream::Stacks;

/// How long a collapsed fetch is still waited for after its own deadline. It ends at that moment too, with a better reason,
/// and tokio's timers are accurate to a millisecond.
const GRACE: Duration = Duration::from_millis(2);

/// The result of a lookup.
#[derive(Debug, Clone)]
pub struct LookupResult {
    /// The response, or why there is none.
    pub outcome: LookupOutcome,
    /// When and how it was looked up.
    pub timing: Arc<LookupTiming>,
}

/// The outcome of a lookup.
#[derive(Debug, Clone)]
pub enum LookupOutcome {
    /// A response, and how long it stays fresh. If it is stored, also how long before that it is refreshed.
    Fresh(Arc<ParsedResponse>, Duration, Option<Duration>),
    /// A stale response, and why it is not fresh.
    Stale(Arc<ParsedResponse>, Reason),
    /// No response that may be shown, and why.
    Unavailable(Reason),
}

/// What the store has for a fetch.
pub(super) enum StoreLookup {
    /// A response that may be shown as it is.
    Hit(LookupResult),
    /// No such response: it has to be fetched.
    Miss(StoreMiss),
}

/// What is known if the store has no response that may be shown as it is.
pub(super) struct StoreMiss {
    now: Instant,
    /// The responses to this fetch are never shared.
    is_unshared: bool,
    /// A stale response with its age, to be shown if the fetch fails.
    stale_if_error: Option<(Arc<ParsedResponse>, Duration)>,
}

/// A result that is known at once, or the future that gets it.
pub(super) type ReadyOrPending = Result<LookupResult, BoxFuture<'static, LookupResult>>;

/// The result of a fetch, for all callers that waited for it.
pub(super) type FetchResult = Result<FetchedResponse, FetchFailure>;

/// A response that was fetched.
#[derive(Debug, Clone)]
pub(super) struct FetchedResponse {
    pub(super) response: Arc<ParsedResponse>,
    /// Whether a purge during the fetch matched it: only requests from before the purge may use it.
    pub(super) is_purged: bool,
    /// The request that it was received for. `None`: an earlier fetch had stored it by then, or another replica fetched it.
    pub(super) attempt: Option<Arc<Attempt>>,
    /// How long ago it arrived, if another replica fetched it.
    pub(super) age: Duration,
}

/// A fetch that failed.
#[derive(Debug, Clone)]
pub(super) struct FetchFailure {
    failure: Arc<Failure>,
    /// The timeout of the fetch.
    timeout: Duration,
    /// The request that failed.
    attempt: Arc<Attempt>,
}

/// How long the look-ups of one page may take.
#[derive(Debug, Clone)]
pub(super) struct PageLimits {
    /// When the page is finished, whatever is missing.
    pub(super) deadline: Instant,
    /// Its time for the shared store, if there is one.
    pub(super) shared: Option<PageWait>,
}

/// The result of a fetch, for one caller.
struct Fetched {
    /// The response, and whether a purge matched it; or why there is none.
    result: Result<(Arc<ParsedResponse>, bool), Reason>,
    attempt: Option<Arc<Attempt>>,
    /// Whether another caller had started the fetch.
    is_collapsed: bool,
    /// How long ago the response arrived, on another replica.
    age: Duration,
}

impl Fetched {
    fn new(result: FetchResult, is_collapsed: bool) -> Self {
        match result {
            Ok(FetchedResponse { response, is_purged, attempt, age }) => {
                Self { result: Ok((response, is_purged)), attempt, is_collapsed, age }
            }
            Err(FetchFailure { failure, attempt, .. }) => {
                Self { result: Err(failure.reason), attempt: Some(attempt), is_collapsed, age: Duration::ZERO }
            }
        }
    }

    const fn failed(reason: Reason, is_collapsed: bool) -> Self {
        Self { result: Err(reason), attempt: None, is_collapsed, age: Duration::ZERO }
    }
}

/// Looks fetches up: first in the store, then in a fetch that is in flight, then upstream.
pub(super) struct Lookup {
    ports: Ports,
    fetches: Collapser<FetchResult>,
    stacks: Stacks,
    pub(super) purges: Arc<Purges>,
    hit_for_miss: HitForMiss,
    switches: Switches,
    rollouts: Arc<Rollouts>,
    /// The second layer behind the store, if there is one, and the look-ups there.
    shared: Option<Arc<Shared>>,
    pub(super) shared_lookups: Collapser<()>,
}

/// Lookups that were started before the page that needs them was planned.
#[derive(Default)]
pub(super) struct StartedLookups {
    pub(super) lookups: Vec<(Arc<Fetch>, ReadyOrPending)>,
    /// The time that is left for the shared store, if a look-up was started.
    pub(super) limits: Option<PageLimits>,
}

impl StartedLookups {
    /// Takes the lookup of a fetch. `None`: it was not started, or was taken before.
    pub(super) fn take(&mut self, fetch: &Fetch) -> Option<ReadyOrPending> {
        let is_same =
            |other: &Fetch| other.key == fetch.key && other.rules == fetch.rules && other.timeout == fetch.timeout;
        let index = self.lookups.iter().position(|(started, _)| is_same(started))?;
        Some(self.lookups.swap_remove(index).1)
    }
}

impl Lookup {
    /// A lookup over adapters.
    pub(super) fn new(ports: Ports, shared: Option<Arc<Shared>>) -> Self {
        Self {
            fetches: Collapser::default(),
            stacks: Stacks::new(ports.clone()),
            purges: Arc::default(),
            hit_for_miss: HitForMiss::default(),
            switches: Switches::default(),
            rollouts: Arc::new(Rollouts::new(Arc::clone(&ports.observer))),
            shared,
            shared_lookups: Collapser::default(),
            ports,
        }
    }

    /// The limits of the look-ups of a page that is finished at a deadline.
    pub(super) fn limits(&self, deadline: Instant) -> PageLimits {
        PageLimits { deadline, shared: self.shared.as_ref().map(|shared| shared.page_wait()) }
    }

    /// The second layer behind the store, if there is one.
    pub(super) const fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// The adapters.
    pub(super) const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Purges, and returns how many responses matched.
    pub(super) fn purge(&self, purge: &Purge, mode: PurgeMode) -> usize {
        self.purges.purge(&*self.ports.store, purge, mode)
    }

    /// Removes single responses, by the names of their entries.
    pub(super) fn purge_entries(&self, names: &HashSet<String>) -> usize {
        self.purges.purge_entries(&*self.ports.store, names)
    }

    /// Ends the pauses of the circuits of a nanoservice.
    pub(super) fn end_pauses(&self, nanoservice: &str) {
        self.stacks.end_pauses(nanoservice);
    }

    /// The nanoservices that are switched off, which must not be looked up.
    pub(super) const fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The versions that are rolled out.
    pub(super) const fn rollouts(&self) -> &Arc<Rollouts> {
        &self.rollouts
    }

    /// Asks a nanoservice for nobody, and stores nothing.
    pub(super) async fn ask(&self, fetch: &Arc<Fetch>) {
        let _answer = self.run(fetch, &Trace::new(), None, true).await;
    }

    /// Requests a nanoservice, and counts the answer for the version that it is of.
    async fn run(
        &self,
        fetch: &Arc<Fetch>,
        trace: &Trace,
        stored: Option<&Arc<ParsedResponse>>,
        in_background: bool,
    ) -> (Result<ParsedResponse, Failure>, Attempt) {
        let job = FetchJob { ports: &self.ports, stacks: &self.stacks, fetch, trace, stored, in_background };
        let (result, attempt) = job.run().await;
        self.rollouts.record(fetch, result.as_ref(), &attempt, || self.ports.clock.wall());
        (result, attempt)
    }

    /// Waits for the fetches that outlived their requests.
    pub(super) async fn drain(&self) {
        self.fetches.drain().await;
    }

    /// The number of fetches in flight that others could join.
    pub(super) fn fetches_in_flight(&self) -> usize {
        self.fetches.len()
    }

    /// Looks one fetch up.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        limits: PageLimits,
        trace: &Trace,
    ) -> LookupResult {
        match self.check_store(fetch, trace, Instant::now(), true) {
            StoreLookup::Hit(result) => result,
            StoreLookup::Miss(miss) => self.fetch_missing(fetch, miss, limits, trace).await,
        }
    }

    /// Starts the lookup of one fetch without waiting for it.
    pub(super) fn start(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        limits: &PageLimits,
        trace: &Trace,
        now: Instant,
    ) -> ReadyOrPending {
        match self.check_store(fetch, trace, now, true) {
            StoreLookup::Hit(result) => Ok(result),
            StoreLookup::Miss(miss) => {
                let (lookup, fetch, trace, limits) =
                    (Arc::clone(self), Arc::clone(fetch), trace.clone(), limits.clone());
                Err(async move { lookup.fetch_missing(&fetch, miss, limits, &trace).await }.boxed())
            }
        }
    }

    /// The usual latency of a response that makes its page uncacheable downstream. `None`: unknown, or the response may
    /// be shared.
    pub(super) fn latency_if_unshared(&self, fetch: &Fetch, now: Instant) -> Option<Duration> {
        let latency = || self.stacks.of(fetch).recent_latency();
        self.hit_for_miss.is_marked(&fetch.key, now).then(latency).flatten()
    }

    /// Checks the store. A hit is returned as a value, without a future to be polled for it. `is_used`: whether a hit is shown and
    /// counted, and not only refreshed.
    pub(super) fn check_store(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        trace: &Trace,
        now: Instant,
        is_used: bool,
    ) -> StoreLookup {
        let is_unshared = self.hit_for_miss.is_marked(&fetch.key, now);
        // Nothing is stored under a key that is marked.
        let stored = if is_unshared { None } else { self.ports.store.get(&fetch.key) };
        let mut stale_if_error = None;
        if let Some(stored) = &stored {
            let response = Arc::clone(&stored.response);
            let backoff = stored.backoff.filter(|backoff| backoff.is_active(now.into_std()));
            let lifetime = response.lifetime(fetch);
            let age = now.into_std().saturating_duration_since(stored.times.arrived);
            let hit = |cache, outcome| {
                if is_used {
                    stored.hits.add(1);
                }
                let now = now.into_std();
                let timing = LookupTiming { began: now, ended: now, cache, age: Some(age), attempt: None, span: None };
                StoreLookup::Hit(LookupResult { outcome, timing: Arc::new(timing) })
            };
            match freshness(&stored.times, &lifetime, now.into_std()) {
                Freshness::Fresh(left) => {
                    if let Some(shared) = &self.shared {
                        shared.want(&fetch.key, 1);
                    }
                    if is_refresh_due(&stored.times, &lifetime, left) && backoff.is_none() {
                        self.refresh(fetch, now, trace);
                    }
                    let lead = refresh_lead(&stored.times, &lifetime);
                    return hit(Cache::Hit, LookupOutcome::Fresh(response, left, Some(lead)));
                }
                Freshness::Revalidate | Freshness::IfError if let Some(backoff) = backoff => {
                    return hit(Cache::Stale, LookupOutcome::Stale(response, backoff.reason));
                }
                Freshness::Revalidate => {
                    self.refresh(fetch, now, trace);
                    return hit(Cache::Stale, LookupOutcome::Stale(response, Reason::Revalidating));
                }
                Freshness::IfError => stale_if_error = Some((response, age)),
                Freshness::Expired => {}
            }
        }
        let is_unshared = is_unshared || stored.is_some_and(|stored| !stored.response.is_shareable());
        StoreLookup::Miss(StoreMiss { now, is_unshared, stale_if_error })
    }

    /// Refreshes a response in the background, without a caller that waits for it.
    fn refresh(self: &Arc<Self>, fetch: &Arc<Fetch>, now: Instant, trace: &Trace) {
        drop(self.join_or_start(fetch, now, trace.child(), None, true));
    }

    /// Fetches a response that the store does not have.
    async fn fetch_missing(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        miss: StoreMiss,
        limits: PageLimits,
        trace: &Trace,
    ) -> LookupResult {
        let PageLimits { deadline: page_deadline, shared: wait } = limits;
        let miss = match (&self.shared, wait.as_ref()) {
            (Some(shared), Some(wait)) if !miss.is_unshared => {
                match Box::pin(self.ask_shared(shared, fetch, miss, wait, trace)).await {
                    StoreLookup::Hit(result) => return result,
                    StoreLookup::Miss(miss) => miss,
                }
            }
            _ => miss,
        };
        let StoreMiss { now, is_unshared, stale_if_error } = miss;
        let trace = &trace.child();
        let own_deadline = now + fetch.timeout;
        let deadline = own_deadline.min(page_deadline);
        let late = if page_deadline < own_deadline { Reason::Budget } else { Reason::Timeout };
        let mut fetching = pin!(self.fetch_collapsed(fetch, now, trace, wait, is_unshared));
        let mut fetched = timeout_at(deadline, &mut fetching).await;
        if fetched.is_err() && late == Reason::Timeout {
            // The fetch has the same deadline, and a more precise reason for its failure.
            fetched = timeout_at(page_deadline.min(deadline + GRACE), &mut fetching).await;
        }
        let Fetched { result, attempt, is_collapsed, age: arrived_ago } =
            fetched.unwrap_or_else(|_| Fetched::failed(self.late_reason(fetch, late), false));
        let miss = if is_collapsed { Cache::Joined } else { Cache::Miss };
        let (outcome, cache, age) = match (result, stale_if_error) {
            // It is as old as what was purged, so it must not be cached downstream.
            (Ok((response, true)), _) => (LookupOutcome::Stale(response, Reason::Revalidating), miss, None),
            (Ok((response, false)), _) => {
                let fresh_for = response.lifetime(fetch).fresh.saturating_sub(arrived_ago);
                (LookupOutcome::Fresh(response, fresh_for, None), miss, None)
            }
            (Err(reason), Some((response, age))) => (LookupOutcome::Stale(response, reason), Cache::Stale, Some(age)),
            (Err(reason), None) => (LookupOutcome::Unavailable(reason), miss, None),
        };
        let (began, ended) = (now.into_std(), Instant::now().into_std());
        let timing = LookupTiming { began, ended, cache, age, attempt, span: Some(trace.span()) };
        LookupResult { outcome, timing: Arc::new(timing) }
    }

    /// Why a fetch is late: its program may still be being started.
    fn late_reason(&self, fetch: &Fetch, otherwise: Reason) -> Reason {
        let is_starting = |manifest| self.ports.upstream.is_starting(manifest);
        if fetch.manifest.as_deref().is_some_and(is_starting) { Reason::Starting } else { otherwise }
    }

    /// Fetches a response, collapsed with all concurrent fetches of it unless it is known not to be shared.
    async fn fetch_collapsed(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        since: Instant,
        trace: &Trace,
        wait: Option<PageWait>,
        is_unshared: bool,
    ) -> Fetched {
        if is_unshared {
            return Fetched::new(self.fetch_and_store(fetch, trace, false).await, false);
        }
        loop {
            let waiter = self.join_or_start(fetch, since, trace.clone(), wait.clone(), false);
            let is_collapsed = !waiter.is_leader;
            match waiter.wait().await {
                None => return Fetched::failed(Reason::Internal, is_collapsed),
                // The leader had a shorter timeout than this client, as another page's layout sets.
                Some(Err(failed))
                    if is_collapsed
                        && matches!(failed.failure.reason, Reason::Timeout | Reason::Overloaded | Reason::Starting)
                        && failed.timeout < fetch.timeout => {}
                // A caller that only waited never gets a response that may be for another client only.
                Some(Ok(fetched)) if is_collapsed && !fetched.response.is_shareable() => {
                    return Fetched::new(self.fetch_and_store(fetch, trace, false).await, false);
                }
                // Nor one that was purged since: all callers that waited share one new fetch.
                Some(Ok(fetched)) if is_collapsed && fetched.is_purged => {}
                Some(result) => return Fetched::new(result, is_collapsed),
            }
        }
    }

    /// Joins or starts the fetch of a response that the store did not have at `since`. `in_background`: whether no caller
    /// waits for it.
    fn join_or_start(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        since: Instant,
        trace: Trace,
        wait: Option<PageWait>,
        in_background: bool,
    ) -> Waiter<FetchResult> {
        self.fetches.join_or_start(&fetch.key, || {
            let (lookup, fetch) = (Arc::clone(self), Arc::clone(fetch));
            async move {
                // Another fetch may have ended between the check of the store and the start of this one.
                match lookup.ports.store.get(&fetch.key) {
                    Some(stored)
                        if stored.times.arrived > since.into_std()
                            && stored.times.soft_purged.is_none()
                            && stored.response.is_shareable() =>
                    {
                        Ok(FetchedResponse {
                            response: stored.response,
                            is_purged: false,
                            attempt: None,
                            age: Duration::ZERO,
                        })
                    }
                    _ => match &lookup.shared {
                        Some(shared) if shared.is_asked() => {
                            let wait = wait.unwrap_or_else(|| shared.page_wait());
                            Box::pin(lookup.fetch_in_fleet(shared, &fetch, &trace, &wait, in_background)).await
                        }
                        _ => lookup.fetch_and_store(&fetch, &trace, in_background).await,
                    },
                }
            }
        })
    }

    /// Fetches, or revalidates what is stored, and stores the response if it is cacheable.
    pub(super) async fn fetch_and_store(&self, fetch: &Arc<Fetch>, trace: &Trace, in_background: bool) -> FetchResult {
        // The last purge that is known, before the request is sent: every later one may meet what it brings.
        let since = self.shared.as_ref().map(|shared| shared.position());
        // Registered before the store is checked: a response that a purge removes in between is not stored again.
        let in_progress = self.purges.begin();
        let stored = self.ports.store.get(&fetch.key);
        let stored = stored.as_ref();
        let revalidatable = stored.map(|stored| &stored.response).filter(|response| response.validation.is_some());
        let (result, attempt) = self.run(fetch, trace, revalidatable, in_background).await;
        let attempt = Arc::new(attempt);
        // The tags of the stored response count too: a 304 may remove one that was purged meanwhile.
        let tags = stored.into_iter().flat_map(|stored| &stored.response.tags).chain([&fetch.nanoservice]);
        match result {
            Ok(response) => {
                let response = Arc::new(response);
                let is_stored = in_progress.store_unless_purged(tags.chain(&response.tags), || {
                    self.store(fetch, &response, stored, since);
                });
                Ok(FetchedResponse { response, is_purged: !is_stored, attempt: Some(attempt), age: Duration::ZERO })
            }
            Err(failure) => {
                // The next request may find the program ready.
                if let Some(stored) = stored.filter(|_| failure.reason != Reason::Starting) {
                    in_progress.store_unless_purged(tags, || self.back_off(fetch, stored, failure.reason));
                }
                Err(FetchFailure { failure: Arc::new(failure), timeout: fetch.timeout, attempt })
            }
        }
    }

    /// Stores a response in place of the one that was `stored` before. If it is not cacheable, it only removes that; if it is
    /// not shareable either, it marks the key.
    fn store(
        &self,
        fetch: &Fetch,
        response: &Arc<ParsedResponse>,
        stored: Option<&StoredResponse>,
        since: Option<Position>,
    ) {
        let (store, now) = (&self.ports.store, Instant::now());
        // Another layout may allow a longer time than the one whose page is composed now.
        let uncapped = FreshnessRules { ttl: None, ..fetch.rules };
        let candidates = [fetch.rules, uncapped].into_iter().chain(stored.map(|stored| stored.longest));
        let candidates = candidates.map(|rules| (response.lifetime_by(&rules).retention(), rules));
        let (useful, longest) = candidates.max_by_key(|(useful, _)| *useful).expect("there are two candidates");
        if !useful.is_zero() {
            let stored = StoredResponse {
                response: Arc::clone(response),
                times: EntryTimes::new(now.into_std(), (self.ports.chance)()),
                longest,
                backoff: None,
                nanoservice: Arc::clone(&fetch.nanoservice),
                hits: stored.map(|before| before.hits.clone()).unwrap_or_default(),
            };
            self.hit_for_miss.unmark(&fetch.key);
            if let (Some(shared), Some(since)) = (&self.shared, since) {
                shared.put(fetch, &stored, useful, since);
            }
            store.put(&fetch.key, stored, useful);
            return;
        }
        // A stored response removes the mark, so if there is a mark, nothing is stored.
        let was_marked = self.hit_for_miss.is_marked(&fetch.key, now);
        if stored.is_some() || !was_marked {
            store.remove(&fetch.key);
        }
        if response.is_shareable() {
            self.hit_for_miss.unmark(&fetch.key);
            return;
        }
        if let (Some(never @ Uncacheable::Vary(_)), false) = (&response.stated.compositor.uncacheable, was_marked) {
            let (observer, name) = (&self.ports.observer, &fetch.nanoservice);
            observer.warned(name, "responses are not cached", &never.to_string());
        }
        self.hit_for_miss.mark(&fetch.key, now);
    }

    /// Records that refreshing a stored response failed, so that the next refresh waits for a while.
    fn back_off(&self, fetch: &Fetch, failed: &StoredResponse, reason: Reason) {
        let (now, chance) = (Instant::now().into_std(), (self.ports.chance)());
        self.ports.store.change(&fetch.key, &mut |stored| {
            // A newer response may have arrived meanwhile.
            if stored.times.arrived == failed.times.arrived {
                stored.backoff = Some(RefreshBackoff::after(stored.backoff, reason, now, chance));
            }
        });
    }
}
