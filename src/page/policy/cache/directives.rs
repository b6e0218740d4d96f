//! Reads what a response states about caching: `Cache-Control` and related fields (RFC 9111, 5.2).
//! Doubtful values are read as the shorter lifetime: the smaller of two values, and zero for an invalid number.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::page::http::fields;
use crate::page::source::names::Name;
use crate::page::source::units::LONGEST;

/// The targeted field that only the compositor obeys (RFC 9213).
const TARGETED: HeaderName = HeaderName::from_static("fragment-cache-control");

/// Why a response is never cached, nor shared among clients that request it at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncacheable {
    /// It states `no-store` (RFC 9111, 5.2.2.5).
    NoStore,
    /// It states `private` (RFC 9111, 5.2.2.7).
    Private,
    /// It sets a cookie.
    SetCookie,
    /// It varies on this header, which is not declared context, or on everything, `*` (RFC 9111, 4.1).
    Vary(Name),
    /// Its request carried a client's credentials, and it does not allow sharing (RFC 9111, 3.5).
    Authorization,
    /// One of its caching fields cannot be read.
    Unreadable,
}

/// The reason in words, to follow "not cached: ".
impl fmt::Display for Uncacheable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStore => f.write_str("the response is `no-store`"),
            Self::Private => f.write_str("the response is `private`"),
            Self::SetCookie => f.write_str("the response sets a cookie"),
            Self::Vary(name) if &**name == "*" => f.write_str("the response varies on everything (`Vary: *`)"),
            Self::Vary(name) => {
                write!(f, "the response varies on `{name}`, which the manifest does not declare as context")
            }
            Self::Authorization => {
                f.write_str("the request carried a client's `Authorization`, and the response is not `public`")
            }
            Self::Unreadable => f.write_str("the response's `Cache-Control` cannot be read"),
        }
    }
}

/// What a response's headers state about caching it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// Why it may be neither stored nor shared among clients that request it at the same time, if so.
    pub uncacheable: Option<Uncacheable>,
    /// It may be stored, but not be shown without validation (RFC 9111, 5.2.2.4).
    pub no_cache: bool,
    /// It may never be shown once it is stale (RFC 9111, 5.2.2.2 and 5.2.2.8).
    pub must_revalidate: bool,
    /// It states `must-revalidate` itself, which binds browsers too.
    pub browsers_must_revalidate: bool,
    /// How long browsers may cache it, if shared caches have another lifetime, `s-maxage`.
    pub browser_max_age: Option<Duration>,
    /// It may be shared even if its request carried credentials (RFC 9111, 3.5).
    pub public: bool,
    /// Its freshness lifetime, less its age when it arrived (RFC 9111, 4.2).
    pub max_age: Option<Duration>,
    /// How long it may be shown stale while it is refreshed (RFC 5861, 3).
    pub stale_while_revalidate: Option<Duration>,
    /// How long it may be shown stale if refreshing it fails (RFC 5861, 4).
    pub stale_if_error: Option<Duration>,
}

/// What a response states about caching, to the compositor and to caches downstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheDirectives {
    /// The directives that the compositor obeys.
    pub compositor: Directives,
    /// The directives that caches downstream obey, if they differ.
    pub downstream: Option<Box<Directives>>,
}

/// When a response arrived, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The time of day at which its head arrived.
    pub at: Timestamp,
    /// The time from sending the request to the head of the response, by which it may have aged already
    /// (RFC 9111, 4.2.3).
    pub delay: Duration,
}

impl Directives {
    /// Whether the response may be shown again without validation, and shared among clients.
    #[must_use]
    pub const fn is_reusable(&self) -> bool {
        self.uncacheable.is_none() && !self.no_cache
    }
}

impl CacheDirectives {
    /// Reads a response's headers. For the compositor, a valid `Fragment-Cache-Control` replaces
    /// `Cache-Control` and `Expires` (RFC 9213, 2.2); an empty or malformed one counts as absent.
    #[must_use]
    pub fn read(headers: &HeaderMap, arrival: Arrival) -> Self {
        let age = initial_age(headers, arrival.delay);
        let mut common = cache_control(headers);
        if common.max_age.is_none() {
            common.max_age = expires(headers, arrival.at);
        }
        let aged = |mut directives: Directives| {
            directives.max_age = directives.max_age.map(|lifetime| lifetime.saturating_sub(age));
            directives.browser_max_age = directives.browser_max_age.map(|lifetime| lifetime.saturating_sub(age));
            if headers.contains_key(header::SET_COOKIE) {
                directives.uncacheable.get_or_insert(Uncacheable::SetCookie);
            }
            directives
        };
        match targeted(headers) {
            Some(targeted) => Self { compositor: aged(targeted), downstream: Some(Box::new(aged(common))) },
            None => Self { compositor: aged(common), downstream: None },
        }
    }

    /// The directives that caches downstream obey.
    #[must_use]
    pub fn downstream(&self) -> &Directives {
        self.downstream.as_deref().unwrap_or(&self.compositor)
    }

    /// Whether a page that shows the response is for one client only.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.compositor.uncacheable.is_some() || self.downstream().uncacheable.is_some()
    }

    /// Makes the response uncacheable, here and downstream. A reason that is known already stays.
    pub fn mark_uncacheable(&mut self, reason: &Uncacheable) {
        self.compositor.uncacheable.get_or_insert_with(|| reason.clone());
        if let Some(downstream) = &mut self.downstream {
            downstream.uncacheable.get_or_insert_with(|| reason.clone());
        }
    }
}

/// Collects directives in the order of the header, before the rules of precedence are applied.
#[derive(Default)]
struct Collector {
    directives: Directives,
    s_maxage: Option<Duration>,
}

impl Collector {
    /// Adds a directive. `seconds` is its value, and zero if it has no valid one.
    fn add(&mut self, name: &str, seconds: Duration) {
        let found = &mut self.directives;
        match name {
            "no-store" => found.uncacheable = Some(Uncacheable::NoStore),
            // With a list of fields, it may be treated as if it had none (5.2.2.7, 5.2.2.4).
            "private" => {
                found.uncacheable.get_or_insert(Uncacheable::Private);
            }
            "no-cache" => found.no_cache = true,
            "must-revalidate" | "proxy-revalidate" => {
                found.must_revalidate = true;
                found.browsers_must_revalidate |= name == "must-revalidate";
                found.public |= name == "must-revalidate";
            }
            "public" => found.public = true,
            "max-age" => keep_shorter(&mut found.max_age, seconds),
            "s-maxage" => keep_shorter(&mut self.s_maxage, seconds),
            "stale-while-revalidate" => keep_shorter(&mut found.stale_while_revalidate, seconds),
            "stale-if-error" => keep_shorter(&mut found.stale_if_error, seconds),
            // Unknown directives are ignored (5.2.3).
            _ => {}
        }
    }

    /// Applies the rules of precedence.
    fn finish(self) -> Directives {
        let mut found = self.directives;
        // 5.2.2.10: `s-maxage` implies `proxy-revalidate`. Many services send it together with a directive
        // that allows staleness; then the explicit directive counts.
        let allows_stale = found.stale_while_revalidate.is_some() || found.stale_if_error.is_some();
        found.must_revalidate |= self.s_maxage.is_some() && !allows_stale;
        found.public |= self.s_maxage.is_some();
        // 5.2.2.10: `s-maxage` is for shared caches only. Browsers obey `max-age`, and cache nothing without it.
        found.browser_max_age = self.s_maxage.map(|_| found.max_age.unwrap_or_default());
        // 4.2.1: in a shared cache, `s-maxage` takes precedence.
        found.max_age = self.s_maxage.or(found.max_age);
        found
    }
}

/// Reads `Cache-Control` (RFC 9111, 5.2).
fn cache_control(headers: &HeaderMap) -> Directives {
    let mut found = Collector::default();
    for line in headers.get_all(header::CACHE_CONTROL) {
        // A line that is not text, or has an unclosed quotation mark, may hold any directive.
        let split = line.to_str().ok().map(|text| fields::split(text, b','));
        if split.as_ref().is_none_or(|split| !split.closed) {
            found.directives.uncacheable.get_or_insert(Uncacheable::Unreadable);
        }
        for member in split.iter().flat_map(|split| &split.members) {
            let (name, value) = fields::pair(member);
            found.add(&name, value.as_deref().map_or(Duration::ZERO, delta_seconds));
        }
    }
    found.finish()
}

/// Reads the targeted field, a dictionary of structured fields (RFC 9213, 2.1). `None` if it is absent,
/// empty or malformed.
fn targeted(headers: &HeaderMap) -> Option<Directives> {
    let lines: Result<Vec<&str>, _> = headers.get_all(TARGETED).iter().map(HeaderValue::to_str).collect();
    let dictionary: Dictionary = Parser::new(&lines.ok()?.join(", ")).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut found = Collector::default();
    for (name, entry) in &dictionary {
        let number = match entry {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::Boolean(false) => continue,
                BareItem::Integer(seconds) => u64::try_from(i64::from(*seconds)).unwrap_or_default(),
                _ => 0,
            },
            ListEntry::InnerList(_) => 0,
        };
        found.add(name.as_str(), Duration::from_secs(number).min(LONGEST));
    }
    Some(found.finish())
}

/// The lifetime by `Expires`, counted from `Date`, or from the time of arrival if there is no `Date`
/// (RFC 9111, 5.3 and 4.2.1).
fn expires(headers: &HeaderMap, arrived: Timestamp) -> Option<Duration> {
    let date = headers.get(header::DATE).and_then(fields::http_date).unwrap_or_else(|| SystemTime::from(arrived));
    let lifetimes = headers.get_all(header::EXPIRES).iter().map(|value| {
        // An invalid date, above all `0`, is a time in the past (5.3).
        fields::http_date(value).and_then(|expires| expires.duration_since(date).ok()).unwrap_or_default()
    });
    lifetimes.min().map(|lifetime| lifetime.min(LONGEST))
}

/// The age of a response when it arrives: its `Age` plus the response delay (RFC 9111, 4.2.3).
// `Date` is not used, although the RFC's apparent age is: nanoservices are requested directly, so `Age` is
// trusted (which the same section allows), and a service whose clock is behind would never be cached.
fn initial_age(headers: &HeaderMap, delay: Duration) -> Duration {
    // 5.1: of a list the first member counts, and an invalid number is ignored.
    let age = fields::members(headers, &header::AGE).next().filter(|text| is_number(text));
    // 1.2.2: ages are whole seconds.
    age.map_or(Duration::ZERO, delta_seconds).saturating_add(Duration::from_secs(delay.as_secs()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Parses delta-seconds (RFC 9111, 1.2.2). A number that is too large becomes [`LONGEST`], an invalid one zero.
fn delta_seconds(text: &str) -> Duration {
    if !is_number(text) {
        return Duration::ZERO;
    }
    text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST)
}

fn keep_shorter(known: &mut Option<Duration>, found: Duration) {
    *known = Some(known.map_or(found, |known| known.min(found)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_cache_semantics::{CacheOptions, CachePolicy};
    use proptest::prelude::*;

    const NOON: &str = "Sat, 21 Nov 2026 12:00:00 GMT";

    fn arrival() -> Arrival {
        Arrival { at: "2026-11-21T12:00:00Z".parse().expect("it is a valid time"), delay: Duration::ZERO }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                name.parse::<HeaderName>().expect("it is a valid name"),
                value.parse().expect("it is a valid value"),
            );
        }
        headers
    }

    fn read(lines: &[(&str, &str)]) -> CacheDirectives {
        CacheDirectives::read(&headers(lines), arrival())
    }

    const fn s(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn s_maxage_precedes_max_age_and_max_age_precedes_expires() {
        const CC: &str = "cache-control";
        for (lines, lifetime) in [
            (&[(CC, "max-age=60")][..], s(60)),
            (&[(CC, "s-maxage=25, max-age=1")], s(25)),
            (&[(CC, "max-age=60"), ("expires", NOON)], s(60)),
            (&[("expires", "Sat, 21 Nov 2026 12:00:30 GMT")], s(30)),
            (&[("expires", "Sat, 21 Nov 2026 12:00:30 GMT"), ("date", "Sat, 21 Nov 2026 12:00:20 GMT")], s(10)),
            (&[("expires", "Saturday, 21-Nov-26 12:00:30 GMT")], s(30)),
            (&[("expires", "0")], s(0)),
            (&[("expires", "Sat, 21 Nov 2020 12:00:30 GMT")], s(0)),
            (&[("expires", "Sat, 21 Nov 2026 12:00:30 GMT"), ("expires", "0")], s(0)),
            (&[("date", NOON)], None),
            (&[(CC, "max-age=60"), ("age", "45")], s(15)),
            (&[(CC, "max-age=60"), ("age", "90")], s(0)),
            (&[(CC, "max-age=60"), ("age", "45, 3")], s(15)),
            (&[(CC, "max-age=60"), ("age", "-1")], s(60)),
            (&[("expires", "Sat, 21 Nov 2026 12:00:30 GMT"), ("age", "20")], s(10)),
            (&[(CC, "max-age=-1")], s(0)),
            (&[(CC, "max-age=ten")], s(0)),
            (&[(CC, "max-age")], s(0)),
            (&[(CC, "max-age=1.5")], s(0)),
            (&[(CC, "max-age=60, max-age=7")], s(7)),
            (&[(CC, "max-age=7"), (CC, "MAX-AGE=\"60\"")], s(7)),
            (&[(CC, "max-age=99999999999999999999999")], Some(LONGEST)),
            (&[(CC, "x=\"max-age=5\", max-age=60")], s(60)),
        ] {
            assert_eq!(read(lines).compositor.max_age, lifetime, "{lines:?}");
        }
    }

    #[test]
    fn the_response_delay_counts_as_age() {
        let late = Arrival { delay: Duration::from_secs(4), ..arrival() };
        let lines = headers(&[("cache-control", "max-age=60"), ("age", "6")]);
        assert_eq!(CacheDirectives::read(&lines, late).compositor.max_age, s(50));
    }

    #[test]
    fn an_uncacheable_response_has_a_reason() {
        for (name, value, reason) in [
            ("cache-control", "no-store, max-age=60", Uncacheable::NoStore),
            ("cache-control", "max-age=60, PRIVATE", Uncacheable::Private),
            ("cache-control", "private=\"x-name\", max-age=60", Uncacheable::Private),
            ("cache-control", "max-age=60, x=\"open", Uncacheable::Unreadable),
            ("set-cookie", "a=b", Uncacheable::SetCookie),
        ] {
            assert_eq!(read(&[(name, value)]).compositor.uncacheable, Some(reason), "{name}: {value}");
        }
        assert_eq!(read(&[("cache-control", "x=\"no-store\", max-age=60")]).compositor.uncacheable, None);
    }

    #[test]
    fn a_targeted_field_binds_only_the_compositor() {
        let both = |targeted: &str| {
            let stated = read(&[("cache-control", "max-age=5, private"), ("fragment-cache-control", targeted)]);
            (stated.compositor.clone(), stated.downstream().clone())
        };
        let (compositor, downstream) = both("max-age=600, stale-if-error=60");
        assert_eq!((compositor.uncacheable, compositor.max_age, compositor.stale_if_error), (None, s(600), s(60)));
        assert_eq!((downstream.uncacheable, downstream.max_age), (Some(Uncacheable::Private), s(5)));
        // RFC 9213, 2.1: a malformed or empty field counts as absent.
        for malformed in ["", "max-age=", "max age", "MAX-AGE=6", "=5"] {
            assert_eq!(both(malformed).0.uncacheable, Some(Uncacheable::Private), "`{malformed}`");
        }
        assert_eq!(both("no-store").0.uncacheable, Some(Uncacheable::NoStore));
        assert_eq!(both("no-store=?0, max-age=9").0.max_age, s(9));
        for invalid in ["max-age=-5", "max-age=\"9\"", "max-age=9.5", "max-age=(9)", "max-age"] {
            assert_eq!(both(invalid).0.max_age, s(0), "`{invalid}`");
        }
    }

    #[test]
    fn a_cookie_overrides_a_targeted_field() {
        let stated = read(&[("fragment-cache-control", "max-age=600"), ("set-cookie", "a=b")]);
        assert_eq!(stated.compositor.uncacheable, Some(Uncacheable::SetCookie));
    }

    proptest! {
        /// The crate http-cache-semantics, an independent implementation, is the oracle.
        #[test]
        fn lifetimes_agree_with_an_independent_implementation(
            max_age in proptest::option::of(0_u32..100), shared in proptest::option::of(0_u32..100),
            expires in proptest::option::of(0_u32..60), age in proptest::option::of(0_u32..100),
            flags in proptest::sample::subsequence(vec!["no-store", "private", "no-cache", "must-revalidate", "public"], 0..4),
        ) {
            let mut directives: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            directives.extend(max_age.map(|seconds| format!("max-age={seconds}")));
            directives.extend(shared.map(|seconds| format!("s-maxage={seconds}")));
            let mut lines = vec![("date".to_owned(), NOON.to_owned())];
            if !directives.is_empty() {
                lines.push(("cache-control".to_owned(), directives.join(", ")));
            }
            lines.extend(expires.map(|second| ("expires".to_owned(), format!("Sat, 21 Nov 2026 12:00:{second:02} GMT"))));
            lines.extend(age.map(|seconds| ("age".to_owned(), seconds.to_string())));
            let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();

            let mut response = http::Response::new(());
            *response.headers_mut() = headers(&lines);
            let now = SystemTime::from(arrival().at);
            let policy = CachePolicy::new_options(&http::Request::new(()), &response, now, CacheOptions::default());
            let ours = read(&lines).compositor;
            if policy.is_storable() {
                prop_assert_eq!(&ours.uncacheable, &None);
                let fresh = if ours.no_cache { Duration::ZERO } else { ours.max_age.unwrap_or_default() };
                prop_assert_eq!(fresh, policy.time_to_live(now));
            } else {
                // It also rejects a response that states no lifetime at all; here a layout's ttl may give it one.
                prop_assert!(ours.uncacheable.is_some() || ours.max_age.is_none());
            }
        }
    }
}
