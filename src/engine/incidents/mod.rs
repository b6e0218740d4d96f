//! Writes to the log what goes wrong: that it began, that it changed, that it ended, and in between one line a minute with counts.
//! However many requests fail, a fault that lasts takes fewer than ten lines a minute. What has no line of its own is counted.

mod budget;

mod pages;
mod services;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, is_degraded};
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::page::{CachedPageCounts, Page};
use super::port::{CircuitChange, Observer};

use pages::{Causes, Degradation, PageEvent, Pages};
use services::{ServiceEvent, Services};

/// An observer that writes to the log.
#[derive(Default)]
pub struct IncidentLog {
    known: Mutex<Known>,
    /// Whether a page is degraded, so that pages that are not have to be counted.
    has_degraded_page: AtomicBool,
}

#[derive(Default)]
struct Known {
    services: Services,
    pages: Pages,
    /// The reason for which a circuit of each nanoservice opened last.
    opened_by: BTreeMap<Name, Reason>,
}

impl IncidentLog {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the counts that would be written at the end of this minute. Nothing follows.
    pub fn finish(&self) {
        let mut known = self.known();
        if let Some(event) = known.services.sum_up() {
            log_service(&event);
        }
    }
}

impl Observer for IncidentLog {
    fn in_flight(&self, _: &str, _: bool) {}
    fn responded(&self, _: Option<&str>, _: StatusCode, _: Duration, _: u64) {}

    fn circuit_changed(&self, change: &CircuitChange<'_>) {
        let now = Instant::now();
        let mut known = self.known();
        if let Some(cause) = change.cause {
            known.opened_by.insert(Arc::clone(change.nanoservice), cause.reason);
        }
        if let Some(event) = known.services.circuit_changed(change, now) {
            log_service(&event);
        }
    }

    fn page_composed(&self, page: &Page) {
        let pattern = page.plan.visit.pattern.as_str();
        if let Some(error) = page.error
            && self.known().services.warned(&Name::from(pattern), "too large", Instant::now())
        {
            tracing::error!(trace = %page.trace, page = pattern, "{error}");
        }
        let is_degraded = page.known().any(|(_, outcome)| is_degraded(outcome.shown, outcome.reason));
        if !is_degraded {
            if self.has_degraded_page.load(Ordering::Relaxed) {
                self.known().pages.add_whole(pattern, 1);
            }
            return;
        }
        let mut known = self.known();
        let causes = causes(page, &known.opened_by);
        let changed = known.pages.add_degraded(pattern, &causes, Instant::now());
        self.has_degraded_page.store(true, Ordering::Relaxed);
        // Nearly all degraded pages have no line of their own, and nothing is put into words for them.
        let Some(changed) = changed else { return };
        let (layout, trace, parts) = (page.plan.template.file.as_str(), &page.trace, pages::describe(&causes));
        match changed {
            Degradation::Began => tracing::warn!(%trace, page = pattern, layout, parts, "page degraded"),
            Degradation::OtherCauses => {
                tracing::warn!(%trace, page = pattern, layout, parts, "page degraded for other reasons");
            }
        }
    }

    fn cached_page_served(&self, served: &CachedPageCounts<'_>) {
        if self.has_degraded_page.load(Ordering::Relaxed) {
            self.known().pages.add_whole(served.page, served.times);
        }
    }

    fn fetched(&self, fetch: &Fetch, result: Result<&ParsedResponse, &Failure>, attempt: &Attempt) {
        let Err(failure) = result else { return };
        let (mut known, now) = (self.known(), Instant::now());
        if attempt.was_refused(Some(failure)) {
            return known.services.refused(&fetch.nanoservice, now);
        }
        if known.services.failed(&fetch.nanoservice, failure.reason, now) {
            tracing::warn!(
                fragment = &*fetch.nanoservice,
                upstream = &*attempt.upstream,
                reason = failure.reason.as_str(),
                // The output of a program that crashed is logged with the crash.
                detail = failure.detail.lines().next().unwrap_or_default(),
                "fetch failed"
            );
        }
    }

    fn warned(&self, fragment: &Name, warning: &'static str, detail: &str) {
        if self.known().services.warned(fragment, warning, Instant::now()) {
            tracing::warn!(fragment = &**fragment, "{warning}: {detail}");
        }
    }

    fn tick(&self) {
        let (mut known, now) = (self.known(), Instant::now());
        known.services.tick(now).iter().for_each(log_service);
        for (page, event) in known.pages.tick(now) {
            log_page(&page, &event);
        }
        self.has_degraded_page.store(!known.pages.is_empty(), Ordering::Relaxed);
    }
}

/// Why a page is degraded. A part whose nanoservice is left alone is degraded for the reason which opened the circuit.
fn causes(page: &Page, opened_by: &BTreeMap<Name, Reason>) -> Causes {
    let mut causes = Causes::new();
    for (part, outcome) in page.known().filter(|(_, outcome)| is_degraded(outcome.shown, outcome.reason)) {
        let (name, Some(reason)) = (page.plan.nanoservice_of(part), outcome.reason) else { continue };
        let opened_by = opened_by.get(&name).filter(|_| reason == Reason::CircuitOpen);
        causes.insert((name, outcome.shown, *opened_by.unwrap_or(&reason)));
    }
    causes
}

fn log_service(event: &ServiceEvent) {
    match event {
        ServiceEvent::Opened { fragment, upstream, cause } => {
            let (reason, detail) = (cause.reason.as_str(), cause.detail.as_str());
            let (fragment, upstream) = (&**fragment, &**upstream);
            tracing::warn!(
                fragment,
                upstream,
                reason,
                detail,
                "circuit opened: requests are refused until a probe succeeds"
            );
        }
        ServiceEvent::Closed { fragment, upstream, lasted } => {
            let (fragment, upstream, lasted) = (&**fragment, &**upstream, pages::show(*lasted));
            tracing::info!(fragment, upstream, lasted, "circuit closed");
        }
        ServiceEvent::Flapped { fragment, upstream, changes, is_open } => {
            let (fragment, upstream) = (&**fragment, &**upstream);
            let state = if *is_open { "open" } else { "closed" };
            tracing::warn!(fragment, upstream, changes, state, "circuit keeps changing");
        }
        ServiceEvent::Minute { failed, refused, counts, unlogged } => {
            tracing::warn!(failed, refused, counts, unlogged, "more failures within a minute");
        }
    }
}

fn log_page(page: &str, event: &PageEvent) {
    match event {
        PageEvent::FewerCauses(causes) => {
            let parts = pages::describe(causes);
            tracing::warn!(page, parts, "page degraded for fewer reasons");
        }
        PageEvent::Ended { degraded, of, lasted } => {
            let lasted = pages::show(*lasted);
            tracing::info!(page, degraded, of, lasted, "page no longer degraded");
        }
    }
}
