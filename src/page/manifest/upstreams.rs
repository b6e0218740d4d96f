//! Which upstreams a layout's `src` may name.
//! A URL on an upstream that is not listed is refused.

use std::fmt;

use url::{Host, Url};

use crate::page::policy::naming::Naming;
use crate::page::source::table::ValueError;

/// An entry of `[upstreams] allow`: scheme, host and port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    scheme: String,
    host: Host<String>,
    /// The port; `None` allows any.
    port: Option<u16>,
}

/// Why a text is not a valid entry of `allow`, or not a valid `src`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// An entry of `allow` does not consist of scheme, host and port.
    #[error("`{0}` is not of the form `https://fragments.example.org` or `http://127.0.0.1:*`")]
    Entry(String),
    /// The URL is not absolute.
    #[error("`{0}` is not an absolute `http` or `https` URL")]
    NotAbsolute(String),
    /// The port is 0.
    #[error("port 0 cannot be reached")]
    PortZero,
    /// The URL has a user name or a password.
    #[error("a URL must not have a user name or password")]
    UserInformation,
}

impl std::str::FromStr for Allowed {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let error = || UpstreamError::Entry(text.to_owned());
        let (plain, any_port) = text.strip_suffix(":*").map_or((text, false), |plain| (plain, true));
        let url = Url::parse(plain).map_err(|_| error())?;
        let host = url.host().ok_or_else(error)?.to_owned();
        let bare = url.path() == "/" && !plain.ends_with('/') && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !bare || !url.username().is_empty() || url.password().is_some()
        {
            return Err(error());
        }
        if any_port && url.port().is_some() {
            return Err(error());
        }
        let port = if any_port { None } else { url.port_or_known_default() };
        Ok(Self { scheme: url.scheme().to_owned(), host, port })
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:", self.scheme, self.host)?;
        match self.port {
            Some(port) => port.fmt(f),
            None => f.write_str("*"),
        }
    }
}

impl Allowed {
    /// Whether a URL is on this upstream. Both hosts are in canonical form: `Url` turns `0x7f.1` into `127.0.0.1`, and a
    /// name into lower case.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        url.scheme() == self.scheme
            && url.host().is_some_and(|host| host.to_owned() == self.host)
            && (self.port.is_none() || url.port_or_known_default() == self.port)
    }
}

/// Reads a URL as `src` may have it.
///
/// # Errors
/// It is not an absolute `http` or `https` URL, has port 0, or has user information.
pub fn source(text: &str) -> Result<Url, UpstreamError> {
    let not_absolute = || UpstreamError::NotAbsolute(text.to_owned());
    // `Url` repairs `http:a` and `http:///a`, but something else may have been meant.
    let (scheme, rest) = text.split_once("://").ok_or_else(not_absolute)?;
    let is_web = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let url = Url::parse(text).map_err(|_| not_absolute())?;
    if !is_web || rest.starts_with(['/', '\\']) || url.host().is_none() {
        return Err(not_absolute());
    }
    if url.port() == Some(0) {
        return Err(UpstreamError::PortZero);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UpstreamError::UserInformation);
    }
    Ok(url)
}

/// The URL of a service: at an address, or at every place that DNS names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceUrl {
    /// The records that its host is looked up by. `None`: it is the host of an address.
    pub naming: Option<Naming>,
    /// The URL.
    pub url: Url,
}

impl ServiceUrl {
    /// Reads it, with the prefix `dns+` or `dnssrv+` if its host is looked up.
    ///
    /// # Errors
    /// It is not an absolute URL, or one that cannot be looked up.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let (naming, plain) = Naming::split(text);
        let url = source(plain)?;
        if let Some(naming) = naming {
            check_named(naming, &url)?;
        }
        Ok(Self { naming, url })
    }

    /// Prefix, scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}{}", self.naming.map_or("", Naming::prefix), self.url.origin().ascii_serialization())
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.naming.map_or("", Naming::prefix), self.url)
    }
}

/// Checks that the host of a URL can be looked up by these records.
///
/// # Errors
/// It cannot.
pub(super) fn check_named(naming: Naming, url: &Url) -> Result<(), ValueError> {
    let prefix = naming.prefix();
    if url.scheme() != "http" {
        let message = format!("`{prefix}{url}`: what is found by DNS is requested over http");
        return Err(ValueError::with_help(message, format!("write `{prefix}http://`, or one `https://` address")));
    }
    if naming == Naming::Services && url.port().is_some() {
        let message = format!("`{prefix}{url}`: SRV records have the port themselves");
        return Err(ValueError::with_help(message, "remove the port"));
    }
    if naming == Naming::Services && url.domain().is_none() {
        return Err(ValueError::new(format!("`{prefix}{url}` has no name that could be looked up")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_covers_only_its_scheme_host_and_port() {
        let allowed: Allowed = "http://127.0.0.1:*".parse().expect("an entry");
        for (url, yes) in [
            ("http://127.0.0.1:9000/a", true),
            ("http://0x7f.1/a", true),
            ("http://127.0.0.2/a", false),
            ("https://127.0.0.1/a", false),
        ] {
            assert_eq!(allowed.covers(&source(url).expect("a URL")), yes, "{url}");
        }
        let allowed: Allowed = "https://Fragments.example.org".parse().expect("an entry");
        assert!(allowed.covers(&source("https://fragments.example.org:443/x").expect("a URL")));
        assert!(!allowed.covers(&source("https://fragments.example.org:444/x").expect("a URL")));
        assert!(!allowed.covers(&source("https://fragments.example.org.evil.test/x").expect("a URL")));
    }

    #[test]
    fn invalid_entries_and_urls_are_refused() {
        for text in
            ["", "*", "example.org", "ftp://a", "http://", "http://a/b", "http://u@a", "http://a:1:*", "http://a/"]
        {
            text.parse::<Allowed>().expect_err(text);
        }
        for text in [
            "/a",
            "javascript:1",
            "file:///etc",
            "http://u:p@a/",
            "http:127.0.0.1/x",
            "https:evil.test",
            "http:///x",
            "https:/evil.test?a://b",
            "http://a:0/",
        ] {
            source(text).expect_err(text);
        }
    }
}
