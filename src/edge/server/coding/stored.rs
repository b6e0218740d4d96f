//! Encodings that are stored with a cached page: made at once at a cheap level, and again at a good level in the background.
//! A long page whose encoding is not ready is compressed while it is sent.

use std::sync::Arc;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use futures::FutureExt as _;
use http::HeaderMap;
use tokio::io::AsyncReadExt as _;

use crate::engine::{CachedPage, Compositor, EncodedPage, Encoding, PersonalisedPage, offload};
use crate::page::html::text::{Text, concat};

use super::{Compression, joined, negotiated};

/// Most bytes that are compressed at once for one client. For more, the streaming encoder lets other tasks run in between.
pub(super) const MAX_AT_ONCE: usize = 64 << 10;

/// How much work is spent on compressing a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effort {
    /// The result is stored, and sent often.
    Thorough,
    /// The result is sent once, or until a better one is made.
    Quick,
}

impl Effort {
    /// The level of an encoder.
    pub(super) const fn level(self, encoding: Encoding) -> i32 {
        match (encoding, self) {
            (Encoding::Gzip, Self::Thorough) => 6,
            (Encoding::Brotli, Self::Thorough) => 5,
            (Encoding::Zstd, Self::Thorough) => 9,
            (Encoding::Gzip | Encoding::Brotli, Self::Quick) => 2,
            (Encoding::Zstd, Self::Quick) => 1,
        }
    }
}

/// A skeleton with its holes filled, in an encoding that the client accepts: the spans that it was made from, and its
/// chunks. `None`: it is to be compressed while it is sent.
pub(in crate::edge::server) fn personalised(
    compositor: &Compositor,
    page: &PersonalisedPage,
    preferred: Encoding,
    accepted: &HeaderMap,
    offered: Compression,
) -> Option<(Arc<EncodedPage>, Vec<Text>)> {
    let spans = stored(compositor, &page.skeleton, negotiated::joinable(preferred, accepted, offered)?)?;
    let chunks = joined::joined(page, &spans)?;
    Some((spans, chunks))
}

/// A cached page in an encoding; of a skeleton, its spans. `None`: it is not ready yet.
pub(in crate::edge::server) fn stored(
    compositor: &Compositor,
    page: &Arc<CachedPage>,
    encoding: Encoding,
) -> Option<Arc<EncodedPage>> {
    let stored = page.encoded(encoding);
    match &stored {
        Some(encoded) if !encoded.is_provisional => return stored,
        None if page.plain.length() <= MAX_AT_ONCE => {
            let encode = || compositor.store_encoding(page, encoding, encoded(page, encoding, Effort::Quick));
            return page.claim_encoding(encoding, false).then(encode);
        }
        _ => {}
    }
    if let Some(permit) = offload::try_background().filter(|_| page.claim_encoding(encoding, true)) {
        let (compositor, page) = (compositor.clone(), Arc::clone(page));
        permit.run(move || {
            compositor.store_encoding(&page, encoding, encoded(&page, encoding, Effort::Thorough));
        });
    }
    stored
}

fn encoded(page: &CachedPage, encoding: Encoding, effort: Effort) -> Option<EncodedPage> {
    let (chunks, checksums) = match page.is_whole() {
        true => (vec![compressed(&page.plain.chunks, encoding, effort)?.into()], Vec::new()),
        false => joined::spans(page, encoding, effort)?,
    };
    Some(EncodedPage::new(encoding, chunks, checksums, matches!(effort, Effort::Quick)))
}

/// A whole page, compressed. `None`: compression does not make it shorter.
fn compressed(chunks: &[Text], encoding: Encoding, effort: Effort) -> Option<Bytes> {
    let page = concat(chunks);
    let mut encoded = Vec::with_capacity(page.len() / 3);
    let level = Level::Precise(effort.level(encoding));
    // The input is in memory, so that these futures are ready at once.
    let result = match encoding {
        Encoding::Gzip => GzipEncoder::with_quality(&*page, level).read_to_end(&mut encoded).now_or_never(),
        Encoding::Brotli => BrotliEncoder::with_quality(&*page, level).read_to_end(&mut encoded).now_or_never(),
        Encoding::Zstd => ZstdEncoder::with_quality(&*page, level).read_to_end(&mut encoded).now_or_never(),
    };
    // The spare capacity is cut off: it would be stored with the bytes.
    (result?.is_ok() && encoded.len() < page.len()).then(|| encoded.into_boxed_slice().into())
}
