//! Where a nanoservice answers: a URL, perhaps with a template in its path.
//! A parameter that would make another path of it is refused.

use url::Url;

use crate::page::names;
use crate::page::table::Wrong;
use crate::page::upstreams;

/// A URL, perhaps with `{name}` in its path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    text: String,
    named: Vec<String>,
    origin: String,
}

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// It is no absolute `http` or `https` URL, or its template is malformed.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |message: String| {
            Wrong::with_help(message, "write an absolute URL such as \"http://127.0.0.1:9102/weather\"")
        };
        let mut named = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or_else(|| wrong(format!("`{text}`: `{{` is not closed")))? + open;
            let name = &rest[open + 1..close];
            if !names::is_name(name) {
                return Err(wrong(format!("`{{{name}}}` names no parameter")));
            }
            plain.push_str(&rest[..open]);
            plain.push('x');
            named.push(name.to_owned());
            rest = &rest[close + 1..];
        }
        plain.push_str(rest);
        let url = upstreams::source(&plain).map_err(|error| wrong(error.to_string()))?;
        let authority = text.split('/').nth(2).unwrap_or_default();
        if authority.contains('{') || url.query().is_some_and(|_| text.contains("={")) {
            return Err(wrong("`{…}` may only stand in the path".to_owned()));
        }
        if url.fragment().is_some() {
            return Err(wrong(format!("`{text}` has a `#` part, which is never sent")));
        }
        Ok(Self { text: text.to_owned(), named, origin: url.origin().ascii_serialization() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port: what stands in metrics and holds the lanes.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL of its origin, with an empty path.
    #[must_use]
    pub fn base(&self) -> Option<Url> {
        Url::parse(&self.origin).ok()
    }

    /// The URL for some parameters: those that the template names go into the path, the rest, in
    /// their order, into the query. `None` where one that it names is not given.
    #[must_use]
    pub fn url(&self, parameters: &[(String, String)]) -> Option<String> {
        let mut url = self.text.clone();
        for name in &self.named {
            let (_, value) = parameters.iter().find(|(known, _)| known == name)?;
            // A value may not become another path.
            if matches!(value.as_str(), "" | "." | "..") {
                return None;
            }
            let encoded = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
            url = url.replace(&format!("{{{name}}}"), &encoded);
        }
        let mut url = Url::parse(&url).ok()?;
        let rest: Vec<_> = parameters.iter().filter(|(name, _)| !self.named.contains(name)).collect();
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        Some(url.into())
    }
}
