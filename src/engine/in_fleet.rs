//! A look-up where several replicas share a store: the shared store behind the memory, and one fetch in the whole fleet.
//! If the shared store does not say anything in time, the service is asked, as by one replica alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::page::policy::cache::freshness::{EntryTimes, Freshness, freshness, is_refresh_due};
use crate::page::policy::cluster::lease::{self, Instead};
use crate::page::policy::cluster::order::Order;
use crate::page::request::fetch::Fetch;
use crate::page::response::wire::SharedResponse;
use crate::page::source::names::Name;

use super::lookup::{FetchResult, FetchedResponse, Lookup, StoreLookup, StoreMiss};
use super::port::StoredResponse;
use super::purge::FetchInProgress;
use super::shared::{PageWait, Shared};
use super::trace::Trace;

impl Lookup {
    /// Looks for a response in the shared store that the memory does not have. What is found there is in the memory afterwards,
    /// with its age.
    pub(super) async fn ask_shared(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        fetch: &Arc<Fetch>,
        miss: StoreMiss,
        wait: &PageWait,
        trace: &Trace,
    ) -> StoreLookup {
        if !shared.is_asked() {
            return StoreLookup::Miss(miss);
        }
        let Some(waiting) = wait.begin() else { return StoreLookup::Miss(miss) };
        let until = waiting.until;
        let waiter = self.shared_lookups.join_or_start(&fetch.key, || {
            let (lookup, shared, fetch) = (Arc::clone(self), Arc::clone(shared), Arc::clone(fetch));
            async move { lookup.load(&shared, &fetch, until).await }
        });
        let _loaded = timeout_at(until, waiter.wait()).await;
        drop(waiting);
        self.check_store(fetch, trace, Instant::now(), true)
    }

    /// Loads a response from the shared store into the memory.
    async fn load(&self, shared: &Shared, fetch: &Fetch, until: Instant) {
        // Registered before the store is asked: what a purge meets in between is not kept.
        let in_progress = self.purges.begin();
        if let Some((found, left)) = shared.get(fetch, until).await {
            let is_kept = self.keep(shared, fetch, found, left, &in_progress);
            shared.count_found(is_kept);
        }
    }

    /// Puts a response of the shared store into the memory, unless a purge meets it, or a newer one is there. Returns whether it
    /// may be used.
    fn keep(
        &self,
        shared: &Shared,
        fetch: &Fetch,
        found: SharedResponse,
        left: Duration,
        in_progress: &FetchInProgress,
    ) -> bool {
        let SharedResponse { response, longest, useful, since, nanoservice } = found;
        let tags = || response.tags.iter().chain([&nanoservice]);
        let soft_purged = match shared.log().order(since, tags()) {
            Order::Current => None,
            Order::Stale(at) => Some(at),
            Order::Purged => return false,
        };
        // How long ago it arrived is how much less time it has: clocks of other machines are not trusted.
        let age = useful.saturating_sub(left);
        let Some(arrived) = Instant::now().into_std().checked_sub(age) else { return false };
        let store = &self.ports().store;
        let before = store.get(&fetch.key);
        if before.as_ref().is_some_and(|before| before.times.arrived >= arrived && before.times.soft_purged.is_none()) {
            return true;
        }
        let hits = before.map(|before| before.hits).unwrap_or_default();
        let times = EntryTimes { soft_purged, ..EntryTimes::new(arrived, (self.ports().chance)()) };
        let (response, name) = (Arc::clone(&response), Arc::clone(&nanoservice));
        let stored = StoredResponse { response, times, longest, backoff: None, nanoservice: name, hits };
        in_progress.store_unless_purged(tags(), || store.put(&fetch.key, stored, left))
    }

    /// Fetches a response, unless another replica does: then its response is waited for.
    pub(super) async fn fetch_in_fleet(
        &self,
        shared: &Shared,
        fetch: &Arc<Fetch>,
        trace: &Trace,
        wait: &PageWait,
        in_background: bool,
    ) -> FetchResult {
        if in_background && let Some(waiting) = wait.begin() {
            // Another replica may have refreshed it already.
            self.load(shared, fetch, waiting.until).await;
            drop(waiting);
            if let Some(fresh) = self.fresh(fetch, true) {
                return Ok(fresh);
            }
        }
        let taken = match wait.begin() {
            // Without time for the store, whoever needs the response asks the service itself.
            None => Err(()),
            Some(waiting) => shared.take_lease(fetch, waiting.until).await,
        };
        let lease = match taken {
            Ok(Ok(lease)) => {
                // Between the look-up and the lease, another replica may have stored the response and given the lease back.
                let waiting = wait.begin();
                let until = waiting.as_ref().map_or_else(Instant::now, |waiting| waiting.until);
                let looked = timeout_at(until, self.look(shared, fetch, in_background)).await;
                drop(waiting);
                if let Ok(Some((_, Some(fresh)))) = looked {
                    return Ok(fresh);
                }
                Some(lease)
            }
            Ok(Err(held)) => {
                let stored = self.ports().store.get(&fetch.key);
                let known = stored.iter().flat_map(|stored| &stored.response.tags).chain([&fetch.nanoservice]);
                let known: Vec<Name> = known.cloned().collect();
                let instead = lease::instead(&held, &shared.log(), known.iter());
                if instead == Instead::Wait
                    && let Some(fresh) = self.wait_for_holder(shared, fetch).await
                {
                    return Ok(fresh);
                }
                None
            }
            Err(()) => None,
        };
        let result = self.fetch_and_store(fetch, trace, in_background).await;
        // Given back after the response was queued to be written, and so after it is written.
        drop(lease);
        result
    }

    /// Waits for the response that another replica fetches. `None`: it brought none that can be used here.
    async fn wait_for_holder(&self, shared: &Shared, fetch: &Fetch) -> Option<FetchedResponse> {
        let deadline = Instant::now() + fetch.timeout;
        for looks in 0.. {
            sleep(lease::pause(looks)).await;
            if Instant::now() >= deadline {
                return None;
            }
            let (is_held, fresh) = self.look(shared, fetch, false).await?;
            if fresh.is_some() {
                return fresh;
            }
            if !is_held {
                return None;
            }
        }
        None
    }

    /// Looks whether another replica holds the lease, and for the response that it has stored, if that is fresh. `None`: the store
    /// did not say in time.
    async fn look(&self, shared: &Shared, fetch: &Fetch, lasting: bool) -> Option<(bool, Option<FetchedResponse>)> {
        let in_progress = self.purges.begin();
        let (is_held, found) = shared.look(fetch).await.ok()?;
        let fresh = found.and_then(|(found, left)| {
            self.keep(shared, fetch, found, left, &in_progress);
            self.fresh(fetch, lasting)
        });
        Some((is_held, fresh))
    }

    /// The response in the memory, if it is fresh. `lasting`: and is not to be refreshed soon.
    fn fresh(&self, fetch: &Fetch, lasting: bool) -> Option<FetchedResponse> {
        let stored = self.ports().store.get(&fetch.key)?;
        let (now, lifetime) = (Instant::now().into_std(), stored.response.lifetime(fetch));
        let Freshness::Fresh(left) = freshness(&stored.times, &lifetime, now) else { return None };
        if lasting && is_refresh_due(&stored.times, &lifetime, left) {
            return None;
        }
        let age = now.saturating_duration_since(stored.times.arrived);
        Some(FetchedResponse { response: stored.response, is_purged: false, attempt: None, age })
    }
}
