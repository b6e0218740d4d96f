//! Whether an HTTP/2 connection is in use. What a client sends is no sign of it, since it may be nothing but `PING`.

/// The largest number of bytes that an unused connection is sent beyond those that it sends. Replies to `PING` and `SETTINGS`
/// are no longer than these; the rest is our own `PING`.
const MAX_CONTROL_BYTES: i64 = 64;

/// What is counted of an HTTP/2 connection since it was last seen in use.
#[derive(Default)]
pub(super) struct Http2Use {
    /// The number of bytes that it was sent beyond those that it sent.
    sent_beyond: i64,
    /// The number of requests that were completed by then.
    completed: usize,
}

impl Http2Use {
    /// Counts bytes that the client sent.
    pub(super) fn count_read(&mut self, bytes: usize) {
        self.sent_beyond -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// Counts bytes that the client was sent.
    pub(super) fn count_written(&mut self, bytes: usize) {
        self.sent_beyond += i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// Whether it was used since the last call: a request was completed, or something was sent that is not the reply to a
    /// control frame. `completed`: the number of requests that were completed until now.
    pub(super) const fn take(&mut self, completed: usize) -> bool {
        let was_used = completed != self.completed || self.sent_beyond > MAX_CONTROL_BYTES;
        if was_used {
            *self = Self { sent_beyond: 0, completed };
        }
        was_used
    }
}
