//! Parts that are loaded once a reader scrolls near: an element that a short script fills, and what stands
//! there without scripts. Each is served by itself, as a page of one fragment.

use bytes::Bytes;

use crate::page::html::escape;
use crate::page::manifest::Manifest;
use crate::page::visit::context::Dimension;

use super::scripts::Script;

/// Where fragments are served by themselves.
pub const PREFIX: &str = "/_pasteup/fragment/";

/// The query parameter that names the page, for nanoservices that are told it. No `data-` attribute has
/// a name with a colon.
pub const PAGE: &str = "pasteup:page";

/// Where a fragment with these parameters is served by itself, for a page of this pattern.
pub(crate) fn address(manifest: &Manifest, parameters: &[(String, String)], page: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    if manifest.context.contains(&Dimension::Page) {
        query.append_pair(PAGE, page);
    }
    let (query, mark) = match query.finish() {
        query if query.is_empty() => (query, ""),
        query => (query, "?"),
    };
    format!("{PREFIX}{}/{}{mark}{query}", manifest.name, manifest.version)
}

/// What stands before its placeholder.
pub(crate) fn open(address: &str) -> Bytes {
    Bytes::from(format!("<pasteup-lazy src=\"{}\">", escape(address)))
}

/// What stands there for readers without scripts, where the layout says nothing.
pub(crate) fn link(address: &str, name: &str) -> Bytes {
    Bytes::from(format!("<noscript><a href=\"{}\">{}</a></noscript>", escape(address), escape(name)))
}

/// What stands behind it.
pub(crate) const CLOSE: Bytes = Bytes::from_static(b"</pasteup-lazy>");

/// What loads the script.
pub(crate) fn loads(script: &Script) -> String {
    format!("<script src=\"{}\" integrity=\"{}\" async></script>", script.path, script.hash)
}
