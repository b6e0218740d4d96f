//! Parts that are loaded once a reader scrolls near: an element that a short script fills, and what stands
//! there without scripts. Each is served by itself, as a page of one fragment.

use bytes::Bytes;

use super::fetch::Parameters;
use super::html::escape;
use super::manifest::Manifest;
use super::scripts::Script;

/// Where fragments are served by themselves.
pub const PREFIX: &str = "/_pasteup/fragment/";

/// Where a fragment with these parameters is served by itself.
pub(super) fn address(manifest: &Manifest, parameters: &Parameters) -> String {
    let mut address = format!("{PREFIX}{}/{}", manifest.name, manifest.version);
    if !parameters.is_empty() {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        address.extend(["?", &query]);
    }
    address
}

/// What stands before its placeholder.
pub(super) fn open(address: &str) -> Bytes {
    Bytes::from(format!("<pasteup-lazy src=\"{}\">", escape(address)))
}

/// What stands there for readers without scripts, where the layout says nothing.
pub(super) fn link(address: &str, name: &str) -> Bytes {
    Bytes::from(format!("<noscript><a href=\"{}\">{}</a></noscript>", escape(address), escape(name)))
}

/// What stands behind it.
pub(super) const CLOSE: Bytes = Bytes::from_static(b"</pasteup-lazy>");

/// What loads the script.
pub(super) fn loads(script: &Script) -> String {
    format!("<script src=\"{}\" integrity=\"{}\" async></script>", script.path, script.hash)
}
