//! Holds HTML in memory: long texts are packed with LZ4, and take a third to a half of their bytes.
//! They are unpacked block by block as they are sent or copied, so that a slow client holds one block and not the text.

use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::block::{compress, decompress};

/// The length in bytes from which a text is packed. For a shorter one, the overhead would be as large as the saving.
const PACK_FROM: usize = 4 << 10;
/// The number of bytes of a block, unpacked: how far LZ4 looks back.
const BLOCK: usize = 64 << 10;

/// Immutable shared bytes, plain or packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Representation);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Representation {
    Plain(Bytes),
    /// Blocks of LZ4, and the number of bytes of the unpacked text.
    Packed(Arc<[Bytes]>, usize),
}

impl Text {
    /// The same text, packed if that makes it shorter by at least a quarter.
    #[must_use]
    pub fn packed(self) -> Self {
        let Representation::Plain(plain) = &self.0 else { return self };
        if plain.len() < PACK_FROM {
            return self;
        }
        // As boxed slices: a vector's spare capacity would stay allocated.
        let blocks: Arc<[Bytes]> = plain.chunks(BLOCK).map(|block| compress(block).into_boxed_slice().into()).collect();
        let packed = Self(Representation::Packed(blocks, plain.len()));
        if packed.size() <= plain.len() / 4 * 3 { packed } else { self }
    }

    /// All bytes of the text, unpacked.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match self.pieces() {
            1 => self.piece(0).unwrap_or_default(),
            _ => concat(std::slice::from_ref(self)).into(),
        }
    }

    /// The number of pieces in which the text can be read.
    #[must_use]
    pub fn pieces(&self) -> usize {
        match &self.0 {
            Representation::Plain(_) => 1,
            Representation::Packed(blocks, _) => blocks.len(),
        }
    }

    /// The bytes of one piece: at most one block if the text is packed. `None` if there is no piece of this
    /// number.
    #[must_use]
    pub fn piece(&self, number: usize) -> Option<Bytes> {
        match &self.0 {
            Representation::Plain(bytes) => (number == 0).then(|| bytes.clone()),
            Representation::Packed(blocks, length) => {
                let block = blocks.get(number)?;
                let length = BLOCK.min(length - number * BLOCK);
                Some(decompress(block, length).expect("the block was packed by this type").into())
            }
        }
    }

    /// The blocks of a packed text, to be kept elsewhere. `None`: it is not packed.
    #[must_use]
    pub fn blocks(&self) -> Option<&[Bytes]> {
        match &self.0 {
            Representation::Plain(_) => None,
            Representation::Packed(blocks, _) => Some(blocks),
        }
    }

    /// The text of this length that was kept elsewhere: as plain bytes, or as blocks of these lengths. `None`: it is not that,
    /// or not UTF-8.
    #[must_use]
    pub fn of_blocks(bytes: &Bytes, length: usize, blocks: Option<&[usize]>) -> Option<Self> {
        let Some(lengths) = blocks else {
            let is_text = bytes.len() == length && std::str::from_utf8(bytes).is_ok();
            return is_text.then(|| Bytes::copy_from_slice(bytes).into());
        };
        if lengths.len() != length.div_ceil(BLOCK) {
            return None;
        }
        let (mut blocks, mut rest) = (Vec::with_capacity(lengths.len()), bytes.clone());
        for length in lengths {
            let block = (*length <= rest.len()).then(|| rest.split_to(*length))?;
            blocks.push(Bytes::copy_from_slice(&block));
        }
        let mut plain = Vec::new();
        for (number, block) in blocks.iter().enumerate() {
            plain.extend(decompress(block, BLOCK.min(length - number * BLOCK)).ok()?);
        }
        let is_text = rest.is_empty() && plain.len() == length && std::str::from_utf8(&plain).is_ok();
        is_text.then(|| Self(Representation::Packed(blocks.into(), length)))
    }

    /// The number of bytes, unpacked.
    #[must_use]
    pub const fn len(&self) -> usize {
        match &self.0 {
            Representation::Plain(bytes) => bytes.len(),
            Representation::Packed(_, length) => *length,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes that the text takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.0 {
            Representation::Plain(bytes) => bytes.len(),
            Representation::Packed(blocks, _) => blocks.iter().map(|block| size_of::<Bytes>() + block.len()).sum(),
        }
    }
}

impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        Self(Representation::Plain(bytes))
    }
}

/// The bytes of several texts, joined.
#[must_use]
pub fn concat(texts: &[Text]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(length(texts));
    for text in texts {
        match &text.0 {
            Representation::Plain(bytes) => whole.extend_from_slice(bytes),
            Representation::Packed(..) => {
                (0..).map_while(|number| text.piece(number)).for_each(|piece| whole.extend_from_slice(&piece));
            }
        }
    }
    whole
}

/// The total number of bytes of several texts, unpacked.
#[must_use]
pub fn length(texts: &[Text]) -> usize {
    texts.iter().map(Text::len).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn a_packed_text_unpacks_to_itself(word in "[a-z<> ]{1,40}", times in 0..8_000usize, noise: Vec<u8>) {
            let plain = Bytes::from([word.repeat(times).into_bytes(), noise].concat());
            let text = Text::from(plain.clone()).packed();
            prop_assert_eq!(text.len(), plain.len());
            prop_assert!(text.bytes() == plain);
            let pieces: Vec<Bytes> = (0..).map_while(|number| text.piece(number)).collect();
            prop_assert!(pieces.concat() == plain);
            prop_assert!(pieces.len() == 1 || pieces.iter().all(|piece| piece.len() <= BLOCK));
        }
    }

    #[test]
    fn only_long_compressible_texts_are_packed() {
        let markup = "<li class=\"item\">one of many</li>".repeat(1_000);
        let size = |bytes: Vec<u8>| Text::from(Bytes::from(bytes)).packed().size();
        assert!(size(markup.clone().into_bytes()) < markup.len() / 20);
        assert_eq!(size(markup[..PACK_FROM - 1].to_owned().into_bytes()), PACK_FROM - 1);
        // Pseudorandom bytes cannot be compressed.
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(2 * PACK_FROM)
        .collect();
        assert_eq!(size(noise), 2 * PACK_FROM);
    }
}
