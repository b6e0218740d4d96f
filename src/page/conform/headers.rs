//! The rules about other headers: cookies, `Vary`, surrogate keys, assets, deprecation.
//! A missing header breaks no rule.

use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;

use crate::page::http::fields::split;
use crate::page::visit::context::is_token;

use super::exchange::Exchange;
use super::fields::{clip, date, joined, shown, token_or_quoted};
use super::subject::header_for;
use super::{Assessment, Recording};

/// Most surrogate keys of one response.
const MAX_KEYS: usize = 64;
/// The link relations of assets.
const ASSETS: [&str; 4] = ["stylesheet", "preload", "modulepreload", "preconnect"];

pub(super) fn cookies(recording: &Recording<'_>) -> Assessment {
    let declared = recording.subject.manifest.as_ref().map(|manifest| &*manifest.cookies).unwrap_or_default();
    let mut set = false;
    for response in recording.all(|_| true).filter_map(Exchange::head) {
        for value in response.headers.get_all(header::SET_COOKIE) {
            let text = shown(value);
            let name = text.split(['=', ';']).next().unwrap_or_default().trim();
            if !declared.iter().any(|cookie| cookie == name) {
                return Assessment::failed(format!("sets the cookie `{name}`, which is not declared"));
            }
            set = true;
        }
    }
    Assessment::passed(if set { "only declared cookies, so the response is never cached" } else { "no cookies set" })
}

pub(super) fn vary(recording: &Recording<'_>) -> Assessment {
    let declared = |name: &str| recording.subject.context().iter().any(|dimension| header_for(dimension) == name);
    recording.worst(recording.heads().map(|(example, response)| {
        let assessment = match joined(&response.headers, &header::VARY) {
            Err(error) => Assessment::failed(error),
            Ok(None) => Assessment::passed("no Vary header"),
            Ok(Some(text)) => {
                let names = split(&text, b',').members.into_iter().map(str::to_ascii_lowercase);
                match names.into_iter().find(|name| name != "accept-encoding" && !declared(name)) {
                    Some(name) if name == "*" => Assessment::failed("responses with `Vary: *` are never cached"),
                    Some(name) => Assessment::failed(clip(&format!("names `{name}`, which is not declared"))),
                    None => Assessment::passed(clip(&text)),
                }
            }
        };
        (example, assessment)
    }))
}

pub(super) fn surrogate_keys(recording: &Recording<'_>) -> Assessment {
    recording.worst(recording.heads().map(|(name, response)| {
        let assessment = match keys(&response.headers) {
            Err(error) => Assessment::failed(error),
            Ok(0) => Assessment::passed("none except the nanoservice's name"),
            Ok(1) => Assessment::passed("1 key"),
            Ok(count) if count > MAX_KEYS => Assessment::failed(format!("{count} keys (limit {MAX_KEYS})")),
            Ok(count) => Assessment::passed(format!("{count} keys")),
        };
        (name, assessment)
    }))
}

fn keys(headers: &HeaderMap) -> Result<usize, String> {
    let mut found = Vec::new();
    for (name, separator) in [("surrogate-key", ' '), ("cache-tag", ','), ("xkey", ' ')] {
        for value in headers.get_all(name) {
            let text = value.to_str().map_err(|_| format!("`{name}: {}` is not ASCII", shown(value)))?;
            found.extend(text.split(separator).map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned));
        }
    }
    if let Some(key) = found.iter().find(|key| !key.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(clip(&format!("the key `{key}` contains characters other than visible ASCII")));
    }
    found.sort();
    found.dedup();
    Ok(found.len())
}

pub(super) fn links(recording: &Recording<'_>) -> Assessment {
    recording.worst(recording.heads().map(|(name, response)| {
        let assessment = match joined(&response.headers, &header::LINK) {
            Err(error) => Assessment::failed(error),
            Ok(None) => Assessment::passed("no Link header"),
            Ok(Some(text)) => match assets(&text) {
                Err(error) => Assessment::failed(clip(&error)),
                Ok((_, Some(other))) => {
                    Assessment::advice(clip(&format!("`rel={other}` is not an asset, and is ignored")))
                }
                Ok((1, None)) => Assessment::passed("1 asset"),
                Ok((count, None)) => Assessment::passed(format!("{count} assets")),
            },
        };
        (name, assessment)
    }))
}

/// The number of assets in a `Link` header, and the first relation that is not an asset.
fn assets(text: &str) -> Result<(usize, Option<String>), String> {
    let (mut count, mut other) = (0, None);
    for link in split(text, b',').members {
        let invalid = || format!("`{link}` is not a valid link: write `<URL>; rel=…`");
        let (target, parameters) = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or_else(invalid)?;
        if target.is_empty() || target.bytes().any(|b| b.is_ascii_whitespace()) {
            return Err(format!("`<{target}>` is not a valid URL"));
        }
        let mut relation = None;
        for parameter in split(parameters.trim_start().strip_prefix(';').unwrap_or(parameters), b';').members {
            let (name, value) =
                parameter.split_once('=').map_or((parameter, None), |(n, v)| (n.trim(), Some(v.trim())));
            let value = value.map(|value| token_or_quoted(value).ok_or_else(invalid)).transpose()?;
            if !is_token(name) {
                return Err(invalid());
            }
            if name.eq_ignore_ascii_case("rel") && relation.is_none() {
                relation = Some(value.unwrap_or_default().to_ascii_lowercase());
            }
        }
        let relation = relation.ok_or_else(|| format!("`{link}` has no `rel`"))?;
        if relation.split_ascii_whitespace().any(|one| ASSETS.contains(&one)) {
            count += 1;
        } else if other.is_none() {
            other = Some(relation);
        }
    }
    Ok((count, other))
}

pub(super) fn deprecation(recording: &Recording<'_>) -> Assessment {
    recording.worst(recording.heads().map(|(name, response)| {
        let assessment = match ends(&response.headers) {
            Err(error) => Assessment::failed(clip(&error)),
            Ok((None, None)) => Assessment::passed("no Deprecation or Sunset header"),
            Ok((Some(since), None)) => Assessment::advice(format!("deprecated as of {}", day(since))),
            Ok((None, Some(end))) => Assessment::advice(format!("ends on {}", day(end))),
            Ok((Some(since), Some(end))) => {
                Assessment::advice(format!("deprecated as of {}, ends on {}", day(since), day(end)))
            }
        };
        (name, assessment)
    }))
}

fn ends(headers: &HeaderMap) -> Result<(Option<Timestamp>, Option<Timestamp>), String> {
    let deprecation = joined(headers, &HeaderName::from_static("deprecation"))?
        .map(|text| {
            structured_date(&text).ok_or_else(|| format!("`deprecation: {text}` is not a date such as `@1767225600`"))
        })
        .transpose()?;
    let sunset = joined(headers, &HeaderName::from_static("sunset"))?
        .map(|text| date(&text).ok_or_else(|| format!("`sunset: {text}` is not an HTTP date")))
        .transpose()?;
    match (deprecation, sunset) {
        (Some(since), Some(end)) if end < since => Err("the Sunset date is before the Deprecation date".to_owned()),
        both => Ok(both),
    }
}

/// Parses a date of structured fields (RFC 9651, 3.3.7): `@1659578233`.
fn structured_date(text: &str) -> Option<Timestamp> {
    let seconds = text.split(';').next()?.trim().strip_prefix('@')?;
    let digits = seconds.strip_prefix('-').unwrap_or(seconds);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Timestamp::from_second(seconds.parse().ok()?).ok()
}

fn day(time: Timestamp) -> String {
    time.strftime("%-d %B %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_in_rfc_8288() {
        for (text, expected) in [
            ("</a.css>; rel=stylesheet", Ok((1, None))),
            ("</a,b.css>;rel=\"preload stylesheet\" ; as=style, <https://a/>; REL=PreConnect", Ok((2, None))),
            ("</a>; rel=canonical; title=\"a, b; c\"", Ok((0, Some("canonical".to_owned())))),
            ("</a>; crossorigin; rel=modulepreload", Ok((1, None))),
            ("", Ok((0, None))),
        ] {
            assert_eq!(assets(text), expected, "{text}");
        }
        for wrong in
            ["/a.css; rel=stylesheet", "</a.css; rel=stylesheet", "</a.css>", "<>; rel=preload", "</a>; rel=\"x"]
        {
            assets(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn deprecation_dates_are_read_as_in_rfc_9745() {
        assert_eq!(structured_date("@1767225600").map(day).as_deref(), Some("1 January 2026"));
        for wrong in ["true", "@", "@1.5", "1767225600", "Sun, 06 Nov 1994 08:49:37 GMT", "@99999999999999999999"] {
            assert_eq!(structured_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_are_counted_once_and_must_be_ascii() {
        let keys = |name: &'static str, value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_bytes(value).expect("a value"));
            keys(&headers)
        };
        assert_eq!(keys("surrogate-key", b"a b  a"), Ok(2));
        assert_eq!(keys("cache-tag", b"a, b,c"), Ok(3));
        assert!(keys("cache-tag", b"a b").is_err());
        assert!(keys("xkey", "ä".as_bytes()).is_err());
    }
}
