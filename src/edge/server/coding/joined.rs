//! Skeletons in an encoding: the spans between their holes are compressed once and stored, and the content of the holes is
//! compressed for each reply. Joined, the pieces are one body: with Zstandard one frame each (RFC 8878, 3.1), with gzip
//! blocks of one member (RFC 1951, 3.2.3), since browsers read only the first member. Brotli cannot be joined.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use zstd::bulk::Compressor;

use crate::engine::{CachedPage, EncodedPage, Encoding, PersonalisedPage};
use crate::page::html::text::{Text, concat, length};
use crate::page::output::stitch::merge_small_chunks;

use super::stored::{Effort, MAX_AT_ONCE};

/// Shorter spans are compressed for each reply, together with the content of the adjacent holes: a stored span cannot refer
/// to the text before it, and compresses worse the shorter it is.
const MIN_SPAN: usize = 16 << 10;

/// The head of a gzip member: deflate, no name, no time, any system (RFC 1952, 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty block that is marked as the last one (RFC 1951, 3.2.3 and 3.2.6).
const LAST_BLOCK: [u8; 2] = [3, 0];

/// The spans between the holes of a skeleton, each compressed on its own, with the CRC-32 of its text. A span that is
/// compressed for each reply is empty. `None`: pieces of this encoding cannot be joined.
pub(super) fn spans(page: &CachedPage, encoding: Encoding, effort: Effort) -> Option<(Vec<Text>, Vec<u32>)> {
    let coded = |span: &[Text]| match length(span) {
        ..MIN_SPAN => Some((Bytes::new().into(), 0)),
        _ => span_of(&concat(span), encoding, effort),
    };
    page.spans().map(coded).collect()
}

fn span_of(text: &[u8], encoding: Encoding, effort: Effort) -> Option<(Text, u32)> {
    // The spare capacity is cut off: it would be stored with the bytes.
    let coded = Bytes::from(coded(text, encoding, effort)?.into_boxed_slice());
    let check = if encoding == Encoding::Gzip { crc32fast::hash(text) } else { 0 };
    Some((coded.into(), check))
}

/// A personalised page in an encoding, made from its spans. `None`: they cannot be joined, or too much of the page would
/// have to be compressed for this client only.
pub(super) fn joined(page: &PersonalisedPage, spans: &EncodedPage) -> Option<Vec<Text>> {
    let all = || page.skeleton.spans().zip(&*spans.chunks).zip(&spans.checksums);
    let once = all().filter(|((_, span), _)| span.is_empty()).map(|((text, _), _)| length(text)).sum::<usize>();
    if once + length(&page.hole_contents) > MAX_AT_ONCE {
        return None;
    }
    let mut joiner = Joiner::new(spans.encoding?);
    let mut filling = page.hole_contents.iter();
    for ((text, span), check) in all() {
        match span.is_empty() {
            true => joiner.add(text),
            false => joiner.join((span, *check), length(text))?,
        }
        joiner.add(filling.next().map(std::slice::from_ref).unwrap_or_default());
    }
    joiner.end()
}

/// A page while it is joined from pieces.
struct Joiner {
    encoding: Encoding,
    /// Text that is still to be compressed.
    pending: Vec<u8>,
    /// The CRC-32 of all text so far.
    checksum: crc32fast::Hasher,
    /// The number of bytes of all text so far.
    length: usize,
    pieces: Vec<Text>,
}

impl Joiner {
    fn new(encoding: Encoding) -> Self {
        let head = (encoding == Encoding::Gzip).then(|| Bytes::from_static(&GZIP_HEAD).into());
        let pieces = head.into_iter().collect();
        Self { encoding, pending: Vec::new(), checksum: crc32fast::Hasher::new(), length: 0, pieces }
    }

    /// Adds text that is compressed for this reply.
    fn add(&mut self, text: &[Text]) {
        text.iter().for_each(|text| self.pending.extend_from_slice(&text.bytes()));
    }

    /// Adds a compressed span, whose text has this many bytes.
    fn join(&mut self, (span, check): (&Text, u32), length: usize) -> Option<()> {
        self.flush()?;
        self.pieces.push(span.clone());
        self.length += length;
        if self.encoding == Encoding::Gzip {
            self.checksum.combine(&crc32fast::Hasher::new_with_initial_len(check, length as u64));
        }
        Some(())
    }

    /// Compresses the pending text.
    fn flush(&mut self) -> Option<()> {
        if self.pending.is_empty() {
            return Some(());
        }
        if self.encoding == Encoding::Gzip {
            self.checksum.update(&self.pending);
        }
        self.length += self.pending.len();
        self.pieces.push(Bytes::from(coded(&self.pending, self.encoding, Effort::Quick)?).into());
        self.pending.clear();
        Some(())
    }

    /// The body, complete.
    fn end(mut self) -> Option<Vec<Text>> {
        self.flush()?;
        if self.pieces.is_empty() {
            self.pieces.push(Bytes::from(coded(&[], self.encoding, Effort::Quick)?).into());
        }
        if self.encoding == Encoding::Gzip {
            // The length of a member is stored modulo 2^32 (RFC 1952, 2.3.1).
            #[expect(clippy::cast_possible_truncation, reason = "the field is defined modulo 2^32")]
            let length = self.length as u32;
            let [sum, length] = [self.checksum.finalize(), length].map(u32::to_le_bytes);
            self.pieces.push(Bytes::from([&LAST_BLOCK[..], &sum, &length].concat()).into());
        }
        Some(merge_small_chunks(&self.pieces).chunks)
    }
}

/// A text, compressed as a piece that other pieces can be joined to. `None`: the encoding has no such pieces.
fn coded(text: &[u8], encoding: Encoding, effort: Effort) -> Option<Vec<u8>> {
    thread_local! {
        // An encoder holds several hundred KiB. Setting it up takes longer than compressing the content of a hole.
        static DEFLATE: RefCell<Compress> = RefCell::new(deflate(Effort::Quick));
        static ZSTD: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(Effort::Quick.level(Encoding::Zstd)).ok());
    }
    match (encoding, effort) {
        (Encoding::Gzip, Effort::Quick) => DEFLATE.with_borrow_mut(|compress| deflated(compress, text)),
        (Encoding::Gzip, Effort::Thorough) => deflated(&mut deflate(effort), text),
        (Encoding::Zstd, Effort::Quick) => ZSTD.with_borrow_mut(|compressor| compressor.as_mut()?.compress(text).ok()),
        (Encoding::Zstd, Effort::Thorough) => zstd::bulk::compress(text, effort.level(encoding)).ok(),
        // Pieces of Brotli could be joined only without its dictionary, on which its good compression depends.
        (Encoding::Brotli, _) => None,
    }
}

fn deflate(effort: Effort) -> Compress {
    Compress::new(Compression::new(effort.level(Encoding::Gzip).unsigned_abs()), false)
}

/// A text as deflate blocks that end at a byte boundary.
fn deflated(compress: &mut Compress, text: &[u8]) -> Option<Vec<u8>> {
    compress.reset();
    let mut coded = Vec::with_capacity(text.len() / 2 + 64);
    loop {
        let from = usize::try_from(compress.total_in()).ok()?;
        compress.compress_vec(&text[from..], &mut coded, FlushCompress::Sync).ok()?;
        // If the buffer is full, there may be more output.
        if coded.len() < coded.capacity() {
            return Some(coded);
        }
        coded.reserve(coded.len());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    /// Joins texts. Those that are marked are spans that were compressed before.
    fn join(texts: &[(Vec<u8>, bool)], encoding: Encoding) -> Option<Vec<u8>> {
        let mut joiner = Joiner::new(encoding);
        for (text, is_span) in texts {
            let text = Text::from(Bytes::copy_from_slice(text)).packed();
            match is_span {
                true => {
                    let (span, check) = span_of(&text.bytes(), encoding, Effort::Thorough)?;
                    joiner.join((&span, check), text.len())?;
                }
                false => joiner.add(&[text]),
            }
        }
        Some(concat(&joiner.end()?))
    }

    /// Decodes a body as a browser does, which reads one gzip member only.
    fn decoded(encoding: Encoding, coded: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match encoding {
            Encoding::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(coded);
                decoder.read_to_end(&mut text).expect("it is gzip");
                assert!(decoder.into_inner().is_empty(), "there is more than one member");
            }
            Encoding::Zstd => text = zstd::decode_all(coded).expect("it is Zstandard"),
            Encoding::Brotli => unreachable!("Brotli is not joined"),
        }
        text
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let markup = ("[a-c<>/ ]{0,12}", 0..2_000usize).prop_map(|(text, times)| text.repeat(times).into_bytes());
        prop_oneof![markup, prop::collection::vec(any::<u8>(), 0..3_000)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn joined_pieces_decode_to_the_text_that_was_joined(texts in prop::collection::vec((text(), any::<bool>()), 0..6)) {
            let plain = texts.iter().flat_map(|(text, _)| text.clone()).collect::<Vec<_>>();
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                prop_assert!(join(&texts, encoding).is_some_and(|coded| decoded(encoding, &coded) == plain));
            }
        }
    }

    #[test]
    fn brotli_pieces_are_not_joined() {
        assert_eq!(join(&[(b"text".to_vec(), false)], Encoding::Brotli), None);
    }
}
