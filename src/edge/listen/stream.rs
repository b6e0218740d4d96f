//! The byte stream of a connection: every wait on it has a timeout. Over HTTP/1.1, only requests that pass strict parsing
//! are passed on to hyper, and replies in memory are sent without it.
//! A request that cannot be read is replaced by one whose reply is known: the refusal. The connection then closes in
//! stages, so that a client that is still sending receives it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::future::Either;
use http::StatusCode;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::page::http::http1::{Framed, Framer, TooLong};

use super::application::{PendingReply, Reply};
use super::closing::Closing;
use super::direct::{self, Sending};
use super::http2_use::Http2Use;
use super::state::ConnectionState;
use super::timer::Timer;

/// The byte stream of a client.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The socket below it.
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// From the first byte of a request to its last.
    pub(super) request: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For a client that reads nothing of its response.
    pub(super) write: Duration,
}

/// What hyper reads in place of a request that is refused. Its reply is handed over.
const REFUSED: Bytes = Bytes::from_static(b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n");
/// How long a client that has closed its half of the connection is left alone before it is looked at whether it has left
/// altogether.
const LOOK: Duration = Duration::from_millis(250);

/// What an HTTP/1.1 connection needs of the application.
pub(super) struct Direct<R> {
    /// Handles requests without hyper. `None`: the request is left to hyper.
    pub(super) handle: Box<dyn Fn(Parts) -> Option<PendingReply<R>> + Send + Sync>,
    /// The reply to a request that cannot be read.
    pub(super) refuse: Box<dyn Fn(StatusCode) -> R + Send + Sync>,
}

/// The byte stream of a connection.
pub(super) struct ConnectionStream<S, R> {
    stream: S,
    protocol: Protocol<R>,
    /// A reply that is sent without hyper. Everything else waits for it.
    sending: Option<Sending>,
    /// The number of requests that were passed on to hyper.
    passed_on: usize,
    /// Whether hyper has sent the replies to all of them, so that the next request may be handled without hyper.
    is_hyper_idle: bool,
    /// Bytes for hyper.
    readable: Bytes,
    /// Whether nothing more is passed on to hyper.
    is_ended: bool,
    /// Whether a first request has arrived.
    is_greeted: bool,
    timeouts: Timeouts,
    state: Arc<ConnectionState<R>>,
    reading: Timer,
    writing: Timer,
    closing: Closing,
}

/// What is specific to the version of HTTP.
enum Protocol<R> {
    /// HTTP/1.1, or an earlier version.
    Http1(Http1<R>),
    /// HTTP/2, whose frames hyper handles.
    Http2(Http2Use),
}

/// How the requests of an HTTP/1.1 connection are handled.
struct Http1<R> {
    framer: Framer,
    direct: Direct<R>,
}

impl<S, R: Reply> ConnectionStream<S, R> {
    pub(super) fn http1(
        stream: S,
        framer: Framer,
        timeouts: Timeouts,
        state: Arc<ConnectionState<R>>,
        direct: Direct<R>,
    ) -> Self {
        Self::new(stream, Protocol::Http1(Http1 { framer, direct }), timeouts, state)
    }

    pub(super) fn http2(stream: S, timeouts: Timeouts, state: Arc<ConnectionState<R>>) -> Self {
        Self::new(stream, Protocol::Http2(Http2Use::default()), timeouts, state)
    }

    fn new(stream: S, protocol: Protocol<R>, timeouts: Timeouts, state: Arc<ConnectionState<R>>) -> Self {
        Self {
            stream,
            protocol,
            sending: None,
            passed_on: 0,
            is_hyper_idle: true,
            readable: Bytes::new(),
            is_ended: false,
            is_greeted: false,
            timeouts,
            state,
            reading: Timer::default(),
            writing: Timer::default(),
            closing: Closing::default(),
        }
    }

    /// Takes the next request from the bytes that were read.
    fn next_request(&mut self) {
        let Protocol::Http1(http1) = &mut self.protocol else { return };
        if self.is_ended {
            return;
        }
        match http1.framer.next_request() {
            Ok(Framed::Request(bytes)) => {
                self.is_greeted = true;
                self.sending = self.handle(&bytes);
                if self.sending.is_none() {
                    self.pass_on(bytes);
                }
            }
            Ok(Framed::Last(bytes)) => {
                self.is_ended = true;
                self.pass_on(bytes);
            }
            Ok(Framed::Incomplete) => {}
            Ok(Framed::TooLong(part)) => self.refuse(match part {
                TooLong::Target => StatusCode::URI_TOO_LONG,
                TooLong::Head => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                TooLong::Body => StatusCode::PAYLOAD_TOO_LARGE,
            }),
            Err(malformed) => {
                tracing::debug!("a request was refused: {}", malformed.0);
                self.refuse(StatusCode::BAD_REQUEST);
            }
        }
    }

    /// Passes a request on to hyper.
    fn pass_on(&mut self, bytes: Bytes) {
        (self.passed_on, self.is_hyper_idle, self.readable) = (self.passed_on + 1, false, bytes);
    }

    /// Has hyper send the refusal of a request, after the replies to the requests before it, and close the connection.
    fn refuse(&mut self, status: StatusCode) {
        let Protocol::Http1(http1) = &self.protocol else { return };
        self.state.hand_over(self.passed_on, Either::Left((http1.direct.refuse)(status)));
        self.is_ended = true;
        self.pass_on(REFUSED);
    }

    /// The reply to a request, if it can be sent without hyper: it is in memory, and hyper has nothing to send before it.
    /// Otherwise the reply is handed over to hyper, if there is one.
    fn handle(&self, head: &Bytes) -> Option<Sending> {
        let Protocol::Http1(http1) = &self.protocol else { return None };
        if !self.is_hyper_idle {
            return None;
        }
        let reply = match (http1.direct.handle)(direct::request(head)?)? {
            Either::Left(reply) => match reply.into_http1() {
                Ok(reply) => return Some(Sending::new(reply)),
                Err(reply) => Either::Left(*reply),
            },
            later => later,
        };
        self.state.hand_over(self.passed_on, reply);
        None
    }
}

impl<S: Stream, R: Reply> AsyncRead for ConnectionStream<S, R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            ready!(this.send(context))?;
            if this.readable.is_empty() {
                this.next_request();
                if this.sending.is_some() {
                    continue;
                }
            }
            if !this.readable.is_empty() {
                let length = this.readable.len().min(into.remaining());
                into.put_slice(&this.readable[..length]);
                this.readable.advance(length);
                this.reading.stop();
                return Poll::Ready(Ok(()));
            }
            if this.is_ended {
                return this.end(context);
            }
            let is_within_request = match &mut this.protocol {
                Protocol::Http1(http1) => http1.framer.is_within_request(),
                Protocol::Http2(usage) => {
                    if usage.take(this.state.completed()) {
                        this.reading.stop();
                    }
                    false
                }
            };
            let mut space = [MaybeUninit::uninit(); 8 * 1024];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.stream).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    this.is_ended = true;
                    this.closing.note_left();
                    this.reading.stop();
                    // Whoever closes only their half does so after their request; whoever leaves, also within the reply.
                    if this.state.is_stalled() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Ok(())) => match &mut this.protocol {
                    Protocol::Http1(http1) => {
                        // A request that has begun has one timeout for all of it.
                        if !is_within_request {
                            this.reading.stop();
                        }
                        http1.framer.push(read.filled());
                    }
                    Protocol::Http2(usage) => {
                        this.is_greeted = true;
                        usage.count_read(read.filled().len());
                        this.readable = Bytes::copy_from_slice(read.filled());
                    }
                },
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // A client that connects and sends nothing is like one that begins a request and does not end it.
                    let awaits_request = is_within_request || !this.is_greeted;
                    let timeout = if awaits_request { this.timeouts.request } else { this.timeouts.idle };
                    while this.reading.is_over(timeout, context) {
                        // hyper drops the body of a reply before all of it is written: a running write counts as busy, too.
                        if !this.state.is_busy() && !this.writing.is_running() {
                            this.is_ended = true;
                            this.closing.note_left();
                            return Poll::Ready(Ok(()));
                        }
                        // A request is being handled: it is not the client that is slow.
                        this.reading.stop();
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: Stream, R: Reply> ConnectionStream<S, R> {
    /// The end of what hyper reads, which it learns once every request is completed: it would take it for a client that has
    /// left. A client may close its half of the connection after its last request (RFC 9112, 9.6).
    fn end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.wake_when_completed(context.waker());
        if self.state.completed() >= self.passed_on {
            return Poll::Ready(Ok(()));
        }
        // A client that left altogether resets the connection, at the latest when it is sent something.
        while self.reading.is_over(LOOK, context) {
            self.reading.stop();
            if let Some(error) = self.stream.socket().take_error()? {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Pending
    }

    /// Whether the client may be sending what nobody will read: after a refusal, the rest of the request; or another
    /// request behind the last one that is handled; or frames of HTTP/2.
    fn may_be_sending(&self) -> bool {
        match &self.protocol {
            Protocol::Http1(http1) => self.is_ended || http1.framer.is_within_request(),
            Protocol::Http2(_) => true,
        }
    }

    /// Sends the rest of a reply that is sent without hyper.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        let before = sending.sent();
        let result = sending.poll(&mut self.stream, context);
        if sending.sent() > before {
            self.writing.stop();
            self.reading.stop();
        }
        if result.is_ready() {
            self.sending = None;
        }
        self.within_timeout(result, context)
    }

    /// Records that bytes were written: a client that reads its response is not idle.
    fn note_written(&mut self, result: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(written @ 1..)) = result else { return };
        match &mut self.protocol {
            Protocol::Http1(_) => self.reading.stop(),
            Protocol::Http2(usage) => usage.count_written(*written),
        }
    }

    /// The result of a write. It fails if the client has read nothing for too long.
    fn within_timeout<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing.stop();
            return result;
        }
        if self.writing.is_over(self.timeouts.write, context) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")));
        }
        Poll::Pending
    }
}

impl<S: Stream, R: Reply> AsyncWrite for ConnectionStream<S, R> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.send(context))?;
        self.is_hyper_idle = false;
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(&result);
        self.within_timeout(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.send(context))?;
        self.is_hyper_idle = false;
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.note_written(&result);
        self.within_timeout(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once it has written everything that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(context))?;
        let result = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(result, Poll::Ready(Ok(()))) && self.state.completed() == self.passed_on {
            self.is_hyper_idle = true;
        }
        self.within_timeout(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(context))?;
        let this = &mut *self;
        if !this.closing.is_shut() {
            // TLS sends a last message, which the client has to read, too.
            let result = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.within_timeout(result, context))?;
            this.closing.note_shut(this.may_be_sending());
        }
        this.closing.linger(&mut this.stream, context).map(Ok)
    }
}
