//! Pages with gaps in a coding: what lies between gaps is compressed once and kept, and what fills them as it is sent.
//! Joined, the pieces are one body: with Zstandard a frame each (RFC 8878, 3.1), with gzip blocks of one member
//! (RFC 1951, 3.2.3), since browsers take the first member for the whole.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use zstd::bulk::Compressor;

use crate::engine::{CachedPage, EncodedPage, Encoding, PersonalisedPage};
use crate::page::html::text::{Text, concat, length};
use crate::page::output::stitch::gathered;

use super::{MOST, Worth};

/// Spans of fewer bytes are compressed with what fills the gaps beside them: a span knows nothing of the text before it, and
/// costs more bytes the shorter it is.
const SPAN: usize = 16 << 10;

/// RFC 1952, 2.3: deflate, no name, no time, any system.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty block that is the last one (RFC 1951, 3.2.3 and 3.2.6).
const LAST: [u8; 2] = [3, 0];

/// What lies between the gaps of a page, each span on its own, and the CRC-32 of its text; one that is compressed as it is sent
/// is empty. `None`: such pieces of this form cannot be joined.
pub(super) fn spans(page: &CachedPage, form: Encoding, worth: Worth) -> Option<(Vec<Text>, Vec<u32>)> {
    let coded = |span: &[Text]| match length(span) {
        ..SPAN => Some((Bytes::new().into(), 0)),
        _ => span_of(&concat(span), form, worth),
    };
    page.spans().map(coded).collect()
}

fn span_of(text: &[u8], form: Encoding, worth: Worth) -> Option<(Text, u32)> {
    // Of just its length: what it has beside that would be kept with it.
    let coded = Bytes::from(coded(text, form, worth)?.into_boxed_slice());
    let check = if form == Encoding::Gzip { crc32fast::hash(text) } else { 0 };
    Some((coded.into(), check))
}

/// A page in a form, from its spans. `None`: they cannot be joined, or too much of it is to be compressed for this one
/// reader.
pub(super) fn joined(page: &PersonalisedPage, spans: &EncodedPage) -> Option<Vec<Text>> {
    let all = || page.skeleton.spans().zip(&*spans.chunks).zip(&spans.checksums);
    let once = all().filter(|((_, span), _)| span.is_empty()).map(|((text, _), _)| length(text)).sum::<usize>();
    if once + length(&page.hole_contents) > MOST {
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

/// A page that is joined.
struct Joiner {
    form: Encoding,
    /// What is still to be compressed.
    once: Vec<u8>,
    /// CRC-32 of all text so far.
    check: crc32fast::Hasher,
    length: usize,
    pieces: Vec<Text>,
}

impl Joiner {
    fn new(form: Encoding) -> Self {
        let head = (form == Encoding::Gzip).then(|| Bytes::from_static(&GZIP).into());
        let pieces = head.into_iter().collect();
        Self { form, once: Vec::new(), check: crc32fast::Hasher::new(), length: 0, pieces }
    }

    /// A text that is sent once.
    fn add(&mut self, text: &[Text]) {
        text.iter().for_each(|text| self.once.extend_from_slice(&text.bytes()));
    }

    /// A span, and how many bytes its text has.
    fn join(&mut self, (span, check): (&Text, u32), length: usize) -> Option<()> {
        self.flush()?;
        self.pieces.push(span.clone());
        self.length += length;
        if self.form == Encoding::Gzip {
            self.check.combine(&crc32fast::Hasher::new_with_initial_len(check, length as u64));
        }
        Some(())
    }

    fn flush(&mut self) -> Option<()> {
        if self.once.is_empty() {
            return Some(());
        }
        if self.form == Encoding::Gzip {
            self.check.update(&self.once);
        }
        self.length += self.once.len();
        self.pieces.push(Bytes::from(coded(&self.once, self.form, Worth::Once)?).into());
        self.once.clear();
        Some(())
    }

    fn end(mut self) -> Option<Vec<Text>> {
        self.flush()?;
        if self.pieces.is_empty() {
            self.pieces.push(Bytes::from(coded(&[], self.form, Worth::Once)?).into());
        }
        if self.form == Encoding::Gzip {
            // RFC 1952, 2.3.1: modulo 2^32.
            #[expect(clippy::cast_possible_truncation, reason = "that is what it is to be")]
            let length = self.length as u32;
            let [sum, length] = [self.check.finalize(), length].map(u32::to_le_bytes);
            self.pieces.push(Bytes::from([&LAST[..], &sum, &length].concat()).into());
        }
        Some(gathered(&self.pieces).pieces)
    }
}

/// A text as a piece that others can be joined to.
fn coded(text: &[u8], form: Encoding, worth: Worth) -> Option<Vec<u8>> {
    thread_local! {
        // Each holds some hundred KiB, which take longer to set up than a gap takes to be compressed.
        static DEFLATE: RefCell<Compress> = RefCell::new(deflate(Worth::Once));
        static ZSTD: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(Worth::Once.level(Encoding::Zstd)).ok());
    }
    match (form, worth) {
        (Encoding::Gzip, Worth::Once) => DEFLATE.with_borrow_mut(|compress| deflated(compress, text)),
        (Encoding::Gzip, Worth::Kept) => deflated(&mut deflate(worth), text),
        (Encoding::Zstd, Worth::Once) => ZSTD.with_borrow_mut(|compressor| compressor.as_mut()?.compress(text).ok()),
        (Encoding::Zstd, Worth::Kept) => zstd::bulk::compress(text, worth.level(form)).ok(),
        // Its pieces can be joined only where they do without its dictionary, which is what makes it small.
        (Encoding::Brotli, _) => None,
    }
}

fn deflate(worth: Worth) -> Compress {
    Compress::new(Compression::new(worth.level(Encoding::Gzip).unsigned_abs()), false)
}

/// Blocks that end at a whole byte.
fn deflated(compress: &mut Compress, text: &[u8]) -> Option<Vec<u8>> {
    compress.reset();
    let mut coded = Vec::with_capacity(text.len() / 2 + 64);
    loop {
        let from = usize::try_from(compress.total_in()).ok()?;
        compress.compress_vec(&text[from..], &mut coded, FlushCompress::Sync).ok()?;
        // What is full may not be all.
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

    /// Joins texts; those that are marked were compressed before.
    fn join(texts: &[(Vec<u8>, bool)], form: Encoding) -> Option<Vec<u8>> {
        let mut joiner = Joiner::new(form);
        for (text, kept) in texts {
            let text = Text::from(Bytes::copy_from_slice(text)).packed();
            match kept {
                true => {
                    let (span, check) = span_of(&text.bytes(), form, Worth::Kept)?;
                    joiner.join((&span, check), text.len())?;
                }
                false => joiner.add(&[text]),
            }
        }
        Some(concat(&joiner.end()?))
    }

    /// As a browser has it: of gzip one member, and nothing behind it.
    fn decoded(form: Encoding, coded: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match form {
            Encoding::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(coded);
                decoder.read_to_end(&mut text).expect("it is gzip");
                assert!(decoder.into_inner().is_empty(), "there is more than one member");
            }
            Encoding::Zstd => text = zstd::decode_all(coded).expect("it is Zstandard"),
            Encoding::Brotli => unreachable!("it is not joined"),
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
        fn what_is_joined_is_what_was_sent(texts in prop::collection::vec((text(), any::<bool>()), 0..6)) {
            let plain = texts.iter().flat_map(|(text, _)| text.clone()).collect::<Vec<_>>();
            for form in [Encoding::Gzip, Encoding::Zstd] {
                prop_assert!(join(&texts, form).is_some_and(|coded| decoded(form, &coded) == plain));
            }
        }
    }

    #[test]
    fn pieces_of_brotli_are_not_joined() {
        assert_eq!(join(&[(b"text".to_vec(), false)], Encoding::Brotli), None);
    }
}
