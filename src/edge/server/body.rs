//! The body of a reply: chunks in memory whose length is known, or a stream.
//! Chunks are not copied; a chunk that is stored compressed is decompressed block by block as it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::page::html::text::{Text, length};

/// The body of a reply.
pub enum ReplyBody {
    /// All of it is in memory.
    InMemory(Chunks),
    /// It arrives while it is sent. An error aborts the reply.
    Streamed(Body),
}

impl Default for ReplyBody {
    fn default() -> Self {
        Self::InMemory(Chunks::default())
    }
}

impl<T: Into<Bytes>> From<T> for ReplyBody {
    fn from(bytes: T) -> Self {
        Self::InMemory(Chunks::new([Text::from(bytes.into())].into(), None))
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::InMemory(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::InMemory(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::InMemory(body) => http_body::Body::size_hint(body),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// A body in memory: the chunks that are still to be sent.
#[derive(Default)]
pub struct Chunks {
    chunks: Arc<[Text]>,
    /// The next chunk, and the next piece of it.
    next: (usize, usize),
    /// Bytes that are still to be sent.
    left: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Chunks {
    /// A body of these chunks. It holds the permit of its request until it is sent, or until [`Chunks::release_permit`].
    #[must_use]
    pub fn new(chunks: Arc<[Text]>, permit: Option<OwnedSemaphorePermit>) -> Self {
        let left = length(&chunks);
        Self { chunks, next: (0, 0), left, permit }
    }

    /// The number of bytes that are still to be sent.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.left
    }

    /// Releases the permit of the request: the rest of the body is sent as fast as its client reads it.
    pub fn release_permit(&mut self) {
        self.permit = None;
    }
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let (chunk, piece) = self.next;
        let text = self.chunks.get(chunk)?;
        let bytes = text.piece(piece).unwrap_or_default();
        let is_last = piece + 1 >= text.pieces();
        self.next = if is_last { (chunk + 1, 0) } else { (chunk, piece + 1) };
        self.left -= bytes.len();
        Some(bytes)
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.0 == self.chunks.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
