//! HTML as text with positions: reads tags, balances fragments, and stores their HTML.
//! No text is an error: unbalanced tags are reported and repaired.

mod byte_reader;
mod elements;
pub mod names;
pub mod tokens;

mod closing;

pub mod balance;
pub mod stack;

pub mod text;

/// Escapes a text for use between tags, or in an attribute within quotation marks.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_text(text).replace('"', "&quot;").replace('\'', "&#39;")
}

/// Escapes a text for use between tags only: quotation marks stay as they are.
#[must_use]
pub fn escape_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
