//! HTML as bytes with places: what is a tag, and what only looks like one.

pub mod balance;
mod closing;
mod elements;
pub mod open;
mod source;
pub mod tokens;

/// A text as it may stand in HTML, between quotation marks too.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;")
}
