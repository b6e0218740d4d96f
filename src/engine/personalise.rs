//! Personalises cached skeletons: looks up only the fragments in their holes, for one client.
//! If that does not suffice, or takes too long, the page is composed from the lookups that were started.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::page::response::outcome::Cache;
use crate::page::response::parsed::ParsedResponse;

use super::flush::{FlushDeadline, SchedulingDelay};
use super::lookup::{Lookup, LookupOutcome, ReadyOrPending, StartedLookups};
use super::page::PageRequest;
use super::page_cache::{CachedPage, PersonalisedPage, fits_hole};

/// Personalises skeletons.
pub(super) struct Personaliser<'a> {
    pub(super) lookup: &'a Arc<Lookup>,
    pub(super) delay: &'a SchedulingDelay,
}

impl Personaliser<'_> {
    /// Personalises a skeleton for a request that arrived at `began`. `stream`: whether it has to be done by the time
    /// at which the head of the page would be flushed.
    ///
    /// # Errors
    /// The page has to be composed; the error holds the lookups that were started for it.
    pub(super) async fn personalise(
        &self,
        skeleton: &Arc<CachedPage>,
        request: &PageRequest,
        began: Instant,
        stream: bool,
    ) -> Result<PersonalisedPage, StartedLookups> {
        let limits = self.lookup.limits(began + request.template.budget());
        let (mut started, mut latency) = (StartedLookups::default(), None);
        started.limits = Some(limits.clone());
        for fragment in skeleton.hole_fragments() {
            let Some(Ok(fetch)) = request.template.fetch(*fragment, &request.visit) else { return Err(started) };
            if self.lookup.switches().is_off(&fetch.nanoservice) {
                return Err(started);
            }
            let result = self.lookup.start(&fetch, &limits, &request.trace, began);
            if stream && result.is_err() {
                latency = latency.max(self.lookup.latency_if_unshared(&fetch, began));
            }
            started.lookups.push((fetch, result));
        }
        let contents = {
            let mut all = try_join_all(started.lookups.iter_mut().map(|(_, result)| hole_content(result)));
            // One poll sends all the requests, before other tasks get their turn.
            match (&mut all).now_or_never() {
                Some(contents) => contents,
                None if stream => {
                    let mut flush = FlushDeadline::new(latency, began, self.delay).await;
                    flush.wait(all).await.unwrap_or(Err(DoesNotFit))
                }
                None => all.await,
            }
        };
        let max_bytes = request.template.defaults.max_page_bytes;
        let page = contents.ok().and_then(|contents| skeleton.personalise(&contents, began.into_std(), max_bytes));
        if page.is_some()
            && let Some(measured) = request.trace.measured()
        {
            let holes =
                skeleton.hole_fragments().iter().zip(&started.lookups).filter_map(|(fragment, (fetch, result))| {
                    Some((&*request.template.html.fragments[*fragment], &**fetch, &*result.as_ref().ok()?.timing))
                });
            measured.personalised(holes, began.into_std());
        }
        page.ok_or(started)
    }
}

/// A lookup result does not fit into a hole, or arrived too late.
struct DoesNotFit;

/// Waits for a lookup. Only a fresh response that fits can fill a hole; it is returned with what the store did.
async fn hole_content(result: &mut ReadyOrPending) -> Result<(Arc<ParsedResponse>, Cache), DoesNotFit> {
    if let Err(pending) = result {
        *result = Ok(pending.await);
    }
    let result = result.as_ref().map_err(|_| DoesNotFit)?;
    match &result.outcome {
        LookupOutcome::Fresh(response, ..) if fits_hole(response) => Ok((Arc::clone(response), result.timing.cache)),
        LookupOutcome::Fresh(..) | LookupOutcome::Stale(..) | LookupOutcome::Unavailable(_) => Err(DoesNotFit),
    }
}
