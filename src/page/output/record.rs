//! The record of what happened to a page and to each of its parts. `explain`, the overlay, response headers, traces and
//! the console all read it, and nothing else is measured. A part that was not looked up has no times.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Serialize;

use crate::page::layout::FragmentSource;
use crate::page::manifest::Manifest;
use crate::page::plan::{Outcomes, Plan};
use crate::page::policy::cache::directives::Uncacheable;
use crate::page::policy::supervision::fleet::TOO_MANY;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Attempt, Cache, Outcome, PartHealth, Shown};
use crate::page::response::parsed::{Content, ParsedResponse};
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::verdict::Verdict;

/// Most parts that `Server-Timing` lists: proxies refuse large response heads.
const MAX_TIMED: usize = 50;

/// What happened to a page. Times are in milliseconds since the page was planned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The pattern of the route that matched.
    pub route: String,
    /// The layout's file.
    pub layout: String,
    /// The page's owner.
    pub owner: Option<String>,
    /// The page's status.
    pub status: u16,
    /// How long the page took, until its last part was complete.
    pub took_ms: f64,
    /// The page's time budget.
    pub budget_ms: f64,
    /// The dimensions that the page varies on.
    pub varies_on: Vec<String>,
    /// The parts in the layout, in document order. Each contains its nested parts.
    pub parts: Vec<PartRecord>,
}

/// What happened to one part of a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartRecord {
    /// The part's name on this page.
    pub id: String,
    /// The part's number among all parts of the page.
    pub number: usize,
    /// The nanoservice; the host if the part has a `src`.
    pub fragment: String,
    /// The nanoservice's version.
    pub version: Option<String>,
    /// The side that the part is on while a version is rolled out: `stable` or `candidate`.
    pub side: Option<&'static str>,
    /// Why it is on that side, in words.
    pub side_why: Option<String>,
    /// The nanoservice's owner.
    pub owner: Option<String>,
    /// The URL of the nanoservice's runbook.
    pub runbook: Option<String>,
    /// What the part shows.
    pub outcome: &'static str,
    /// The part's health: `good`, `old` or `missing`.
    #[serde(rename = "standing")]
    pub health: PartHealth,
    /// Why the part does not show a fresh response.
    pub reason: Option<&'static str>,
    /// Why the part shows what it shows, in words.
    pub why: String,
    /// What the store did.
    pub cache: Option<&'static str>,
    /// How long the response is cached, and what decides that, in words.
    #[serde(rename = "kept")]
    pub caching: Option<String>,
    /// The age of the cached response.
    pub age_ms: Option<f64>,
    /// How long the response remains fresh.
    pub ttl_ms: Option<f64>,
    /// When the lookup began.
    pub start_ms: Option<f64>,
    /// When the response's first byte arrived.
    pub first_byte_ms: Option<f64>,
    /// When the outcome was known.
    pub end_ms: Option<f64>,
    /// The part's timeout.
    pub timeout_ms: Option<f64>,
    /// The size of its HTML in bytes.
    pub bytes: Option<usize>,
    /// The endpoint that the request was sent to, or would be sent to.
    pub endpoint: Option<String>,
    /// How many requests were sent.
    pub tries: usize,
    /// The details of a failure, for those who run the site.
    pub detail: Option<String>,
    /// Whether the page fails without this part.
    pub required: bool,
    /// The URL of a part that is loaded when the reader scrolls near it.
    pub lazy: Option<String>,
    /// The file that contains the part.
    pub file: String,
    /// The line in the file, from 1.
    pub line: usize,
    /// The parts nested in this part's HTML.
    pub parts: Vec<Self>,
}

impl PartRecord {
    /// The details of a failure, unless [`Self::why`] contains them already.
    #[must_use]
    pub fn further_detail(&self) -> Option<&str> {
        let is_timeout = matches!(self.reason, Some("timeout" | "overloaded"));
        self.detail.as_deref().filter(|detail| !is_timeout && !self.why.contains(detail))
    }
}

impl Record {
    /// Records a page that began and ended at these times.
    #[must_use]
    pub fn of(plan: &Plan, outcomes: &Outcomes, verdict: &Verdict, (began, ended): (Instant, Instant)) -> Self {
        let status = match verdict {
            Verdict::Page(status) | Verdict::Error(status) | Verdict::Redirect(status, _) => *status,
        };
        let order = plan.in_order_with_hidden(outcomes);
        Self {
            route: plan.visit.pattern.clone(),
            layout: plan.template.file.clone(),
            owner: plan.template.owner.clone(),
            status: StatusCode::as_u16(&status),
            took_ms: milliseconds(ended.saturating_duration_since(began)),
            budget_ms: milliseconds(plan.budget),
            varies_on: plan.dimensions.iter().map(ToString::to_string).collect(),
            parts: parts(plan, outcomes, &nested(plan, &order), None, began),
        }
    }

    /// All parts in document order, nested ones included.
    pub fn all(&self) -> impl Iterator<Item = &PartRecord> {
        let mut next: Vec<&PartRecord> = self.parts.iter().rev().collect();
        std::iter::from_fn(move || {
            let part = next.pop()?;
            next.extend(part.parts.iter().rev());
            Some(part)
        })
    }

    /// The value of `Server-Timing` (W3C): one metric for the page and one for each part, by its name, at most
    /// `MAX_TIMED` in all.
    #[must_use]
    pub fn server_timing(&self) -> String {
        let total = format!("total;dur={}", self.took_ms);
        let part = |part: &PartRecord| {
            let took = part.end_ms.unwrap_or_default() - part.start_ms.unwrap_or_default();
            let reason = part.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
            let cache = part.cache.map(|cache| format!(", {cache}")).unwrap_or_default();
            format!("{};dur={};desc=\"{}{reason}{cache}\"", token(&part.id), rounded(took), part.outcome)
        };
        self.all().map(part).take(MAX_TIMED).fold(total, |all, one| all + ", " + &one)
    }

    /// The value of `Cache-Status` (RFC 9211) for the page as a whole: a hit if every part was in the cache.
    #[must_use]
    pub fn cache_status(&self) -> String {
        let looked_up: Vec<&PartRecord> = self.all().filter(|part| part.cache.is_some()).collect();
        let are = |cache: Cache| looked_up.iter().filter(|part| part.cache == Some(cache.as_str())).count();
        let cached = are(Cache::Hit) + are(Cache::Stale);
        let detail = format!("detail=\"{cached} of {} parts were cached\"", looked_up.len());
        if cached == looked_up.len() {
            let least = looked_up.iter().filter_map(|part| part.ttl_ms).fold(f64::INFINITY, f64::min);
            // Whole seconds, and negative if a response is stale (RFC 9211, 2.2).
            let ttl = if are(Cache::Stale) > 0 { Some(-1.0) } else { Some(least).filter(|least| least.is_finite()) };
            let ttl = ttl.map(|ms| format!("; ttl={:.0}", (ms / 1e3).floor())).unwrap_or_default();
            return format!("pasteup; hit{ttl}; {detail}");
        }
        let collapsed = if are(Cache::Miss) == 0 { "; collapsed" } else { "" };
        format!("pasteup; fwd=miss{collapsed}; {detail}")
    }
}

/// The records of the parts that are nested directly in a part, or in the layout (`None`).
fn parts(plan: &Plan, outcomes: &Outcomes, nested: &Nested, within: Option<usize>, began: Instant) -> Vec<PartRecord> {
    let here = nested.get(&within).into_iter().flatten();
    here.map(|(index, shown)| PartRecord {
        parts: parts(plan, outcomes, nested, Some(*index), began),
        ..part_record(plan, outcomes, (*index, *shown), began)
    })
    .collect()
}

/// The parts that are nested directly in each part, and in the layout (`None`), in document order, and whether each is on the
/// page.
type Nested = HashMap<Option<usize>, Vec<(usize, bool)>>;

/// Groups parts by the part that contains them.
fn nested(plan: &Plan, order: &[(usize, bool)]) -> Nested {
    let mut nested = Nested::new();
    for (part, shown) in order {
        nested.entry(plan.parent(*part)).or_default().push((*part, *shown));
    }
    nested
}

/// The record of one part, without its nested parts.
fn part_record(plan: &Plan, outcomes: &Outcomes, (index, shown): (usize, bool), began: Instant) -> PartRecord {
    let (part, fetch) = (&plan.parts[index], plan.fetch_of(index).filter(|_| shown));
    let lazy = plan.lazy_address(index).filter(|_| shown);
    let (manifest, at) = (plan.manifest_of(index).or_else(|| part.fragment.manifest()), &part.fragment.at);
    let side = manifest.and_then(|manifest| side(plan, index, manifest));
    let unknown = Outcome::missing(Reason::Budget, false);
    let hidden = Outcome::nothing(Reason::Condition);
    let outcome = if shown { outcomes[index].as_ref().unwrap_or(&unknown) } else { &hidden };
    let (timing, response) = (outcome.timing.as_deref(), outcome.response.as_deref());
    let attempt = timing.and_then(|timing| timing.attempt.as_deref());
    let since = |instant: Instant| milliseconds(instant.saturating_duration_since(began));
    let only = |fetch: &Fetch| (fetch.targets.len() == 1).then(|| fetch.target().upstream.to_string());
    let lifetime = fetch.zip(response).map(|(fetch, response)| response.lifetime(fetch).fresh);
    PartRecord {
        id: part.id.to_string(),
        number: index,
        fragment: plan.nanoservice_of(index).to_string(),
        version: manifest.map(|manifest| manifest.version.to_string()),
        side: side.as_ref().map(|(side, _)| *side),
        side_why: side.map(|(_, why)| why),
        owner: manifest.and_then(|manifest| manifest.owner.clone()),
        runbook: manifest.and_then(|manifest| manifest.runbook.clone()),
        outcome: outcome.shown.as_str(),
        health: PartHealth::of(outcome.shown, outcome.reason),
        reason: outcome.reason.map(Reason::as_str),
        why: match lazy {
            Some(_) => "loaded when the reader scrolls near it".to_owned(),
            None => why(outcome, fetch.map(|fetch| &**fetch), plan.budget),
        },
        cache: timing.map(|timing| timing.cache.as_str()),
        caching: fetch
            .zip(response)
            .map(|(fetch, response)| CachingReason::of(response, fetch).describe(timing.and_then(|timing| timing.age))),
        age_ms: timing.and_then(|timing| timing.age).map(milliseconds),
        ttl_ms: lifetime.zip(outcome.fresh_until).map(|(lifetime, _)| {
            milliseconds(lifetime.saturating_sub(timing.and_then(|timing| timing.age).unwrap_or_default()))
        }),
        start_ms: timing.map(|timing| since(timing.began)),
        first_byte_ms: attempt.and_then(|attempt| attempt.head).map(since),
        end_ms: timing.map(|timing| since(timing.ended)),
        timeout_ms: fetch.map(|fetch| milliseconds(fetch.timeout)),
        bytes: response.and_then(|response| match &response.content {
            Content::Fragment(html) => Some(html.len()),
            Content::Empty => Some(0),
            Content::Asset(..) | Content::Gone(_) | Content::Redirect(..) => None,
        }),
        endpoint: attempt.map(|attempt| attempt.upstream.to_string()).or_else(|| only(fetch?)),
        tries: attempt.map_or(0, |attempt| attempt.tries),
        // While the circuit is open no request is sent: the failure is that of an earlier attempt.
        detail: attempt
            .filter(|_| outcome.reason != Some(Reason::CircuitOpen))
            .and_then(|attempt| attempt.failure.clone()),
        required: part.required,
        lazy: lazy.map(str::to_owned),
        file: at.source.file.clone(),
        line: at.source.position(at.span.start).0,
        parts: Vec::new(),
    }
}

/// The side that a part is on while a version of its nanoservice is rolled out, and why. `None`: none is.
fn side(plan: &Plan, part: usize, manifest: &Manifest) -> Option<(&'static str, String)> {
    let version = manifest.version.to_string();
    let of_name = || plan.visit.reader.sides.iter().filter(|side| side.name == manifest.name);
    if let Some(side) = of_name().find(|side| *side.candidate == *version) {
        return Some(("candidate", side.why.to_string()));
    }
    if let Some(side) = of_name().next() {
        return Some(("stable", side.why.to_string()));
    }
    match &plan.parts[part].fragment.source {
        FragmentSource::Named(candidates) if candidates.chosen().version != manifest.version => {
            Some(("stable", format!("{} was rolled back, and is not tried again", candidates.chosen().version)))
        }
        _ => None,
    }
}

/// Why a part shows what it shows, in words that an editor understands.
fn why(outcome: &Outcome, fetch: Option<&Fetch>, budget: Duration) -> String {
    let Some(reason) = outcome.reason else {
        return match outcome.timing.as_ref().map(|timing| timing.cache) {
            Some(Cache::Hit) => "a cached response that is still fresh",
            Some(Cache::Joined) => "the service answered; the request was shared with another page",
            Some(Cache::Miss | Cache::Stale) | None => "the service answered",
        }
        .to_owned();
    };
    let attempt = outcome.timing.as_ref().and_then(|timing| timing.attempt.as_deref());
    let timeout = fetch.map(|fetch| units::show(fetch.timeout)).unwrap_or_default();
    let failure = match reason {
        Reason::Timeout => format!("the service did not respond within {timeout}"),
        Reason::Budget => {
            format!("the page's budget of {} was over before the service responded", units::show(budget))
        }
        Reason::Connect => connection_failure(attempt),
        Reason::Status => "the service answered with an error".to_owned(),
        Reason::Incomplete => "the response was cut short".to_owned(),
        Reason::TooLarge => "the response was larger than allowed".to_owned(),
        Reason::NotHtml => "the response was not HTML".to_owned(),
        Reason::Encoding => "the response could not be decoded".to_owned(),
        Reason::Starting => "the service's program was being started, and was not ready in time".to_owned(),
        Reason::Crashed => "the service's program or component ended before it answered".to_owned(),
        Reason::CircuitOpen => "circuit open after repeated failures".to_owned(),
        Reason::Overloaded => match attempt.and_then(|attempt| attempt.failure.as_deref()) {
            Some(TOO_MANY) => TOO_MANY.to_owned(),
            _ => format!("the service's concurrency limit left no room for this request within {timeout}"),
        },
        Reason::Depth => "the fragment is nested deeper than `page.max_depth` allows".to_owned(),
        Reason::Cycle => "the fragment would contain itself".to_owned(),
        Reason::TooMany => "the page has as many fragments as `page.max_fragments` allows".to_owned(),
        Reason::NotAllowed => "the service does not accept these parameters".to_owned(),
        Reason::SwitchedOff => {
            "an operator has switched the nanoservice off for a while; no request was sent".to_owned()
        }
        Reason::Unknown => "the service has no endpoint that can be used".to_owned(),
        Reason::Condition => return "its condition does not hold".to_owned(),
        Reason::Empty => return "the service has nothing to show".to_owned(),
        Reason::Gone => match outcome.response.as_ref().map(|response| &response.content) {
            Some(Content::Gone(status)) => format!("the service answered {}", status.as_u16()),
            _ => "the service has no such fragment".to_owned(),
        },
        Reason::Revalidating => return "a stale response, while a new one is fetched".to_owned(),
        Reason::Internal => "internal error of the compositor".to_owned(),
    };
    match outcome.shown {
        Shown::Fresh => failure,
        Shown::Stale => format!("stale response: {failure}"),
        Shown::Fallback => format!("fallback: {failure}"),
        Shown::Omitted => format!("nothing shown, no fallback: {failure}"),
    }
}

/// Why no connection was made, in words.
fn connection_failure(attempt: Option<&Attempt>) -> String {
    match attempt.and_then(|attempt| attempt.failure.clone()) {
        Some(failure) => failure,
        None => "the service could not be reached, or closed the connection before it responded".to_owned(),
    }
}

/// How long a response is cached, and what decides that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachingReason {
    is_cached: bool,
    uncacheable: Option<Uncacheable>,
    no_cache: bool,
    fresh: Duration,
    max_age: Option<Duration>,
    ttl: Option<Duration>,
    max_ttl: Option<Duration>,
    /// Whether the manifest has a `cache.ttl`, which counts if neither the service nor the layout states a lifetime.
    has_manifest_ttl: bool,
}

impl CachingReason {
    /// How long the response to a fetch is cached.
    #[must_use]
    pub fn of(response: &ParsedResponse, fetch: &Fetch) -> Self {
        let (stated, rules) = (&response.stated.compositor, &fetch.rules);
        let lifetime = response.lifetime(fetch);
        Self {
            is_cached: !lifetime.retention().is_zero(),
            uncacheable: stated.uncacheable.clone(),
            no_cache: stated.no_cache,
            fresh: lifetime.fresh,
            max_age: stated.max_age,
            ttl: rules.ttl,
            max_ttl: rules.max_ttl,
            has_manifest_ttl: fetch.manifest.as_ref().is_some_and(|manifest| manifest.cache.ttl.is_some()),
        }
    }

    /// Whether the response is cached.
    #[must_use]
    pub const fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// The lifetime and what decides it, in words, for a response of this age: `cached for 12s of 20s (layout ttl; the
    /// service allows 1m)`.
    #[must_use]
    pub fn describe(&self, age: Option<Duration>) -> String {
        if let Some(uncacheable) = &self.uncacheable {
            return format!("not cached: {uncacheable}");
        }
        if self.no_cache {
            return "cached, but revalidated for each page (service no-cache)".to_owned();
        }
        let fresh = self.fresh;
        let reason = match (self.max_ttl.filter(|max| *max == fresh), self.ttl, self.max_age) {
            (Some(max), _, Some(stated)) if max < stated => {
                format!("manifest max_ttl; the service allows {}", units::show(stated))
            }
            (Some(max), Some(ttl), None) if max < ttl => {
                format!("manifest max_ttl; the layout allows {}", units::show(ttl))
            }
            (_, Some(ttl), Some(stated)) if ttl < stated => {
                format!("layout ttl; the service allows {}", units::show(stated))
            }
            (_, Some(ttl), Some(stated)) if stated < ttl => {
                format!("service max-age; the layout allows {}", units::show(ttl))
            }
            (_, _, Some(_)) => "service max-age".to_owned(),
            (_, Some(_), None) => "layout ttl; the service states no lifetime".to_owned(),
            (_, None, None) if self.has_manifest_ttl => "manifest cache.ttl; the service states no lifetime".to_owned(),
            (_, None, None) => "default fragment.ttl; nothing else states a lifetime".to_owned(),
        };
        match age {
            _ if fresh.is_zero() => format!("not cached ({reason})"),
            Some(age) => format!("cached for {} of {} ({reason})", units::show(coarse(age)), units::show(fresh)),
            None => format!("cached for {} ({reason})", units::show(fresh)),
        }
    }
}

/// An age of a second or more in whole seconds.
fn coarse(age: Duration) -> Duration {
    if age >= Duration::from_secs(1) { Duration::from_secs(age.as_secs()) } else { age }
}

/// A duration in milliseconds, rounded.
fn milliseconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

/// Rounds to hundredths of a millisecond: more digits are noise.
fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// A name as a token (RFC 9110, 5.6.2): other characters become `-`.
fn token(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' }).collect()
}
