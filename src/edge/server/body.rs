//! A page's chunks as a response body whose length is known. Nothing is copied.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// The chunks that are still to be sent.
pub(super) struct Chunks {
    chunks: VecDeque<Bytes>,
    left: u64,
    /// The request is under way until its last byte.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Chunks {
    pub(super) fn new(chunks: Vec<Bytes>) -> Self {
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks: chunks.into(), left, _permit: None }
    }

    /// The same, and a place that is held until they are sent.
    pub(super) fn held(chunks: Vec<Bytes>, permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Some(permit), ..Self::new(chunks) }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.chunks.pop_front().map(|chunk| {
            self.left -= chunk.remaining() as u64;
            Ok(Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
