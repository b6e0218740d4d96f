//! Reads what an answer says about keeping it: `Cache-Control` and its kin (RFC 9111, 5.2).
//! What is doubtful is read as the shorter: of two values the smaller, of what is no number zero.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::page::http::fields;
use crate::page::source::names::Name;
use crate::page::source::units::LONGEST;

/// `Fragment-Cache-Control` speaks to the compositor alone (RFC 9213).
const TARGETED: HeaderName = HeaderName::from_static("fragment-cache-control");

/// Why an answer is never kept, nor shared among readers who ask at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncacheable {
    /// `no-store` (RFC 9111, 5.2.2.5)
    NoStore,
    /// `private` (RFC 9111, 5.2.2.7)
    Private,
    /// It sets a cookie.
    SetCookie,
    /// It varies on this, which is not declared context (RFC 9111, 4.1), or on everything (`*`).
    Vary(Name),
    /// It answers a reader's credentials, and does not say that others may see it (RFC 9111, 3.5).
    Authorization,
    /// A field that speaks of keeping it cannot be read.
    Unreadable,
}

impl Uncacheable {
    /// Why, in words.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::NoStore => "it says `no-store`".to_owned(),
            Self::Private => "it says `private`".to_owned(),
            Self::SetCookie => "it sets a cookie".to_owned(),
            Self::Vary(name) if &**name == "*" => "it varies on everything".to_owned(),
            Self::Vary(name) => format!("it varies on `{name}`, which its manifest does not declare as context"),
            Self::Authorization => "it answers a reader's `Authorization`, and is not `public`".to_owned(),
            Self::Unreadable => "its `Cache-Control` cannot be read".to_owned(),
        }
    }
}

/// What an answer's headers say about keeping it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// It may not be kept at all, nor shared among readers who ask at once.
    pub never: Option<Uncacheable>,
    /// It may be kept, but not be shown without asking again (RFC 9111, 5.2.2.4).
    pub no_cache: bool,
    /// It may never be shown once it is stale (RFC 9111, 5.2.2.2 and 5.2.2.8).
    pub must_revalidate: bool,
    /// It says `must-revalidate` itself, which holds for browsers too.
    pub for_browsers_too: bool,
    /// How long browsers may keep it, where it says so apart from shared caches: beside `s-maxage`.
    pub in_browsers: Option<Duration>,
    /// Those may share it whose request held credentials (RFC 9111, 3.5).
    pub public: bool,
    /// Its freshness lifetime, less the age it came with (RFC 9111, 4.2).
    pub max_age: Option<Duration>,
    /// RFC 5861, 3.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861, 4.
    pub stale_if_error: Option<Duration>,
}

/// What an answer says, to the compositor and to caches behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stated {
    /// What the compositor goes by.
    pub here: Directives,
    /// What caches downstream go by, where that is something else.
    pub downstream: Option<Box<Directives>>,
}

/// When and how an answer came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The time of day.
    pub at: Timestamp,
    /// From sending the request to the head of the answer: it may be that old already (RFC 9111, 4.2.3).
    pub delay: Duration,
}

impl Stated {
    /// Reads it. A valid `Fragment-Cache-Control` takes the place of `Cache-Control` and `Expires`
    /// for the compositor alone (RFC 9213, 2.2); an empty or malformed one is as if it were not there.
    #[must_use]
    pub fn read(headers: &HeaderMap, arrival: Arrival) -> Self {
        let age = initial_age(headers, arrival.delay);
        let mut common = cache_control(headers);
        if common.max_age.is_none() {
            common.max_age = expires(headers, arrival.at);
        }
        let younger = |mut directives: Directives| {
            directives.max_age = directives.max_age.map(|lifetime| lifetime.saturating_sub(age));
            directives.in_browsers = directives.in_browsers.map(|lifetime| lifetime.saturating_sub(age));
            if headers.contains_key(header::SET_COOKIE) {
                directives.never.get_or_insert(Uncacheable::SetCookie);
            }
            directives
        };
        match targeted(headers) {
            Some(targeted) => Self { here: younger(targeted), downstream: Some(Box::new(younger(common))) },
            None => Self { here: younger(common), downstream: None },
        }
    }

    /// What caches downstream go by.
    #[must_use]
    pub fn downstream(&self) -> &Directives {
        self.downstream.as_deref().unwrap_or(&self.here)
    }

    /// Whether no page that shows it is anybody else's.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.here.never.is_some() || self.downstream().never.is_some()
    }

    /// Rules out that it is ever kept, here or downstream.
    pub fn never(&mut self, why: &Uncacheable) {
        self.here.never.get_or_insert_with(|| why.clone());
        if let Some(downstream) = &mut self.downstream {
            downstream.never.get_or_insert_with(|| why.clone());
        }
    }
}

/// Directives as they are met, before those that outrank others do.
#[derive(Default)]
struct Found {
    directives: Directives,
    shared: Option<Duration>,
}

impl Found {
    /// Takes a directive. `seconds` is its number; zero where it has none.
    fn take(&mut self, name: &str, seconds: Duration) {
        let found = &mut self.directives;
        match name {
            "no-store" => found.never = Some(Uncacheable::NoStore),
            // With a list of fields it may be read as without one (5.2.2.7, 5.2.2.4).
            "private" => {
                found.never.get_or_insert(Uncacheable::Private);
            }
            "no-cache" => found.no_cache = true,
            "must-revalidate" | "proxy-revalidate" => {
                found.must_revalidate = true;
                found.for_browsers_too |= name == "must-revalidate";
                found.public |= name == "must-revalidate";
            }
            "public" => found.public = true,
            "max-age" => shorter(&mut found.max_age, seconds),
            "s-maxage" => shorter(&mut self.shared, seconds),
            "stale-while-revalidate" => shorter(&mut found.stale_while_revalidate, seconds),
            "stale-if-error" => shorter(&mut found.stale_if_error, seconds),
            // An unknown directive is passed over (5.2.3).
            _ => {}
        }
    }

    fn finish(self) -> Directives {
        let mut found = self.directives;
        // 5.2.2.10: `s-maxage` implies `proxy-revalidate`. Where the answer allows staleness in the
        // same breath, as many services do, its explicit word counts.
        let says_stale = found.stale_while_revalidate.is_some() || found.stale_if_error.is_some();
        found.must_revalidate |= self.shared.is_some() && !says_stale;
        found.public |= self.shared.is_some();
        // 5.2.2.10 speaks to shared caches; browsers go by `max-age`, and without one they keep nothing.
        found.in_browsers = self.shared.map(|_| found.max_age.unwrap_or_default());
        // 4.2.1: a shared cache goes by `s-maxage` first.
        found.max_age = self.shared.or(found.max_age);
        found
    }
}

/// RFC 9111, 5.2.
fn cache_control(headers: &HeaderMap) -> Directives {
    let mut found = Found::default();
    for line in headers.get_all(header::CACHE_CONTROL) {
        // A line that is no text, or whose quotes are open, may say anything.
        let split = line.to_str().ok().map(|text| fields::split(text, b','));
        if split.as_ref().is_none_or(|split| !split.closed) {
            found.directives.never.get_or_insert(Uncacheable::Unreadable);
        }
        for member in split.iter().flat_map(|split| &split.members) {
            let (name, value) = fields::pair(member);
            found.take(&name, value.as_deref().map_or(Duration::ZERO, seconds));
        }
    }
    found.finish()
}

/// RFC 9213, 2.1: a dictionary of structured fields.
fn targeted(headers: &HeaderMap) -> Option<Directives> {
    let lines: Result<Vec<&str>, _> = headers.get_all(TARGETED).iter().map(http::HeaderValue::to_str).collect();
    let dictionary: Dictionary = Parser::new(&lines.ok()?.join(", ")).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut found = Found::default();
    for (name, entry) in &dictionary {
        let number = match entry {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::Boolean(false) => continue,
                BareItem::Integer(seconds) => u64::try_from(i64::from(*seconds)).unwrap_or_default(),
                _ => 0,
            },
            ListEntry::InnerList(_) => 0,
        };
        found.take(name.as_str(), Duration::from_secs(number).min(LONGEST));
    }
    Some(found.finish())
}

/// RFC 9111, 5.3, and 4.2.1: `Expires` less `Date`, or less the time of arrival where there is none.
fn expires(headers: &HeaderMap, arrived: Timestamp) -> Option<Duration> {
    let date = headers.get(header::DATE).and_then(date).unwrap_or_else(|| SystemTime::from(arrived));
    let lifetimes = headers.get_all(header::EXPIRES).iter().map(|value| {
        // What is no date, `0` above all, is a time that has passed.
        self::date(value).and_then(|expires| expires.duration_since(date).ok()).unwrap_or_default()
    });
    lifetimes.min().map(|lifetime| lifetime.min(LONGEST))
}

/// Any of the three forms of RFC 9110, 5.6.7.
fn date(value: &http::HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// RFC 9111, 4.2.3: the age that it came with and the time that it took to come.
// `Date` adds nothing to it: nanoservices are asked directly, so `Age` is trusted (the same section
// allows that), and a service whose clock is behind would never be cached.
fn initial_age(headers: &HeaderMap, delay: Duration) -> Duration {
    // 5.1: of a list the first member counts, and what is no number is passed over.
    let age = headers.get(header::AGE).and_then(|value| value.to_str().ok());
    let age = age.and_then(|text| text.split(',').next()).map(str::trim).filter(|text| is_number(text));
    // 1.2.2: ages are whole seconds.
    age.map_or(Duration::ZERO, seconds).saturating_add(Duration::from_secs(delay.as_secs()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Delta-seconds (RFC 9111, 1.2.2): too large is very long, and what is no number is none.
fn seconds(text: &str) -> Duration {
    if !is_number(text) {
        return Duration::ZERO;
    }
    text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST)
}

fn shorter(known: &mut Option<Duration>, found: Duration) {
    *known = Some(known.map_or(found, |known| known.min(found)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_cache_semantics::{CacheOptions, CachePolicy};
    use proptest::prelude::*;

    const NOON: &str = "Sat, 21 Nov 2026 12:00:00 GMT";

    fn arrival() -> Arrival {
        Arrival { at: "2026-11-21T12:00:00Z".parse().expect("a time"), delay: Duration::ZERO }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        headers
    }

    fn read(lines: &[(&str, &str)]) -> Stated {
        Stated::read(&headers(lines), arrival())
    }

    const fn s(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_lifetime_is_s_maxage_else_max_age_else_expires() {
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
            assert_eq!(read(lines).here.max_age, lifetime, "{lines:?}");
        }
    }

    #[test]
    fn an_answer_that_was_long_under_way_is_that_old() {
        let late = Arrival { delay: Duration::from_secs(4), ..arrival() };
        let lines = headers(&[("cache-control", "max-age=60"), ("age", "6")]);
        assert_eq!(Stated::read(&lines, late).here.max_age, s(50));
    }

    #[test]
    fn what_is_never_kept_says_why() {
        for (name, value, why) in [
            ("cache-control", "no-store, max-age=60", Uncacheable::NoStore),
            ("cache-control", "max-age=60, PRIVATE", Uncacheable::Private),
            ("cache-control", "private=\"x-name\", max-age=60", Uncacheable::Private),
            ("cache-control", "max-age=60, x=\"open", Uncacheable::Unreadable),
            ("set-cookie", "a=b", Uncacheable::SetCookie),
        ] {
            assert_eq!(read(&[(name, value)]).here.never, Some(why), "{name}: {value}");
        }
        assert_eq!(read(&[("cache-control", "x=\"no-store\", max-age=60")]).here.never, None);
    }

    #[test]
    fn a_targeted_field_speaks_for_the_compositor_alone() {
        let both = |targeted: &str| {
            let stated = read(&[("cache-control", "max-age=5, private"), ("fragment-cache-control", targeted)]);
            (stated.here.clone(), stated.downstream().clone())
        };
        let (here, downstream) = both("max-age=600, stale-if-error=60");
        assert_eq!((here.never, here.max_age, here.stale_if_error), (None, s(600), s(60)));
        assert_eq!((downstream.never, downstream.max_age), (Some(Uncacheable::Private), s(5)));
        // RFC 9213, 2.1: malformed or empty, it is not there.
        for malformed in ["", "max-age=", "max age", "MAX-AGE=6", "=5"] {
            assert_eq!(both(malformed).0.never, Some(Uncacheable::Private), "`{malformed}`");
        }
        assert_eq!(both("no-store").0.never, Some(Uncacheable::NoStore));
        assert_eq!(both("no-store=?0, max-age=9").0.max_age, s(9));
        for doubtful in ["max-age=-5", "max-age=\"9\"", "max-age=9.5", "max-age=(9)", "max-age"] {
            assert_eq!(both(doubtful).0.max_age, s(0), "`{doubtful}`");
        }
    }

    #[test]
    fn a_cookie_outranks_a_targeted_field() {
        let stated = read(&[("fragment-cache-control", "max-age=600"), ("set-cookie", "a=b")]);
        assert_eq!(stated.here.never, Some(Uncacheable::SetCookie));
    }

    proptest! {
        /// The crate http-cache-semantics as an oracle: an implementation by other hands.
        #[test]
        fn lifetimes_are_those_of_another_implementation(
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
            let ours = read(&lines).here;
            if policy.is_storable() {
                prop_assert_eq!(&ours.never, &None);
                let fresh = if ours.no_cache { Duration::ZERO } else { ours.max_age.unwrap_or_default() };
                prop_assert_eq!(fresh, policy.time_to_live(now));
            } else {
                // It also calls unstorable what states no lifetime at all; a layout's ttl may state one.
                prop_assert!(ours.never.is_some() || ours.max_age.is_none());
            }
        }
    }
}
