//! Fills the gaps of a page that is kept open: of all its parts only those are asked for that are its reader's own.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::page::response::outcome::Cache;
use crate::page::response::parsed::ParsedResponse;

use super::flush::{FlushDeadline, SchedulingDelay};
use super::lookup::{Ahead, Looking, Lookup, LookupOutcome};
use super::page::PageRequest;
use super::page_cache::{CachedPage, PersonalisedPage, fits};

/// Fills pages that are kept open.
pub(super) struct Personaliser<'a> {
    pub(super) lookup: &'a Arc<Lookup>,
    pub(super) turns: &'a SchedulingDelay,
}

impl Personaliser<'_> {
    /// Fills a page that was asked for at a moment. `stream`: no longer than until its head would leave.
    ///
    /// # Errors
    /// It has to be planned and stitched after all: what was asked for until then.
    pub(super) async fn fill(
        &self,
        page: &Arc<CachedPage>,
        request: &PageRequest,
        began: Instant,
        stream: bool,
    ) -> Result<PersonalisedPage, Ahead> {
        let deadline = began + request.template.budget();
        let (mut ahead, mut takes) = (Ahead::default(), None);
        for fragment in page.open() {
            let Some(Ok(fetch)) = request.template.fetch(*fragment, &request.visit) else { return Err(ahead) };
            let looking = self.lookup.looking(&fetch, deadline, &request.trace, began);
            if stream && looking.is_err() {
                takes = takes.max(self.lookup.usual_alone(&fetch, began));
            }
            ahead.0.push((fetch, looking));
        }
        let filled = {
            let mut all = try_join_all(ahead.0.iter_mut().map(|(_, looking)| found(looking)));
            // All of them are asked before anything else has its turn.
            match (&mut all).now_or_never() {
                Some(filled) => filled,
                None if stream => {
                    FlushDeadline::with(takes, began, self.turns).await.wait(all).await.unwrap_or(Err(Unfit))
                }
                None => all.await,
            }
        };
        let most = request.template.defaults.max_page_bytes;
        filled.ok().and_then(|filled| page.filled(&filled, began.into_std(), most)).ok_or(ahead)
    }
}

/// LookupOutcome was found does not fit into a gap, or came too late.
struct Unfit;

/// Waits for what is being asked for: an answer that is as good as new and fits, and what the store did for it.
async fn found(looking: &mut Looking) -> Result<(Arc<ParsedResponse>, Cache), Unfit> {
    let found = match looking {
        Ok(found) => found,
        Err(asked) => {
            *looking = Ok(asked.await);
            looking.as_ref().map_err(|_| Unfit)?
        }
    };
    match &found.outcome {
        LookupOutcome::Fresh(answer, ..) if fits(answer) => Ok((Arc::clone(answer), found.timing.cache)),
        LookupOutcome::Fresh(..) | LookupOutcome::Stale(..) | LookupOutcome::Unavailable(_) => Err(Unfit),
    }
}
