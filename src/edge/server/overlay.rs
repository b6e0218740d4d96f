//! The overlay: a page with marks around its parts, what became of each, and a script that draws them. Only who
//! develops the site, or holds a debug token, gets such a page; it is composed for him, and no cache keeps it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, COOKIE, ETAG, LOCATION, SET_COOKIE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use url::{Position, Url};

use crate::engine::Page;
use crate::page::browser::{csp, scripts};
use crate::page::html::text::Text;
use crate::page::output::record::Record;
use crate::page::output::stitch::stitch_marked;
use crate::page::visit::reader::DEBUG_TOKEN;
use crate::secrets::debug_tokens::DebugTokens;

/// Where a browser brings a debug token, to get the cookie for it.
pub(super) const ENTRANCE: &str = "/_pasteup/debug";
/// The cookie that holds the token.
const TOKEN_COOKIE: &str = DEBUG_TOKEN;
/// The header that does, for programs.
pub(super) const TOKEN: HeaderName = HeaderName::from_static(DEBUG_TOKEN);
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Who sees the overlay.
pub enum Overlay {
    /// All, while the site is being developed.
    Everybody,
    /// Who holds a debug token.
    Holders(Arc<DebugTokens>),
}

impl Overlay {
    /// Whether every request is answered with it.
    pub(super) const fn is_for_all(&self) -> bool {
        matches!(self, Self::Everybody)
    }

    /// Whether a request is to be answered with it.
    pub(super) fn is_for(&self, request: &HeaderMap, now: impl FnOnce() -> Timestamp) -> bool {
        match self {
            Self::Everybody => true,
            Self::Holders(tokens) => token(request).is_some_and(|token| tokens.is_valid(token, now())),
        }
    }

    /// Takes a token from an address, `?token=…&to=/news`, as a cookie, and goes on. `None`: it is not good.
    pub(super) fn enter(&self, request: &Parts, now: Timestamp) -> Option<Response> {
        let Self::Holders(tokens) = self else { return None };
        let query = request.uri.query()?;
        let value = |wanted| form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, v)| v);
        let token = value("token").filter(|token| tokens.is_valid(token, now))?;
        let to = value("to").and_then(|to| here(&to));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let cookie = format!("{TOKEN_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
        for (name, value) in [(SET_COOKIE, cookie), (LOCATION, to.unwrap_or_else(|| "/".to_owned()))] {
            response.headers_mut().insert(name, HeaderValue::try_from(value).ok()?);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        Some(response)
    }
}

/// An address on this site, as browsers read it: they pass over tabs, and take backslashes for slashes.
fn here(to: &str) -> Option<String> {
    let site = Url::parse("http://site.invalid/").ok()?;
    let url = site.join(to).ok().filter(|url| url.origin() == site.origin())?;
    let path = &url[Position::BeforePath..];
    (to.starts_with('/') && !path.starts_with("//")).then(|| path.to_owned())
}

/// The debug token that a request brings.
fn token(request: &HeaderMap) -> Option<&str> {
    if let Some(token) = request.get(TOKEN) {
        return token.to_str().ok();
    }
    let lines = request.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| line.split(';')).map(str::trim);
    cookies.filter_map(|cookie| cookie.split_once('=')).find(|(name, _)| *name == TOKEN_COOKIE).map(|(_, token)| token)
}

/// What the script is told.
#[derive(Serialize)]
struct Told<'a> {
    /// What the marks are called.
    mark: &'a str,
    /// Files are being edited, and parts can be tampered with.
    dev: bool,
    /// Which state of the files this is.
    version: Option<&'a str>,
    record: Option<&'a Record>,
}

/// What is drawn over one page.
pub(super) struct Drawing {
    /// What its marks are called. No fragment can know it, and so none can pose as another.
    mark: String,
    /// Of a site that is being developed, which state of its files this is.
    version: Option<String>,
}

impl Drawing {
    /// `version`: of a site that is being developed, which state of its files this is.
    pub(super) fn new(version: Option<String>) -> Self {
        // Neither of the trace nor by fastrand: nanoservices see these.
        Self { mark: format!("pasteup:{:016x}", RandomState::new().hash_one(0)), version }
    }

    /// A page's chunks with marks around its parts.
    pub(super) fn marked(&self, page: &Page) -> Vec<Bytes> {
        stitch_marked(&page.plan, &page.outcomes, &self.mark).iter().map(Text::bytes).collect()
    }

    /// A page with its record, and the script, at the start of its head: what parts leave open swallows neither there, and
    /// no `<base>` or `<meta>` changes them.
    pub(super) fn over(&self, mut chunks: Vec<Bytes>, record: Option<&Record>) -> Vec<Bytes> {
        let told = Told { mark: &self.mark, dev: self.version.is_some(), version: self.version.as_deref(), record };
        // Within a script element no end tag and no comment may stand (HTML, 4.12.1.3).
        let json = serde_json::to_string(&told).unwrap_or_default().replace('<', "\\u003c");
        let script = scripts::overlay();
        let added = format!(
            "<script type=\"application/json\" data-pasteup-overlay>{json}</script>\
             <script src=\"{}\" integrity=\"{}\" async></script>",
            script.path, script.hash
        );
        let mut start: Vec<u8> = Vec::new();
        for chunk in &chunks {
            start.extend_from_slice(&chunk[..chunk.len().min(START)]);
            if start.len() >= START || chunk.len() > START {
                break;
            }
        }
        let mut left = opening(&start);
        let mut at = 0;
        while let Some(chunk) = chunks.get_mut(at).filter(|_| left > 0) {
            at += 1;
            if chunk.len() > left {
                let behind = chunk.split_off(left);
                chunks.insert(at, behind);
                break;
            }
            left -= chunk.len();
        }
        chunks.insert(at, added.into());
        chunks
    }
}

/// Bytes in which a page's head begins.
const START: usize = 8 << 10;

/// Where the inside of a page's head begins: behind its doctype, and the start tags of `html` and `head`, as far as they
/// are there.
fn opening(html: &[u8]) -> usize {
    let mut at = if html.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut opening = at;
    loop {
        at += html[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = &html[at..];
        let is = |name: &[u8]| {
            rest.len() > name.len()
                && rest[..name.len()].eq_ignore_ascii_case(name)
                && matches!(rest[name.len()], b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
        };
        let length = if rest.starts_with(b"<!--") {
            rest.windows(3).skip(2).position(|end| end == b"-->").map(|end| end + 5)
        } else if is(b"<!doctype") || is(b"<html") || is(b"<head") {
            tag(rest)
        } else {
            None
        };
        let Some(length) = length else { return opening };
        let (is_head, is_comment) = (is(b"<head"), rest.starts_with(b"<!--"));
        at += length;
        // Comments are passed over only for what stands behind them.
        opening = if is_comment { opening } else { at };
        if is_head {
            return opening;
        }
    }
}

/// The length of a tag.
fn tag(html: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in html.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// What is said of a page that has the overlay.
pub(super) fn adapt(headers: &mut HeaderMap, record: Option<&Record>) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.remove(ETAG);
    for name in [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        let adapted: Vec<HeaderValue> =
            headers.get_all(&name).iter().map(|policy| csp::with_script(policy, scripts::overlay())).collect();
        headers.remove(&name);
        for policy in adapted {
            headers.append(&name, policy);
        }
    }
    let Some(record) = record else { return };
    for (name, value) in [(SERVER_TIMING, record.server_timing()), (CACHE_STATUS, record.cache_status())] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_this_site_only() {
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
            assert_eq!(here(to).as_deref(), path, "{to:?}");
        }
    }

    #[test]
    fn what_is_drawn_stands_first_in_the_head() {
        for (html, before) in [
            ("<!doctype html><html lang=en><head><base href=x>", "<!doctype html><html lang=en><head>"),
            (
                "<!-- > --><!DOCTYPE html>\n<HTML data-x='>'>\n <head class=\"a>\">x",
                "<!-- > --><!DOCTYPE html>\n<HTML data-x='>'>\n <head class=\"a>\">",
            ),
            ("\u{feff}<!doctype html><title>t</title>", "\u{feff}<!doctype html>"),
            ("<!doctype html><header>x</header>", "<!doctype html>"),
            ("<!doctype html><html lang=", "<!doctype html>"),
            ("<!--", ""),
            ("<!-->x", ""),
            ("text", ""),
            ("<!--mark 0--><p>x", ""),
            ("", ""),
        ] {
            assert_eq!(&html[..opening(html.as_bytes())], before, "{html}");
            // However it is cut.
            for at in 0..html.len() {
                let Some((first, second)) = html.split_at_checked(at) else { continue };
                let chunks = [first, second].map(|chunk| Bytes::copy_from_slice(chunk.as_bytes())).to_vec();
                let page = Drawing::new(None).over(chunks, None).concat();
                let page = String::from_utf8(page).expect("text");
                assert!(page.starts_with(&format!("{before}<script type=\"application/json\"")), "{page}");
                assert!(page.ends_with(&html[before.len()..]), "{page}");
            }
        }
    }
}
