//! A page that is kept, in the forms in which it is sent, and what is said of each.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderMap;

use crate::page::html::text::{Text, length};

/// A form of a page with fewer bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A page as it is sent.
#[derive(Debug)]
pub struct EncodedPage {
    /// `None`: as it was stitched.
    pub encoding: Option<Encoding>,
    /// Its bytes, in order, in few pieces. Of a page with gaps one for each span, where it has a form, and else what stands
    /// between them.
    pub chunks: Arc<[Text]>,
    /// For each of them a number that a form may want, to check the text by.
    pub checksums: Box<[u32]>,
    /// It was made in haste, and is to be made better.
    pub is_provisional: bool,
    /// What was last said of it.
    pub(super) said: ArcSwapOption<ResponseHead>,
}

impl EncodedPage {
    pub(super) fn plain(chunks: Vec<Text>) -> Self {
        Self {
            encoding: None,
            chunks: chunks.into(),
            checksums: Box::default(),
            is_provisional: false,
            said: ArcSwapOption::empty(),
        }
    }

    /// A page in a form: its chunks with their checks, and whether it is to be made better.
    #[must_use]
    pub fn new(form: Encoding, chunks: Vec<Text>, checks: Vec<u32>, is_provisional: bool) -> Self {
        Self { encoding: Some(form), checksums: checks.into(), is_provisional, ..Self::plain(chunks) }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> usize {
        length(&self.chunks)
    }
}

/// What is said of a page for as long as its `Cache-Control` stays the same.
#[derive(Debug)]
pub struct ResponseHead {
    pub(super) state: State,
    /// Whoever asks.
    pub headers: HeaderMap,
    /// The same with status 200 and its length, as HTTP/1.1 writes it, of a page without gaps.
    pub head: Vec<u8>,
}

/// What decides what is said of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is fresh for so many seconds, where it says that at all.
    Fresh(Option<(u64, u64)>),
    /// A part of it is old.
    Old,
}
