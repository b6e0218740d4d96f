//! Draws the overlay over one page: the record of the page and the script go to the start of its head.
//! A page without a head gets them at its beginning.

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::edge::server::body::{Chunks, ReplyBody};
use crate::edge::server::dev::{Dev, Fault};
use crate::edge::server::reply::Reply;
use crate::engine::Page;
use crate::page::browser::{csp, scripts};
use crate::page::html::text::Text;
use crate::page::output::record::Record;
use crate::page::output::stitch::stitch_marked;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The data for the overlay's script.
#[derive(Serialize)]
struct Data<'a> {
    /// The name of the marks around parts.
    mark: &'a str,
    /// Whether the site is being developed: its files change, and faults can be simulated.
    dev: bool,
    /// The version of the site's files.
    version: Option<&'a str>,
    /// The faults that are simulated.
    faults: &'a [Fault],
    record: Option<&'a Record>,
}

/// The overlay of one page.
pub(in crate::edge::server) struct Drawing {
    /// The name of the marks around parts. No fragment can know it, so none can imitate the marks of another.
    mark: String,
    /// The version of the site's files, if the site is being developed.
    version: Option<String>,
    /// The faults that are simulated.
    faults: Vec<Fault>,
}

impl Drawing {
    /// Creates a drawing.
    pub(in crate::edge::server) fn new(dev: Option<&Dev>) -> Self {
        // Neither the trace nor a number from fastrand: nanoservices see these, and could predict the name.
        let mark = format!("pasteup:{:016x}", RandomState::new().hash_one(0));
        Self { mark, version: dev.map(Dev::version), faults: dev.map(Dev::faults).unwrap_or_default() }
    }

    /// The chunks of a page with marks around its parts.
    pub(in crate::edge::server) fn marked(&self, page: &Page) -> Vec<Bytes> {
        stitch_marked(&page.plan, &page.outcomes, &self.mark).iter().map(Text::bytes).collect()
    }

    /// The reply with these chunks instead of its body, and the overlay over them. `record`: what happened to the page.
    pub(in crate::edge::server) fn draw(
        &self,
        mut reply: Reply,
        chunks: Vec<Bytes>,
        record: Option<&Record>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Reply {
        adapt(reply.headers_mut(), record);
        let chunks = self.over(chunks, record).into_iter().map(Text::from).collect();
        reply.with_body(ReplyBody::InMemory(Chunks::new(chunks, permit)))
    }

    /// The chunks of a page with the record and the script at the start of its head. There, no unclosed element of a part
    /// swallows them, and no `<base>` or `<meta>` affects them.
    fn over(&self, mut chunks: Vec<Bytes>, record: Option<&Record>) -> Vec<Bytes> {
        let data = Data {
            mark: &self.mark,
            dev: self.version.is_some(),
            version: self.version.as_deref(),
            faults: &self.faults,
            record,
        };
        // A script element must not contain an end tag or a comment (HTML, 4.12.1.3).
        let json = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
        let added = format!(
            "<script type=\"application/json\" data-pasteup-overlay>{json}</script>{}",
            scripts::overlay().element()
        );
        let mut start: Vec<u8> = Vec::new();
        for chunk in &chunks {
            start.extend_from_slice(&chunk[..chunk.len().min(MAX_START)]);
            if start.len() >= MAX_START || chunk.len() > MAX_START {
                break;
            }
        }
        let mut left = inside_of_head(&start);
        let mut at = 0;
        while let Some(chunk) = chunks.get_mut(at).filter(|_| left > 0) {
            at += 1;
            if chunk.len() > left {
                let rest = chunk.split_off(left);
                chunks.insert(at, rest);
                break;
            }
            left -= chunk.len();
        }
        chunks.insert(at, added.into());
        chunks
    }
}

/// The head of a page is looked for in this many bytes.
const MAX_START: usize = 8 << 10;

/// The offset of the first byte inside the head of a page: after the doctype and the start tags of `html` and `head`, if
/// the page has them.
fn inside_of_head(html: &[u8]) -> usize {
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
        // A comment is skipped only if one of these follows it.
        opening = if is_comment { opening } else { at };
        if is_head {
            return opening;
        }
    }
}

/// The length of the tag that a text begins with. `None`: the tag does not end.
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

/// Adapts the headers of a page to the overlay: no cache stores it, and its policies allow the script.
fn adapt(headers: &mut HeaderMap, record: Option<&Record>) {
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
    fn the_overlay_comes_first_in_the_head() {
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
            assert_eq!(&html[..inside_of_head(html.as_bytes())], before, "{html}");
            // Wherever the page is split into chunks.
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
