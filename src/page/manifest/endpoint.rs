//! The URL of a nanoservice, which may have parameters in its path.
//! A parameter that would change the structure of the path is refused.

use url::Url;

use crate::page::http::query;
use crate::page::policy::naming::Naming;
use crate::page::source::names;
use crate::page::source::table::ValueError;

use super::upstreams;

/// The origin that stands for a nanoservice that runs on demand. It never resolves (RFC 6761, 6.4).
const ON_DEMAND: &str = "http://program.invalid";

/// A URL that may have `{name}` in its path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The URL as it was written.
    text: String,
    /// The records that its host is looked up by. `None`: it is the host of an address.
    naming: Option<Naming>,
    /// The template of the URL itself.
    template: String,
    named: Vec<String>,
    /// The whole URL, if it names no parameter.
    fixed: Option<Url>,
    origin: String,
}

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// It is not an absolute `http` or `https` URL, or its template is malformed.
    pub fn parse(written: &str) -> Result<Self, ValueError> {
        let (naming, text) = Naming::split(written);
        let error = |message: String| {
            ValueError::with_help(message, "write an absolute URL such as \"http://127.0.0.1:9102/weather\"")
        };
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let before_path = text.split('/').take(3).map(str::len).sum::<usize>();
        if text[path.len()..].contains(['{', '}']) || text.find('{').is_some_and(|brace| brace <= before_path) {
            return Err(error(format!("`{text}`: `{{…}}` may only be in the path")));
        }
        let mut named: Vec<String> = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or_else(|| error(format!("`{text}`: `{{` is not closed")))? + open;
            let name = &rest[open + 1..close];
            if !names::is_name(name) {
                return Err(error(format!("`{{{name}}}` is not a valid parameter name")));
            }
            plain.push_str(&rest[..open]);
            plain.push('x');
            if !named.iter().any(|known| known == name) {
                named.push(name.to_owned());
            }
            rest = &rest[close + 1..];
        }
        plain.push_str(rest);
        if plain.contains('}') {
            return Err(error(format!("`{text}`: `}}` has no `{{` before it")));
        }
        let url = upstreams::source(&plain).map_err(|why| error(why.to_string()))?;
        if url.fragment().is_some() {
            return Err(error(format!("`{text}` has a `#` part, which is never sent")));
        }
        if let Some(naming) = naming {
            upstreams::check_named(naming, &url)?;
        }
        let origin = url.origin().ascii_serialization();
        let fixed = named.is_empty().then_some(url);
        Ok(Self { text: written.to_owned(), naming, template: text.to_owned(), named, fixed, origin })
    }

    /// Reads the path of a nanoservice that runs on demand: a template of a path, and optionally a query.
    ///
    /// # Errors
    /// It does not begin with `/`, or its template is malformed.
    pub fn of_path(path: &str) -> Result<Self, ValueError> {
        if !path.starts_with('/') || path.starts_with("//") {
            let message = format!("`{path}` is not a path");
            return Err(ValueError::with_help(message, "a path begins with one `/`: \"/signs/{sign}\""));
        }
        Self::parse(&format!("{ON_DEMAND}{path}")).map_err(|error| {
            ValueError::with_help(error.message.replace(ON_DEMAND, ""), "write it like \"/signs/{sign}\"")
        })
    }

    /// The same path at an origin, such as that of the process that runs now.
    ///
    /// # Errors
    /// It is not the origin of an `http` or `https` URL.
    pub fn at(&self, origin: &str) -> Result<Self, ValueError> {
        Self::parse(&self.template.replacen(&self.origin, origin, 1))
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The records that its host is looked up by, if each place that they name is an endpoint.
    #[must_use]
    pub const fn naming(&self) -> Option<Naming> {
        self.naming
    }

    /// The parameters in its path, all of which must have values.
    #[must_use]
    pub fn parameters(&self) -> &[String] {
        &self.named
    }

    /// Scheme, host and port, for which metrics are counted and concurrency is limited.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL of its origin, with an empty path.
    #[must_use]
    pub fn base(&self) -> Option<Url> {
        Url::parse(&self.origin).ok()
    }

    /// The URL for some parameters: those that the template names go into the path, the rest, in their order, into the
    /// query. `None` if one that the template names is not given.
    #[must_use]
    pub fn url(&self, parameters: &[(String, String)]) -> Option<Url> {
        if let (Some(fixed), []) = (&self.fixed, parameters) {
            return Some(fixed.clone());
        }
        let mut url = self.template.clone();
        for name in &self.named {
            let (_, value) = parameters.iter().find(|(known, _)| known == name)?;
            // A value must not change the structure of the path.
            if matches!(value.as_str(), "" | "." | "..") {
                return None;
            }
            let encoded = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
            url = url.replace(&format!("{{{name}}}"), &encoded);
        }
        let mut url = Url::parse(&url).ok()?;
        let rest = parameters.iter().filter(|(name, _)| !self.named.contains(name));
        query::extend(&mut url, rest.map(|(name, value)| (name.as_str(), value.as_str())));
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_is_percent_encoded_in_path_and_query() {
        let endpoint = Endpoint::parse("http://a/{x}?z=1").expect("an endpoint");
        let parameters = [("x", "a b"), ("y", "c d+e")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(endpoint.url(&parameters).expect("a URL").as_str(), "http://a/a%20b?z=1&y=c%20d%2Be");
    }

    #[test]
    fn a_path_of_a_program_is_a_template_without_a_host() {
        let path = Endpoint::of_path("/signs/{sign}?lang=en").expect("a path");
        assert_eq!(path.parameters(), ["sign"]);
        let parameters = [("sign".to_owned(), "leo".to_owned()), ("day".to_owned(), "1".to_owned())];
        assert_eq!(path.url(&parameters).expect("a URL").path(), "/signs/leo");
        assert_eq!(path.url(&parameters).expect("a URL").query(), Some("lang=en&day=1"));
        for text in ["", "signs", "//evil.test/", "/{", "/a}", "/?x={y}", "/a#b", "http://a/"] {
            let error = Endpoint::of_path(text).expect_err(text);
            assert!(!error.message.contains("invalid"), "{}", error.message);
        }
    }

    #[test]
    fn a_service_that_is_found_by_dns_has_a_prefix() {
        let endpoint = Endpoint::parse("dns+http://weather.internal:8000/w/{x}").expect("an endpoint");
        assert_eq!((endpoint.naming(), endpoint.origin()), (Some(Naming::Addresses), "http://weather.internal:8000"));
        assert_eq!(endpoint.as_str(), "dns+http://weather.internal:8000/w/{x}");
        let parameters = [("x".to_owned(), "1".to_owned())];
        assert_eq!(endpoint.url(&parameters).expect("a URL").as_str(), "http://weather.internal:8000/w/1");
        let endpoint = Endpoint::parse("dnssrv+http://_weather._tcp.service.consul/w").expect("an endpoint");
        assert_eq!(
            (endpoint.naming(), endpoint.origin()),
            (Some(Naming::Services), "http://_weather._tcp.service.consul")
        );
        for (text, why) in [
            ("dns+https://a/", "over http"),
            ("dnssrv+http://_a._tcp.b:8000/", "port"),
            ("dnssrv+http://127.0.0.1/", "name"),
            ("srv+http://a/", "absolute"),
        ] {
            let error = Endpoint::parse(text).expect_err(text);
            assert!(error.message.contains(why), "{text}: {}", error.message);
        }
    }

    #[test]
    fn a_template_is_in_the_path_of_an_absolute_url() {
        for (text, parameters) in [
            ("http://a/", vec![]),
            ("http://127.0.0.1:9102/weather/{city}", vec!["city"]),
            ("https://a/{x}/{y}-{x}?z=1", vec!["x", "y"]),
        ] {
            assert_eq!(Endpoint::parse(text).expect(text).parameters(), parameters);
        }
        for text in [
            "http://a/?a=x{b}",
            "http://a/?{b}=1",
            "http://a/x?b#{c}",
            "http://a/a}",
            "http://a/{a",
            "http://a/{a b}",
            "http://{host}/a",
            "{scheme}://a/",
            "http:127.0.0.1/x",
            "http:///x",
            "http://a:0/x",
            "http://a/x#y",
        ] {
            Endpoint::parse(text).expect_err(text);
        }
    }
}
