//! HTTP/1.1 framing (RFC 9112): strict parsing of requests before anything else reads them, and heads of responses.
//! A request that two programs could read in two ways is refused.

mod byte_sets;
mod framer;
mod head;
mod write;

pub(crate) use byte_sets::is_token;
pub use framer::{Framed, Framer, TooLong};
pub use write::{head, write_field};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The reason for every line ending that is not CR and LF together (RFC 9112, 2.2).
const BARE_LINE_END: Malformed = Malformed("a line does not end with CR and LF");

/// What is done with the bodies of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// They are dropped, since nothing reads them.
    Dropped,
    /// They are passed on, with a `Content-Length`.
    Passed,
}

#[cfg(test)]
mod tests;
