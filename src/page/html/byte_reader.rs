//! Reads a text for html5gum. Its own reader compares eight bytes at a time, which takes most of the time between tags.
//! Reading never fails.

use std::convert::Infallible;

use html5gum::Reader;

/// The largest number of wanted bytes that are searched with memchr. Of more, one is usually near, and a plain search
/// is faster.
const MEMCHR_MAX: usize = 6;

/// The rest of the text.
pub(super) struct ByteReader<'t>(pub(super) &'t [u8]);

impl Reader for ByteReader<'_> {
    type Error = Infallible;

    fn read_byte(&mut self) -> Result<Option<u8>, Infallible> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(None) };
        self.0 = rest;
        Ok(Some(*first))
    }

    fn try_read_string(&mut self, wanted: &[u8], case_sensitive: bool) -> Result<bool, Infallible> {
        let Some((first, rest)) = self.0.split_at_checked(wanted.len()) else { return Ok(false) };
        let is_equal = first == wanted || (!case_sensitive && first.eq_ignore_ascii_case(wanted));
        if is_equal {
            self.0 = rest;
        }
        Ok(is_equal)
    }

    fn read_until<'b>(&'b mut self, needle: &[u8], _: &'b mut [u8; 4]) -> Result<Option<&'b [u8]>, Infallible> {
        let Some(first) = self.0.first() else { return Ok(None) };
        let length = if needle.contains(first) { 1 } else { before(needle, self.0) };
        let (read, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(Some(read))
    }
}

/// The largest number of bytes that are searched at a time. Otherwise the whole rest would be searched again after
/// each line end.
const WINDOW: usize = 1 << 10;

/// The number of bytes before the first wanted byte, or a lower bound of it.
fn before(needle: &[u8], text: &[u8]) -> usize {
    let text = &text[..text.len().min(WINDOW)];
    if needle.len() > MEMCHR_MAX {
        return text.iter().position(|byte| needle.contains(byte)).unwrap_or(text.len());
    }
    needle.chunks(3).fold(text.len(), |length, some| {
        let text = &text[..length];
        let found = match *some {
            [a, b, c] => memchr::memchr3(a, b, c, text),
            [a, b] => memchr::memchr2(a, b, text),
            [a] => memchr::memchr(a, text),
            _ => None,
        };
        found.unwrap_or(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use html5gum::Readable as _;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_reads_like_the_reader_of_html5gum(text in "[a-c<&\\r\\n\u{0}Ä]{0,40}", needles in proptest::collection::vec("[a-c<&\\r\u{0}]{1,9}", 1..20)) {
            let (mut source, mut own) = (ByteReader(text.as_bytes()), text.as_str().to_reader());
            for (turn, needle) in needles.iter().enumerate() {
                let needle = needle.as_bytes();
                let (mut one, mut other) = ([0; 4], [0; 4]);
                match turn % 4 {
                    0 => prop_assert_eq!(source.read_byte(), own.read_byte()),
                    1 => prop_assert_eq!(source.try_read_string(needle, false), own.try_read_string(needle, false)),
                    _ => prop_assert_eq!(source.read_until(needle, &mut one), own.read_until(needle, &mut other)),
                }
            }
        }
    }
}
