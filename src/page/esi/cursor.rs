//! A place in a text that moves forward only, so that reading takes as long as the text is.
//! Texts between quotes are read and written here, since variables and tests both have them.

use std::fmt;

use super::mistake::Mistake;

/// Where reading stands.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes that were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What is still to be read.
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

    /// Takes exactly this, where it comes next.
    pub(super) fn take(&mut self, expected: &str) -> bool {
        let there = self.rest().starts_with(expected);
        if there {
            self.at += expected.len();
        }
        there
    }

    /// Takes all that comes before something.
    pub(super) fn take_until(&mut self, end: &str) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(end).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Takes characters of a kind, perhaps none.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Takes a text between single quotes, the first of which comes next. `\'` and `\\` are the only escapes.
    pub(super) fn quoted(&mut self) -> Result<String, Mistake> {
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
                        let problem = "`\\` between quotes stands only before `'` or another `\\`";
                        return Err(Mistake::new(at..self.at, problem).help("write `\\\\` for one `\\`"));
                    }
                }
                // It would be compared with these very characters, which nobody wants.
                Some(_) if self.peek() == Some('(') => {
                    let problem = "a variable is not read between quotes";
                    return Err(Mistake::new(at..at + 2, problem).help("write `$(NAME)` without quotes around it"));
                }
                Some(other) => text.push(other),
                None => {
                    return Err(Mistake::new(start..self.at, "this text between quotes never ends")
                        .help("end it with `'`; a `'` that belongs to the text is written `\\'`"));
                }
            }
        }
    }
}

/// A text the way `Cursor::quoted` reads it.
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
    fn texts_that_are_no_texts_say_why() {
        for (text, at, says) in [
            ("'", 0..1, "never ends"),
            ("'ü", 0..3, "never ends"),
            (r"'\'", 0..3, "never ends"),
            (r"'a\nb'", 2..4, r"`\\`"),
            (r"'ü\ü'", 3..6, r"`\\`"),
            (r"'a\", 2..3, r"`\\`"),
            ("'$(HTTP_HOST)'", 1..3, "without quotes"),
        ] {
            let mistake = Cursor::new(text).quoted().expect_err(text);
            assert_eq!(mistake.at, at, "{text}: {mistake:?}");
            assert!(mistake.told().contains(says), "{text}: {mistake:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(text in any::<String>()) {
            prop_assume!(!text.contains("$("));
            let quoted = Quoted(&text).to_string();
            let mut cursor = Cursor::new(&quoted);
            prop_assert_eq!(cursor.quoted(), Ok(text.clone()));
            prop_assert_eq!(cursor.at(), quoted.len());
        }
    }
}
