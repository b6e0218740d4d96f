//! Decides how long an answer may be kept, and how fresh a kept one is.
//! A zero lifetime is always stale; what is doubtful is read as the shorter.
//!
//! This is the place of RFC 9111. So far it acts on `max-age`, `s-maxage`, `no-store`, `private`,
//! `no-cache`, `must-revalidate`, `proxy-revalidate`, `Age`, `Set-Cookie`, `Vary: *` and on the
//! `stale-*` of RFC 5861; `Expires`, validation and variants are still to come.

use std::time::{Duration, Instant};

use http::{HeaderMap, header};

use super::super::units::LONGEST;

/// What an answer's headers say about keeping it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// It may not be kept at all, nor shared among readers who ask at once.
    pub private: bool,
    /// It may be kept, but not be shown without asking again (RFC 9111, 5.2.2.4).
    pub no_cache: bool,
    /// It may never be shown once it is stale (RFC 9111, 5.2.2.2 and 5.2.2.8).
    pub must_revalidate: bool,
    /// Its freshness lifetime, less the age it came with (RFC 9111, 4.2).
    pub max_age: Option<Duration>,
    /// RFC 5861, 3.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861, 4.
    pub stale_if_error: Option<Duration>,
}

impl Directives {
    /// Reads them. Of a directive that stands twice the shorter counts (RFC 9111, 4.2.1).
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let mut found = Self {
            private: headers.contains_key(header::SET_COOKIE) || varies_on_everything(headers),
            ..Self::default()
        };
        let mut shared = None;
        let lines = headers.get_all(header::CACHE_CONTROL).iter();
        for line in lines {
            // A header that is no text may say anything: it is not kept.
            let Ok(line) = line.to_str() else {
                found.private = true;
                continue;
            };
            for directive in line.split(',') {
                let (name, value) = directive.split_once('=').map_or((directive, None), |(n, v)| (n, Some(v)));
                let seconds = || seconds(value);
                match name.trim().to_ascii_lowercase().as_str() {
                    "no-store" | "private" => found.private = true,
                    "no-cache" => found.no_cache = true,
                    "must-revalidate" | "proxy-revalidate" => found.must_revalidate = true,
                    "max-age" => shorter(&mut found.max_age, seconds()),
                    "s-maxage" => shorter(&mut shared, seconds()),
                    "stale-while-revalidate" => shorter(&mut found.stale_while_revalidate, seconds()),
                    "stale-if-error" => shorter(&mut found.stale_if_error, seconds()),
                    _ => {}
                }
            }
        }
        // RFC 9111, 5.2.2.10: `s-maxage` implies `proxy-revalidate`. Where the answer allows staleness
        // in the same breath, as many services do, its explicit word counts.
        let says_stale = found.stale_while_revalidate.is_some() || found.stale_if_error.is_some();
        found.must_revalidate |= shared.is_some() && !says_stale;
        found.max_age = shared.or(found.max_age);
        // RFC 9111, 5.1: time spent in caches before this one counts.
        if let (Some(max_age), Some(age)) = (&mut found.max_age, headers.get(header::AGE)) {
            *max_age = max_age.saturating_sub(seconds(age.to_str().ok()));
        }
        found
    }
}

fn varies_on_everything(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::VARY)
        .iter()
        .any(|value| value.to_str().map_or(true, |text| text.split(',').any(|name| name.trim() == "*")))
}

/// Delta-seconds (RFC 9111, 1.2.2): too large is very long, and what is no number is none.
fn seconds(value: Option<&str>) -> Duration {
    let text = value.unwrap_or_default().trim().trim_matches('"');
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Duration::ZERO;
    }
    text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST)
}

fn shorter(known: &mut Option<Duration>, found: Duration) {
    *known = Some(known.map_or(found, |known| known.min(found)));
}

/// What layout, manifest and settings say about keeping a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rules {
    /// The layout's `ttl`: freshness where the answer states none, and its cap where it does.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// From its arrival.
    pub fresh: Duration,
    /// Past that, while it is refreshed.
    pub while_revalidating: Duration,
    /// Past freshness, when the refresh fails.
    pub if_error: Duration,
}

impl Lifetime {
    /// How long there is any use in keeping it. Zero: it is not kept.
    #[must_use]
    pub fn useful(&self) -> Duration {
        self.fresh.saturating_add(self.while_revalidating.max(self.if_error)).min(LONGEST)
    }
}

/// How long an answer may be used under some rules. `explicit` asks for the answer's own word:
/// an answer that is no fragment is not kept by the grace of a layout.
#[must_use]
pub fn lifetime(directives: &Directives, rules: &Rules, explicit: bool) -> Lifetime {
    if directives.private || directives.no_cache {
        return Lifetime { fresh: Duration::ZERO, while_revalidating: Duration::ZERO, if_error: Duration::ZERO };
    }
    let fresh = match (directives.max_age, rules.ttl) {
        (Some(stated), Some(ttl)) => stated.min(ttl),
        (Some(stated), None) => stated,
        (None, _) if explicit => Duration::ZERO,
        (None, Some(ttl)) => ttl,
        (None, None) => rules.default_ttl,
    };
    let fresh = rules.max_ttl.map_or(fresh, |max| fresh.min(max));
    if directives.must_revalidate || explicit {
        return Lifetime { fresh, while_revalidating: Duration::ZERO, if_error: Duration::ZERO };
    }
    Lifetime {
        fresh,
        while_revalidating: directives.stale_while_revalidate.unwrap_or(rules.stale_while_revalidate),
        if_error: directives.stale_if_error.unwrap_or(rules.stale_if_error),
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

/// How fresh an answer is that arrived at `arrived`.
#[must_use]
pub fn freshness(arrived: Instant, lifetime: &Lifetime, now: Instant) -> Freshness {
    let age = now.saturating_duration_since(arrived);
    if age < lifetime.fresh {
        return Freshness::Fresh(lifetime.fresh - age);
    }
    let past = age - lifetime.fresh;
    if past < lifetime.while_revalidating {
        Freshness::Revalidate
    } else if past < lifetime.if_error {
        Freshness::IfError
    } else {
        Freshness::Expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn directives(lines: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, line.parse().expect("a value"));
        }
        Directives::read(&headers)
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_shorter_of_answer_and_layout_counts() {
        let layout = Rules { ttl: Some(s(20)), default_ttl: s(5), ..Rules::default() };
        let manifest = Rules { default_ttl: s(5), max_ttl: Some(s(30)), ..Rules::default() };
        for (line, rules, fresh) in [
            ("max-age=60", &layout, 20),
            ("max-age=10", &layout, 10),
            ("public", &layout, 20),
            ("public", &manifest, 5),
            ("max-age=60", &manifest, 30),
            ("max-age=60, s-maxage=10", &manifest, 10),
            ("s-maxage=25, max-age=1", &manifest, 25),
            ("max-age=0", &layout, 0),
            ("max-age=99999999999999999999999", &layout, 20),
            ("max-age=-1", &layout, 0),
            ("max-age=ten", &layout, 0),
            ("max-age=60, max-age=7", &layout, 7),
            ("no-store, max-age=60", &layout, 0),
            ("PRIVATE, max-age=60", &layout, 0),
            ("no-cache, max-age=60", &layout, 0),
            ("max-age=\"9\"", &layout, 9),
        ] {
            assert_eq!(lifetime(&directives(&[line]), rules, false).fresh, s(fresh), "{line}");
        }
    }

    #[test]
    fn a_cookie_or_vary_on_everything_is_never_kept() {
        for (name, value) in [("set-cookie", "a=b"), ("vary", "accept, *")] {
            let headers: HeaderMap = [("cache-control", "max-age=60"), (name, value)]
                .iter()
                .map(|(n, v)| (n.parse::<http::HeaderName>().expect("a name"), v.parse().expect("a value")))
                .collect();
            let rules = Rules { ttl: Some(s(600)), ..Rules::default() };
            assert_eq!(lifetime(&Directives::read(&headers), &rules, false).useful(), s(0), "{name}");
        }
    }

    #[test]
    fn age_is_taken_off() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, "max-age=60".parse().expect("a value"));
        headers.insert(header::AGE, "45".parse().expect("a value"));
        assert_eq!(Directives::read(&headers).max_age, Some(s(15)));
    }

    #[test]
    fn stale_windows_follow_freshness() {
        let now = Instant::now();
        let rules =
            Rules { ttl: Some(s(10)), stale_while_revalidate: s(20), stale_if_error: s(60), ..Rules::default() };
        let lifetime = |line| lifetime(&directives(&[line]), &rules, false);
        let at = |line, age| freshness(now, &lifetime(line), now + s(age));
        assert_eq!(at("public", 9), Freshness::Fresh(s(1)));
        assert_eq!(at("public", 10), Freshness::Revalidate);
        assert_eq!(at("public", 30), Freshness::IfError);
        assert_eq!(at("public", 70), Freshness::Expired);
        assert_eq!(at("must-revalidate", 10), Freshness::Expired);
        assert_eq!(at("s-maxage=10", 10), Freshness::Expired);
        assert_eq!(at("s-maxage=10, stale-while-revalidate=5", 14), Freshness::Revalidate);
        assert_eq!(at("max-age=5, stale-while-revalidate=1, stale-if-error=0", 6), Freshness::Expired);
    }

    #[test]
    fn what_is_no_fragment_is_kept_by_its_own_word_only() {
        let rules = Rules { ttl: Some(s(600)), stale_if_error: s(600), ..Rules::default() };
        assert_eq!(lifetime(&directives(&[]), &rules, true).useful(), s(0));
        assert_eq!(lifetime(&directives(&["max-age=5"]), &rules, true).fresh, s(5));
    }

    proptest! {
        #[test]
        fn no_layout_makes_a_private_answer_fresh(ttl in 0_u64..100_000, line in "(private|no-store|PRIVATE=\"x\")(, ?(max-age|s-maxage|stale-if-error)=[0-9]{1,4}){0,3}") {
            let rules = Rules { ttl: Some(s(ttl)), default_ttl: s(ttl), stale_while_revalidate: s(ttl), stale_if_error: s(ttl), ..Rules::default() };
            prop_assert_eq!(lifetime(&directives(&[&line]), &rules, false).useful(), Duration::ZERO);
        }

        #[test]
        fn freshness_only_ever_gets_worse(fresh in 0_u64..50, swr in 0_u64..50, sie in 0_u64..50, age in 0_u64..200) {
            let now = Instant::now();
            let lifetime = Lifetime { fresh: s(fresh), while_revalidating: s(swr), if_error: s(sie) };
            let rank = |age| match freshness(now, &lifetime, now + s(age)) {
                Freshness::Fresh(_) => 0, Freshness::Revalidate => 1, Freshness::IfError => 2, Freshness::Expired => 3,
            };
            prop_assert!(rank(age) <= rank(age + 1));
            prop_assert_eq!(rank(age) == 3, s(age) >= lifetime.useful());
        }
    }
}
