//! A text that html5gum reads. Its own reader looks at eight bytes at a time, and between tags that takes longer than all else.

use std::convert::Infallible;

use html5gum::Reader;

/// So many bytes are looked for by memchr; of more, one is mostly near.
const FEW: usize = 6;

/// What is left of it.
pub(super) struct Source<'t>(pub(super) &'t [u8]);

impl Reader for Source<'_> {
    type Error = Infallible;

    fn read_byte(&mut self) -> Result<Option<u8>, Infallible> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(None) };
        self.0 = rest;
        Ok(Some(*first))
    }

    fn try_read_string(&mut self, wanted: &[u8], case_sensitive: bool) -> Result<bool, Infallible> {
        let Some((first, rest)) = self.0.split_at_checked(wanted.len()) else { return Ok(false) };
        let is_it = first == wanted || (!case_sensitive && first.eq_ignore_ascii_case(wanted));
        if is_it {
            self.0 = rest;
        }
        Ok(is_it)
    }

    fn read_until<'b>(&'b mut self, needle: &[u8], _: &'b mut [u8; 4]) -> Result<Option<&'b [u8]>, Infallible> {
        let Some(first) = self.0.first() else { return Ok(None) };
        let length = if needle.contains(first) { 1 } else { before(needle, self.0) };
        let (read, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(Some(read))
    }
}

/// So far it is looked at once. Else all that is left would be searched for tags again behind each line's end.
const WINDOW: usize = 1 << 10;

/// How many bytes stand before the first of some, or at least do so.
fn before(needle: &[u8], text: &[u8]) -> usize {
    let text = &text[..text.len().min(WINDOW)];
    if needle.len() > FEW {
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
        fn it_reads_as_html5gums_own_reader_does(text in "[a-c<&\\r\\n\u{0}Ä]{0,40}", needles in proptest::collection::vec("[a-c<&\\r\u{0}]{1,9}", 1..20)) {
            let (mut source, mut own) = (Source(text.as_bytes()), text.as_str().to_reader());
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
