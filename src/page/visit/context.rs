//! The reader, as far as a page may know: declared dimensions and nothing else.
//! A dimension that is not known is on no list, so `not` holds for it.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// What a browser is held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// A phone.
    Mobile,
    /// A tablet.
    Tablet,
    /// Anything larger.
    Desktop,
}

impl Device {
    /// The word for it in layouts and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Desktop => "desktop",
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Mobile, Self::Tablet, Self::Desktop]
            .into_iter()
            .find(|device| device.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of mobile, tablet, desktop"))
    }
}

/// What is known of the reader.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// The kind of device.
    pub device: Option<Device>,
    /// ISO 3166-1 code of the country.
    pub region: Option<String>,
    /// One of the site's locales.
    pub locale: Option<String>,
    /// Experiment and variant.
    pub variants: Vec<(String, String)>,
    /// Cookies; a nanoservice gets those that it declares.
    pub cookies: Vec<(String, String)>,
    /// Headers; a nanoservice gets those that it declares.
    pub headers: HeaderMap,
}

/// A request, as far as planning a page needs it.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// The route pattern that matched.
    pub pattern: String,
    /// Route parameters, then query parameters, first come first.
    pub parameters: Vec<(String, String)>,
    /// Who asks.
    pub reader: Reader,
    /// The host that he asks, with its port where he names one.
    pub host: String,
}

impl Visit {
    /// A visit to a page. Of the query only the parameters named in `declared` are taken, and of
    /// one that is repeated the first.
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

    /// The value of a placeholder.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a nanoservice may be told of the reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// `Accept-Language`
    Locale,
    /// `Fragment-Region`
    Region,
    /// `Fragment-Device`
    Device,
    /// `Fragment-Variant`
    Variant,
    /// `Fragment-Page`
    Page,
    /// A cookie of this name.
    Cookie(String),
    /// A header of this name, in lower case.
    Header(String),
}

/// Headers that no nanoservice is sent as context, each with the reason: the compositor's own, those of
/// one connection, and those that have a dimension of their own. One that ends in `-` stands for all
/// that begin so.
const NO_CONTEXT: [(&str, &str); 33] = [
    ("accept", "every nanoservice is asked for HTML"),
    ("accept-charset", "every nanoservice is asked for HTML"),
    ("accept-encoding", "the compositor undoes content codings itself"),
    ("accept-language", "declare `locale`"),
    ("connection", ONE_CONNECTION),
    ("content-", "requests have no body"),
    ("cookie", "declare each cookie: `cookie:NAME`"),
    ("cookie2", "declare each cookie: `cookie:NAME`"),
    ("expect", "requests have no body"),
    ("fragment-", NEVER),
    ("host", "it is the nanoservice's own"),
    ("http2-settings", ONE_CONNECTION),
    ("if-", "the compositor asks by its own copy"),
    ("keep-alive", ONE_CONNECTION),
    ("max-forwards", ONE_CONNECTION),
    ("pasteup-", NEVER),
    ("priority", ONE_CONNECTION),
    ("proxy-", ONE_CONNECTION),
    ("range", "the compositor asks for whole fragments"),
    ("sec-websocket-", ONE_CONNECTION),
    ("set-cookie", "it is no header of a request"),
    ("surrogate-", NEVER),
    ("te", ONE_CONNECTION),
    ("traceparent", "it is sent anyway"),
    ("tracestate", "it is sent anyway"),
    ("trailer", ONE_CONNECTION),
    ("transfer-encoding", ONE_CONNECTION),
    ("upgrade", ONE_CONNECTION),
    ("user-agent", "declare `device`"),
    ("via", ONE_CONNECTION),
    ("x-http-method", OVERRIDES),
    ("x-http-method-override", OVERRIDES),
    ("x-method-override", OVERRIDES),
];
const ONE_CONNECTION: &str = "it speaks of one connection";
const NEVER: &str = "no reader's is ever passed on";
const OVERRIDES: &str = "nanoservices are only ever asked by GET";

/// Whether a text is a token (RFC 9110, 5.6.2), as names of cookies and headers are.
#[must_use]
pub fn is_token(text: &str) -> bool {
    crate::page::http::http1::is_token(text.as_bytes())
}

impl Dimension {
    /// The header that it is sent in.
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

/// As manifests write it.
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
                    let reserved = NO_CONTEXT.iter().find(|(reserved, _)| {
                        name == *reserved || (reserved.ends_with('-') && name.starts_with(reserved))
                    });
                    if let Some((_, why)) = reserved {
                        return Err(format!("`{text}` cannot be declared: {why}"));
                    }
                    Self::Header(name)
                }
                _ => {
                    return Err(format!(
                        "`{text}` is none of locale, region, device, variant, page, cookie:NAME, header:NAME"
                    ));
                }
            },
        })
    }
}

/// A list of tokens, or `not` and a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `not …`
    pub negated: bool,
    /// The tokens.
    pub tokens: Vec<String>,
}

impl Choice {
    /// Reads a list. `None` where it is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut tokens: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        let negated = tokens.first().is_some_and(|token| token == "not");
        if negated {
            tokens.remove(0);
        }
        (!tokens.is_empty()).then_some(Self { negated, tokens })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.tokens.iter().any(|token| token.eq_ignore_ascii_case(value)));
        listed != self.negated
    }
}

/// When an element is shown. Lists, never expressions: so every dimension is known beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// By device.
    pub device: Option<Choice>,
    /// By country.
    pub region: Option<Choice>,
    /// By locale.
    pub locale: Option<Choice>,
    /// By `experiment:variant`.
    pub variant: Option<Choice>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Only before.
    pub until: Option<Timestamp>,
}

impl Conditions {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The dimensions of a reader that they ask for.
    pub fn dimensions(&self) -> impl Iterator<Item = Dimension> + use<> {
        let asked = [
            self.device.is_some().then_some(Dimension::Device),
            self.region.is_some().then_some(Dimension::Region),
            self.locale.is_some().then_some(Dimension::Locale),
            self.variant.is_some().then_some(Dimension::Variant),
        ];
        asked.into_iter().flatten()
    }

    /// How long until time alone may change whether they hold.
    #[must_use]
    pub fn change_in(&self, now: Timestamp) -> Option<Duration> {
        let ahead = [self.from, self.until].into_iter().flatten().filter(|at| *at > now);
        ahead.min().and_then(|at| Duration::try_from(at.duration_since(now)).ok())
    }

    /// Whether they hold for a reader at a time.
    #[must_use]
    pub fn hold(&self, reader: &Reader, now: Timestamp) -> bool {
        let choice = |choice: &Option<Choice>, value| choice.as_ref().is_none_or(|choice| choice.holds(value));
        choice(&self.device, reader.device.map(Device::as_str))
            && choice(&self.region, reader.region.as_deref())
            && choice(&self.locale, reader.locale.as_deref())
            && self.variant.as_ref().is_none_or(|choice| {
                let listed = reader.variants.iter().any(|(experiment, variant)| {
                    choice.tokens.iter().any(|token| token.split_once(':') == Some((experiment, variant)))
                });
                listed != choice.negated
            })
            && self.from.is_none_or(|from| from <= now)
            && self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_for_what_is_on_it_and_not_for_what_is_not() {
        let reader = Reader { region: Some("US".into()), ..Reader::default() };
        for (text, known, unknown) in
            [("US CA", true, false), ("not US", false, true), ("GB", false, false), ("not GB", true, true)]
        {
            let conditions = Conditions { region: Choice::parse(text), ..Conditions::default() };
            assert_eq!(conditions.hold(&reader, Timestamp::UNIX_EPOCH), known, "{text}");
            assert_eq!(conditions.hold(&Reader::default(), Timestamp::UNIX_EPOCH), unknown, "{text}");
        }
    }

    #[test]
    fn what_proxies_and_the_compositor_own_is_no_context() {
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
    fn a_time_span_takes_its_start_and_leaves_its_end() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let conditions = Conditions { from: Some(at(10)), until: Some(at(20)), ..Conditions::default() };
        let shown: Vec<bool> = [9, 10, 19, 20].iter().map(|s| conditions.hold(&Reader::default(), at(*s))).collect();
        assert_eq!(shown, [false, true, true, false]);
    }
}
