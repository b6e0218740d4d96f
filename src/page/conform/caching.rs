//! The rules about keeping an answer and renewing it.
//! What a cache would read as "doubtful, so shorter" is told here as what it is.

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::page::http::fields::{is_entity_tag, split};
use crate::page::visit::context::is_token;

use super::exchange::{Exchange, Purpose, Reply};
use super::fields::{clip, date, joined, shown, token_or_quoted};
use super::{Case, Opinion};

/// For the compositor alone, over `Cache-Control` (RFC 9213).
const TARGETED: HeaderName = HeaderName::from_static("fragment-cache-control");

/// Directives whose value is a number of seconds.
const SECONDS: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];

/// Directives of one header: names in lower case, values without quotes.
type Directives<'h> = Vec<(String, Option<&'h str>)>;

pub(super) fn cache_control(case: &Case<'_>) -> Opinion {
    case.over(case.heads().map(|(name, reply)| {
        let opinion = match contradictions(&reply.headers) {
            Err(wrong) => Opinion::failed(clip(&wrong)),
            Ok(()) => match reply.headers.get(header::CACHE_CONTROL) {
                Some(value) => Opinion::passed(shown(value)),
                None => Opinion::passed("it has none"),
            },
        };
        (name, opinion)
    }))
}

fn contradictions(headers: &HeaderMap) -> Result<(), String> {
    for name in [header::CACHE_CONTROL, TARGETED] {
        if let Some(text) = joined(headers, &name)? {
            check(&name, &directives(&name, &text)?)?;
        }
    }
    if let Some(text) = joined(headers, &header::AGE)?
        && (text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(format!("`age: {text}` is no number of seconds"));
    }
    match joined(headers, &header::EXPIRES)? {
        // Not dates, and everybody's words for "has expired" (RFC 9111, 5.3).
        Some(text) if !matches!(text.as_str(), "0" | "-1") && date(&text).is_none() => {
            Err(format!("`expires: {text}` is no date of HTTP"))
        }
        _ => Ok(()),
    }
}

fn directives<'h>(header: &HeaderName, text: &'h str) -> Result<Directives<'h>, String> {
    let one = |member: &'h str| {
        let (name, value) = member.split_once('=').map_or((member, None), |(name, value)| (name, Some(value)));
        let value = match value {
            Some(value) => token_or_quoted(value).map(Some),
            None => Some(None),
        };
        match value {
            Some(value) if is_token(name) => Ok((name.to_ascii_lowercase(), value)),
            _ => Err(format!("`{header}`: `{member}` is no directive")),
        }
    };
    split(text, b',').members.into_iter().map(one).collect()
}

fn check(header: &HeaderName, directives: &Directives<'_>) -> Result<(), String> {
    let has = |wanted: &str| directives.iter().any(|(name, _)| name == wanted);
    for (index, (name, value)) in directives.iter().enumerate() {
        if directives[..index].iter().any(|(other, _)| other == name) {
            return Err(format!("`{header}` says `{name}` twice"));
        }
        let number = value.filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()));
        if SECONDS.contains(&name.as_str()) && number.is_none() {
            return Err(format!("`{header}`: `{name}` is `{}`, no number of seconds", value.unwrap_or_default()));
        }
    }
    // With a value, `private` speaks of the headers that it names, and not of the answer.
    let private = directives.iter().any(|(name, value)| name == "private" && value.is_none());
    let lasting = |name: &str| {
        let value = directives.iter().find(|(known, _)| known == name).and_then(|(_, value)| *value);
        value.is_some_and(|value| value.bytes().any(|b| b != b'0'))
    };
    let clashes = [
        (private && has("public"), "`private` and `public`"),
        (private && has("s-maxage"), "`private`, and `s-maxage` for caches that are shared"),
        (has("no-store") && has("public"), "`no-store` and `public`"),
        (has("no-store") && lasting("max-age"), "`no-store`, and `max-age` for how long it is kept"),
        (has("no-store") && lasting("s-maxage"), "`no-store`, and `s-maxage` for how long it is kept"),
    ];
    match clashes.iter().find(|(clash, _)| *clash) {
        Some((_, both)) => Err(format!("`{header}` says {both}")),
        None => Ok(()),
    }
}

pub(super) fn freshness(case: &Case<'_>) -> Opinion {
    let declared = case.subject.manifest.as_ref().and_then(|manifest| manifest.cache.ttl);
    case.over(case.heads().map(|(name, reply)| {
        let said = [TARGETED, header::CACHE_CONTROL].iter().find_map(|name| {
            let text = joined(&reply.headers, name).ok().flatten()?;
            let found = directives(name, &text).ok()?.into_iter().find_map(|(name, value)| match name.as_str() {
                "max-age" | "s-maxage" => Some(format!("{name}={}", value.unwrap_or_default())),
                "no-store" | "no-cache" | "private" => Some(name),
                _ => None,
            });
            found.map(|found| clip(&found))
        });
        let opinion = match said {
            Some(said) => Opinion::passed(said),
            None if reply.headers.contains_key(header::EXPIRES) => Opinion::passed("by Expires"),
            None => match declared {
                Some(ttl) => Opinion::passed(format!("the manifest says {}", crate::page::source::units::show(ttl))),
                None => Opinion::advice("nothing says how long it is good, so each page asks for it again"),
            },
        };
        (name, opinion)
    }))
}

pub(super) fn not_unasked_304(case: &Case<'_>) -> Opinion {
    let unasked = |purpose: &Purpose| !matches!(purpose, Purpose::Held(_) | Purpose::HeldOther);
    let found = case.all(unasked).filter_map(Exchange::head).any(|reply| reply.status == StatusCode::NOT_MODIFIED);
    if found { Opinion::failed("a request without conditions is answered with 304") } else { Opinion::passed("") }
}

pub(super) fn validation(case: &Case<'_>) -> Opinion {
    let malformed = case.heads().map(|(name, reply)| {
        let opinion = match validators(&reply.headers) {
            Ok(()) => Opinion::passed(""),
            Err(wrong) => Opinion::failed(clip(&wrong)),
        };
        (name, opinion)
    });
    let malformed = case.over(malformed);
    if malformed.0 != super::Verdict::Passed {
        return malformed;
    }
    let first = case.all(|purpose| *purpose == Purpose::Example(0)).find_map(Exchange::fragment);
    let Some((first, _)) = first else { return Opinion::skipped("no fragment came, so there is nothing to renew") };
    let held = case.all(|purpose| matches!(purpose, Purpose::Held(_))).next();
    let Some(held) = held else {
        return Opinion::advice("it has neither ETag nor Last-Modified, so each renewal costs a whole answer");
    };
    let Some(again) = held.head() else { return Opinion::failed("a conditional request is not answered") };
    match &held.purpose {
        Purpose::Held(Some(tag)) => by_tag(case, tag, again),
        _ => by_date(first, again),
    }
}

fn validators(headers: &HeaderMap) -> Result<(), String> {
    match joined(headers, &header::ETAG)? {
        Some(tag) if !is_entity_tag(tag.as_bytes()) => {
            return Err(format!("`etag: {tag}` is no tag: it is not in double quotes"));
        }
        _ => {}
    }
    match joined(headers, &header::LAST_MODIFIED)? {
        Some(text) if date(&text).is_none() => Err(format!("`last-modified: {text}` is no date of HTTP")),
        _ => Ok(()),
    }
}

fn by_tag(case: &Case<'_>, tag: &str, again: &Reply) -> Opinion {
    // A weak and a strong tag of one text renew the same thing (RFC 9110, 8.8.3.2).
    let bare = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let told = again.headers.get(header::ETAG).and_then(|value| value.to_str().ok()).map(bare);
    let same = told.as_deref() == Some(&bare(tag));
    let other = case.all(|purpose| *purpose == Purpose::HeldOther).find_map(Exchange::head);
    match (again.status.as_u16(), &other) {
        (304, _) if again.body.as_ref().is_ok_and(|body| !body.is_empty()) => Opinion::failed("its 304 has a body"),
        (304, _) if told.is_none() => Opinion::failed("its 304 comes without the ETag"),
        (304, _) if !same => Opinion::failed("its 304 comes with another ETag than what is held"),
        (304, Some(other)) if other.status == StatusCode::NOT_MODIFIED => {
            Opinion::failed("it answers 304 to a tag that it never gave")
        }
        (304, _) => Opinion::passed("304 for its own ETag"),
        (200, _) if told.is_some() && !same => Opinion::passed("its ETag changes with each answer"),
        (status, _) => Opinion::failed(format!("`If-None-Match` with its own ETag is answered with {status}, not 304")),
    }
}

fn by_date(first: &Reply, again: &Reply) -> Opinion {
    let of = |reply: &Reply| reply.headers.get(header::LAST_MODIFIED).cloned();
    match again.status.as_u16() {
        304 => Opinion::passed("304 for its own Last-Modified"),
        200 if of(first) != of(again) => Opinion::passed("it was modified in between"),
        // To ignore a date is allowed, and wasteful.
        status => Opinion::advice(format!("`If-Modified-Since` with its own date is answered with {status}, not 304")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&'static str, &str)], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        match (contradictions(&headers), expected) {
            (Ok(()), None) => {}
            (Err(told), Some(expected)) if told.contains(expected) => {}
            (found, _) => panic!("{pairs:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn each_contradiction_is_told() {
        for line in [
            "",
            "public, max-age=60",
            "MAX-AGE=\"60\"",
            "no-store, max-age=0",
            "private",
            "private=\"a, b\", s-maxage=5",
            "no-cache=\"set-cookie\", max-age=5",
            "max-age=60, stale-while-revalidate=5, stale-if-error=86400",
            "x-own=\"1\"",
        ] {
            check(&[("cache-control", line)], None);
        }
        for (line, expected) in [
            ("max-age=60, max-age=60", "says `max-age` twice"),
            ("max-age=-1", "`max-age` is `-1`"),
            ("max-age=1.5", "no number"),
            ("max-age", "no number"),
            ("s-maxage=ten", "no number"),
            ("max-age = 60", "is no directive"),
            ("max-age=60; public", "is no directive"),
            ("private, s-maxage=5", "`private`, and `s-maxage`"),
            ("public, private", "`private` and `public`"),
            ("no-store, max-age=60", "`no-store`, and `max-age`"),
            ("private=\"x", "is no directive"),
        ] {
            check(&[("cache-control", line)], Some(expected));
            check(&[("fragment-cache-control", line)], Some(expected));
        }
        check(&[("cache-control", "max-age=1"), ("cache-control", "max-age=2")], Some("twice"));
        check(&[("age", "soon")], Some("no number"));
        check(&[("expires", "0")], None);
        check(&[("expires", "Sun, 06 Nov 1994 08:49:37 GMT")], None);
        check(&[("expires", "tomorrow")], Some("no date"));
    }
}
