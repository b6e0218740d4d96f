//! Reads from a request's headers what a page may know of its reader: the dimensions that it varies on, and no more.
//! Headers about the client's location or the proxies in between count only if they come from a trusted network.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use fluent_langneg::{LanguageIdentifier, NegotiationStrategy, negotiate_languages};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::page::http::fields;

use super::context::{Device, Dimension, Reader};
use super::region;

/// The Client Hint for mobile devices.
const MOBILE: &str = "sec-ch-ua-mobile";

/// How readers are distinguished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRules {
    /// The site's locales. The first one is for readers who accept none of them.
    pub locales: Vec<String>,
    /// The header in which a CDN states the country.
    pub region_header: Option<HeaderName>,
    /// The networks whose statements about clients are trusted.
    pub trusted: Vec<IpNet>,
}

impl Default for ReaderRules {
    fn default() -> Self {
        Self { locales: vec!["en".to_owned()], region_header: None, trusted: Vec::new() }
    }
}

impl ReaderRules {
    /// Whether this peer's statements about clients are trusted.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Reads what is known of a reader in these dimensions. `trusted`: the headers come from a trusted network.
    #[must_use]
    pub fn reader(&self, dimensions: &[Dimension], headers: &HeaderMap, trusted: bool) -> Reader {
        let mut reader = Reader::default();
        for dimension in dimensions {
            match dimension {
                Dimension::Locale => reader.locale = self.locale(headers),
                Dimension::Device => reader.device = device(headers),
                Dimension::Region => reader.region = self.region(headers).filter(|_| trusted),
                Dimension::Cookie(name) => {
                    let value = cookies(headers).find(|(known, _)| known == name).map(|(_, value)| value.to_owned());
                    reader.cookies.extend(value.map(|value| (name.clone(), value)));
                }
                Dimension::Header(name) if trusted || !is_set_by_proxies(name) => {
                    for value in headers.get_all(name) {
                        if let Ok(name) = HeaderName::try_from(name.as_str()) {
                            reader.headers.append(name, value.clone());
                        }
                    }
                }
                Dimension::Header(_) | Dimension::Variant | Dimension::Page => {}
            }
        }
        reader
    }

    /// The value of `Vary`: the request headers that these dimensions are read from (RFC 9110, 12.5.5).
    #[must_use]
    pub fn vary(&self, dimensions: &[Dimension]) -> Option<HeaderValue> {
        let mut names = BTreeSet::new();
        for dimension in dimensions {
            match dimension {
                Dimension::Locale => names.extend(["accept-language"]),
                Dimension::Device => names.extend([MOBILE, "user-agent"]),
                Dimension::Region => names.extend(self.region_header.as_ref().map(HeaderName::as_str)),
                Dimension::Variant | Dimension::Cookie(_) => names.extend(["cookie"]),
                Dimension::Header(name) => names.extend([name.as_str()]),
                Dimension::Page => {}
            }
        }
        let names: Vec<&str> = names.into_iter().collect();
        HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty())
    }

    /// The site's locale that suits `Accept-Language` best (RFC 9110, 12.5.4; RFC 4647, 3.4).
    fn locale(&self, headers: &HeaderMap) -> Option<String> {
        let identifier = |tag: &str| tag.parse::<LanguageIdentifier>().ok();
        let (names, available): (Vec<&String>, Vec<LanguageIdentifier>) =
            self.locales.iter().filter_map(|name| Some((name, identifier(name)?))).unzip();
        let mut accepted: Vec<(u16, LanguageIdentifier)> = fields::members(headers, &header::ACCEPT_LANGUAGE)
            .filter_map(|member| {
                let mut parts = member.split(';').map(str::trim);
                let tag = identifier(parts.next()?)?;
                // A malformed quality value makes the language unacceptable.
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                let quality = quality.map_or(fields::MAX_QUALITY, |text| fields::quality(text).unwrap_or(0));
                (quality > 0).then_some((quality, tag))
            })
            .collect();
        accepted.sort_by_key(|(quality, _)| Reverse(*quality));
        let accepted: Vec<LanguageIdentifier> = accepted.into_iter().map(|(_, tag)| tag).collect();
        let found = negotiate_languages(&accepted, &available, None, NegotiationStrategy::Lookup);
        let best = found.first().and_then(|best| available.iter().position(|known| known == *best));
        best.and_then(|index| names.get(index)).copied().or(self.locales.first()).cloned()
    }

    /// The country that the CDN's header states, as its ISO 3166-1 code. What is not the code of a country is not passed on.
    fn region(&self, headers: &HeaderMap) -> Option<String> {
        let stated = headers.get(self.region_header.as_ref()?)?.to_str().ok()?.trim();
        region::code(stated).map(str::to_owned)
    }
}

/// The kind of device, by the Client Hint or, without one, by the user agent. Browsers on phones state `Mobile`.
/// Those on tablets pretend to be desktops, so they are recognised by name.
fn device(headers: &HeaderMap) -> Option<Device> {
    let hint = headers.get(MOBILE).and_then(|value| value.to_str().ok()).map(str::trim);
    if hint == Some("?1") {
        return Some(Device::Mobile);
    }
    let Some(agent) = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()) else {
        return hint.filter(|hint| *hint == "?0").map(|_| Device::Desktop);
    };
    let has = |word: &str| agent.contains(word);
    let tablet = has("iPad") || has("Tablet") || has("Silk/") || (has("Android") && !has("Mobile"));
    Some(if tablet {
        Device::Tablet
    } else if hint.is_none() && has("Mobi") {
        Device::Mobile
    } else {
        Device::Desktop
    })
}

/// The name of the cookie and of the header that carry a debug token, which lets its holder see the overlay. It
/// is never sent to a nanoservice, whatever that declares.
pub const DEBUG_TOKEN: &str = "pasteup-debug";

/// The names and values of a request's cookies (RFC 6265, 5.4), in order. A pair that is not valid UTF-8 is left out,
/// and so is the debug token.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let pairs =
        headers.get_all(header::COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let all = pairs.filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='));
    all.filter(|(name, _)| *name != DEBUG_TOKEN)
}

/// Whether a header is one that proxies add, and that means nothing if a client sends it.
fn is_set_by_proxies(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "true-client-ip" | "via")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("it is a valid value");
            headers.append(name.parse::<HeaderName>().expect("it is a valid name"), value);
        }
        headers
    }

    #[test]
    fn the_locale_is_the_most_acceptable_of_the_site() {
        let rules = ReaderRules {
            locales: ["en", "de", "pt-BR", "en-GB"].map(str::to_owned).to_vec(),
            ..ReaderRules::default()
        };
        for (accepted, locale) in [
            ("de", "de"),
            ("de-AT,en;q=0.5", "de"),
            ("en;q=0.5, de;q=0.9", "de"),
            ("fr, de;q=0.1", "de"),
            ("de;q=0, en-GB", "en-GB"),
            ("pt", "pt-BR"),
            ("fr", "en"),
            ("*", "en"),
            ("", "en"),
            ("de;q=2", "en"),
            ("../../etc", "en"),
        ] {
            assert_eq!(rules.locale(&headers(&[("accept-language", accepted)])).as_deref(), Some(locale), "{accepted}");
        }
        assert_eq!(rules.locale(&HeaderMap::new()).as_deref(), Some("en"));
    }

    #[test]
    fn the_client_hint_precedes_the_user_agent() {
        const PHONE: &str =
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/156.0.0.0 Mobile Safari/537.36";
        const TABLET: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36";
        const IPHONE: &str =
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1";
        const IPAD: &str = "Mozilla/5.0 (iPad; CPU OS 12_2 like Mac OS X) Version/12.1 Mobile/15E148 Safari/604.1";
        const DESK: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
        for (lines, expected) in [
            (vec![("sec-ch-ua-mobile", "?1"), ("user-agent", DESK)], Some(Device::Mobile)),
            (vec![("sec-ch-ua-mobile", "?0"), ("user-agent", DESK)], Some(Device::Desktop)),
            (vec![("sec-ch-ua-mobile", "?0"), ("user-agent", TABLET)], Some(Device::Tablet)),
            (vec![("sec-ch-ua-mobile", "?0")], Some(Device::Desktop)),
            (vec![("user-agent", PHONE)], Some(Device::Mobile)),
            (vec![("user-agent", IPHONE)], Some(Device::Mobile)),
            (vec![("user-agent", IPAD)], Some(Device::Tablet)),
            (vec![("user-agent", DESK)], Some(Device::Desktop)),
            (vec![], None),
        ] {
            assert_eq!(device(&headers(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn location_and_proxy_headers_count_only_from_trusted_networks() {
        let rules = ReaderRules {
            region_header: Some(HeaderName::from_static("cf-ipcountry")),
            trusted: vec!["10.0.0.0/8".parse().expect("it is a valid network")],
            ..ReaderRules::default()
        };
        let dimensions = [Dimension::Region, Dimension::Header("x-forwarded-for".into())];
        let sent = headers(&[("cf-ipcountry", "gb"), ("x-forwarded-for", "192.0.2.1")]);
        let known = rules.reader(&dimensions, &sent, rules.trusts("10.1.2.3".parse().expect("it is a valid address")));
        assert_eq!((known.region.as_deref(), known.headers.len()), (Some("GB"), 1));
        for peer in ["192.0.2.9", "::1"] {
            let known = rules.reader(&dimensions, &sent, rules.trusts(peer.parse().expect("it is a valid address")));
            assert_eq!((known.region, known.headers.len()), (None, 0));
        }
        assert!(rules.trusts("::ffff:10.1.2.3".parse().expect("it is a valid address")));
        for (stated, region) in [("G\u{e9}", None), ("XX", None), ("EU", None), ("T1", None), (" uk ", Some("GB"))] {
            let sent = headers(&[("cf-ipcountry", stated)]);
            assert_eq!(rules.reader(&dimensions, &sent, true).region.as_deref(), region, "{stated}");
        }
    }

    #[test]
    fn an_invalid_cookie_does_not_affect_the_others() {
        let mut sent = headers(&[("cookie", "a=1; größe=ü;b=x=y ; c"), ("cookie", "d=4")]);
        sent.append(header::COOKIE, HeaderValue::from_bytes(b"e=\xff; f=6").expect("it is a valid value"));
        let dimensions: Vec<Dimension> =
            ["a", "größe", "b", "c", "d", "e", "f"].map(|name| Dimension::Cookie(name.to_owned())).to_vec();
        let known = ReaderRules::default().reader(&dimensions, &sent, false).cookies;
        let known: Vec<(&str, &str)> = known.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(known, [("a", "1"), ("größe", "ü"), ("b", "x=y"), ("d", "4"), ("f", "6")]);
    }

    #[test]
    fn vary_names_the_headers_that_the_dimensions_are_read_from() {
        let dimensions = [Dimension::Device, Dimension::Cookie("u".into()), Dimension::Locale, Dimension::Region];
        let vary = ReaderRules::default().vary(&dimensions).expect("the dimensions are read from headers");
        assert_eq!(vary, "accept-language, cookie, sec-ch-ua-mobile, user-agent");
        assert_eq!(ReaderRules::default().vary(&[]), None);
    }
}
