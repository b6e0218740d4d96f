//! A cached page in the encodings in which it is sent, each with the head of its response.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderMap;

use crate::page::html::text::{Text, length};

/// A content coding of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A page in one encoding.
#[derive(Debug)]
pub struct EncodedPage {
    /// The encoding; `None` if the page is not encoded.
    pub encoding: Option<Encoding>,
    /// The bytes, in order. Of an encoded skeleton there is one chunk for each span between its holes.
    pub chunks: Arc<[Text]>,
    /// A checksum of each chunk's text, if the encoding needs one.
    pub checksums: Box<[u32]>,
    /// Whether it was encoded fast, and is to be replaced by a better one.
    pub is_provisional: bool,
    /// The head of the last response.
    pub(super) head: ArcSwapOption<ResponseHead>,
}

impl EncodedPage {
    pub(super) fn plain(chunks: Vec<Text>) -> Self {
        Self {
            encoding: None,
            chunks: chunks.into(),
            checksums: Box::default(),
            is_provisional: false,
            head: ArcSwapOption::empty(),
        }
    }

    /// An encoded page.
    #[must_use]
    pub fn new(encoding: Encoding, chunks: Vec<Text>, checksums: Vec<u32>, is_provisional: bool) -> Self {
        Self { encoding: Some(encoding), checksums: checksums.into(), is_provisional, ..Self::plain(chunks) }
    }

    /// The number of bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        length(&self.chunks)
    }
}

/// The head of a response with a cached page. It is reused until its `Cache-Control` changes.
#[derive(Debug)]
pub struct ResponseHead {
    pub(super) state: HeadState,
    /// The headers that are the same for every client.
    pub headers: HeaderMap,
    /// For a page without holes: the head with status 200 and its length, as HTTP/1.1 writes it.
    pub head: Vec<u8>,
}

/// The state that a response head depends on and that changes over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadState {
    /// The page is fresh. Its lifetimes in seconds, if it states any.
    Fresh(Option<(u64, u64)>),
    /// A part of the page is stale.
    Stale,
}
