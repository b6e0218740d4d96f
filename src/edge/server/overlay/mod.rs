//! The overlay: a page with marks around its parts, a record of what happened to each part, and a script that draws both.
//! Only developers of the site, and clients with a debug token, get such a page; it is composed for them and never cached.

mod drawing;

use std::sync::Arc;

use http::header::{CACHE_CONTROL, COOKIE, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use url::{Position, Url};

use crate::page::visit::reader::DEBUG_TOKEN;
use crate::secrets::debug_tokens::DebugTokens;

use super::body::ReplyBody;
use super::reply::Reply;

pub(super) use drawing::Drawing;

/// The path where a browser exchanges a debug token for the cookie that holds it.
pub(super) const ENTRANCE: &str = "/_pasteup/debug";
/// The cookie that holds a debug token.
const TOKEN_COOKIE: &str = DEBUG_TOKEN;
/// The header in which programs send a debug token.
pub(super) const TOKEN: HeaderName = HeaderName::from_static(DEBUG_TOKEN);

/// Which clients see the overlay.
pub enum Overlay {
    /// Every client, while the site is being developed.
    AllClients,
    /// Clients that send a debug token.
    Holders(Arc<DebugTokens>),
}

impl Overlay {
    /// Whether every client sees it.
    pub(super) const fn is_for_everybody(&self) -> bool {
        matches!(self, Self::AllClients)
    }

    /// Whether the client that sent these headers sees it.
    pub(super) fn is_for(&self, request: &HeaderMap, now: impl FnOnce() -> Timestamp) -> bool {
        match self {
            Self::AllClients => true,
            Self::Holders(tokens) => token(request).is_some_and(|token| tokens.is_valid(token, now())),
        }
    }

    /// Sets the cookie for the token of an address such as `?token=…&to=/news`, and redirects to `to`. `is_secure`: the
    /// client uses TLS, so the cookie is sent over TLS only. `None`: the token is not valid.
    pub(super) fn enter(&self, request: &Parts, now: Timestamp, is_secure: bool) -> Option<Reply> {
        let Self::Holders(tokens) = self else { return None };
        let query = request.uri.query()?;
        let value = |wanted| form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, v)| v);
        let token = value("token").filter(|token| tokens.is_valid(token, now))?;
        let to = value("to").and_then(|to| path_on_this_site(&to)).unwrap_or_else(|| "/".to_owned());
        let secure = if is_secure { "; Secure" } else { "" };
        let cookie = format!("{TOKEN_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{secure}");
        let headers = HeaderMap::from_iter([
            (SET_COOKIE, HeaderValue::try_from(cookie).ok()?),
            (LOCATION, HeaderValue::try_from(to).ok()?),
            (CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        ]);
        Some(Reply::new(StatusCode::SEE_OTHER, headers, ReplyBody::default()))
    }
}

/// The path of an address on this site. `None`: it leads elsewhere. It is read as browsers read it, which ignore tabs and
/// take backslashes for slashes.
fn path_on_this_site(to: &str) -> Option<String> {
    let site = Url::parse("http://site.invalid/").ok()?;
    let url = site.join(to).ok().filter(|url| url.origin() == site.origin())?;
    let path = &url[Position::BeforePath..];
    (to.starts_with('/') && !path.starts_with("//")).then(|| path.to_owned())
}

/// The debug token of a request.
fn token(request: &HeaderMap) -> Option<&str> {
    if let Some(token) = request.get(TOKEN) {
        return token.to_str().ok();
    }
    let lines = request.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| line.split(';')).map(str::trim);
    cookies.filter_map(|cookie| cookie.split_once('=')).find(|(name, _)| *name == TOKEN_COOKIE).map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entrance_redirects_to_this_site_only() {
        for (to, path) in [
            ("/", Some("/")),
            ("/news/uk?page=2#x", Some("/news/uk?page=2#x")),
            ("/a/../b", Some("/b")),
            ("/gr\u{fc}n", Some("/gr%C3%BCn")),
            ("/a\r\nSet-Cookie: x=y", Some("/aSet-Cookie:%20x=y")),
            ("news", None),
            ("", None),
            ("//evil.example/", None),
            ("/\t/evil.example/", None),
            ("/\n/evil.example/", None),
            ("/\\evil.example/", None),
            ("\\\\evil.example/", None),
            ("/.//evil.example/", None),
            ("https://evil.example/", None),
            ("javascript:alert(1)", None),
            ("/\\\t/evil.example", None),
        ] {
            assert_eq!(path_on_this_site(to).as_deref(), path, "{to:?}");
        }
    }
}
