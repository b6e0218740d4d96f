//! A page's chunks as a response body whose length is known. Nothing is copied; what is packed is unpacked as it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use std::sync::Arc;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::page::html::text::{Text, length};

/// The chunks that are still to be sent.
#[derive(Default)]
pub struct Chunks {
    chunks: Arc<[Text]>,
    /// The next one, and the next piece of it.
    next: (usize, usize),
    left: u64,
    /// The request is under way until its last byte.
    permit: Option<OwnedSemaphorePermit>,
}

impl Chunks {
    /// These.
    #[must_use]
    pub fn new(chunks: Arc<[Text]>) -> Self {
        let left = length(&chunks) as u64;
        Self { chunks, next: (0, 0), left, permit: None }
    }

    /// The same, and a place that is held until they are sent.
    #[must_use]
    pub fn held(chunks: Arc<[Text]>, permit: OwnedSemaphorePermit) -> Self {
        Self { permit: Some(permit), ..Self::new(chunks) }
    }

    /// Gives that place up.
    pub fn release(&mut self) {
        self.permit = None;
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (chunk, piece) = self.next;
        let Some(text) = self.chunks.get(chunk) else { return Poll::Ready(None) };
        let bytes = text.piece(piece).unwrap_or_default();
        let is_last = piece + 1 >= text.pieces();
        self.next = if is_last { (chunk + 1, 0) } else { (chunk, piece + 1) };
        self.left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.0 == self.chunks.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
