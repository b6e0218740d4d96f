//! Decides how long a response may be used, and how fresh a cached one is (RFC 9111, 4.2; RFC 5861).
//! A response whose lifetime is zero is always stale.

use std::time::{Duration, Instant};

use crate::page::source::units::LONGEST;

use super::directives::Directives;

/// How much longer a response with a validator is stored once it may no longer be shown, so that it can be
/// validated.
const VALIDATION_WINDOW: Duration = Duration::from_hours(1);
/// The shortest freshness lifetime that is refreshed early. Each response is refreshed at another time, so
/// that those that arrived together are not all requested together.
const EARLY_REFRESH_FROM: Duration = Duration::from_secs(10);
/// The divisor of a lifetime: a response is refreshed at most this fraction of its lifetime early.
const EARLY_REFRESH_FRACTION: u32 = 20;

/// The caching rules that the layout, the manifest and the settings state for a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FreshnessRules {
    /// The layout's `ttl`: the freshness lifetime if the response states none, and its upper bound if
    /// it does.
    // No other heuristic freshness (RFC 9111, 4.2.2) is applied, since neither layout nor service requested it.
    pub ttl: Option<Duration>,
    /// The freshness lifetime if neither the response nor the layout states one.
    pub default_ttl: Duration,
    /// The upper bound of every freshness lifetime.
    pub max_ttl: Option<Duration>,
    /// How long a response may be shown stale while it is refreshed, if it does not state that itself.
    pub stale_while_revalidate: Duration,
    /// How long a response may be shown stale if refreshing it fails, unless it states that itself.
    pub stale_if_error: Duration,
}

/// How long a response may be used, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// How long it is fresh, from its arrival on.
    pub fresh: Duration,
    /// How long after that it may be shown while it is refreshed.
    pub stale_while_revalidate: Duration,
    /// How long after its freshness it may be shown if refreshing it fails.
    pub stale_if_error: Duration,
    /// How long after all that it may be validated.
    pub validation: Duration,
}

impl Lifetime {
    /// How long the response is worth storing, from its arrival on. Zero: it is not stored.
    #[must_use]
    pub fn retention(&self) -> Duration {
        let shown = self.fresh.saturating_add(self.stale_while_revalidate.max(self.stale_if_error));
        shown.saturating_add(self.validation).min(LONGEST)
    }
}

/// What caching needs to know of a response besides its directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseTraits {
    /// It is a fragment, or states that there is nothing to show. Any other response (a 404, a redirect) is
    /// cached only if it states a lifetime, and is never shown stale.
    pub is_fragment: bool,
    /// It has an `ETag` or a `Last-Modified`, so it can be validated.
    pub has_validator: bool,
}

/// How long a response may be used under some rules.
#[must_use]
pub fn lifetime(directives: &Directives, rules: &FreshnessRules, traits: ResponseTraits) -> Lifetime {
    if directives.uncacheable.is_some() {
        return Lifetime::default();
    }
    let validation = if traits.has_validator { VALIDATION_WINDOW } else { Duration::ZERO };
    if directives.no_cache {
        return Lifetime { validation, ..Lifetime::default() };
    }
    let fresh = match (directives.max_age, rules.ttl) {
        (Some(stated), Some(ttl)) => stated.min(ttl),
        (Some(stated), None) => stated,
        (None, _) if !traits.is_fragment => Duration::ZERO,
        (None, Some(ttl)) => ttl,
        (None, None) => rules.default_ttl,
    };
    let fresh = rules.max_ttl.map_or(fresh, |max| fresh.min(max));
    let never_stale = directives.must_revalidate || !traits.is_fragment;
    let allowed = |stated: Option<Duration>, rule| if never_stale { Duration::ZERO } else { stated.unwrap_or(rule) };
    Lifetime {
        fresh,
        stale_while_revalidate: allowed(directives.stale_while_revalidate, rules.stale_while_revalidate),
        stale_if_error: allowed(directives.stale_if_error, rules.stale_if_error),
        validation,
    }
}

/// The times of a cached response that decide how fresh it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntryTimes {
    /// When its last byte arrived, or when it was last validated.
    pub arrived: Instant,
    /// When a soft purge made it stale.
    pub soft_purged: Option<Instant>,
    /// How early it is refreshed, from 0 (not early at all) to 1 (as early as is allowed).
    pub jitter: f64,
}

impl EntryTimes {
    /// The times of a response that has just arrived.
    #[must_use]
    pub const fn new(arrived: Instant, jitter: f64) -> Self {
        Self { arrived, soft_purged: None, jitter }
    }
}

/// How fresh a cached response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It may be shown for this long.
    Fresh(Duration),
    /// It may be shown while it is refreshed.
    Revalidate,
    /// It may be shown if refreshing it fails.
    IfError,
    /// It may not be shown.
    Expired,
}

/// How fresh a cached response is now.
#[must_use]
pub fn freshness(times: &EntryTimes, lifetime: &Lifetime, now: Instant) -> Freshness {
    let age = now.saturating_duration_since(times.arrived);
    let purged_at = times.soft_purged.map(|purged| purged.saturating_duration_since(times.arrived));
    let fresh = purged_at.map_or(lifetime.fresh, |purged_at| purged_at.min(lifetime.fresh));
    if age < fresh {
        return Freshness::Fresh(fresh - age);
    }
    let staleness = age - fresh;
    if staleness < lifetime.stale_while_revalidate {
        Freshness::Revalidate
    } else if staleness < lifetime.stale_if_error {
        Freshness::IfError
    } else {
        Freshness::Expired
    }
}

/// Whether a cached response that stays fresh for `left` should be refreshed while it is shown.
#[must_use]
pub fn is_refresh_due(times: &EntryTimes, lifetime: &Lifetime, left: Duration) -> bool {
    left < refresh_lead(times, lifetime)
}

/// How long before the end of its freshness a cached response is refreshed.
#[must_use]
pub fn refresh_lead(times: &EntryTimes, lifetime: &Lifetime) -> Duration {
    if lifetime.fresh < EARLY_REFRESH_FROM {
        return Duration::ZERO;
    }
    (lifetime.fresh / EARLY_REFRESH_FRACTION).mul_f64(times.jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::policy::cache::directives::{Arrival, CacheDirectives, Uncacheable};
    use http::{HeaderMap, header};
    use proptest::prelude::*;

    const FRAGMENT: ResponseTraits = ResponseTraits { is_fragment: true, has_validator: false };
    const NOT_FOUND: ResponseTraits = ResponseTraits { is_fragment: false, has_validator: false };

    fn directives(line: &str) -> Directives {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, line.parse().expect("it is a valid value"));
        CacheDirectives::read(&headers, Arrival { at: jiff::Timestamp::UNIX_EPOCH, delay: Duration::ZERO }).compositor
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_shorter_of_the_stated_and_the_allowed_lifetime_counts() {
        let layout = FreshnessRules { ttl: Some(s(20)), default_ttl: s(5), ..FreshnessRules::default() };
        let manifest = FreshnessRules { default_ttl: s(5), max_ttl: Some(s(30)), ..FreshnessRules::default() };
        for (line, rules, fresh) in [
            ("max-age=60", &layout, 20),
            ("max-age=10", &layout, 10),
            ("public", &layout, 20),
            ("public", &manifest, 5),
            ("max-age=60", &manifest, 30),
            ("max-age=60, s-maxage=10", &manifest, 10),
            ("max-age=0", &layout, 0),
            ("no-store, max-age=60", &layout, 0),
            ("PRIVATE, max-age=60", &layout, 0),
            ("no-cache, max-age=60", &layout, 0),
        ] {
            assert_eq!(lifetime(&directives(line), rules, FRAGMENT).fresh, s(fresh), "{line}");
        }
    }

    #[test]
    fn stale_windows_follow_freshness() {
        let now = Instant::now();
        let rules = FreshnessRules {
            ttl: Some(s(10)),
            stale_while_revalidate: s(20),
            stale_if_error: s(60),
            ..FreshnessRules::default()
        };
        let lifetime = |line| lifetime(&directives(line), &rules, FRAGMENT);
        let at = |line, age| freshness(&EntryTimes::new(now, 0.0), &lifetime(line), now + s(age));
        assert_eq!(at("public", 9), Freshness::Fresh(s(1)));
        assert_eq!(at("public", 10), Freshness::Revalidate);
        assert_eq!(at("public", 30), Freshness::IfError);
        assert_eq!(at("public", 70), Freshness::Expired);
        assert_eq!(at("must-revalidate", 10), Freshness::Expired);
        assert_eq!(at("proxy-revalidate", 10), Freshness::Expired);
        assert_eq!(at("s-maxage=10", 10), Freshness::Expired);
        assert_eq!(at("s-maxage=10, stale-while-revalidate=5", 14), Freshness::Revalidate);
        assert_eq!(at("max-age=5, stale-while-revalidate=1, stale-if-error=0", 6), Freshness::Expired);
        assert_eq!(at("no-cache, stale-if-error=60", 1), Freshness::Expired);
    }

    #[test]
    fn a_soft_purge_makes_an_entry_stale_and_leaves_its_stale_windows() {
        let now = Instant::now();
        let lifetime =
            Lifetime { fresh: s(100), stale_while_revalidate: s(10), stale_if_error: s(20), validation: s(0) };
        let times = EntryTimes { soft_purged: Some(now + s(30)), ..EntryTimes::new(now, 0.0) };
        assert_eq!(freshness(&times, &lifetime, now + s(30)), Freshness::Revalidate);
        assert_eq!(freshness(&times, &lifetime, now + s(41)), Freshness::IfError);
        assert_eq!(freshness(&times, &lifetime, now + s(50)), Freshness::Expired);
    }

    #[test]
    fn a_response_with_a_validator_is_stored_for_validation() {
        let validatable = ResponseTraits { has_validator: true, ..FRAGMENT };
        let retention = |line, traits| lifetime(&directives(line), &FreshnessRules::default(), traits).retention();
        assert_eq!(retention("no-cache", FRAGMENT), s(0));
        assert_eq!(retention("no-cache", validatable), VALIDATION_WINDOW);
        assert_eq!(retention("max-age=5", validatable), s(5) + VALIDATION_WINDOW);
        assert_eq!(retention("no-store", validatable), s(0));
    }

    #[test]
    fn a_response_that_is_not_a_fragment_is_cached_only_if_it_states_a_lifetime() {
        let rules = FreshnessRules { ttl: Some(s(600)), stale_if_error: s(600), ..FreshnessRules::default() };
        assert_eq!(lifetime(&directives("public"), &rules, NOT_FOUND).retention(), s(0));
        assert_eq!(lifetime(&directives("max-age=5"), &rules, NOT_FOUND).retention(), s(5));
    }

    #[test]
    fn responses_that_arrived_together_are_refreshed_at_different_times() {
        let now = Instant::now();
        let due = |fresh, jitter, left| {
            let lifetime = Lifetime { fresh: s(fresh), ..Lifetime::default() };
            is_refresh_due(&EntryTimes::new(now, jitter), &lifetime, s(left))
        };
        assert!(!due(100, 0.0, 1), "without jitter it is not refreshed early");
        assert!(due(100, 0.5, 2) && !due(100, 0.5, 3));
        assert!(due(100, 1.0, 4) && !due(100, 1.0, 5));
        assert!(!due(9, 1.0, 0), "a short lifetime is used in full");
    }

    proptest! {
        #[test]
        fn no_layout_makes_a_private_response_fresh(ttl in 0_u64..100_000, line in "(private|no-store|PRIVATE=\"x\")(, ?(max-age|s-maxage|stale-if-error)=[0-9]{1,4}){0,3}", has_validator: bool) {
            let rules = FreshnessRules { ttl: Some(s(ttl)), default_ttl: s(ttl), stale_while_revalidate: s(ttl), stale_if_error: s(ttl), ..FreshnessRules::default() };
            let directives = directives(&line);
            prop_assert!(matches!(directives.uncacheable, Some(Uncacheable::Private | Uncacheable::NoStore)));
            prop_assert_eq!(lifetime(&directives, &rules, ResponseTraits { is_fragment: true, has_validator }).retention(), Duration::ZERO);
        }

        #[test]
        fn freshness_only_ever_gets_worse(fresh in 0_u64..50, swr in 0_u64..50, sie in 0_u64..50, age in 0_u64..200, jitter in 0.0..1.0, soft_purged in proptest::option::of(0_u64..60)) {
            let now = Instant::now();
            let lifetime = Lifetime { fresh: s(fresh), stale_while_revalidate: s(swr), stale_if_error: s(sie), validation: s(0) };
            let times = EntryTimes { arrived: now, soft_purged: soft_purged.map(|at| now + s(at)), jitter };
            let rank = |age| match freshness(&times, &lifetime, now + s(age)) {
                Freshness::Fresh(_) => 0, Freshness::Revalidate => 1, Freshness::IfError => 2, Freshness::Expired => 3,
            };
            prop_assert!(rank(age) <= rank(age + 1));
            if s(age) >= lifetime.retention() {
                prop_assert_eq!(rank(age), 3);
            }
        }
    }
}
