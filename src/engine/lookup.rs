//! One fetch of a plan: from the store where it is fresh, else from the nanoservice, else stale.
//! Always ends by the earlier of the fragment's and the page's deadline.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use crate::page::policy::cache::backoff::RefreshBackoff;
use crate::page::policy::cache::directives::Uncacheable;
use crate::page::policy::cache::freshness::{EntryTimes, Freshness, freshness, is_refresh_due, refresh_lead};
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Cache, LookupTiming};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::reason::Reason;

use super::collapse::{Flight, Flights};
use super::fetch::Fetching;
use super::hit_for_miss::HitForMiss;
use super::port::{Ports, StoredResponse};
use super::purge::{Purge, PurgeMode, Purges};
use super::trace::Trace;
use super::upstream::Services;

/// How long a flight whose time is over is listened to: it ends at that moment too, and timers count milliseconds.
const LAST_WORD: Duration = Duration::from_millis(2);

/// LookupOutcome a lookup came to, and how.
#[derive(Debug, Clone)]
pub struct LookupResult {
    /// LookupOutcome it came to.
    pub outcome: LookupOutcome,
    /// How.
    pub timing: Arc<LookupTiming>,
}

/// LookupOutcome a lookup came to.
#[derive(Debug, Clone)]
pub enum LookupOutcome {
    /// An answer, fresh for this long; so long before its end it is asked for again, where it is kept.
    Fresh(Arc<ParsedResponse>, Duration, Option<Duration>),
    /// An old answer, and why.
    Stale(Arc<ParsedResponse>, Reason),
    /// Nothing, and why.
    Unavailable(Reason),
}

/// LookupOutcome a look into the store came to.
pub(super) enum Looked {
    /// LookupOutcome is wanted.
    Found(LookupResult),
    /// Nothing that is good as it is.
    ToAsk(Since),
}

/// LookupOutcome was found at once, or is being asked for.
pub(super) type Looking = Result<LookupResult, BoxFuture<'static, LookupResult>>;

/// LookupOutcome was there when an answer was not.
pub(super) struct Since {
    now: Instant,
    /// Its answers are never shared.
    alone: bool,
    /// An old answer, for want of a better one, and its age.
    spare: Option<(Arc<ParsedResponse>, Duration)>,
}

/// LookupOutcome came of asking.
struct Came {
    /// An answer, and whether a purge met it; or why there is none.
    result: Result<(Arc<ParsedResponse>, bool), Reason>,
    sent: Option<Arc<Attempt>>,
    /// Somebody else had asked already.
    joined: bool,
}

impl Came {
    fn of(landing: Landing, leader: bool) -> Self {
        let joined = !leader;
        match landing {
            Ok(Brought { answer, purged, sent }) => Self { result: Ok((answer, purged)), sent, joined },
            Err(missed) => Self { result: Err(missed.failure.reason), sent: Some(missed.sent), joined },
        }
    }
}

/// LookupOutcome a flight brings to all who waited for it.
pub(super) type Landing = Result<Brought, Missed>;

/// An answer that came in.
#[derive(Debug, Clone)]
pub(super) struct Brought {
    answer: Arc<ParsedResponse>,
    /// A purge met it while it was under way: only those may have it who asked before.
    purged: bool,
    /// The request that brought it; none where another flight's was in the store.
    sent: Option<Arc<Attempt>>,
}

/// That none came.
#[derive(Debug, Clone)]
pub(super) struct Missed {
    failure: Arc<Failure>,
    /// How long it was waited for.
    timeout: Duration,
    /// The request that did not bring it.
    sent: Arc<Attempt>,
}

/// Looks fetches up: in the store, then together with others that ask for the same, then upstream.
pub(super) struct Lookup {
    ports: Ports,
    flights: Flights<Landing>,
    services: Services,
    purges: Arc<Purges>,
    apart: HitForMiss,
}

/// Lookups that were started before the page that needs them was planned.
#[derive(Default)]
pub(super) struct Ahead(pub(super) Vec<(Arc<Fetch>, Looking)>);

impl Ahead {
    /// LookupOutcome was found for a fetch, or is being asked for; each is given away once.
    pub(super) fn take(&mut self, fetch: &Fetch) -> Option<Looking> {
        let is_same =
            |ahead: &Fetch| ahead.key == fetch.key && ahead.rules == fetch.rules && ahead.timeout == fetch.timeout;
        let index = self.0.iter().position(|(ahead, _)| is_same(ahead))?;
        Some(self.0.swap_remove(index).1)
    }
}

impl Lookup {
    /// A lookup over adapters.
    pub(super) fn new(ports: Ports) -> Self {
        Self {
            flights: Flights::default(),
            services: Services::new(ports.clone()),
            purges: Arc::default(),
            apart: HitForMiss::default(),
            ports,
        }
    }

    /// The adapters that it works with.
    pub(super) const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Purges, and says how many answers it met.
    pub(super) fn purge(&self, purge: &Purge, manner: PurgeMode) -> usize {
        self.purges.purge(&*self.ports.store, purge, manner)
    }

    /// Waits for the fetches that outlived their requests.
    pub(super) async fn drain(&self) {
        self.flights.drain().await;
    }

    /// How many fetches are under way that others could join.
    pub(super) fn flights(&self) -> usize {
        self.flights.len()
    }

    /// Looks one fetch up.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        wanted: &Arc<Fetch>,
        page_deadline: Instant,
        trace: &Trace,
    ) -> LookupResult {
        match self.look(wanted, trace, Instant::now()) {
            Looked::Found(found) => found,
            Looked::ToAsk(since) => self.ask(wanted, since, page_deadline, trace).await,
        }
    }

    /// Looks one fetch up, and waits for nothing.
    pub(super) fn looking(
        self: &Arc<Self>,
        wanted: &Arc<Fetch>,
        page_deadline: Instant,
        trace: &Trace,
        now: Instant,
    ) -> Looking {
        match self.look(wanted, trace, now) {
            Looked::Found(found) => Ok(found),
            Looked::ToAsk(since) => {
                let (lookup, wanted, trace) = (Arc::clone(self), Arc::clone(wanted), trace.clone());
                Err(async move { lookup.ask(&wanted, since, page_deadline, &trace).await }.boxed())
            }
        }
    }

    /// How long an answer takes that would not let a page be kept downstream, where that is known.
    pub(super) fn usual_alone(&self, wanted: &Fetch, now: Instant) -> Option<Duration> {
        let usual = || self.services.of(wanted).usual();
        self.apart.is(&wanted.key, now).then(usual).flatten()
    }

    /// Looks into the store. LookupOutcome is there is there at once, without a future to be asked for it.
    pub(super) fn look(self: &Arc<Self>, wanted: &Arc<Fetch>, trace: &Trace, now: Instant) -> Looked {
        let alone = self.apart.is(&wanted.key, now);
        // Of what is never shared nothing is kept.
        let held = if alone { None } else { self.ports.store.get(&wanted.key) };
        let mut spare = None;
        if let Some(stored) = &held {
            let answer = Arc::clone(&stored.response);
            let resting = stored.backoff.filter(|trouble| trouble.is_active(now.into_std()));
            let lifetime = answer.lifetime(wanted);
            let age = now.into_std().saturating_duration_since(stored.times.arrived);
            let found = |cache, what| {
                let now = now.into_std();
                Looked::Found(LookupResult {
                    outcome: what,
                    timing: Arc::new(LookupTiming {
                        began: now,
                        ended: now,
                        cache,
                        age: Some(age),
                        attempt: None,
                        span: None,
                    }),
                })
            };
            match freshness(&stored.times, &lifetime, now.into_std()) {
                Freshness::Fresh(left) => {
                    if is_refresh_due(&stored.times, &lifetime, left) && resting.is_none() {
                        drop(self.fly(wanted, now, trace.child(), true));
                    }
                    let early = refresh_lead(&stored.times, &lifetime);
                    return found(Cache::Hit, LookupOutcome::Fresh(answer, left, Some(early)));
                }
                Freshness::Revalidate | Freshness::IfError if let Some(trouble) = resting => {
                    return found(Cache::Stale, LookupOutcome::Stale(answer, trouble.reason));
                }
                Freshness::Revalidate => {
                    // The seat is given up at once; the flight goes on.
                    drop(self.fly(wanted, now, trace.child(), true));
                    return found(Cache::Stale, LookupOutcome::Stale(answer, Reason::Revalidating));
                }
                Freshness::IfError => spare = Some((answer, age)),
                Freshness::Expired => {}
            }
        }
        let alone = alone || held.is_some_and(|stored| !stored.response.is_shareable());
        Looked::ToAsk(Since { now, alone, spare })
    }

    /// Asks for what a look did not find.
    async fn ask(
        self: &Arc<Self>,
        wanted: &Arc<Fetch>,
        since: Since,
        page_deadline: Instant,
        trace: &Trace,
    ) -> LookupResult {
        let Since { now, alone, spare } = since;
        let trace = &trace.child();
        let own_deadline = now + wanted.timeout;
        let deadline = own_deadline.min(page_deadline);
        let late = if page_deadline < own_deadline { Reason::Budget } else { Reason::Timeout };
        let mut asking = pin!(self.ask_together(wanted, now, trace, alone));
        let mut came = timeout_at(deadline, &mut asking).await;
        if came.is_err() && late == Reason::Timeout {
            // It knows what became of it.
            came = timeout_at(page_deadline.min(deadline + LAST_WORD), &mut asking).await;
        }
        let Came { result, sent, joined } =
            came.unwrap_or_else(|_| Came { result: Err(late), sent: None, joined: false });
        let asked = if joined { Cache::Joined } else { Cache::Miss };
        let (what, cache, age) = match (result, spare) {
            // It is as old as what was purged, and no cache downstream may keep it.
            (Ok((answer, true)), _) => (LookupOutcome::Stale(answer, Reason::Revalidating), asked, None),
            (Ok((answer, false)), _) => {
                let fresh_for = answer.lifetime(wanted).fresh;
                (LookupOutcome::Fresh(answer, fresh_for, None), asked, None)
            }
            (Err(reason), Some((answer, age))) => (LookupOutcome::Stale(answer, reason), Cache::Stale, Some(age)),
            (Err(reason), None) => (LookupOutcome::Unavailable(reason), asked, None),
        };
        let (began, ended) = (now.into_std(), Instant::now().into_std());
        LookupResult {
            outcome: what,
            timing: Arc::new(LookupTiming { began, ended, cache, age, attempt: sent, span: Some(trace.span()) }),
        }
    }

    /// Asks the nanoservice, together with all who ask at this moment where that is known to be of use.
    async fn ask_together(self: &Arc<Self>, wanted: &Arc<Fetch>, since: Instant, trace: &Trace, alone: bool) -> Came {
        if alone {
            return Came::of(self.fetch(wanted, trace, false).await, true);
        }
        loop {
            let flight = self.fly(wanted, since, trace.clone(), false);
            let leader = flight.leader;
            match flight.landed().await {
                None => return Came { result: Err(Reason::Internal), sent: None, joined: !leader },
                // It was given less time than this reader has: another page's layout says so.
                Some(Err(missed))
                    if !leader
                        && matches!(missed.failure.reason, Reason::Timeout | Reason::Overloaded)
                        && missed.timeout < wanted.timeout => {}
                // Who only waited never gets what may be another reader's.
                Some(Ok(brought)) if !leader && !brought.answer.is_shareable() => {
                    return Came::of(self.fetch(wanted, trace, false).await, true);
                }
                // Nor what was purged since: all of them wait for one new flight.
                Some(Ok(brought)) if !leader && brought.purged => {}
                Some(landing) => return Came::of(landing, leader),
            }
        }
    }

    /// Joins the flight for what the store did not hold at `since`. `ahead`: nobody waits for it.
    fn fly(self: &Arc<Self>, wanted: &Arc<Fetch>, since: Instant, trace: Trace, ahead: bool) -> Flight<Landing> {
        self.flights.join(&wanted.key, || {
            let (lookup, wanted) = (Arc::clone(self), Arc::clone(wanted));
            async move {
                // A flight may have landed between the look into the store and this one's start.
                match lookup.ports.store.get(&wanted.key) {
                    Some(stored)
                        if stored.times.arrived > since.into_std()
                            && stored.times.soft_purged.is_none()
                            && stored.response.is_shareable() =>
                    {
                        Ok(Brought { answer: stored.response, purged: false, sent: None })
                    }
                    _ => lookup.fetch(&wanted, &trace, ahead).await,
                }
            }
        })
    }

    /// Fetches, or asks about what is held, and keeps what may be kept.
    async fn fetch(&self, wanted: &Arc<Fetch>, trace: &Trace, ahead: bool) -> Landing {
        // Begun before the look into the store: what a purge takes out in between is not kept again.
        let under_way = self.purges.begin();
        let stored = self.ports.store.get(&wanted.key);
        let stored = stored.as_ref();
        let held_answer = stored.map(|stored| &stored.response).filter(|answer| answer.validation.is_some());
        let fetching =
            Fetching { ports: &self.ports, services: &self.services, fetch: wanted, trace, held: held_answer, ahead };
        let (outcome, sent) = fetching.run().await;
        let sent = Arc::new(sent);
        // A tag that a 304 took off was there when a purge of it came.
        let before = stored.into_iter().flat_map(|stored| &stored.response.tags);
        let tags = before.chain([&wanted.nanoservice]);
        match outcome {
            Ok(answer) => {
                let answer = Arc::new(answer);
                let kept = under_way.keep(tags.chain(&answer.tags), || self.keep(wanted, &answer, stored.is_some()));
                Ok(Brought { answer, purged: !kept, sent: Some(sent) })
            }
            Err(failure) => {
                if let Some(stored) = stored {
                    under_way.keep(tags, || self.note_trouble(wanted, stored, failure.reason));
                }
                Err(Missed { failure: Arc::new(failure), timeout: wanted.timeout, sent })
            }
        }
    }

    fn keep(&self, wanted: &Fetch, answer: &Arc<ParsedResponse>, was_kept: bool) {
        let (store, now) = (&self.ports.store, Instant::now());
        let useful = answer.lifetime(wanted).retention();
        if !useful.is_zero() {
            let stored = StoredResponse {
                response: Arc::clone(answer),
                times: EntryTimes::new(now.into_std(), (self.ports.chance)()),
                backoff: None,
                nanoservice: Arc::clone(&wanted.nanoservice),
            };
            self.apart.forget(&wanted.key);
            store.put(&wanted.key, stored, useful);
            return;
        }
        // Whatever is kept takes the mark off: where there is one, nothing is.
        let was_apart = self.apart.is(&wanted.key, now);
        if was_kept || !was_apart {
            store.remove(&wanted.key);
        }
        if answer.is_shareable() {
            self.apart.forget(&wanted.key);
            return;
        }
        if let (Some(never @ Uncacheable::Vary(_)), false) = (&answer.stated.compositor.uncacheable, was_apart) {
            tracing::warn!(service = &*wanted.nanoservice, "its answers are not kept: {never}");
        }
        self.apart.note(&wanted.key, now);
    }

    /// Notes that refreshing an answer failed, so that it is left alone for a while.
    fn note_trouble(&self, wanted: &Fetch, failed: &StoredResponse, reason: Reason) {
        let (now, chance) = (Instant::now().into_std(), (self.ports.chance)());
        self.ports.store.change(&wanted.key, &mut |stored| {
            // Another one may have come in meanwhile.
            if stored.times.arrived == failed.times.arrived {
                stored.backoff = Some(RefreshBackoff::after(stored.backoff, reason, now, chance));
            }
        });
    }
}
