//! The rules about other headers: cookies, variants, purge keys, assets, the service's end.
//! A header that is not there breaks nothing.

use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;

use crate::page::http::fields::split;
use crate::page::visit::context::is_token;

use super::exchange::Exchange;
use super::fields::{clip, date, joined, shown, token_or_quoted};
use super::subject::header_of;
use super::{Case, Opinion};

/// Most keys that one answer may be purged by.
const MOST_KEYS: usize = 64;
/// What kinds of links are assets.
const ASSETS: [&str; 4] = ["stylesheet", "preload", "modulepreload", "preconnect"];

pub(super) fn cookies(case: &Case<'_>) -> Opinion {
    let declared = case.subject.manifest.as_ref().map(|manifest| &*manifest.cookies).unwrap_or_default();
    let mut set = false;
    for reply in case.all(|_| true).filter_map(Exchange::head) {
        for value in reply.headers.get_all(header::SET_COOKIE) {
            let text = shown(value);
            let name = text.split(['=', ';']).next().unwrap_or_default().trim();
            if !declared.iter().any(|cookie| cookie == name) {
                return Opinion::failed(format!("it sets the cookie `{name}`, which is not declared"));
            }
            set = true;
        }
    }
    Opinion::passed(if set { "only those that are declared, so it is never kept" } else { "it sets none" })
}

pub(super) fn vary(case: &Case<'_>) -> Opinion {
    let declared = |name: &str| case.subject.context().iter().any(|dimension| header_of(dimension) == name);
    case.over(case.heads().map(|(example, reply)| {
        let opinion = match joined(&reply.headers, &header::VARY) {
            Err(wrong) => Opinion::failed(wrong),
            Ok(None) => Opinion::passed("it names nothing"),
            Ok(Some(text)) => {
                let names = split(&text, b',').members.into_iter().map(str::to_ascii_lowercase);
                match names.into_iter().find(|name| name != "accept-encoding" && !declared(name)) {
                    Some(name) if name == "*" => Opinion::failed("`Vary: *` is never kept"),
                    Some(name) => Opinion::failed(clip(&format!("it names `{name}`, which is not declared"))),
                    None => Opinion::passed(clip(&text)),
                }
            }
        };
        (example, opinion)
    }))
}

pub(super) fn surrogate_keys(case: &Case<'_>) -> Opinion {
    case.over(case.heads().map(|(name, reply)| {
        let opinion = match keys(&reply.headers) {
            Err(wrong) => Opinion::failed(wrong),
            Ok(0) => Opinion::passed("none beside its own name"),
            Ok(1) => Opinion::passed("1 key"),
            Ok(count) if count > MOST_KEYS => Opinion::failed(format!("{count} keys, where {MOST_KEYS} are the most")),
            Ok(count) => Opinion::passed(format!("{count} keys")),
        };
        (name, opinion)
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
        return Err(clip(&format!("the key `{key}` holds what is not visible ASCII")));
    }
    found.sort();
    found.dedup();
    Ok(found.len())
}

pub(super) fn links(case: &Case<'_>) -> Opinion {
    case.over(case.heads().map(|(name, reply)| {
        let opinion = match joined(&reply.headers, &header::LINK) {
            Err(wrong) => Opinion::failed(wrong),
            Ok(None) => Opinion::passed("it sends none"),
            Ok(Some(text)) => match assets(&text) {
                Err(wrong) => Opinion::failed(clip(&wrong)),
                Ok((_, Some(other))) => {
                    Opinion::advice(clip(&format!("`rel={other}` is no asset, and nothing is done about it")))
                }
                Ok((1, None)) => Opinion::passed("1 asset"),
                Ok((count, None)) => Opinion::passed(format!("{count} assets")),
            },
        };
        (name, opinion)
    }))
}

/// How many assets a `Link` names, and the first relation that is none.
fn assets(text: &str) -> Result<(usize, Option<String>), String> {
    let (mut count, mut other) = (0, None);
    for link in split(text, b',').members {
        let wrong = || format!("`{link}` is no link: it is not of the form `<URL>; rel=…`");
        let (target, parameters) = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or_else(wrong)?;
        if target.is_empty() || target.bytes().any(|b| b.is_ascii_whitespace()) {
            return Err(format!("`<{target}>` is no URL"));
        }
        let mut relation = None;
        for parameter in split(parameters.trim_start().strip_prefix(';').unwrap_or(parameters), b';').members {
            let (name, value) =
                parameter.split_once('=').map_or((parameter, None), |(n, v)| (n.trim(), Some(v.trim())));
            let value = value.map(|value| token_or_quoted(value).ok_or_else(wrong)).transpose()?;
            if !is_token(name) {
                return Err(wrong());
            }
            if name.eq_ignore_ascii_case("rel") && relation.is_none() {
                relation = Some(value.unwrap_or_default().to_ascii_lowercase());
            }
        }
        let relation = relation.ok_or_else(|| format!("`{link}` says no `rel`"))?;
        if relation.split_ascii_whitespace().any(|one| ASSETS.contains(&one)) {
            count += 1;
        } else if other.is_none() {
            other = Some(relation);
        }
    }
    Ok((count, other))
}

pub(super) fn deprecation(case: &Case<'_>) -> Opinion {
    case.over(case.heads().map(|(name, reply)| {
        let opinion = match ends(&reply.headers) {
            Err(wrong) => Opinion::failed(clip(&wrong)),
            Ok((None, None)) => Opinion::passed("it says nothing of its end"),
            Ok((Some(since), None)) => Opinion::advice(format!("it is deprecated, as of {}", day(since))),
            Ok((None, Some(end))) => Opinion::advice(format!("it ends on {}", day(end))),
            Ok((Some(since), Some(end))) => {
                Opinion::advice(format!("it is deprecated, as of {}, and ends on {}", day(since), day(end)))
            }
        };
        (name, opinion)
    }))
}

fn ends(headers: &HeaderMap) -> Result<(Option<Timestamp>, Option<Timestamp>), String> {
    let deprecation = joined(headers, &HeaderName::from_static("deprecation"))?
        .map(|text| {
            structured_date(&text).ok_or_else(|| format!("`deprecation: {text}` is no date such as `@1767225600`"))
        })
        .transpose()?;
    let sunset = joined(headers, &HeaderName::from_static("sunset"))?
        .map(|text| date(&text).ok_or_else(|| format!("`sunset: {text}` is no date of HTTP")))
        .transpose()?;
    match (deprecation, sunset) {
        (Some(since), Some(end)) if end < since => Err("its sunset is before its deprecation".to_owned()),
        both => Ok(both),
    }
}

/// A date of structured fields (RFC 9651, 3.3.7): `@1659578233`.
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
    fn links_are_read_as_rfc_8288_says() {
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
    fn ends_are_read_as_rfc_9745_and_8594_say() {
        assert_eq!(structured_date("@1767225600").map(day).as_deref(), Some("1 January 2026"));
        for wrong in ["true", "@", "@1.5", "1767225600", "Sun, 06 Nov 1994 08:49:37 GMT", "@99999999999999999999"] {
            assert_eq!(structured_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_are_counted_once_and_held_to_ascii() {
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
