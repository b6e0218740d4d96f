//! Decides how long an answer may be kept, and how fresh a kept one is (RFC 9111, 4.2; RFC 5861).
//! A zero lifetime is always stale.

use std::time::{Duration, Instant};

use crate::page::source::units::LONGEST;

use super::directives::Directives;

/// How long an answer is kept past all other use, only to be asked about whether it still holds.
const KEPT_TO_VALIDATE: Duration = Duration::from_hours(1);
/// Answers that are fresh for this long or longer are refreshed a little early, each at another time,
/// so that what came in at once is not asked for at once.
const EARLY_FROM: Duration = Duration::from_secs(10);
/// Early by at most one part of the lifetime in so many.
const EARLY: u32 = 20;

/// What layout, manifest and settings say about keeping a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FreshnessRules {
    /// The layout's `ttl`: freshness where the answer states none, and its cap where it does.
    // The only heuristic freshness (RFC 9111, 4.2.2) is one that somebody asked for.
    pub ttl: Option<Duration>,
    /// Freshness where neither answer nor layout states one.
    pub default_ttl: Duration,
    /// Caps every freshness.
    pub max_ttl: Option<Duration>,
    /// How long an old copy may be shown while it is refreshed, where the answer does not say.
    pub stale_while_revalidate: Duration,
    /// How long an old copy may be shown when the refresh fails, where the answer does not say.
    pub stale_if_error: Duration,
}

/// How long an answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// From its arrival.
    pub fresh: Duration,
    /// Past that, while it is refreshed.
    pub while_revalidating: Duration,
    /// Past freshness, when the refresh fails.
    pub if_error: Duration,
    /// Past all that, to be asked about.
    pub to_validate: Duration,
}

impl Lifetime {
    /// How long there is any use in keeping it. Zero: it is not kept.
    #[must_use]
    pub fn useful(&self) -> Duration {
        let shown = self.fresh.saturating_add(self.while_revalidating.max(self.if_error));
        shown.saturating_add(self.to_validate).min(LONGEST)
    }
}

/// What an answer is, as far as keeping it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// It is a fragment, or says that there is nothing to show; a 404 or a redirect is kept by its own
    /// word only, and never shown stale.
    pub fragment: bool,
    /// It can be asked about: it has an `ETag` or a `Last-Modified`.
    pub validatable: bool,
}

/// How long an answer may be used under some rules.
#[must_use]
pub fn lifetime(directives: &Directives, rules: &FreshnessRules, nature: Nature) -> Lifetime {
    if directives.never.is_some() {
        return Lifetime::default();
    }
    let to_validate = if nature.validatable { KEPT_TO_VALIDATE } else { Duration::ZERO };
    if directives.no_cache {
        return Lifetime { to_validate, ..Lifetime::default() };
    }
    let fresh = match (directives.max_age, rules.ttl) {
        (Some(stated), Some(ttl)) => stated.min(ttl),
        (Some(stated), None) => stated,
        (None, _) if !nature.fragment => Duration::ZERO,
        (None, Some(ttl)) => ttl,
        (None, None) => rules.default_ttl,
    };
    let fresh = rules.max_ttl.map_or(fresh, |max| fresh.min(max));
    let never_stale = directives.must_revalidate || !nature.fragment;
    let allowed = |stated: Option<Duration>, rule| if never_stale { Duration::ZERO } else { stated.unwrap_or(rule) };
    Lifetime {
        fresh,
        while_revalidating: allowed(directives.stale_while_revalidate, rules.stale_while_revalidate),
        if_error: allowed(directives.stale_if_error, rules.stale_if_error),
        to_validate,
    }
}

/// What happened to an answer since it came in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntryTimes {
    /// When its last byte came in, or when it was last found to hold still.
    pub arrived: Instant,
    /// When a soft purge made it stale.
    pub softened: Option<Instant>,
    /// How early it is refreshed: from 0 for not at all up to 1.
    pub early: f64,
}

impl EntryTimes {
    /// One that came in just now.
    #[must_use]
    pub const fn since(arrived: Instant, early: f64) -> Self {
        Self { arrived, softened: None, early }
    }
}

/// How fresh a kept answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It may be shown, for this long.
    Fresh(Duration),
    /// It may be shown while a new one is fetched.
    Revalidate,
    /// It may be shown if a new one cannot be had.
    IfError,
    /// It may not be shown.
    Expired,
}

/// How fresh a kept answer is now.
#[must_use]
pub fn freshness(kept: &EntryTimes, lifetime: &Lifetime, now: Instant) -> Freshness {
    let age = now.saturating_duration_since(kept.arrived);
    let softened = kept.softened.map(|softened| softened.saturating_duration_since(kept.arrived));
    let fresh = softened.map_or(lifetime.fresh, |softened| softened.min(lifetime.fresh));
    if age < fresh {
        return Freshness::Fresh(fresh - age);
    }
    let past = age - fresh;
    if past < lifetime.while_revalidating {
        Freshness::Revalidate
    } else if past < lifetime.if_error {
        Freshness::IfError
    } else {
        Freshness::Expired
    }
}

/// Whether a kept answer that is fresh for `left` more should be refreshed while it is shown.
#[must_use]
pub fn is_due(kept: &EntryTimes, lifetime: &Lifetime, left: Duration) -> bool {
    left < early(kept, lifetime)
}

/// How long before its end a kept answer is refreshed.
#[must_use]
pub fn early(kept: &EntryTimes, lifetime: &Lifetime) -> Duration {
    if lifetime.fresh < EARLY_FROM {
        return Duration::ZERO;
    }
    (lifetime.fresh / EARLY).mul_f64(kept.early.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::policy::cache::directives::{Arrival, Stated, Uncacheable};
    use http::{HeaderMap, header};
    use proptest::prelude::*;

    const FRAGMENT: Nature = Nature { fragment: true, validatable: false };
    const GONE: Nature = Nature { fragment: false, validatable: false };

    fn directives(line: &str) -> Directives {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, line.parse().expect("a value"));
        Stated::read(&headers, Arrival { at: jiff::Timestamp::UNIX_EPOCH, delay: Duration::ZERO }).here
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_shorter_of_answer_and_layout_counts() {
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
        let at = |line, age| freshness(&EntryTimes::since(now, 0.0), &lifetime(line), now + s(age));
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
    fn a_soft_purge_makes_stale_and_keeps_the_allowance() {
        let now = Instant::now();
        let lifetime = Lifetime { fresh: s(100), while_revalidating: s(10), if_error: s(20), to_validate: s(0) };
        let kept = EntryTimes { softened: Some(now + s(30)), ..EntryTimes::since(now, 0.0) };
        assert_eq!(freshness(&kept, &lifetime, now + s(30)), Freshness::Revalidate);
        assert_eq!(freshness(&kept, &lifetime, now + s(41)), Freshness::IfError);
        assert_eq!(freshness(&kept, &lifetime, now + s(50)), Freshness::Expired);
    }

    #[test]
    fn what_can_be_asked_about_is_kept_for_it() {
        let validatable = Nature { validatable: true, ..FRAGMENT };
        let useful = |line, nature| lifetime(&directives(line), &FreshnessRules::default(), nature).useful();
        assert_eq!(useful("no-cache", FRAGMENT), s(0));
        assert_eq!(useful("no-cache", validatable), KEPT_TO_VALIDATE);
        assert_eq!(useful("max-age=5", validatable), s(5) + KEPT_TO_VALIDATE);
        assert_eq!(useful("no-store", validatable), s(0));
    }

    #[test]
    fn what_is_no_fragment_is_kept_by_its_own_word_only() {
        let rules = FreshnessRules { ttl: Some(s(600)), stale_if_error: s(600), ..FreshnessRules::default() };
        assert_eq!(lifetime(&directives("public"), &rules, GONE).useful(), s(0));
        assert_eq!(lifetime(&directives("max-age=5"), &rules, GONE).useful(), s(5));
    }

    #[test]
    fn what_came_in_at_once_is_refreshed_one_after_another() {
        let now = Instant::now();
        let due = |fresh, early, left| {
            let lifetime = Lifetime { fresh: s(fresh), ..Lifetime::default() };
            is_due(&EntryTimes::since(now, early), &lifetime, s(left))
        };
        assert!(!due(100, 0.0, 1), "the last of them");
        assert!(due(100, 0.5, 2) && !due(100, 0.5, 3));
        assert!(due(100, 1.0, 4) && !due(100, 1.0, 5));
        assert!(!due(9, 1.0, 0), "a short lifetime is used to its end");
    }

    proptest! {
        #[test]
        fn no_layout_makes_a_private_answer_fresh(ttl in 0_u64..100_000, line in "(private|no-store|PRIVATE=\"x\")(, ?(max-age|s-maxage|stale-if-error)=[0-9]{1,4}){0,3}", validatable: bool) {
            let rules = FreshnessRules { ttl: Some(s(ttl)), default_ttl: s(ttl), stale_while_revalidate: s(ttl), stale_if_error: s(ttl), ..FreshnessRules::default() };
            let directives = directives(&line);
            prop_assert!(matches!(directives.never, Some(Uncacheable::Private | Uncacheable::NoStore)));
            prop_assert_eq!(lifetime(&directives, &rules, Nature { fragment: true, validatable }).useful(), Duration::ZERO);
        }

        #[test]
        fn freshness_only_ever_gets_worse(fresh in 0_u64..50, swr in 0_u64..50, sie in 0_u64..50, age in 0_u64..200, early in 0.0..1.0, soft in proptest::option::of(0_u64..60)) {
            let now = Instant::now();
            let lifetime = Lifetime { fresh: s(fresh), while_revalidating: s(swr), if_error: s(sie), to_validate: s(0) };
            let kept = EntryTimes { arrived: now, softened: soft.map(|soft| now + s(soft)), early };
            let rank = |age| match freshness(&kept, &lifetime, now + s(age)) {
                Freshness::Fresh(_) => 0, Freshness::Revalidate => 1, Freshness::IfError => 2, Freshness::Expired => 3,
            };
            prop_assert!(rank(age) <= rank(age + 1));
            if s(age) >= lifetime.useful() {
                prop_assert_eq!(rank(age), 3);
            }
        }
    }
}
