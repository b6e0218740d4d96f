//! What a page may know of its reader: declared dimensions and nothing else.
//! A dimension whose value is unknown matches no list, so `not` matches it.

use http::HeaderMap;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;

use super::side::Side;
use super::window::TimeWindow;
use crate::page::http::encoding::{IN_PATH, IN_SEGMENT};

/// The kind of device that a browser runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// A phone.
    Mobile,
    /// A tablet.
    Tablet,
    /// Anything else.
    Desktop,
}

impl Device {
    /// Its name in layouts and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Desktop => "desktop",
        }
    }

    /// The words for all devices.
    pub const WORDS: [&'static str; 3] = [Self::Mobile.as_str(), Self::Tablet.as_str(), Self::Desktop.as_str()];
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Mobile, Self::Tablet, Self::Desktop]
            .into_iter()
            .find(|device| device.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not one of {}", Self::WORDS.join(", ")))
    }
}

/// What is known of a reader, in the dimensions that a page varies on.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// The kind of device.
    pub device: Option<Device>,
    /// The ISO 3166-1 code of the country.
    pub region: Option<String>,
    /// One of the site's locales.
    pub locale: Option<String>,
    /// Each experiment, with the reader's variant.
    pub variants: Vec<(String, String)>,
    /// Names and values of cookies. A nanoservice is sent those that it declares.
    pub cookies: Vec<(String, String)>,
    /// Headers of the request. A nanoservice is sent those that it declares.
    pub headers: HeaderMap,
    /// The sides that the page view takes in rollouts on the page.
    pub sides: Vec<Side>,
}

/// What is known of one request for a page: all that planning the page needs.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// The route pattern that matched.
    pub pattern: String,
    /// Route parameters, then query parameters, in the order of the request.
    pub parameters: Vec<(String, String)>,
    /// The reader who sent the request.
    pub reader: Reader,
    /// The requested host, with its port if the request names one.
    pub host: String,
}

impl Visit {
    /// The path that was requested, made from the route pattern and its parameters. `None`: the pattern has none.
    #[must_use]
    pub fn filled_path(&self) -> Option<String> {
        if !self.pattern.contains('{') {
            return None;
        }
        let mut path = self.pattern.clone();
        for (name, value) in &self.parameters {
            let value = |kept| utf8_percent_encode(value, kept).to_string();
            path = path.replace(&format!("{{{name}}}"), &value(IN_SEGMENT));
            path = path.replace(&format!("{{*{name}}}"), &value(IN_PATH));
        }
        Some(path).filter(|path| !path.contains(['{', '}']))
    }

    /// A visit to a page. Only those query parameters are taken that are named in `declared`. If one is repeated,
    /// its first value counts.
    #[must_use]
    pub fn new(
        pattern: &str,
        route_parameters: Vec<(String, String)>,
        query: Option<&str>,
        declared: &[String],
        reader: Reader,
    ) -> Self {
        let mut parameters = route_parameters;
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let known = parameters.iter().any(|(known, _)| *known == name);
            if !known && declared.iter().any(|declared| *declared == name) {
                parameters.push((name.into_owned(), value.into_owned()));
            }
        }
        Self { pattern: pattern.to_owned(), parameters, reader, host: String::new() }
    }

    /// The value of a route or query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A property of a visit that a nanoservice may declare as context, and is then sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// The site's locale for the reader, sent as `Accept-Language`.
    Locale,
    /// The reader's country, sent as `Fragment-Region`.
    Region,
    /// The reader's device, sent as `Fragment-Device`.
    Device,
    /// The reader's variants of experiments, sent as `Fragment-Variant`.
    Variant,
    /// The page, sent as `Fragment-Page`.
    Page,
    /// The cookie of this name.
    Cookie(String),
    /// The header of this name, in lower case.
    Header(String),
}

/// Headers that cannot be declared as context, each with the reason: those that the compositor sets itself,
/// those of one connection, and those that have a dimension of their own. A name that ends in `-` is a prefix.
const RESERVED_HEADERS: [(&str, &str); 33] = [
    ("accept", ALWAYS_HTML),
    ("accept-charset", ALWAYS_HTML),
    ("accept-encoding", "the compositor decodes content encodings itself"),
    ("accept-language", "declare `locale`"),
    ("connection", ONE_CONNECTION),
    ("content-", NO_BODY),
    ("cookie", EACH_COOKIE),
    ("cookie2", EACH_COOKIE),
    ("expect", NO_BODY),
    ("fragment-", NEVER),
    ("host", "it names the nanoservice's own host"),
    ("http2-settings", ONE_CONNECTION),
    ("if-", "the compositor validates its own cached response"),
    ("keep-alive", ONE_CONNECTION),
    ("max-forwards", ONE_CONNECTION),
    ("pasteup-", NEVER),
    ("priority", ONE_CONNECTION),
    ("proxy-", ONE_CONNECTION),
    ("range", "the compositor always requests whole fragments"),
    ("sec-websocket-", ONE_CONNECTION),
    ("set-cookie", "it is not a request header"),
    ("surrogate-", NEVER),
    ("te", ONE_CONNECTION),
    ("traceparent", ALWAYS_SENT),
    ("tracestate", ALWAYS_SENT),
    ("trailer", ONE_CONNECTION),
    ("transfer-encoding", ONE_CONNECTION),
    ("upgrade", ONE_CONNECTION),
    ("user-agent", "declare `device`"),
    ("via", ONE_CONNECTION),
    ("x-http-method", OVERRIDES),
    ("x-http-method-override", OVERRIDES),
    ("x-method-override", OVERRIDES),
];
const ALWAYS_HTML: &str = "every nanoservice is requested to return HTML";
const ALWAYS_SENT: &str = "it is always sent";
const EACH_COOKIE: &str = "declare each cookie: `cookie:NAME`";
const NO_BODY: &str = "requests have no body";
const ONE_CONNECTION: &str = "it applies to one connection only";
const NEVER: &str = "a client's own is never forwarded";
const OVERRIDES: &str = "nanoservices are only requested with GET";

/// Whether a text is a token (RFC 9110, 5.6.2), as the names of cookies and headers must be.
#[must_use]
pub fn is_token(text: &str) -> bool {
    crate::page::http::http1::is_token(text.as_bytes())
}

impl Dimension {
    /// The notations in manifests.
    pub const FORMS: [&'static str; 7] =
        ["locale", "region", "device", "variant", "page", "cookie:NAME", "header:NAME"];

    /// The header in which it is sent.
    #[must_use]
    pub fn header(&self) -> &str {
        match self {
            Self::Locale => "accept-language",
            Self::Region => "fragment-region",
            Self::Device => "fragment-device",
            Self::Variant => "fragment-variant",
            Self::Page => "fragment-page",
            Self::Cookie(_) => "cookie",
            Self::Header(name) => name,
        }
    }
}

/// The notation of manifests.
impl std::fmt::Display for Dimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locale => f.write_str("locale"),
            Self::Region => f.write_str("region"),
            Self::Device => f.write_str("device"),
            Self::Variant => f.write_str("variant"),
            Self::Page => f.write_str("page"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl std::str::FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "locale" => Self::Locale,
            "region" => Self::Region,
            "device" => Self::Device,
            "variant" => Self::Variant,
            "page" => Self::Page,
            other => match other.split_once(':') {
                Some(("cookie", name)) if is_token(name) => Self::Cookie(name.to_owned()),
                Some(("header", name)) if is_token(name) => {
                    let name = name.to_ascii_lowercase();
                    let reserved = RESERVED_HEADERS.iter().find(|(reserved, _)| {
                        name == *reserved || (reserved.ends_with('-') && name.starts_with(reserved))
                    });
                    if let Some((_, why)) = reserved {
                        return Err(format!("`{text}` cannot be declared: {why}"));
                    }
                    Self::Header(name)
                }
                _ => {
                    return Err(format!("`{text}` is not one of {}", Self::FORMS.join(", ")));
                }
            },
        })
    }
}

/// A condition on one dimension: a list of tokens, or `not` and a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFilter {
    /// The list begins with `not`.
    pub negated: bool,
    /// The tokens of the list, without `not`.
    pub tokens: Vec<String>,
}

impl TokenFilter {
    /// Reads a list. `None` if it has no token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut tokens: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        let negated = tokens.first().is_some_and(|token| token == "not");
        if negated {
            tokens.remove(0);
        }
        (!tokens.is_empty()).then_some(Self { negated, tokens })
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.tokens.iter().any(|token| token.eq_ignore_ascii_case(value)));
        listed != self.negated
    }
}

/// The conditions under which an element is shown. They are lists and not expressions, so that the dimensions
/// they depend on are known before a visit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The devices on which it is shown.
    pub device: Option<TokenFilter>,
    /// The countries in which it is shown.
    pub region: Option<TokenFilter>,
    /// The locales for which it is shown.
    pub locale: Option<TokenFilter>,
    /// The variants in which it is shown, each as `experiment:variant`.
    pub variant: Option<TokenFilter>,
    /// The time in which it is shown.
    pub window: TimeWindow,
}

impl Conditions {
    /// Whether there is no condition, so that the element is always shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The dimensions that they depend on.
    pub fn dimensions(&self) -> impl Iterator<Item = Dimension> + use<> {
        let used = [
            self.device.is_some().then_some(Dimension::Device),
            self.region.is_some().then_some(Dimension::Region),
            self.locale.is_some().then_some(Dimension::Locale),
            self.variant.is_some().then_some(Dimension::Variant),
        ];
        used.into_iter().flatten()
    }

    /// Whether a reader meets them all at a time.
    #[must_use]
    pub fn hold(&self, reader: &Reader, now: Timestamp) -> bool {
        let matches = |filter: &Option<TokenFilter>, value| filter.as_ref().is_none_or(|filter| filter.matches(value));
        matches(&self.device, reader.device.map(Device::as_str))
            && matches(&self.region, reader.region.as_deref())
            && matches(&self.locale, reader.locale.as_deref())
            && self.variant.as_ref().is_none_or(|filter| {
                let listed = reader.variants.iter().any(|(experiment, variant)| {
                    filter.tokens.iter().any(|token| token.split_once(':') == Some((experiment, variant)))
                });
                listed != filter.negated
            })
            && self.window.contains(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_matches_its_tokens_and_not_matches_all_others() {
        let reader = Reader { region: Some("US".into()), ..Reader::default() };
        for (text, known, unknown) in
            [("US CA", true, false), ("not US", false, true), ("GB", false, false), ("not GB", true, true)]
        {
            let conditions = Conditions { region: TokenFilter::parse(text), ..Conditions::default() };
            assert_eq!(conditions.hold(&reader, Timestamp::UNIX_EPOCH), known, "{text}");
            assert_eq!(conditions.hold(&Reader::default(), Timestamp::UNIX_EPOCH), unknown, "{text}");
        }
    }

    #[test]
    fn headers_of_proxies_and_of_the_compositor_cannot_be_context() {
        for name in [
            "Connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "content-type",
            "host",
            "expect",
            "range",
            "if-match",
            "priority",
            "X-HTTP-Method-Override",
            "x-method-override",
            "x-http-method",
            "fragment-device",
            "a b",
            "",
        ] {
            format!("header:{name}").parse::<Dimension>().expect_err(name);
        }
        for name in ["", "a b", "a=b", "a;b", "ü"] {
            format!("cookie:{name}").parse::<Dimension>().expect_err(name);
        }
        for text in ["header:X-Plan", "header:authorization", "header:content", "cookie:__Host-a"] {
            text.parse::<Dimension>().expect(text);
        }
    }

    #[test]
    fn a_time_window_includes_its_start_and_excludes_its_end() {
        let at = |second| Timestamp::from_second(second).expect("it is a valid time");
        let conditions =
            Conditions { window: TimeWindow { from: Some(at(10)), until: Some(at(20)) }, ..Conditions::default() };
        let shown: Vec<bool> = [9, 10, 19, 20].iter().map(|s| conditions.hold(&Reader::default(), at(*s))).collect();
        assert_eq!(shown, [false, true, true, false]);
    }
}
