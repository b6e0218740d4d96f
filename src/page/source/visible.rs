//! Makes control characters visible in texts that others wrote, before people read them.
//! In a terminal such a character could add lines, change colours, or reverse what is shown.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with its control characters as Rust writes them: `\n`, `\u{1b}`. So are the characters that change the
/// direction of text or end a line without being control characters.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_invisible) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_invisible(character) {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// The JSON text with the control characters that JSON allows in strings as `\u009b`. Outside of strings it has none,
/// except line feeds.
#[must_use]
pub fn visible_json(text: String) -> String {
    if !text.contains(is_invisible_in_json) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_invisible_in_json(character) {
            // All of them are below U+10000, so each is one unit of UTF-16. Writing to a string does not fail.
            let _written = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The line with each control character that is not ASCII replaced by a character of as many bytes, so that places in it
/// stay right. What draws the line replaces those that are ASCII.
#[must_use]
pub fn masked(line: &str) -> Cow<'_, str> {
    let is_masked = |character: char| !character.is_ascii() && is_invisible(character);
    if !line.contains(is_masked) {
        return Cow::Borrowed(line);
    }
    let mask = |character: char| match character.len_utf8() {
        _ if !is_masked(character) => character,
        2 => '·',
        _ => char::REPLACEMENT_CHARACTER,
    };
    Cow::Owned(line.chars().map(mask).collect())
}

fn is_invisible_in_json(character: char) -> bool {
    character != '\n' && is_invisible(character)
}

fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible_and_nothing_else_changes() {
        for (text, shown) in [
            ("team-weather", "team-weather"),
            ("Ünïcödé · 天気 \\n", "Ünïcödé · 天気 \\n"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("\u{202e}txt\u{2028}", "\\u{202e}txt\\u{2028}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn a_masked_line_keeps_its_length() {
        for (line, shown) in [("a\tü", "a\tü"), ("a\u{9b}b\u{61c}", "a·b·"), ("\u{202e}x\u{2029}", "\u{fffd}x\u{fffd}")]
        {
            assert_eq!(masked(line), shown);
            assert_eq!(shown.len(), line.len());
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "owner": "a\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\n" });
        let text = visible_json(serde_json::to_string_pretty(&value).expect("it can be written"));
        assert!(!text.contains(is_invisible_in_json), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON"), value);
    }
}
