//! Whether the name of a file contains a hash of its content: then another content has another name, and caches need not ask.
//! When in doubt it does not: whoever has a file for a year does not notice that it has changed.

/// Digits that a hash has at least.
const MIN_DIGITS: usize = 8;
/// Changes between figures and letters that it has at least: `facade2024` has one, and is a word and a year.
const MIN_CHANGES: usize = 2;

/// Whether a piece of a file's name, such as `3f9a1b2c` of `site.3f9a1b2c.css`, is a hash of its content in hexadecimal digits.
#[must_use]
pub fn has_content_hash(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, _)| stem.split(['.', '-', '_']).any(is_hash))
}

fn is_hash(piece: &str) -> bool {
    let bytes = piece.as_bytes();
    let changes = bytes.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    bytes.len() >= MIN_DIGITS && bytes.iter().all(u8::is_ascii_hexdigit) && changes >= MIN_CHANGES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_a_word_or_a_date_is_a_hash() {
        for (name, expected) in [
            ("site.3f9a1b2c.css", true),
            ("app-00ffee1234abcdef.js", true),
            ("chunk_9B74C9897BAC770F.js.map", true),
            ("d41d8cd98f00b204e9800998ecf8427e.png", true),
            ("site.css", false),
            ("site.3f9a1b2.css", false),
            ("report-20261201.pdf", false),
            ("facade2024.jpg", false),
            ("a.facadefacade.js", false),
            ("iPhone15.png", false),
            ("index-BX2f9k1A.js", false),
            ("3f9a1b2c", false),
            ("", false),
        ] {
            assert_eq!(has_content_hash(name), expected, "{name}");
        }
    }
}
