//! Answers that are there at once, over HTTP/1.1 and past hyper: what it does for each request takes as long as all
//! else about a page that is kept whole. Whatever is out of the ordinary is for hyper.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, DATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tokio::io::AsyncWrite;

use crate::page::http::http1;

use super::Ready;

/// Fields of a request; hyper takes as many.
const FIELDS: usize = 100;
/// Pieces that are written at once.
const PIECES: usize = 16;
/// Bytes that are held for a connection to take, at least, where there are so many.
const AT_ONCE: usize = 64 << 10;

/// What a head asks for that passed the checks: a `GET` whose connection stays open. `None`: it is for hyper.
pub(super) fn request(head: &Bytes) -> Option<Parts> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut read = httparse::Request::new(&mut []);
    let status = read.parse_with_uninit_headers(head, &mut fields);
    let is_whole = status.is_ok_and(|status| status == httparse::Status::Complete(head.len()));
    if !is_whole || read.method != Some("GET") || read.version != Some(1) {
        return None;
    }
    // Parts of the head, which is not copied.
    let part = |bytes: &[u8]| head.slice_ref(bytes);
    let mut headers = HeaderMap::with_capacity(read.headers.len());
    for field in read.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if name == CONNECTION && !field.value.eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(part(field.value)).ok()?);
    }
    let uri = Uri::from_maybe_shared(part(read.path?.as_bytes())).ok()?;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers) = (Method::GET, uri, headers);
    Some(parts)
}

/// An answer that is being sent.
pub(super) struct Sending {
    /// Its head and its body, from `at` on still to be sent.
    pieces: Vec<Bytes>,
    at: usize,
    /// Of a long one, what follows.
    rest: Option<Box<dyn Ready>>,
    /// Bytes that were sent.
    sent: usize,
}

impl Sending {
    /// An answer whose head lacks its date and the empty line. Its body is let go of: who takes nothing holds a connection, and
    /// no place among requests under way.
    pub(super) fn new<B: Ready>((mut head, mut body): (Vec<u8>, B)) -> Self {
        with_date(|date| http1::write_field(&mut head, &DATE, date.as_bytes()));
        head.extend_from_slice(b"\r\n");
        let mut pieces = Vec::with_capacity(4);
        pieces.push(head.into());
        body.let_go();
        take(&mut body, &mut pieces);
        let is_all = body.is_end_stream();
        Self { pieces, at: 0, rest: (!is_all).then(|| Box::new(body) as Box<dyn Ready>), sent: 0 }
    }

    /// Bytes that were sent.
    pub(super) const fn sent(&self) -> usize {
        self.sent
    }

    /// Sends what is left.
    pub(super) fn poll(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.at == self.pieces.len() {
                (self.pieces, self.at) = (Vec::new(), 0);
                let Some(rest) = &mut self.rest else { break };
                take(&mut **rest, &mut self.pieces);
                if self.pieces.is_empty() {
                    break;
                }
            }
            let left = &self.pieces[self.at..];
            let mut slices = [IoSlice::new(&[]); PIECES];
            for (slice, piece) in slices.iter_mut().zip(left) {
                *slice = IoSlice::new(piece);
            }
            let slices = &slices[..left.len().min(PIECES)];
            let mut written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            while let Some(piece) = self.pieces.get_mut(self.at).filter(|_| written > 0) {
                let sent = written.min(piece.len());
                piece.advance(sent);
                written -= sent;
                self.at += usize::from(piece.is_empty());
            }
        }
        // TLS may hold some of it.
        Pin::new(stream).poll_flush(cx)
    }
}

/// Takes so much of a body as is sent at once. What was taken may be this connection's alone.
fn take(body: &mut (impl Ready + ?Sized), pieces: &mut Vec<Bytes>) {
    let mut nobody = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    while bytes < AT_ONCE
        && let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut nobody)
    {
        let data = frame.into_data().ok().filter(|data| !data.is_empty());
        bytes += data.as_ref().map_or(0, Bytes::len);
        pieces.extend(data);
    }
}

/// The time of day in words, which are made once a second.
fn with_date(write: impl FnOnce(&str)) {
    thread_local!(static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    #[expect(clippy::disallowed_methods, reason = "what a date says, as hyper does")]
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second || text.is_empty() {
            (*last, *text) = (second, httpdate::fmt_http_date(now));
        }
        write(text);
    });
}
