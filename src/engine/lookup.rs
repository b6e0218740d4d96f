//! One fetch of a plan: from the store where it is fresh, else from the nanoservice, else stale.
//! Always ends by the earlier of the fragment's and the page's deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::page::answer::{Answer, Content, Failure};
use crate::page::outcome::Reason;
use crate::page::plan::Fetch;
use crate::page::policy::freshness::{Freshness, Lifetime, freshness, lifetime};

use super::compose::Compositor;
use super::fetch::{Trace, fetch};
use super::port::Stored;

/// What a lookup came to.
#[derive(Debug, Clone)]
pub enum Found {
    /// An answer, fresh for this long.
    Fresh(Arc<Answer>, Duration),
    /// An old answer, and why.
    Stale(Arc<Answer>, Reason),
    /// Nothing, and why.
    Nothing(Reason),
}

/// What a flight brings: to be shared among those who waited, where the answer allows it.
pub type Landing = Result<Arc<Answer>, Arc<Failure>>;

/// How long an answer may be used by the rules of a fetch.
fn lifetime_of(answer: &Answer, fetch: &Fetch) -> Lifetime {
    let explicit = !matches!(answer.content, Content::Fragment(_) | Content::Empty);
    lifetime(&answer.directives, &fetch.rules, explicit)
}

impl Compositor {
    /// Looks one fetch up.
    pub(super) async fn look_up(&self, wanted: &Arc<Fetch>, page_deadline: Instant, trace: Trace) -> Found {
        let now = Instant::now();
        let mut spare = None;
        if let Some(stored) = self.ports.store.get(&wanted.key) {
            match freshness(stored.arrived, &lifetime_of(&stored.answer, wanted), now.into_std()) {
                Freshness::Fresh(left) => return Found::Fresh(stored.answer, left),
                Freshness::Revalidate => {
                    // The seat is given up at once; the flight goes on.
                    drop(self.fly(wanted, now, trace));
                    return Found::Stale(stored.answer, Reason::Revalidating);
                }
                Freshness::IfError => spare = Some(stored.answer),
                Freshness::Expired => {}
            }
        }
        let own_deadline = now + wanted.timeout;
        let deadline = own_deadline.min(page_deadline);
        let late = if page_deadline < own_deadline { Reason::Budget } else { Reason::Timeout };
        match timeout_at(deadline, self.ask(wanted, now, trace)).await {
            Ok(Ok(answer)) => {
                let fresh_for = lifetime_of(&answer, wanted).fresh;
                Found::Fresh(answer, fresh_for)
            }
            Ok(Err(reason)) => spare.map_or(Found::Nothing(reason), |answer| Found::Stale(answer, reason)),
            Err(_) => spare.map_or(Found::Nothing(late), |answer| Found::Stale(answer, late)),
        }
    }

    async fn ask(&self, wanted: &Arc<Fetch>, since: Instant, trace: Trace) -> Result<Arc<Answer>, Reason> {
        let flight = self.fly(wanted, since, trace);
        let leader = flight.leader;
        match flight.landed().await {
            None => Err(Reason::Internal),
            Some(Err(failure)) => Err(failure.reason),
            // Who only waited never gets what may be another reader's.
            Some(Ok(answer)) if answer.directives.private && !leader => {
                self.fetch(wanted, trace).await.map_err(|failure| failure.reason)
            }
            Some(Ok(answer)) => Ok(answer),
        }
    }

    /// Joins the flight for what the store did not hold at `since`.
    fn fly(&self, wanted: &Arc<Fetch>, since: Instant, trace: Trace) -> super::collapse::Flight<Landing> {
        self.flights.join(&wanted.key, || {
            let (engine, wanted) = (self.clone(), Arc::clone(wanted));
            async move {
                // A flight may have landed between the look into the store and this one's start.
                match engine.ports.store.get(&wanted.key) {
                    Some(stored) if stored.arrived > since.into_std() => Ok(stored.answer),
                    _ => engine.fetch(&wanted, trace).await,
                }
            }
        })
    }

    /// Fetches, and keeps what may be kept.
    async fn fetch(&self, wanted: &Fetch, trace: Trace) -> Landing {
        let ports = &self.ports;
        let answer = fetch(&*ports.upstream, &self.lanes, &*ports.observer, wanted, trace).await.map_err(Arc::new)?;
        let answer = Arc::new(answer);
        let useful = lifetime_of(&answer, wanted).useful();
        if !useful.is_zero() {
            let stored = Stored { answer: Arc::clone(&answer), arrived: Instant::now().into_std() };
            ports.store.put(&wanted.key, stored, useful);
        }
        Ok(answer)
    }
}
