//! HTML as it is kept: long texts are packed, and take a third to a half of their bytes in memory. They are unpacked block by
//! block as they are sent or copied, so that who takes them slowly holds one block and not the text.

use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::block::{compress, decompress};

/// Texts of fewer bytes are left as they are: what is kept beside a text would take as much as was saved.
const LONG: usize = 4 << 10;
/// Bytes of a block, unpacked. LZ4 looks back no further.
const BLOCK: usize = 64 << 10;

/// Bytes that are shared and do not change, as they are or packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Plain(Bytes),
    /// Blocks of LZ4, and how many bytes come out of all of them.
    Packed(Arc<[Bytes]>, usize),
}

impl Text {
    /// The same, packed, where that makes it shorter by a quarter at least.
    #[must_use]
    pub fn packed(self) -> Self {
        let Form::Plain(plain) = &self.0 else { return self };
        if plain.len() < LONG {
            return self;
        }
        // Of just their length: what they have beside that would be kept with them.
        let blocks: Arc<[Bytes]> = plain.chunks(BLOCK).map(|block| compress(block).into_boxed_slice().into()).collect();
        let packed = Self(Form::Packed(blocks, plain.len()));
        if packed.size() <= plain.len() / 4 * 3 { packed } else { self }
    }

    /// Its bytes, which are unpacked now where they are packed.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match self.pieces() {
            1 => self.piece(0).unwrap_or_default(),
            _ => concat(std::slice::from_ref(self)).into(),
        }
    }

    /// In how many pieces it can be taken.
    #[must_use]
    pub fn pieces(&self) -> usize {
        match &self.0 {
            Form::Plain(_) => 1,
            Form::Packed(blocks, _) => blocks.len(),
        }
    }

    /// The bytes of one piece, which is short where the text is packed. `None`: it has none of this number.
    #[must_use]
    pub fn piece(&self, number: usize) -> Option<Bytes> {
        match &self.0 {
            Form::Plain(bytes) => (number == 0).then(|| bytes.clone()),
            Form::Packed(blocks, length) => {
                let block = blocks.get(number)?;
                let length = BLOCK.min(length - number * BLOCK);
                Some(decompress(block, length).expect("it was packed here").into())
            }
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(bytes) => bytes.len(),
            Form::Packed(_, length) => *length,
        }
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.0 {
            Form::Plain(bytes) => bytes.len(),
            Form::Packed(blocks, _) => blocks.iter().map(|block| size_of::<Bytes>() + block.len()).sum(),
        }
    }
}

impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        Self(Form::Plain(bytes))
    }
}

/// The bytes of all of them.
#[must_use]
pub fn concat(texts: &[Text]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(length(texts));
    for text in texts {
        match &text.0 {
            Form::Plain(bytes) => whole.extend_from_slice(bytes),
            Form::Packed(..) => {
                (0..).map_while(|number| text.piece(number)).for_each(|piece| whole.extend_from_slice(&piece));
            }
        }
    }
    whole
}

/// How many bytes all of them have.
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
        fn what_is_packed_is_what_it_was(word in "[a-z<> ]{1,40}", times in 0..8_000usize, noise: Vec<u8>) {
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
    fn only_what_is_long_and_grows_shorter_by_it_is_packed() {
        let markup = "<li class=\"item\">one of many</li>".repeat(1_000);
        let size = |bytes: Vec<u8>| Text::from(Bytes::from(bytes)).packed().size();
        assert!(size(markup.clone().into_bytes()) < markup.len() / 20);
        assert_eq!(size(markup[..LONG - 1].to_owned().into_bytes()), LONG - 1);
        // No byte of it tells the next.
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(2 * LONG)
        .collect();
        assert_eq!(size(noise), 2 * LONG);
    }
}
