//! The compositor's own scripts, with their hashes and paths. There are two versions of each script for readers: the
//! strict one inserts no scripts, for pages whose Content-Security-Policy trusts whatever a trusted script inserts.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The path prefix of the scripts for lazy parts.
const LAZY: &str = "/_pasteup/lazy-";
/// The path prefix of the overlay's script.
const OVERLAY: &str = "/_pasteup/overlay-";

/// One of the compositor's scripts.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// The source text.
    pub text: &'static str,
    /// The hash by which Content-Security-Policy and `integrity` name it.
    pub hash: String,
    /// The path from which pages load it. It contains a part of the hash, so that another text has another path.
    pub path: String,
}

impl Script {
    fn new(text: &'static str, prefix: &str) -> Self {
        let digest = Sha256::digest(text);
        let short: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, hash: format!("sha256-{}", STANDARD.encode(digest)), path: format!("{prefix}{short}.js") }
    }

    /// The element that loads it. An `Integrity-Policy` allows a script with `integrity` only if it is fetched with CORS.
    #[must_use]
    pub fn element(&self) -> String {
        format!("<script src=\"{}\" integrity=\"{}\" crossorigin async></script>", self.path, self.hash)
    }
}

static ALL: LazyLock<[Script; 4]> = LazyLock::new(|| {
    [include_str!("late.js"), include_str!("late-strict.js"), include_str!("lazy.js"), include_str!("lazy-strict.js")]
        .map(|text| Script::new(text.trim_ascii_end(), LAZY))
});

static OVERLAY_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("overlay.js"), OVERLAY));

/// The script that puts late parts into their places, in browsers that do not support this natively.
#[must_use]
pub fn late(strict: bool) -> &'static Script {
    &ALL[usize::from(strict)]
}

/// The script that loads parts when a reader scrolls near them.
#[must_use]
pub fn lazy(strict: bool) -> &'static Script {
    &ALL[2 + usize::from(strict)]
}

/// The script of the overlay, which shows what happened to each part of a page.
#[must_use]
pub fn overlay() -> &'static Script {
    &OVERLAY_SCRIPT
}

/// The script with this path. `None` if there is none.
#[must_use]
pub fn at(path: &str) -> Option<&'static Script> {
    if !path.starts_with(LAZY) && !path.starts_with(OVERLAY) {
        return None;
    }
    ALL[2..].iter().chain([&*OVERLAY_SCRIPT]).find(|script| script.path == path)
}
