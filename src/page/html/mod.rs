//! HTML as bytes with places: what is a tag, and what only looks like one.

mod elements;
mod source;
pub mod tokens;

mod closing;

pub mod balance;
pub mod boundary;

pub mod text;

/// A text as it may stand in HTML, between quotation marks too.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;")
}
