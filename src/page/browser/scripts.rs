//! The compositor's own scripts, as browsers get them. Each for readers is there twice: the strict one inserts no
//! scripts, for pages whose Content-Security-Policy would trust whatever a trusted script inserts.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Where scripts are that pages load.
const LAZY: &str = "/_pasteup/lazy-";
/// Where the overlay's is.
const OVERLAY: &str = "/_pasteup/overlay-";

/// A script.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: &'static str,
    /// How Content-Security-Policy and `integrity` name it.
    pub hash: String,
    /// Where pages load it from; another text is at another place.
    pub path: String,
}

impl Script {
    fn new(text: &'static str, prefix: &str) -> Self {
        let digest = Sha256::digest(text);
        let short: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, hash: format!("sha256-{}", STANDARD.encode(digest)), path: format!("{prefix}{short}.js") }
    }
}

static ALL: LazyLock<[Script; 4]> = LazyLock::new(|| {
    [include_str!("late.js"), include_str!("late-strict.js"), include_str!("lazy.js"), include_str!("lazy-strict.js")]
        .map(|text| Script::new(text.trim_ascii_end(), LAZY))
});

static SHOWS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("overlay.js"), OVERLAY));

/// Puts late parts into their places, in browsers that do not do it by themselves.
#[must_use]
pub fn late(strict: bool) -> &'static Script {
    &ALL[usize::from(strict)]
}

/// Loads parts once a reader scrolls near.
#[must_use]
pub fn lazy(strict: bool) -> &'static Script {
    &ALL[2 + usize::from(strict)]
}

/// Draws what became of each part over a page.
#[must_use]
pub fn overlay() -> &'static Script {
    &SHOWS
}

/// The script at a path that pages load scripts from.
#[must_use]
pub fn at(path: &str) -> Option<&'static Script> {
    if !path.starts_with(LAZY) && !path.starts_with(OVERLAY) {
        return None;
    }
    ALL[2..].iter().chain([&*SHOWS]).find(|script| script.path == path)
}
