//! Limits of time and size of a connection. A connection that exceeds one is closed.

use std::time::Duration;

use crate::page::http::http1::Bodies;

/// Limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Longest time from the first byte of a request to its last.
    pub header_timeout: Duration,
    /// Longest time without a request.
    pub idle_timeout: Duration,
    /// Longest time in which a client reads nothing of its response.
    pub write_timeout: Duration,
    /// Longest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// How long requests in flight may take once the server stops.
    pub drain: Duration,
    /// Whether the bodies of requests are read.
    pub bodies: Bodies,
    /// The number of file descriptors that are held in reserve for connections of this listener.
    pub reserve: usize,
}
