//! The byte stream of a connection: every wait on it has a timeout. Over HTTP/1.1, only requests that pass strict parsing
//! are passed on to hyper, and replies in memory are sent without it.
//! A malformed request is replaced by one to which hyper responds with 400.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::future::Either;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::page::http::http1::{Framed, Framer};

use super::application::{PendingReply, Reply};
use super::direct::{self, Sending};
use super::state::ConnectionState;
use super::timer::Timer;

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

/// A request to which hyper responds with 400; then it closes the connection.
const REFUSED: Bytes = Bytes::from_static(b"\0\r\n\r\n");

/// Handles requests without hyper. `None`: the request is left to hyper.
pub(super) type Direct<R> = Box<dyn Fn(Parts) -> Option<PendingReply<R>> + Send + Sync>;

/// The byte stream of a connection.
pub(super) struct ConnectionStream<S, R> {
    stream: S,
    /// `None` over HTTP/2, which has frames instead.
    http1: Option<Http1<R>>,
    /// A reply that is sent without hyper. Everything else waits for it.
    sending: Option<Sending>,
    /// The number of requests that were passed on to hyper.
    passed_on: usize,
    /// Whether hyper has sent the replies to all of them, so that the next request may be handled without hyper.
    is_hyper_idle: bool,
    /// Bytes for hyper.
    readable: Bytes,
    /// Whether nothing more is read.
    is_ended: bool,
    /// Whether a first request has arrived.
    is_greeted: bool,
    timeouts: Timeouts,
    state: Arc<ConnectionState<R>>,
    reading: Timer,
    writing: Timer,
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
        Self { http1: Some(Http1 { framer, direct }), ..Self::http2(stream, timeouts, state) }
    }

    pub(super) fn http2(stream: S, timeouts: Timeouts, state: Arc<ConnectionState<R>>) -> Self {
        Self {
            stream,
            http1: None,
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
        }
    }

    /// Takes the next request from the bytes that were read.
    fn next_request(&mut self) {
        let Some(http1) = self.http1.as_mut().filter(|_| !self.is_ended) else { return };
        match http1.framer.next_request() {
            Ok(Framed::Request(bytes)) => {
                self.is_greeted = true;
                self.sending = self.handle(&bytes);
                if self.sending.is_none() {
                    (self.passed_on, self.is_hyper_idle, self.readable) = (self.passed_on + 1, false, bytes);
                }
            }
            Ok(Framed::Incomplete) => {}
            // hyper responds that it is too long.
            Ok(Framed::TooLong(bytes)) => (self.readable, self.is_ended, self.is_hyper_idle) = (bytes, true, false),
            Err(malformed) => {
                tracing::debug!("a request was refused: {}", malformed.0);
                (self.readable, self.is_ended, self.is_hyper_idle) = (REFUSED, true, false);
            }
        }
    }

    /// The reply to a request, if it can be sent without hyper: it is in memory, and hyper has nothing to send before it.
    /// Otherwise the reply is handed over to hyper, if there is one.
    fn handle(&self, head: &Bytes) -> Option<Sending> {
        let http1 = self.http1.as_ref().filter(|_| self.is_hyper_idle)?;
        let reply = match (http1.direct)(direct::request(head)?)? {
            Either::Left(reply) => match reply.into_http1() {
                Ok(reply) => return Some(Sending::new(reply)),
                Err(reply) => Either::Left(*reply),
            },
            later => later,
        };
        self.state.hand_over(reply);
        None
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Reply> AsyncRead for ConnectionStream<S, R> {
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
                return Poll::Ready(Ok(()));
            }
            let is_within_request = this.http1.as_ref().is_some_and(|http1| http1.framer.is_within_request());
            let mut space = [MaybeUninit::uninit(); 8 * 1024];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.stream).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    this.is_ended = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => match &mut this.http1 {
                    Some(http1) => {
                        // A request that has begun has one timeout for all of it.
                        if !is_within_request {
                            this.reading.stop();
                        }
                        http1.framer.push(read.filled());
                    }
                    None => {
                        this.reading.stop();
                        this.is_greeted = true;
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

impl<S: AsyncWrite + Unpin, R: Reply> ConnectionStream<S, R> {
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
        if matches!(result, Poll::Ready(Ok(1..))) {
            self.reading.stop();
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

impl<S: AsyncWrite + Unpin, R: Reply> AsyncWrite for ConnectionStream<S, R> {
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
        // TLS sends a last message, which the client has to read, too.
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within_timeout(result, context)
    }
}
