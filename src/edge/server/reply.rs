//! A reply to a client: its head and its body. It decides whether it is a 304 and how it is encoded, and can be sent by
//! hyper or be written as HTTP/1.1 without it.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::engine::page_cache::ResponseHead;
use crate::engine::{Encoding, Trace};
use crate::page::http::http1;

use super::body::{Chunks, ReplyBody};
use super::coding::{self, Compression};

/// The media type of a page.
pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Spare bytes for the fields that are written after a stored head.
const ROOM: usize = 128;

/// A reply to a client.
pub struct Reply {
    head: Head,
    body: ReplyBody,
    /// Whether the body may be compressed while it is sent; `false` if an encoding was chosen already.
    is_encodable: bool,
    request_id: Option<[u8; 32]>,
    /// Where it came from, if it is a page.
    origin: Option<PageOrigin>,
}

/// Where a page came from, for the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageOrigin {
    /// The page cache.
    Cached,
    /// The page cache, but for the parts of its reader.
    Personalised,
    /// It was composed.
    Composed,
}

impl PageOrigin {
    /// Its name in the access log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "hit",
            Self::Personalised => "personalised",
            Self::Composed => "miss",
        }
    }
}

/// The head of a reply.
pub(super) enum Head {
    /// The stored head of a cached page, with status 200.
    Cached(Arc<ResponseHead>),
    /// A head that was made for this reply.
    Own(StatusCode, HeaderMap),
}

impl Head {
    fn headers(&self) -> &HeaderMap {
        match self {
            Self::Cached(head) => &head.headers,
            Self::Own(_, headers) => headers,
        }
    }

    fn into_headers(self) -> HeaderMap {
        match self {
            Self::Cached(head) => head.headers.clone(),
            Self::Own(_, headers) => headers,
        }
    }
}

impl Reply {
    pub(super) fn new(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Self {
        Self { head: Head::Own(status, headers), body, is_encodable: true, request_id: None, origin: None }
    }

    /// The reply with this head and body; or a 304 if the client has the body already (RFC 9110, 15.4.5). A 304 has the
    /// fields that describe the page, and none that describe the bytes that are not sent.
    pub(super) fn unless_held(is_held: bool, head: Head, body: impl FnOnce() -> ReplyBody) -> Self {
        if !is_held {
            return Self { head, body: body(), is_encodable: true, request_id: None, origin: None };
        }
        let mut headers = head.into_headers();
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_ENCODING);
        Self::new(StatusCode::NOT_MODIFIED, headers, ReplyBody::default())
    }

    /// The same reply. `is_encodable`: its body may be compressed while it is sent.
    pub(super) fn encodable(mut self, is_encodable: bool) -> Self {
        self.is_encodable = is_encodable;
        self
    }

    /// The same reply with another body.
    pub(super) fn with_body(mut self, body: ReplyBody) -> Self {
        self.body = body;
        self
    }

    /// The same reply with a body that is made of its body.
    pub(super) fn map_body(mut self, change: impl FnOnce(ReplyBody) -> ReplyBody) -> Self {
        self.body = change(self.body);
        self
    }

    /// The same reply, whose page came from here.
    pub(super) fn with_origin(mut self, origin: PageOrigin) -> Self {
        self.origin = Some(origin);
        self
    }

    pub(super) const fn origin(&self) -> Option<PageOrigin> {
        self.origin
    }

    /// Adds the id of its request.
    pub(super) fn identify(&mut self, trace: &Trace) {
        self.request_id = Some(trace.id());
    }

    /// Compresses the body while it is sent, if that is worth it and no encoding was chosen before. `Vary` is added if
    /// another client could get it in another encoding.
    pub(super) fn encode(&mut self, offered: Compression, preferred: Option<Encoding>) {
        let is_worth_it = || coding::is_worth_it(self.status(), self.head.headers(), &self.body);
        if !self.is_encodable || !offered.any() || !is_worth_it() {
            return;
        }
        coding::add_vary(self.headers_mut());
        let Some(encoding) = preferred else { return };
        coding::declare(self.headers_mut(), encoding);
        self.body = ReplyBody::Streamed(coding::streamed(std::mem::take(&mut self.body), encoding));
        self.is_encodable = false;
    }

    pub(super) fn status(&self) -> StatusCode {
        match &self.head {
            Head::Cached(_) => StatusCode::OK,
            Head::Own(status, _) => *status,
        }
    }

    /// The headers, to be changed for this reply only.
    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        if let Head::Cached(head) = &self.head {
            self.head = Head::Own(StatusCode::OK, head.headers.clone());
        }
        match &mut self.head {
            Head::Own(_, headers) => headers,
            Head::Cached(_) => unreachable!("it was replaced above"),
        }
    }

    /// The head as HTTP/1.1 writes it, without its date and the empty line at its end, and the body.
    ///
    /// # Errors
    /// The reply itself, if its body is not in memory.
    pub fn into_http1(self) -> Result<(Vec<u8>, Chunks), Box<Self>> {
        let Self { head, body: ReplyBody::InMemory(body), request_id, .. } = self else { return Err(Box::new(self)) };
        let id = request_id.as_ref();
        let head = match head {
            Head::Cached(stored) => {
                let mut head = Vec::with_capacity(stored.head.len() + ROOM);
                head.extend_from_slice(&stored.head);
                if let Some(id) = id {
                    http1::write_field(&mut head, &REQUEST_ID, id);
                }
                head
            }
            Head::Own(status, mut headers) => {
                headers.extend(id.and_then(field));
                // RFC 9110, 8.6: of a 304, `Content-Length` would be that of the page that is not sent.
                http1::head(status, &headers, (status != StatusCode::NOT_MODIFIED).then(|| body.length()))
            }
        };
        Ok((head, body))
    }

    /// The reply as hyper sends it.
    #[must_use]
    pub fn into_http(self) -> http::Response<ReplyBody> {
        let status = self.status();
        let mut headers = self.head.into_headers();
        headers.extend(self.request_id.as_ref().and_then(field));
        let mut response = http::Response::new(self.body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// The field with the id of a request.
fn field(id: &[u8; 32]) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_bytes(id).ok().map(|id| (REQUEST_ID, id))
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        self.into_http().map(Body::new)
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        Self::new(parts.status, parts.headers, ReplyBody::Streamed(body))
    }
}
