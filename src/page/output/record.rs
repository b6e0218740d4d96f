//! What happened to a page and to each of its parts, in one record: explain, the overlay, response headers and the
//! console read it, and nothing else measures. Where nothing was looked up, there are no times.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Serialize;

use crate::page::plan::{Outcomes, Plan};
use crate::page::policy::cache::directives::Uncacheable;
use crate::page::request::fetch::Fetch;
use crate::page::response::outcome::{Cache, Outcome, PartHealth, Shown};
use crate::page::response::parsed::{Content, ParsedResponse};
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::verdict::Verdict;

/// Parts that `Server-Timing` tells of.
const MOST_TIMED: usize = 50;

/// What happened to a page. Times are in milliseconds, from the moment at which it was planned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The pattern of the route that matched.
    pub route: String,
    /// Its layout's file.
    pub layout: String,
    /// Who is told of it.
    pub owner: Option<String>,
    /// What the page was: its status.
    pub status: u16,
    /// When its last part was there.
    pub took_ms: f64,
    /// The time that all of it had.
    pub budget_ms: f64,
    /// What it varies on.
    pub varies_on: Vec<String>,
    /// The layout's fragments in document order, and in each those that it asked for.
    pub parts: Vec<PartRecord>,
}

/// What happened to one part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartRecord {
    /// Its name on this page.
    pub id: String,
    /// Its number among all parts of the page.
    pub number: usize,
    /// The nanoservice; the host where it is named by `src`.
    pub fragment: String,
    /// The nanoservice's version.
    pub version: Option<String>,
    /// Who is told of it.
    pub owner: Option<String>,
    /// What to read when it is broken.
    pub runbook: Option<String>,
    /// What stands in its place.
    pub outcome: &'static str,
    /// How that is: `good`, `old`, `missing`.
    pub standing: PartHealth,
    /// Why it is not fresh.
    pub reason: Option<&'static str>,
    /// The same in a sentence.
    pub why: String,
    /// What the store did.
    pub cache: Option<&'static str>,
    /// How long it is kept, and by whose word.
    pub kept: Option<String>,
    /// How old the kept answer is.
    pub age_ms: Option<f64>,
    /// How long it stays fresh.
    pub ttl_ms: Option<f64>,
    /// When it was looked up.
    pub start_ms: Option<f64>,
    /// When the answer's first byte came.
    pub first_byte_ms: Option<f64>,
    /// When its outcome was known.
    pub end_ms: Option<f64>,
    /// The time that it had.
    pub timeout_ms: Option<f64>,
    /// Bytes of its HTML.
    pub bytes: Option<usize>,
    /// Who was asked, or would be.
    pub endpoint: Option<String>,
    /// How often it was asked.
    pub tries: usize,
    /// What went wrong, for those who run the site.
    pub detail: Option<String>,
    /// The page is no page without it.
    pub required: bool,
    /// Where it is by itself, of one that is loaded once a reader scrolls near.
    pub lazy: Option<String>,
    /// Where it stands.
    pub file: String,
    /// Its line there, from 1.
    pub line: usize,
    /// The parts that it asked for.
    pub parts: Vec<Self>,
}

impl Record {
    /// The record of a page that began and ended at these moments.
    #[must_use]
    pub fn of(plan: &Plan, outcomes: &Outcomes, verdict: &Verdict, (began, ended): (Instant, Instant)) -> Self {
        let status = match verdict {
            Verdict::Page(status) | Verdict::Error(status) | Verdict::Redirect(status, _) => *status,
        };
        let order = plan.in_order_with_lazy(outcomes);
        Self {
            route: plan.visit.pattern.clone(),
            layout: plan.template.file.clone(),
            owner: plan.template.owner.clone(),
            status: StatusCode::as_u16(&status),
            took_ms: milliseconds(ended.saturating_duration_since(began)),
            budget_ms: milliseconds(plan.budget),
            varies_on: plan.dimensions.iter().map(ToString::to_string).collect(),
            parts: parts(plan, outcomes, &inside(plan, &order), None, began),
        }
    }

    /// All parts, those that others asked for among them, in document order.
    pub fn all(&self) -> impl Iterator<Item = &PartRecord> {
        let mut next: Vec<&PartRecord> = self.parts.iter().rev().collect();
        std::iter::from_fn(move || {
            let part = next.pop()?;
            next.extend(part.parts.iter().rev());
            Some(part)
        })
    }

    /// `Server-Timing` (W3C): a metric a part, by its name; of many parts the first. Proxies refuse heads that are large.
    #[must_use]
    pub fn server_timing(&self) -> String {
        let total = format!("total;dur={}", self.took_ms);
        let part = |part: &PartRecord| {
            let took = part.end_ms.unwrap_or_default() - part.start_ms.unwrap_or_default();
            let reason = part.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
            let cache = part.cache.map(|cache| format!(", {cache}")).unwrap_or_default();
            format!("{};dur={};desc=\"{}{reason}{cache}\"", token(&part.id), rounded(took), part.outcome)
        };
        self.all().map(part).take(MOST_TIMED).fold(total, |all, one| all + ", " + &one)
    }

    /// `Cache-Status` (RFC 9211): of the page as a whole; a hit is one that nobody had to be asked for.
    #[must_use]
    pub fn cache_status(&self) -> String {
        let looked_up: Vec<&PartRecord> = self.all().filter(|part| part.cache.is_some()).collect();
        let are = |cache: Cache| looked_up.iter().filter(|part| part.cache == Some(cache.as_str())).count();
        let kept = are(Cache::Hit) + are(Cache::Stale);
        let detail = format!("detail=\"{kept} of {} parts were kept\"", looked_up.len());
        if kept == looked_up.len() {
            let least = looked_up.iter().filter_map(|part| part.ttl_ms).fold(f64::INFINITY, f64::min);
            // 2.2: whole seconds, and below zero for what is stale.
            let ttl = if are(Cache::Stale) > 0 { Some(-1.0) } else { Some(least).filter(|least| least.is_finite()) };
            let ttl = ttl.map(|ms| format!("; ttl={:.0}", (ms / 1e3).floor())).unwrap_or_default();
            return format!("pasteup; hit{ttl}; {detail}");
        }
        let collapsed = if are(Cache::Miss) == 0 { "; collapsed" } else { "" };
        format!("pasteup; fwd=miss{collapsed}; {detail}")
    }
}

/// What stands in a hole, or in the layout.
fn parts(plan: &Plan, outcomes: &Outcomes, inside: &Inside, within: Option<usize>, began: Instant) -> Vec<PartRecord> {
    let here = inside.get(&within).into_iter().flatten();
    here.map(|hole| PartRecord {
        parts: parts(plan, outcomes, inside, Some(*hole), began),
        ..part(plan, outcomes, *hole, began)
    })
    .collect()
}

/// The holes that each hole's answer asks for, and the layout (`None`), in document order.
type Inside = HashMap<Option<usize>, Vec<usize>>;

fn inside(plan: &Plan, order: &[usize]) -> Inside {
    let mut inside = Inside::new();
    for hole in order {
        inside.entry(plan.within(*hole)).or_default().push(*hole);
    }
    inside
}

fn part(plan: &Plan, outcomes: &Outcomes, hole: usize, began: Instant) -> PartRecord {
    let (one, fetch) = (&plan.holes[hole], plan.of(hole));
    let (manifest, at) = (plan.service(hole).or_else(|| one.fragment.manifest()), &one.fragment.at);
    let unknown = Outcome::missing(Reason::Budget, false);
    let outcome = outcomes[hole].as_ref().unwrap_or(&unknown);
    let (course, answer) = (outcome.timing.as_deref(), outcome.response.as_deref());
    let sent = course.and_then(|course| course.attempt.as_deref());
    let since = |instant: Instant| milliseconds(instant.saturating_duration_since(began));
    let only = |fetch: &Fetch| (fetch.targets.len() == 1).then(|| fetch.target().upstream.to_string());
    let lifetime = fetch.zip(answer).map(|(fetch, answer)| answer.lifetime(fetch).fresh);
    PartRecord {
        id: one.id.to_string(),
        number: hole,
        fragment: plan.service_name(hole).to_string(),
        version: manifest.map(|manifest| manifest.version.to_string()),
        owner: manifest.and_then(|manifest| manifest.owner.clone()),
        runbook: manifest.and_then(|manifest| manifest.runbook.clone()),
        outcome: outcome.shown.as_str(),
        standing: PartHealth::of(outcome.shown, outcome.reason),
        reason: outcome.reason.map(Reason::as_str),
        why: match plan.lazy(hole) {
            Some(_) => "it is loaded once a reader scrolls near".to_owned(),
            None => why(outcome, fetch.map(|fetch| &**fetch), plan.budget),
        },
        cache: course.map(|course| course.cache.as_str()),
        kept: fetch
            .zip(answer)
            .map(|(fetch, answer)| Keep::of(answer, fetch).told(course.and_then(|course| course.age))),
        age_ms: course.and_then(|course| course.age).map(milliseconds),
        ttl_ms: lifetime.zip(outcome.fresh_until).map(|(lifetime, _)| {
            milliseconds(lifetime.saturating_sub(course.and_then(|course| course.age).unwrap_or_default()))
        }),
        start_ms: course.map(|course| since(course.began)),
        first_byte_ms: sent.and_then(|sent| sent.head).map(since),
        end_ms: course.map(|course| since(course.ended)),
        timeout_ms: fetch.map(|fetch| milliseconds(fetch.timeout)),
        bytes: answer.and_then(|answer| match &answer.content {
            Content::Fragment(html) => Some(html.len()),
            Content::Empty => Some(0),
            Content::Asset(..) | Content::Gone(_) | Content::Redirect(..) => None,
        }),
        endpoint: sent.map(|sent| sent.upstream.to_string()).or_else(|| only(fetch?)),
        tries: sent.map_or(0, |sent| sent.tries),
        // That it is shut out says all there is to say.
        detail: sent.filter(|_| outcome.reason != Some(Reason::CircuitOpen)).and_then(|sent| sent.failure.clone()),
        required: one.required,
        lazy: plan.lazy(hole).map(str::to_owned),
        file: at.source.file.clone(),
        line: at.source.position(at.span.start).0,
        parts: Vec::new(),
    }
}

/// Why a part is as it is, in a sentence that an editor understands.
fn why(outcome: &Outcome, fetch: Option<&Fetch>, budget: Duration) -> String {
    let of = |what: Option<Duration>| what.map(units::show).unwrap_or_default();
    let Some(reason) = outcome.reason else {
        return match outcome.timing.as_ref().map(|course| course.cache) {
            Some(Cache::Hit) => "a kept copy that is still fresh",
            Some(Cache::Joined) => "the service answered; another reader had asked already",
            Some(Cache::Miss | Cache::Stale) | None => "the service answered",
        }
        .to_owned();
    };
    let failed = match reason {
        Reason::Timeout => format!("the service had not answered within {}", of(fetch.map(|fetch| fetch.timeout))),
        Reason::Budget => format!("the page's {} were over before the service had answered", units::show(budget)),
        Reason::Connect => "the service could not be reached, or broke off before it answered".to_owned(),
        Reason::Status => "the service answered with an error".to_owned(),
        Reason::Incomplete => "the answer was cut short".to_owned(),
        Reason::TooLarge => "the answer was larger than allowed".to_owned(),
        Reason::NotHtml => "the answer was no HTML".to_owned(),
        Reason::Encoding => "the answer could not be decoded".to_owned(),
        Reason::CircuitOpen => "the service failed too often, and is left alone for a while".to_owned(),
        Reason::Overloaded => {
            let time = of(fetch.map(|fetch| fetch.timeout));
            format!("too much was asked of the service: it was not this part's turn within {time}")
        }
        Reason::Depth => "it is nested deeper than `page.max_depth` allows".to_owned(),
        Reason::Cycle => "it would stand inside itself".to_owned(),
        Reason::TooMany => "the page has as many fragments as `page.max_fragments` allows".to_owned(),
        Reason::NotAllowed => "the service does not take what it would be asked with".to_owned(),
        Reason::Unknown => "there is no way to reach the service".to_owned(),
        Reason::Condition => return "its condition does not hold".to_owned(),
        Reason::Empty => return "the service says that there is nothing to show".to_owned(),
        Reason::Gone => "the service says that there is no fragment here".to_owned(),
        Reason::Revalidating => return "an old copy, while a new one is fetched".to_owned(),
        Reason::Internal => "a fault of the compositor's own".to_owned(),
    };
    match outcome.shown {
        Shown::Fresh => failed,
        Shown::Stale => format!("an old copy: {failed}"),
        Shown::Fallback => format!("the fallback: {failed}"),
        Shown::Omitted => format!("nothing, and no fallback: {failed}"),
    }
}

/// By whose word an answer is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    kept: bool,
    never: Option<Uncacheable>,
    no_cache: bool,
    fresh: Duration,
    max_age: Option<Duration>,
    ttl: Option<Duration>,
    max_ttl: Option<Duration>,
    /// The manifest says it where nobody else does.
    by_manifest: bool,
}

impl Keep {
    /// By whose word an answer to a fetch is.
    #[must_use]
    pub fn of(answer: &ParsedResponse, fetch: &Fetch) -> Self {
        let (stated, rules) = (&answer.stated.compositor, &fetch.rules);
        let lifetime = answer.lifetime(fetch);
        Self {
            kept: !lifetime.retention().is_zero(),
            never: stated.uncacheable.clone(),
            no_cache: stated.no_cache,
            fresh: lifetime.fresh,
            max_age: stated.max_age,
            ttl: rules.ttl,
            max_ttl: rules.max_ttl,
            by_manifest: fetch.manifest.as_ref().is_some_and(|manifest| manifest.cache.ttl.is_some()),
        }
    }

    /// Whether it is.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.kept
    }

    /// The same in words, of one that is so old: "kept 12s of 20s: the layout's `ttl` is shorter than the service's
    /// `max-age` of 1m".
    #[must_use]
    pub fn told(&self, age: Option<Duration>) -> String {
        if let Some(never) = &self.never {
            return format!("not kept: {never}");
        }
        if self.no_cache {
            return "kept only to be asked about: the service says `no-cache`".to_owned();
        }
        let fresh = self.fresh;
        let says = |what: &str, shorter_than: Option<Duration>, whose: &str| match shorter_than {
            Some(longer) => format!("{what} is shorter than {whose} of {}", units::show(longer)),
            None => what.to_owned(),
        };
        let by = match (self.max_ttl.filter(|max| *max == fresh), self.ttl, self.max_age) {
            (Some(max), _, Some(stated)) if max < stated => {
                says("the manifest's `max_ttl`", Some(stated), "the service's `max-age`")
            }
            (Some(max), Some(ttl), None) if max < ttl => {
                says("the manifest's `max_ttl`", Some(ttl), "the layout's `ttl`")
            }
            (_, Some(ttl), Some(stated)) if ttl < stated => {
                says("the layout's `ttl`", Some(stated), "the service's `max-age`")
            }
            (_, Some(ttl), Some(stated)) if stated < ttl => {
                says("the service's `max-age`", Some(ttl), "the layout's `ttl`")
            }
            (_, _, Some(_)) => "by the service's `max-age`".to_owned(),
            (_, Some(_), None) => "by the layout's `ttl`; the service does not say".to_owned(),
            (_, None, None) if self.by_manifest => "by the manifest's `cache.ttl`; the service does not say".to_owned(),
            (_, None, None) => "by the settings' `fragment.ttl`; nobody else says".to_owned(),
        };
        match age {
            _ if fresh.is_zero() => format!("not kept: {by}"),
            Some(age) => format!("kept {} of {}: {by}", units::show(coarse(age)), units::show(fresh)),
            None => format!("kept for {}: {by}", units::show(fresh)),
        }
    }
}

/// In whole seconds, where it is longer than that.
fn coarse(age: Duration) -> Duration {
    if age >= Duration::from_secs(1) { Duration::from_secs(age.as_secs()) } else { age }
}

fn milliseconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

/// To hundredths: more is noise.
fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// A name as a token (RFC 9110, 5.6.2).
fn token(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' }).collect()
}
