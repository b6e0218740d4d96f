//! The one picture: plan, fan out, stitch. A page always comes of it, by its budget.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::page::context::Visit;
use crate::page::headers::headers;
use crate::page::layout::Template;
use crate::page::plan::{Defaults, Fetch, Plan, plan};
use crate::page::stitch::{Outcomes, stitch};
use crate::page::verdict::{Verdict, verdict};

use super::collapse::Flights;
use super::fetch::Lanes;
use super::lookup::{Found, Landing};
use super::port::{Clock, Observer, Store, Upstream};
use super::purge::Purges;
use super::trace::Trace;

/// The adapters that a compositor works with.
#[derive(Clone)]
pub struct Ports {
    /// Asks nanoservices.
    pub upstream: Arc<dyn Upstream>,
    /// Keeps answers.
    pub store: Arc<dyn Store>,
    /// Says the time of day.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub observer: Arc<dyn Observer>,
    /// A number from 0 up to 1: spreads what would else happen at once.
    pub chance: fn() -> f64,
}

/// Composes pages. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Compositor {
    pub(super) ports: Ports,
    pub(super) flights: Arc<Flights<Landing>>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) purges: Arc<Purges>,
}

/// A page, composed.
#[derive(Debug)]
pub struct Page {
    /// What it is.
    pub verdict: Verdict,
    /// Its bytes, in order.
    pub chunks: Vec<Bytes>,
    /// What its parts and its layout let it say of itself.
    pub headers: HeaderMap,
    /// What it was made from.
    pub plan: Plan,
    /// What became of each fragment.
    pub outcomes: Outcomes,
}

impl Compositor {
    /// A compositor over adapters.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self { ports, flights: Arc::default(), lanes: Arc::default(), purges: Arc::default() }
    }

    /// Composes a page. Ends by the page's budget, whatever hangs. `at` is the time that its
    /// conditions are judged at; now, where there is none.
    pub async fn compose(
        &self,
        template: &Arc<Template>,
        visit: &Visit,
        defaults: &Defaults,
        trace: &Trace,
        at: Option<Timestamp>,
    ) -> Page {
        let plan = plan(template, visit, defaults, at.unwrap_or_else(|| self.ports.clock.wall()));
        let outcomes = self.fan_out(&plan, Instant::now() + plan.budget, trace).await;
        let page = Page {
            verdict: verdict(&plan, &outcomes),
            chunks: stitch(&plan, &outcomes),
            headers: headers(&plan, &outcomes),
            plan,
            outcomes,
        };
        self.ports.observer.composed(&page);
        page
    }

    /// Fetches what a page loads beside its HTML, from the store where it is fresh.
    pub async fn asset(&self, fetch: Fetch, trace: &Trace) -> Found {
        let deadline = Instant::now() + fetch.timeout;
        self.look_up(&Arc::new(fetch), deadline, trace).await
    }

    /// Waits for the fetches that outlived their requests.
    pub async fn drain(&self) {
        self.flights.drain().await;
    }

    /// How many fetches are under way that others could join.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.flights.len()
    }
}
