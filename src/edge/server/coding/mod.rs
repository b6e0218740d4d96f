//! Content codings of replies (RFC 9110, 8.4), all of them in this module.
//!
//! A page is compressed in one of two ways. A cached page is compressed once as a whole, and the result is stored with it
//! (`stored`); of a skeleton, each span between its holes is, and the spans are joined with the content of the holes
//! (`joined`). Every other reply is compressed while it is sent (`streamed`): it is sent once, its length may be unknown,
//! and its first bytes should be sent before its last ones are known. One encoder for both is not possible: a stored
//! encoding cannot be sent before it is finished, and a streamed one cannot be sent twice.

mod joined;
mod negotiated;
mod stored;
mod streamed;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body;

use crate::engine::Encoding;

pub(super) use negotiated::preferred;
pub(super) use stored::{personalised, stored};
pub(super) use streamed::streamed;

/// Replies of fewer bytes are not compressed: the result would be longer.
pub(super) const MIN_BYTES: u64 = 32;

/// Content codings that replies may be sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Brotli.
    pub br: bool,
    /// Zstandard.
    pub zstd: bool,
    /// gzip.
    pub gzip: bool,
}

impl Compression {
    /// Whether there is any.
    pub(super) const fn any(self) -> bool {
        self.br || self.zstd || self.gzip
    }
}

/// Whether a reply is worth compressing. Errors of the server are not: under overload they should cost almost nothing.
pub(super) fn is_worth_it(status: StatusCode, headers: &HeaderMap, body: &impl Body) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Images are compressed already, except vector images; so are sound, video and fonts for the web. Events would wait in
    // the encoder.
    let is_incompressible = media_type.starts_with("image/") && !media_type.starts_with("image/svg+xml")
        || ["audio/", "video/", "font/woff", "text/event-stream"].iter().any(|kind| media_type.starts_with(kind));
    let is_long = body.size_hint().exact().is_none_or(|length| length >= MIN_BYTES);
    let is_encoded = headers.contains_key(CONTENT_ENCODING) || headers.contains_key(CONTENT_RANGE);
    !status.is_server_error() && is_long && !is_incompressible && !is_encoded
}

/// Adds to `Vary` that the reply depends on `Accept-Encoding`, unless it is there already.
pub(super) fn add_vary(headers: &mut HeaderMap) {
    let name = ACCEPT_ENCODING.as_str().as_bytes();
    let is_there =
        |value: &HeaderValue| value.as_bytes().windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
    if !headers.get_all(VARY).iter().any(is_there) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Declares the encoding of a body that is compressed while it is sent: its length is no longer known.
pub(super) fn declare(headers: &mut HeaderMap, encoding: Encoding) {
    headers.remove(ACCEPT_RANGES);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_ENCODING, name(encoding));
}

/// The value of `Content-Encoding` for an encoding.
pub(super) const fn name(encoding: Encoding) -> HeaderValue {
    HeaderValue::from_static(match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Brotli => "br",
        Encoding::Zstd => "zstd",
    })
}

#[cfg(test)]
mod tests {
    use crate::edge::server::body::ReplyBody;

    use super::*;

    #[test]
    fn only_long_compressible_replies_are_worth_compressing() {
        let html = "text/html; charset=utf-8";
        for (status, media_type, more, bytes, is_worth) in [
            (200, html, None, 32, true),
            (200, html, None, 31, false),
            (404, html, None, 500, true),
            (503, html, None, 500, false),
            (200, "text/javascript", None, 500, true),
            (200, "image/png", None, 500, false),
            (200, "image/svg+xml", None, 500, true),
            (200, "video/mp4", None, 500, false),
            (200, "audio/mpeg", None, 500, false),
            (200, "font/woff2", None, 500, false),
            (200, "font/ttf", None, 500, true),
            (200, "text/event-stream", None, 500, false),
            (200, html, Some(CONTENT_ENCODING), 500, false),
            (206, html, Some(CONTENT_RANGE), 500, false),
            (304, html, None, 0, false),
        ] {
            let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
            headers.extend(more.clone().map(|name| (name, HeaderValue::from_static("x"))));
            let status = StatusCode::from_u16(status).expect("a status");
            let body = ReplyBody::from(vec![b'x'; bytes]);
            assert_eq!(is_worth_it(status, &headers, &body), is_worth, "{status} {media_type} {more:?} {bytes}");
        }
    }

    #[test]
    fn accept_encoding_is_added_to_vary_once() {
        for (before, after) in [
            (&[][..], &["accept-encoding"][..]),
            (&["cookie"], &["cookie", "accept-encoding"]),
            (&["cookie, Accept-Encoding"], &["cookie, Accept-Encoding"]),
        ] {
            let mut headers: HeaderMap = before.iter().map(|value| (VARY, HeaderValue::from_static(value))).collect();
            add_vary(&mut headers);
            add_vary(&mut headers);
            assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), after);
        }
    }
}
