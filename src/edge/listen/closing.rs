//! The end of a connection, in stages: what the client is still sending after its last reply is read and dropped.
//! If the connection were closed with bytes unread, it would be reset, and the reply might be lost (RFC 9112, 9.6).

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::timer::Timer;

/// How long a client that is still sending is read.
const LINGER: Duration = Duration::from_secs(5);
/// The largest number of bytes that are dropped.
const MAX_DROPPED: usize = 16 << 20;

/// How far the end of a connection has come.
#[derive(Default)]
pub(super) struct Closing {
    /// Whether the client sends nothing more, or is not waited for any longer.
    has_left: bool,
    /// Whether the last reply was sent, and the connection is closed for writing.
    is_shut: bool,
    /// The number of bytes of the client that were dropped since then.
    dropped: usize,
    lingering: Timer,
}

impl Closing {
    /// Records that the client sends nothing more, or is not waited for any longer.
    pub(super) const fn note_left(&mut self) {
        self.has_left = true;
    }

    /// Whether the connection is closed for writing.
    pub(super) const fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Records that the connection is closed for writing. `may_be_sending`: the client may be sending what nobody will read.
    pub(super) const fn note_shut(&mut self, may_be_sending: bool) {
        self.is_shut = true;
        self.has_left |= !may_be_sending;
    }

    /// Reads and drops what the client is still sending.
    pub(super) fn linger(&mut self, stream: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<()> {
        while !self.has_left {
            let mut space = [MaybeUninit::uninit(); 8 * 1024];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *stream).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() && self.dropped < MAX_DROPPED => {
                    self.dropped += read.filled().len();
                }
                Poll::Pending if !self.lingering.is_over(LINGER, context) => return Poll::Pending,
                _ => self.has_left = true,
            }
        }
        Poll::Ready(())
    }
}
