//! The body of a reply while hyper sends it. Over HTTP/2, a client that reads none of it is detected here.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::application::Reply;
use super::state::RequestInProgress;

/// The body of a reply that is being sent.
pub(super) struct SentBody<R: Reply> {
    /// `None`: the reply to `HEAD` over HTTP/2.
    body: Option<R::Body>,
    /// `None` over HTTP/1.1, where the stream detects that nothing is read.
    write_timeout: Option<Arc<WriteTimeout>>,
    in_progress: RequestInProgress<R>,
}

impl<R: Reply> SentBody<R> {
    pub(super) fn new(
        body: R::Body,
        write_timeout: Option<Arc<WriteTimeout>>,
        in_progress: RequestInProgress<R>,
    ) -> Self {
        Self { body: Some(body), write_timeout, in_progress }
    }

    /// No body.
    pub(super) fn empty(in_progress: RequestInProgress<R>) -> Self {
        Self { body: None, write_timeout: None, in_progress }
    }
}

impl<R: Reply> Body for SentBody<R> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        self.in_progress.set_stalled(frame.is_pending());
        if let Some(timeout) = &self.write_timeout {
            timeout.set(matches!(frame, Poll::Ready(Some(Ok(_)))).then(Instant::now));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// Closes an HTTP/2 connection if a client reads nothing of one of its streams for too long. The connection itself may be
/// active: without this, a client that closes the window of a stream could hold a reply for as long as it likes.
pub(super) struct WriteTimeout {
    /// When the client was given bytes that it has to read before more are taken; `None` while the next bytes are not ready.
    waits_since: Mutex<Option<Instant>>,
    watcher: OnceLock<AbortHandle>,
}

impl WriteTimeout {
    /// Watches a stream. `connection` is cancelled if the timeout is reached.
    pub(super) fn watch(timeout: Duration, connection: CancellationToken) -> Arc<Self> {
        let this = Arc::new(Self { waits_since: Mutex::default(), watcher: OnceLock::new() });
        let watched = Arc::downgrade(&this);
        let watcher = tokio::spawn(async move {
            loop {
                tokio::time::sleep(timeout / 2).await;
                let Some(watched) = watched.upgrade() else { return };
                let waits_since = *watched.waits_since.lock().unwrap_or_else(PoisonError::into_inner);
                if waits_since.is_some_and(|since| since.elapsed() >= timeout) {
                    return connection.cancel();
                }
            }
        });
        let _first = this.watcher.set(watcher.abort_handle());
        this
    }

    fn set(&self, waits_since: Option<Instant>) {
        *self.waits_since.lock().unwrap_or_else(PoisonError::into_inner) = waits_since;
    }
}

impl Drop for WriteTimeout {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.abort();
        }
    }
}
