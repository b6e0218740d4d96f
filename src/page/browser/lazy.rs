//! Markup for parts that are loaded when a reader scrolls near them: an element that a short script fills, with a link
//! for browsers without scripts. Each part is served as a standalone fragment.

use bytes::Bytes;

use crate::page::html::escape;

/// The path prefix of standalone fragments.
pub const PREFIX: &str = "/_pasteup/fragment/";

/// The markup before its placeholder.
pub(crate) fn open(address: &str) -> Bytes {
    Bytes::from(format!("<pasteup-lazy src=\"{}\">", escape(address)))
}

/// The link for browsers without scripts, if the layout has no placeholder.
pub(crate) fn link(address: &str, name: &str) -> Bytes {
    Bytes::from(format!("<noscript><a href=\"{}\">{}</a></noscript>", escape(address), escape(name)))
}

/// The markup after its placeholder.
pub(crate) const CLOSE: Bytes = Bytes::from_static(b"</pasteup-lazy>");
