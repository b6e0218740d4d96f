//! A connection whose every wait has an end: for a request, for the rest of one, for a reader to take what
//! he is sent. What comes in over HTTP/1.1 passes the letter of the standard first.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::page::wire::{Read, Wire};

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

/// A connection.
pub(super) struct Guarded<S> {
    stream: S,
    /// `None` for HTTP/2, which has frames instead.
    wire: Option<Wire>,
    /// What was read and passed the checks.
    passed: Bytes,
    /// Nothing more is read.
    ended: bool,
    waits: Waits,
    /// A first request has come.
    greeted: bool,
    /// Requests that are being answered.
    busy: Arc<AtomicUsize>,
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
    pub(super) fn new(stream: S, wire: Option<Wire>, waits: Waits, busy: Arc<AtomicUsize>) -> Self {
        Self {
            stream,
            wire,
            passed: Bytes::new(),
            ended: false,
            greeted: false,
            waits,
            busy,
            reading: Timer::default(),
            writing: Timer::default(),
        }
    }

    /// Takes requests out of what was read.
    fn pass(&mut self) {
        let Some(wire) = self.wire.as_mut().filter(|_| !self.ended) else { return };
        match wire.request() {
            Ok(Read::Request(bytes)) => (self.passed, self.greeted) = (bytes, true),
            Ok(Read::More) => {}
            // It is for hyper to say that it is too long.
            Ok(Read::TooLong(bytes)) => (self.passed, self.ended) = (bytes, true),
            Err(malformed) => {
                tracing::debug!("a request was refused: {}", malformed.0);
                (self.passed, self.ended) = (REFUSED, true);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.passed.is_empty() {
                this.pass();
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
                        if this.busy.load(Ordering::Acquire) == 0 && this.writing.end.is_none() {
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
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(&result);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.taken(&result);
        self.written(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.written(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS has something to say at the end, which has to be taken, too.
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(result, context)
    }
}
