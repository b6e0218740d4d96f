//! A cursor that moves forward only, so that parsing takes linear time.
//! Quoted texts are parsed and written here, since variables and tests both contain them.

use std::fmt;

use super::error::EsiError;

/// A position in a text.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the beginning of a text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The number of bytes that were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The text that has not been read.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes the next character.
    pub(super) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes this text if it comes next; reports whether it did.
    pub(super) fn take(&mut self, expected: &str) -> bool {
        let there = self.rest().starts_with(expected);
        if there {
            self.at += expected.len();
        }
        there
    }

    /// Takes everything before this text, or the rest if it does not occur.
    pub(super) fn take_until(&mut self, end: &str) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(end).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Takes the characters that match, possibly none.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Takes a text in single quotes, the first of which comes next. `\'` and `\\` are the only escapes.
    pub(super) fn quoted(&mut self) -> Result<String, EsiError> {
        let start = self.at;
        self.take("'");
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| !matches!(c, '\'' | '\\' | '$')));
            let at = self.at;
            match self.bump() {
                Some('\'') => return Ok(text),
                Some('\\') => {
                    if let Some(escaped @ ('\'' | '\\')) = self.bump() {
                        text.push(escaped);
                    } else {
                        let problem = "`\\` between quotes is allowed only before `'` or another `\\`";
                        return Err(EsiError::new(at..self.at, problem).help("write `\\\\` for one `\\`"));
                    }
                }
                // A quoted variable would be compared as the literal text, which is never intended.
                Some(_) if self.peek() == Some('(') => {
                    let problem = "variables cannot be used between quotes";
                    return Err(EsiError::new(at..at + 2, problem).help("write `$(NAME)` without quotes around it"));
                }
                Some(other) => text.push(other),
                None => {
                    return Err(EsiError::new(start..self.at, "this text between quotes never ends")
                        .help("end it with `'`; a `'` that belongs to the text is written `\\'`"));
                }
            }
        }
    }
}

/// Writes a text as `Cursor::quoted` parses it.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_between_quotes_are_read() {
        for (text, read, rest) in [
            ("''", "", ""),
            ("'two words' & x", "two words", " & x"),
            (r"'it\'s \\ so'", r"it's \ so", ""),
            ("'5 $ each'", "5 $ each", ""),
            ("'Grüße'ß", "Grüße", "ß"),
        ] {
            let mut cursor = Cursor::new(text);
            assert_eq!(cursor.quoted(), Ok(read.to_owned()), "{text}");
            assert_eq!(cursor.rest(), rest, "{text}");
        }
    }

    #[test]
    fn invalid_texts_are_reported() {
        for (text, at, message) in [
            ("'", 0..1, "never ends"),
            ("'ü", 0..3, "never ends"),
            (r"'\'", 0..3, "never ends"),
            (r"'a\nb'", 2..4, r"`\\`"),
            (r"'ü\ü'", 3..6, r"`\\`"),
            (r"'a\", 2..3, r"`\\`"),
            ("'$(HTTP_HOST)'", 1..3, "without quotes"),
        ] {
            let error = Cursor::new(text).quoted().expect_err(text);
            assert_eq!(error.at, at, "{text}: {error:?}");
            assert!(error.full_text().contains(message), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_read_back(text in any::<String>()) {
            prop_assume!(!text.contains("$("));
            let quoted = Quoted(&text).to_string();
            let mut cursor = Cursor::new(&quoted);
            prop_assert_eq!(cursor.quoted(), Ok(text.clone()));
            prop_assert_eq!(cursor.at(), quoted.len());
        }
    }
}
