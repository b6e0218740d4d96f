//! The error of a text or test in ESI: what is wrong, where, and what to write instead.
//! A quotation from the text in a message is shortened, and contains no control characters.

use std::fmt;
use std::ops::Range;

/// Most characters of the text that a message quotes.
const MAX_QUOTED: usize = 40;

/// An error in a text or test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EsiError {
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// The position in the text, in bytes, on character boundaries.
    pub at: Range<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

impl EsiError {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), at, help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Message and help in one text, for tests.
    #[cfg(test)]
    pub(super) fn full_text(&self) -> String {
        format!("{self}; {}", self.help.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for EsiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EsiError {}

/// A quotation for a message: shortened, with control characters replaced.
pub(super) fn shown(text: &str) -> String {
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = text.chars().take(MAX_QUOTED).map(visible).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_shortened_and_has_no_control_characters() {
        for (text, expected) in [("short", "short".to_owned()), ("a\0b", "a\u{fffd}b".to_owned())] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(&"ü".repeat(MAX_QUOTED)), "ü".repeat(MAX_QUOTED));
        assert_eq!(shown(&"ü".repeat(MAX_QUOTED + 1)), format!("{}…", "ü".repeat(MAX_QUOTED)));
    }
}
