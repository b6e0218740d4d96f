//! Markup for parts that are loaded when a reader scrolls near them: an element that a short script fills, with a link
//! for browsers without scripts. Each part is served as a standalone fragment.

use bytes::Bytes;

use crate::page::html::escape;
use crate::page::http::query;
use crate::page::manifest::Manifest;
use crate::page::visit::context::Dimension;

/// The path prefix of standalone fragments.
pub const PREFIX: &str = "/_pasteup/fragment/";

/// The query parameter that names the page, for nanoservices that declare `page` as context. It has a colon, so that it
/// cannot collide with a parameter from a `data-` attribute.
pub const PAGE: &str = "pasteup:page";

/// The URL of a standalone fragment with these parameters, for a page with this route pattern.
pub(crate) fn address(manifest: &Manifest, parameters: &[(String, String)], page: &str) -> String {
    let own = manifest.context.contains(&Dimension::Page).then_some((PAGE, page));
    let all = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(own);
    let query = query::write(all);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{PREFIX}{}/{}{mark}{query}", manifest.name, manifest.version)
}

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
