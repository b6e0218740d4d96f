//! Which bytes the parts of a head may contain (RFC 9110, 5; RFC 3986, 3.2.2).
//! Each set is a table: checking every byte of a head takes longer than everything else here.

/// A set of bytes: whether each byte is in it.
pub(super) type ByteSet = [bool; 256];

/// Tokens (RFC 9110, 5.6.2).
pub(super) static TOKEN: ByteSet = alphanumeric_and(b"!#$%&'*+-.^_`|~");
/// Field values and the whitespace around them (RFC 9110, 5.5): no control characters except the tab.
pub(super) static VALUE: ByteSet = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 32 {
        table[byte] = byte == b'\t' as usize;
        byte += 1;
    }
    table[127] = false;
    table
};
/// Host names that are valid without further checks.
pub(super) static PLAIN_HOST: ByteSet = alphanumeric_and(b"-.");
/// Hosts (RFC 3986, 3.2.2), with the colon of a port.
pub(super) static HOST: ByteSet = alphanumeric_and(b"-._~%!$&'()*+;=:[]");

/// Whether a text is a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, &TOKEN)
}

/// Whether all bytes of a text are in a set.
pub(super) fn all(text: &[u8], set: &ByteSet) -> bool {
    prefix(text, set) == text.len()
}

/// The number of bytes before the first that is not in a set.
pub(super) fn prefix(text: &[u8], set: &ByteSet) -> usize {
    text.iter().position(|byte| !set[usize::from(*byte)]).unwrap_or(text.len())
}

/// The ASCII letters and digits, and these bytes.
const fn alphanumeric_and(others: &[u8]) -> ByteSet {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}
