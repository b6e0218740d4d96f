//! Parses and evaluates the expressions of ESI 1.0 (W3C Note of 2001-08-04): texts with variables, and the tests of
//! `<esi:when>`. The variables that an expression reads are known once it is parsed, before it is evaluated.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use super::html::tokens::{Token, tokens};

pub mod error;

mod cursor;
mod number;

pub mod agent;
pub mod request;
pub mod text;
pub mod variables;

pub mod expr;
mod grammar;
mod node;
mod tokens;

/// The content of a comment `<!--esi … -->`; `None` for any other comment. `comment` is its position.
#[must_use]
pub fn unwrapped(text: &str, comment: &Range<usize>) -> Option<Range<usize>> {
    const START: &str = "<!--esi";
    const END: &str = "-->";
    let inside = text[comment.clone()].strip_prefix(START)?.strip_suffix(END)?;
    inside.starts_with(char::is_whitespace).then(|| comment.start + START.len()..comment.end - END.len())
}

/// Escapes a value for HTML: for text between tags, and for attributes with or without quotation marks. Control characters
/// that are not whitespace are removed.
#[must_use]
pub fn escape(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' | '`' | '=' | '\\' | '$' => _ = write!(escaped, "&#{};", u32::from(c)),
            c if c.is_whitespace() => _ = write!(escaped, "&#{};", u32::from(c)),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// Replaces each comment `<!--esi … -->` in a text with its content.
#[must_use]
pub fn unwrap(text: &str) -> Cow<'_, str> {
    let mut bare = String::new();
    let mut from = 0;
    for token in tokens(text, 0) {
        let Token::Comment { span } = token else { continue };
        if let Some(inside) = unwrapped(text, &span) {
            bare.push_str(&text[from..span.start]);
            bare.push_str(&text[inside]);
            from = span.end;
        }
    }
    if from == 0 { Cow::Borrowed(text) } else { Cow::Owned(bare + &text[from..]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esi_comments_are_replaced_with_their_content() {
        for (text, bare) in [
            ("a<!--esi <b>x</b>-->b", "a <b>x</b>b"),
            ("<!--esi\n-->", "\n"),
            ("<!--esi x--><!-- esi y --><!--esix--><!--ESI z-->", " x<!-- esi y --><!--esix--><!--ESI z-->"),
            ("<!--esi x", "<!--esi x"),
            ("<script><!--esi x--></script>", "<script><!--esi x--></script>"),
            ("", ""),
        ] {
            assert_eq!(unwrap(text), bare, "{text}");
        }
    }
}
