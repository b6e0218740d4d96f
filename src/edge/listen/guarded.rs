//! A connection whose every wait has an end: for a request, for the rest of one, for a reader to take what
//! he is sent. What comes in over HTTP/1.1 passes the letter of the standard first. What can be answered at once is,
//! before hyper hears of it.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::page::http::http1::{Read, Wire};

use super::Later;
use super::direct::{self, Sending};

/// How long a connection waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// From the first byte of a request to its last.
    pub(super) request: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For a reader who takes nothing of what he is sent.
    pub(super) write: Duration,
}

/// What hyper answers with 400, and then closes the connection.
const REFUSED: Bytes = Bytes::from_static(b"\0\r\n\r\n");

/// What becomes of requests that hyper is given.
#[derive(Default)]
pub(super) struct Progress {
    /// Those that are being answered.
    pub(super) busy: AtomicUsize,
    /// Those that were, to the last byte that the application gives.
    pub(super) done: AtomicUsize,
    /// What became of trying to answer the next one, where that was tried.
    tried: Mutex<Option<Tried>>,
}

impl Progress {
    /// What became of trying to answer the next request; each is told once.
    pub(super) fn tried(&self) -> Option<Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request that could not be answered at once.
pub(super) enum Tried {
    /// What it takes is being asked for.
    Asked(Later),
    /// It is for the router.
    InVain,
}

/// Answers some requests at once.
pub(super) type Direct = Box<dyn Fn(&Parts) -> Result<Sending, Tried> + Send + Sync>;

/// A connection.
pub(super) struct Guarded<S> {
    stream: S,
    /// `None` where all is for hyper.
    direct: Option<Direct>,
    /// An answer that hyper does not know of, and that all others wait for.
    sending: Option<Sending>,
    /// Requests that hyper was given.
    given: usize,
    /// hyper has answered them, and all of that was sent: what comes now may be answered past it.
    settled: bool,
    /// `None` for HTTP/2, which has frames instead.
    wire: Option<Wire>,
    /// What was read and passed the checks.
    passed: Bytes,
    /// Nothing more is read.
    ended: bool,
    waits: Waits,
    /// A first request has come.
    greeted: bool,
    progress: Arc<Progress>,
    reading: Timer,
    writing: Timer,
}

/// A time by which something has to happen, where there is one. A wait that ends before its time leaves the
/// alarm as it is, for the next one to set anew when it rings: most waits are far shorter than they may be.
#[derive(Default)]
struct Timer {
    end: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Whether a wait of this length is over; it begins now, where none had begun.
    fn is_over(&mut self, wait: Duration, context: &mut Context<'_>) -> bool {
        let end = *self.end.get_or_insert_with(|| Instant::now() + wait);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if alarm.deadline() > end {
            alarm.as_mut().reset(end);
        }
        while alarm.as_mut().poll(context).is_ready() {
            if alarm.deadline() >= end {
                return true;
            }
            alarm.as_mut().reset(end);
        }
        false
    }

    fn stop(&mut self) {
        self.end = None;
    }
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, wire: Option<Wire>, waits: Waits, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            direct: None,
            sending: None,
            given: 0,
            settled: true,
            wire,
            passed: Bytes::new(),
            ended: false,
            greeted: false,
            waits,
            progress,
            reading: Timer::default(),
            writing: Timer::default(),
        }
    }

    /// Answers what can be answered at once, past hyper.
    pub(super) fn directly(self, direct: Option<Direct>) -> Self {
        Self { direct, ..self }
    }

    /// Takes requests out of what was read.
    fn pass(&mut self) {
        let Some(wire) = self.wire.as_mut().filter(|_| !self.ended) else { return };
        match wire.request() {
            Ok(Read::Request(bytes)) => {
                self.greeted = true;
                self.sending = self.at_once(&bytes);
                if self.sending.is_none() {
                    (self.given, self.settled, self.passed) = (self.given + 1, false, bytes);
                }
            }
            Ok(Read::More) => {}
            // It is for hyper to say that it is too long.
            Ok(Read::TooLong(bytes)) => (self.passed, self.ended, self.settled) = (bytes, true, false),
            Err(malformed) => {
                tracing::debug!("a request was refused: {}", malformed.0);
                (self.passed, self.ended, self.settled) = (REFUSED, true, false);
            }
        }
    }

    /// The answer to a request, where it can be given now: hyper has nothing to send before it.
    fn at_once(&self, head: &Bytes) -> Option<Sending> {
        let direct = self.direct.as_ref().filter(|_| self.settled)?;
        match direct(&direct::request(head)?) {
            Ok(sending) => Some(sending),
            Err(tried) => {
                *self.progress.tried.lock().unwrap_or_else(PoisonError::into_inner) = Some(tried);
                None
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            ready!(this.send(context))?;
            if this.passed.is_empty() {
                this.pass();
                if this.sending.is_some() {
                    continue;
                }
            }
            if !this.passed.is_empty() {
                let length = this.passed.len().min(into.remaining());
                into.put_slice(&this.passed[..length]);
                this.passed.advance(length);
                this.reading.stop();
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            let midway = this.wire.as_ref().is_some_and(Wire::is_midway);
            let mut space = [MaybeUninit::uninit(); 8 * 1024];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.stream).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    this.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => match &mut this.wire {
                    Some(wire) => {
                        // A request that has begun has one time for all of it.
                        if !midway {
                            this.reading.stop();
                        }
                        wire.take(read.filled());
                    }
                    None => {
                        this.reading.stop();
                        this.greeted = true;
                        this.passed = Bytes::copy_from_slice(read.filled());
                    }
                },
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Who connects and says nothing is no better than who begins and does not end.
                    let midway = midway || !this.greeted;
                    let wait = if midway { this.waits.request } else { this.waits.idle };
                    while this.reading.is_over(wait, context) {
                        // hyper gives an answer away before it is sent: what is left of it waits to be taken.
                        if this.progress.busy.load(Ordering::Acquire) == 0 && this.writing.end.is_none() {
                            this.ended = true;
                            return Poll::Ready(Ok(()));
                        }
                        // Somebody is being answered: it is not he who is slow.
                        this.reading.stop();
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// Sends what is left of an answer that hyper does not know of.
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
        self.written(result, context)
    }

    /// Who takes what he is sent is not idle.
    fn taken(&mut self, result: &Poll<io::Result<usize>>) {
        if matches!(result, Poll::Ready(Ok(1..))) {
            self.reading.stop();
        }
    }

    /// What comes of writing; a reader who takes nothing for too long is let go.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing.stop();
            return result;
        }
        if self.writing.is_over(self.waits.write, context) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader takes nothing")));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.send(context))?;
        self.settled = false;
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(&result);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.send(context))?;
        self.settled = false;
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.taken(&result);
        self.written(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper asks for this once all is written that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(context))?;
        let result = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(result, Poll::Ready(Ok(()))) && self.progress.done.load(Ordering::Acquire) == self.given {
            self.settled = true;
        }
        self.written(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(context))?;
        // TLS has something to say at the end, which has to be taken, too.
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(result, context)
    }
}
