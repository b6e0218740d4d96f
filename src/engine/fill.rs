//! Fills the gaps of a page that is kept open: of all its parts only those are asked for that are its reader's own.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::page::answer::Answer;
use crate::page::fetch::Fetch;
use crate::page::outcome::Cache;
use crate::page::plan::budget;

use super::compose::{Compositor, NEARLY, Request};
use super::hot::{Filled, Stitched};
use super::lookup::{Looking, What};

/// What a page asked for before it was planned.
#[derive(Default)]
pub(super) struct Ahead(Vec<(Arc<Fetch>, Looking)>);

impl Ahead {
    /// What was found for a fetch, or is being asked for; each is given away once.
    pub(super) fn take(&mut self, fetch: &Fetch) -> Option<Looking> {
        let is_same =
            |ahead: &Fetch| ahead.key == fetch.key && ahead.rules == fetch.rules && ahead.timeout == fetch.timeout;
        let index = self.0.iter().position(|(ahead, _)| is_same(ahead))?;
        Some(self.0.swap_remove(index).1)
    }
}

impl Compositor {
    /// Fills a page that was asked for at a moment. `stream`: no longer than until its head would leave.
    ///
    /// # Errors
    /// It has to be planned and stitched after all: what was asked for until then.
    pub(super) async fn fill(
        &self,
        page: &Arc<Stitched>,
        request: &Request,
        began: Instant,
        stream: bool,
    ) -> Result<Filled, Ahead> {
        let deadline = began + budget(&request.template, &request.defaults);
        let mut ahead = Ahead::default();
        for fragment in page.open() {
            let fragment = &request.template.html.fragments[*fragment];
            let fetch = fragment.origin().map(|origin| fragment.fetch(origin, &request.visit, &request.defaults));
            let Some(Ok(fetch)) = fetch else { return Err(ahead) };
            let looking = self.looking(&fetch, deadline, &request.trace, began);
            ahead.0.push((fetch, looking));
        }
        let all = join_all(ahead.0.iter_mut().map(|(_, looking)| found(looking)));
        let in_time = if stream {
            timeout_at(began + NEARLY, all).await.is_ok()
        } else {
            all.await;
            true
        };
        let filled = in_time.then(|| ahead.0.iter().map(|(_, looking)| fresh(looking)).collect());
        let filled: Option<Vec<(Arc<Answer>, Cache)>> = filled.flatten();
        filled.and_then(|filled| page.filled(&filled, began.into_std(), request.defaults.max_page_bytes)).ok_or(ahead)
    }
}

/// Waits for what is being asked for.
async fn found(looking: &mut Looking) {
    if let Err(asked) = looking {
        *looking = Ok(asked.await);
    }
}

/// An answer that is as good as new, and what the store did for it.
fn fresh(looking: &Looking) -> Option<(Arc<Answer>, Cache)> {
    let found = looking.as_ref().ok()?;
    match &found.what {
        What::Fresh(answer, ..) => Some((Arc::clone(answer), found.course.cache)),
        What::Stale(..) | What::Nothing(_) => None,
    }
}
