//! The rules about caching a response and revalidating it.
//! A doubtful header, which the cache reads as the shorter lifetime, is reported here as an error.

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::page::http::fields::{is_entity_tag, split};
use crate::page::source::units;
use crate::page::visit::context::is_token;

use super::exchange::{Exchange, Purpose, RecordedResponse};
use super::fields::{clip, date, joined, shown, token_or_quoted};
use super::{Assessment, Recording};

/// Overrides `Cache-Control` for the compositor only (RFC 9213).
const TARGETED: HeaderName = HeaderName::from_static("fragment-cache-control");

/// Directives whose value is a number of seconds.
const SECONDS: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];

/// Directives of one header: names in lower case, values without quotes.
type Directives<'h> = Vec<(String, Option<&'h str>)>;

pub(super) fn cache_control(recording: &Recording<'_>) -> Assessment {
    recording.worst(recording.heads().map(|(name, response)| {
        let assessment = match contradictions(&response.headers) {
            Err(error) => Assessment::failed(clip(&error)),
            Ok(()) => match response.headers.get(header::CACHE_CONTROL) {
                Some(value) => Assessment::passed(shown(value)),
                None => Assessment::passed("no Cache-Control header"),
            },
        };
        (name, assessment)
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
        return Err(format!("`age: {text}` is not a number of seconds"));
    }
    match joined(headers, &header::EXPIRES)? {
        // `0` and `-1` are not dates, but commonly used for "already expired" (RFC 9111, 5.3).
        Some(text) if !matches!(text.as_str(), "0" | "-1") && date(&text).is_none() => {
            Err(format!("`expires: {text}` is not an HTTP date"))
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
            _ => Err(format!("`{header}`: `{member}` is not a valid directive")),
        }
    };
    split(text, b',').members.into_iter().map(one).collect()
}

fn check(header: &HeaderName, directives: &Directives<'_>) -> Result<(), String> {
    let has = |wanted: &str| directives.iter().any(|(name, _)| name == wanted);
    for (index, (name, value)) in directives.iter().enumerate() {
        if directives[..index].iter().any(|(other, _)| other == name) {
            return Err(format!("`{header}` contains `{name}` twice"));
        }
        let number = value.filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()));
        if SECONDS.contains(&name.as_str()) && number.is_none() {
            let value = value.map(|value| format!("={value}")).unwrap_or_default();
            return Err(format!("`{header}`: `{name}{value}` is not a number of seconds"));
        }
    }
    // With a value, `private` applies to the headers that it names, and not to the response.
    let private = directives.iter().any(|(name, value)| name == "private" && value.is_none());
    let is_positive = |name: &str| {
        let value = directives.iter().find(|(known, _)| known == name).and_then(|(_, value)| *value);
        value.is_some_and(|value| value.bytes().any(|b| b != b'0'))
    };
    let clashes = [
        (private && has("public"), "`private` and `public`"),
        (private && has("s-maxage"), "`private` and `s-maxage`, which is for shared caches"),
        (has("no-store") && has("public"), "`no-store` and `public`"),
        (has("no-store") && is_positive("max-age"), "`no-store` and `max-age`, which allows storing"),
        (has("no-store") && is_positive("s-maxage"), "`no-store` and `s-maxage`, which allows storing"),
    ];
    match clashes.iter().find(|(clash, _)| *clash) {
        Some((_, both)) => Err(format!("`{header}` contains both {both}")),
        None => Ok(()),
    }
}

pub(super) fn freshness(recording: &Recording<'_>) -> Assessment {
    let declared = recording.subject.manifest.as_ref().and_then(|manifest| manifest.cache.ttl);
    recording.worst(recording.heads().map(|(name, response)| {
        let stated = [TARGETED, header::CACHE_CONTROL].iter().find_map(|name| {
            let text = joined(&response.headers, name).ok().flatten()?;
            let found = directives(name, &text).ok()?.into_iter().find_map(|(name, value)| match name.as_str() {
                "max-age" | "s-maxage" => Some(format!("{name}={}", value.unwrap_or_default())),
                "no-store" | "no-cache" | "private" => Some(name),
                _ => None,
            });
            found.map(|found| clip(&found))
        });
        let assessment = match stated {
            Some(stated) => Assessment::passed(stated),
            None if response.headers.contains_key(header::EXPIRES) => Assessment::passed("set by Expires"),
            None => match declared {
                Some(ttl) => Assessment::passed(format!("{}, set by the manifest", units::show(ttl))),
                None => Assessment::advice("no lifetime is stated, so every page requests it again"),
            },
        };
        (name, assessment)
    }))
}

pub(super) fn not_unasked_304(recording: &Recording<'_>) -> Assessment {
    let is_unconditional = |purpose: &Purpose| !matches!(purpose, Purpose::Conditional(_) | Purpose::ForeignTag);
    let found = recording
        .all(is_unconditional)
        .filter_map(Exchange::head)
        .any(|response| response.status == StatusCode::NOT_MODIFIED);
    if found { Assessment::failed("an unconditional request got a 304") } else { Assessment::passed("") }
}

pub(super) fn validation(recording: &Recording<'_>) -> Assessment {
    let malformed = recording.heads().map(|(name, response)| {
        let assessment = match validators(&response.headers) {
            Ok(()) => Assessment::passed(""),
            Err(error) => Assessment::failed(clip(&error)),
        };
        (name, assessment)
    });
    let malformed = recording.worst(malformed);
    if malformed.0 != super::Verdict::Passed {
        return malformed;
    }
    let first = recording.all(|purpose| *purpose == Purpose::Example(0)).find_map(Exchange::fragment);
    let Some((first, _)) = first else {
        return Assessment::skipped("no fragment was received that could be revalidated");
    };
    let held = recording.all(|purpose| matches!(purpose, Purpose::Conditional(_))).next();
    let Some(held) = held else {
        return Assessment::advice("neither ETag nor Last-Modified, so each revalidation transfers a whole response");
    };
    let Some(again) = held.head() else { return Assessment::failed("a conditional request got no response") };
    match &held.purpose {
        Purpose::Conditional(Some(tag)) => by_tag(recording, tag, again),
        _ => by_date(first, again),
    }
}

fn validators(headers: &HeaderMap) -> Result<(), String> {
    match joined(headers, &header::ETAG)? {
        Some(tag) if !is_entity_tag(tag.as_bytes()) => {
            return Err(format!("`etag: {tag}` is not a valid entity tag: it is not in double quotes"));
        }
        _ => {}
    }
    match joined(headers, &header::LAST_MODIFIED)? {
        Some(text) if date(&text).is_none() => Err(format!("`last-modified: {text}` is not an HTTP date")),
        _ => Ok(()),
    }
}

fn by_tag(recording: &Recording<'_>, tag: &str, again: &RecordedResponse) -> Assessment {
    // Weak comparison: a weak and a strong tag with the same text match (RFC 9110, 8.8.3.2).
    let bare = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let sent = again.headers.get(header::ETAG).and_then(|value| value.to_str().ok()).map(bare);
    let same = sent.as_deref() == Some(&bare(tag));
    let other = recording.all(|purpose| *purpose == Purpose::ForeignTag).find_map(Exchange::head);
    match (again.status.as_u16(), &other) {
        (304, _) if again.body.as_ref().is_ok_and(|body| !body.is_empty()) => Assessment::failed("the 304 has a body"),
        (304, _) if sent.is_none() => Assessment::failed("the 304 has no ETag"),
        (304, _) if !same => Assessment::failed("the 304 has a different ETag from the one that was sent"),
        (304, Some(other)) if other.status == StatusCode::NOT_MODIFIED => {
            Assessment::failed("304 for an ETag that the service never sent")
        }
        (304, _) => Assessment::passed("304 for the ETag"),
        (200, _) if sent.is_some() && !same => Assessment::passed("the ETag changes with each response"),
        (status, _) => Assessment::failed(format!("`If-None-Match` with the ETag is answered with {status}, not 304")),
    }
}

fn by_date(first: &RecordedResponse, again: &RecordedResponse) -> Assessment {
    let of = |response: &RecordedResponse| response.headers.get(header::LAST_MODIFIED).cloned();
    match again.status.as_u16() {
        304 => Assessment::passed("304 for the Last-Modified date"),
        200 if of(first) != of(again) => Assessment::passed("modified between the two requests"),
        // Ignoring the condition is allowed (RFC 9110, 13.1.3), but wasteful.
        status => Assessment::advice(format!(
            "`If-Modified-Since` with the Last-Modified date is answered with {status}, not 304"
        )),
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
            (Err(message), Some(expected)) if message.contains(expected) => {}
            (found, _) => panic!("{pairs:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn each_contradiction_is_reported() {
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
            ("max-age=60, max-age=60", "contains `max-age` twice"),
            ("max-age=-1", "`max-age=-1` is not"),
            ("max-age=1.5", "is not a number"),
            ("max-age", "is not a number"),
            ("s-maxage=ten", "is not a number"),
            ("max-age = 60", "is not a valid directive"),
            ("max-age=60; public", "is not a valid directive"),
            ("private, s-maxage=5", "`private` and `s-maxage`"),
            ("public, private", "`private` and `public`"),
            ("no-store, max-age=60", "`no-store` and `max-age`"),
            ("private=\"x", "is not a valid directive"),
        ] {
            check(&[("cache-control", line)], Some(expected));
            check(&[("fragment-cache-control", line)], Some(expected));
        }
        check(&[("cache-control", "max-age=1"), ("cache-control", "max-age=2")], Some("twice"));
        check(&[("age", "soon")], Some("is not a number"));
        check(&[("expires", "0")], None);
        check(&[("expires", "Sun, 06 Nov 1994 08:49:37 GMT")], None);
        check(&[("expires", "tomorrow")], Some("is not an HTTP date"));
    }
}
