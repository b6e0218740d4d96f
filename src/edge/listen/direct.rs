//! Sends replies whose body is in memory over HTTP/1.1 without hyper, which takes as long for each request as all
//! other work for a cached page. Anything unusual is left to hyper.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, DATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tokio::io::AsyncWrite;

use crate::page::http::http1;

use super::application::InMemory;

/// Maximum number of fields of a request, as in hyper.
const MAX_FIELDS: usize = 100;
/// Maximum number of buffers in one vectored write.
const MAX_BUFFERS: usize = 16;
/// Bytes of a longer body that are taken at a time.
const BATCH: usize = 64 << 10;

/// Parses a head that passed strict parsing. `None`: the request is left to hyper, since it is not a `GET` whose
/// connection stays open.
pub(super) fn request(head: &Bytes) -> Option<Parts> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(head, &mut fields);
    let is_complete = status.is_ok_and(|status| status == httparse::Status::Complete(head.len()));
    if !is_complete || parsed.method != Some("GET") || parsed.version != Some(1) {
        return None;
    }
    // Values share the memory of the head.
    let part = |bytes: &[u8]| head.slice_ref(bytes);
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if name == CONNECTION && !field.value.eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(part(field.value)).ok()?);
    }
    let uri = Uri::from_maybe_shared(part(parsed.path?.as_bytes())).ok()?;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers) = (Method::GET, uri, headers);
    Some(parts)
}

/// A reply that is being sent.
pub(super) struct Sending {
    /// Buffers of its head and its body, of which those from `next` on are still to be sent.
    buffers: Vec<Bytes>,
    next: usize,
    /// The rest of a longer body.
    rest: Option<Box<dyn Iterator<Item = Bytes> + Send>>,
    /// Bytes that were sent.
    sent: usize,
}

impl Sending {
    /// Begins to send a reply whose head lacks its date and the empty line. The permit of its request is released now: a
    /// client that reads slowly holds a connection, but no permit.
    pub(super) fn new<B: InMemory>((mut head, mut body): (Vec<u8>, B)) -> Self {
        with_date(|date| http1::write_field(&mut head, &DATE, date.as_bytes()));
        head.extend_from_slice(b"\r\n");
        let mut buffers = Vec::with_capacity(4);
        buffers.push(head.into());
        body.release_permit();
        let rest = match take(&mut body, &mut buffers) {
            Taken::All => None,
            Taken::Batch => Some(Box::new(body) as Box<dyn Iterator<Item = Bytes> + Send>),
        };
        Self { buffers, next: 0, rest, sent: 0 }
    }

    /// The number of bytes that were sent.
    pub(super) const fn sent(&self) -> usize {
        self.sent
    }

    /// Sends the rest.
    pub(super) fn poll(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.next == self.buffers.len() {
                (self.buffers, self.next) = (Vec::new(), 0);
                let Some(rest) = &mut self.rest else { break };
                take(&mut **rest, &mut self.buffers);
                if self.buffers.is_empty() {
                    break;
                }
            }
            let left = &self.buffers[self.next..];
            let mut slices = [IoSlice::new(&[]); MAX_BUFFERS];
            for (slice, buffer) in slices.iter_mut().zip(left) {
                *slice = IoSlice::new(buffer);
            }
            let slices = &slices[..left.len().min(MAX_BUFFERS)];
            let mut written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            while let Some(buffer) = self.buffers.get_mut(self.next).filter(|_| written > 0) {
                let sent = written.min(buffer.len());
                buffer.advance(sent);
                written -= sent;
                self.next += usize::from(buffer.is_empty());
            }
        }
        // TLS may hold back some of it.
        Pin::new(stream).poll_flush(cx)
    }
}

/// How much of a body was taken.
enum Taken {
    /// All of it.
    All,
    /// As much as is sent at a time.
    Batch,
}

/// Takes the next batch of a body. No more is taken: a block that was decompressed for this connection is held in memory
/// until it is sent.
fn take(body: &mut (impl Iterator<Item = Bytes> + ?Sized), buffers: &mut Vec<Bytes>) -> Taken {
    let mut bytes = 0;
    while bytes < BATCH {
        let Some(piece) = body.next() else { return Taken::All };
        bytes += piece.len();
        if !piece.is_empty() {
            buffers.push(piece);
        }
    }
    Taken::Batch
}

/// Passes on the value of `Date`, which is formatted once a second.
pub(super) fn with_date<T>(write: impl FnOnce(&str) -> T) -> T {
    #[expect(clippy::disallowed_methods, reason = "the date of a message, as hyper makes it")]
    date_at(SystemTime::now(), write)
}

/// Passes on the value of `Date` at a time, which may be before that of the call before.
fn date_at<T>(now: SystemTime, write: impl FnOnce(&str) -> T) -> T {
    thread_local!(static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second || text.is_empty() {
            (*last, *text) = (second, httpdate::fmt_http_date(now));
        }
        write(text)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_date_follows_a_clock_that_is_set_back() {
        for (second, expected) in [
            (1_800_000_000, "Fri, 15 Jan 2027 08:00:00 GMT"),
            (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 GMT"),
            (1_700_000_001, "Tue, 14 Nov 2023 22:13:21 GMT"),
        ] {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            date_at(now, |date| assert_eq!(date, expected));
        }
    }
}
