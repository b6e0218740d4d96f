//! What is wrong with a text or a test: where, what, and what to do about it.
//! Its readers are editors: it names the place and the cure in plain words.

use std::fmt;
use std::ops::Range;

/// Characters of somebody's text that are repeated in a message, at most.
const LONGEST: usize = 40;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// Bytes of the text that was read; both ends are between characters.
    pub at: Range<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Mistake {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), at, help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// All that is said, for tests.
    #[cfg(test)]
    pub(super) fn told(&self) -> String {
        format!("{self}; {}", self.help.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// A piece of somebody's text for a message: in few characters, all of which can be seen.
pub(super) fn shown(text: &str) -> String {
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = text.chars().take(LONGEST).map(visible).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_and_what_is_invisible_is_shown() {
        for (text, says) in [("short", "short".to_owned()), ("a\0b", "a\u{fffd}b".to_owned())] {
            assert_eq!(shown(text), says);
        }
        assert_eq!(shown(&"ü".repeat(LONGEST)), "ü".repeat(LONGEST));
        assert_eq!(shown(&"ü".repeat(LONGEST + 1)), format!("{}…", "ü".repeat(LONGEST)));
    }
}
