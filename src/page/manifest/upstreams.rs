//! Which upstreams a layout's `src` may name.
//! A URL on an upstream that is not listed is refused.

use url::{Host, Url};

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
