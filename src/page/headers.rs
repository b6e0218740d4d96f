//! What the parts of a page allow it to say about itself.
//! A page that was not whole is never kept downstream.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use xxhash_rust::xxh3::Xxh3;

use super::outcome::{Outcome, Reason, Shown};
use super::plan::{Outcomes, Plan};

/// `Surrogate-Key` (space-separated): what caches downstream can purge the page by.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Bytes of `Surrogate-Key`, at most: caches and proxies take no more of one field.
const MAX_KEYS: usize = 16 * 1024;

/// A page's `Cache-Control`, `ETag`, `Surrogate-Key` and `Set-Cookie`, and the headers that its layout
/// adds. `complete`: all outcomes that it needs are known.
#[must_use]
pub fn headers(plan: &Plan, outcomes: &Outcomes, complete: bool, now: Instant) -> HeaderMap {
    let mut headers: HeaderMap = plan.template.headers.iter().cloned().collect();
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let parts = || parts(outcomes);
    let order = plan.in_order(outcomes);
    put(header::CACHE_CONTROL, &cache_control(plan, outcomes, complete, now));
    put(SURROGATE_KEY, &surrogate_keys(plan, outcomes, &order));
    if complete && !plan.is_cut && parts().all(is_whole) {
        put(header::ETAG, &etag(plan, outcomes, &order));
    }
    // Of what was tried in vain nothing is on the page.
    let on_page = order.iter().filter_map(|hole| outcomes[*hole].as_ref());
    for cookie in on_page.filter_map(|part| part.answer.as_ref()).flat_map(|answer| &answer.cookies) {
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    headers
}

/// The parts that were asked for.
fn parts(outcomes: &Outcomes) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().flatten().filter(|outcome| outcome.reason != Some(Reason::Condition))
}

/// Whether a part is what it should be.
fn is_whole(outcome: &Outcome) -> bool {
    outcome.shown == Shown::Fresh || (outcome.reason == Some(Reason::Empty) && outcome.fresh_until.is_some())
}

/// The strictest of the parts'.
fn cache_control(plan: &Plan, outcomes: &Outcomes, complete: bool, now: Instant) -> String {
    let parts = || parts(outcomes);
    let never = |outcome: &Outcome| {
        let stated = outcome.answer.as_ref().map(|answer| &answer.stated);
        stated.is_some_and(|stated| stated.here.never.is_some() || stated.downstream().never.is_some())
    };
    if parts().any(never) {
        return "private, no-store".to_owned();
    }
    if !complete || plan.is_cut || !parts().all(is_whole) {
        return "no-store".to_owned();
    }
    let told = || parts().filter_map(|part| part.answer.as_ref()).map(|answer| answer.stated.downstream());
    if told().any(|told| told.no_cache) {
        return "public, no-cache".to_owned();
    }
    // Ages are whole seconds (RFC 9111, 1.2.2): a part that came in just now is as fresh as it says.
    let parts_left = parts().map(|part| downstream_freshness(part, now).as_nanos().div_ceil(1_000_000_000));
    let caps = plan.template.max_age.into_iter().chain(plan.changes_in).map(|cap| u128::from(cap.as_secs()));
    let shared = parts_left.chain(caps).min().unwrap_or_default();
    let in_browsers = told().filter_map(|told| told.in_browsers).map(|told| u128::from(told.as_secs()));
    let browsers = in_browsers.chain([shared]).min().unwrap_or_default();
    let mut value = format!("public, max-age={browsers}");
    if browsers < shared {
        let _ = write!(value, ", s-maxage={shared}");
    }
    if told().any(|told| told.for_browsers_too) {
        value.push_str(", must-revalidate");
    }
    value
}

/// How long caches downstream may show a part: not past its freshness here, and where it told them
/// something else than the compositor (RFC 9213), not longer than that.
fn downstream_freshness(outcome: &Outcome, now: Instant) -> Duration {
    let left = outcome.fresh_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
    let told = outcome.answer.as_ref().and_then(|answer| answer.stated.downstream.as_ref());
    told.and_then(|told| told.max_age).map_or(left, |told| told.min(left))
}

/// The union of the parts' names and keys, in document order; names first, should there be too many.
fn surrogate_keys(plan: &Plan, outcomes: &Outcomes, order: &[usize]) -> String {
    let needed = order.iter().copied().filter(|hole| outcomes[*hole].is_some());
    let names = needed.filter_map(|hole| plan.of(hole)).map(|fetch| &fetch.service);
    let tags = parts(outcomes).filter_map(|part| part.answer.as_ref()).flat_map(|answer| &answer.tags);
    let mut met = std::collections::HashSet::new();
    let mut keys = String::new();
    for key in names.chain(tags).filter(|key| met.insert((*key).clone())) {
        if keys.len() + key.len() < MAX_KEYS {
            let space = if keys.is_empty() { "" } else { " " };
            let _ = write!(keys, "{space}{key}");
        }
    }
    keys
}

/// Weak, since the same page is sent in several content codings (RFC 9110, 8.8.1). Made of the
/// hashes of the parts: the page's bytes are not read for it.
fn etag(plan: &Plan, outcomes: &Outcomes, order: &[usize]) -> String {
    let mut hash = Xxh3::new();
    hash.update(env!("CARGO_PKG_VERSION").as_bytes());
    hash.update(&plan.template.html.digest.to_le_bytes());
    let decide = |hole, hash: &mut Xxh3| {
        let (shown, values) = plan.decided(hole);
        hash.update(&shown.iter().map(|shown| u8::from(*shown)).collect::<Vec<_>>());
        for value in values {
            hash.update(&value.len().to_le_bytes());
            hash.update(value);
        }
    };
    decide(None, &mut hash);
    for script in [plan.template.scripts.late, plan.template.scripts.lazy].into_iter().flatten() {
        hash.update(script.path.as_bytes());
    }
    for address in (0..plan.holes.len()).filter_map(|hole| plan.lazy(hole)) {
        hash.update(address.as_bytes());
        hash.update(&[0]);
    }
    // By their order on the page: numbers of holes say in which order answers came in.
    for (place, hole) in order.iter().copied().enumerate() {
        hash.update(&place.to_le_bytes());
        hash.update(&plan.parts_of(hole).to_le_bytes());
        for asset in plan.service(hole).into_iter().flat_map(|manifest| &manifest.assets) {
            hash.update(asset.html().as_bytes());
        }
        decide(Some(hole), &mut hash);
        let fresh = outcomes[hole].as_ref().filter(|outcome| outcome.shown == Shown::Fresh);
        if let Some(answer) = fresh.and_then(|outcome| outcome.answer.as_ref()) {
            hash.update(&answer.digest.to_le_bytes());
            for asset in &answer.assets {
                hash.update(asset.html().as_bytes());
            }
        }
    }
    format!("W/\"{:032x}\"", hash.digest128())
}
