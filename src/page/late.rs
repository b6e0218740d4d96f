//! Parts that arrive late and take their places in the page: markers around a place, and behind all
//! that a reader sees a template for each. Browsers that know the HTML standard's out-of-order
//! streaming need nothing else; for others the same short script stands behind each template.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Puts a template's content into its place where the browser did not.
const SCRIPT: &str = include_str!("late.js");
/// The same, for pages whose policy trusts what trusted scripts insert: it inserts no scripts.
const STRICT_SCRIPT: &str = include_str!("late-strict.js");

/// What puts late parts into their places in browsers that do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Script {
    /// All of a part.
    #[default]
    Plain,
    /// All but its scripts.
    Strict,
}

impl Script {
    const fn text(self) -> &'static str {
        match self {
            Self::Plain => SCRIPT.trim_ascii_end(),
            Self::Strict => STRICT_SCRIPT.trim_ascii_end(),
        }
    }

    /// How a page's Content-Security-Policy names it.
    #[must_use]
    pub fn hash(self) -> &'static str {
        static HASHES: LazyLock<[String; 2]> =
            LazyLock::new(|| [Script::Plain, Script::Strict].map(|script| sha256(script.text().as_bytes())));
        match self {
            Self::Plain => &HASHES[0],
            Self::Strict => &HASHES[1],
        }
    }
}

/// A hash as Content-Security-Policy and `integrity` write it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(bytes)))
}

/// The names of a page's late parts. No fragment can guess them, and so take another's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    salt: u64,
    script: Script,
}

impl Names {
    pub(super) const fn new(salt: u64, script: Script) -> Self {
        Self { salt, script }
    }

    /// What stands before a place's placeholder,
    pub(super) fn begin(self, hole: usize) -> Bytes {
        Bytes::from(format!("<?start name=\"pasteup:{:016x}:{hole}\">", self.salt))
    }

    /// and behind it.
    pub(super) const fn end() -> Bytes {
        Bytes::from_static(b"<?end>")
    }

    /// What stands before a late part,
    pub(super) fn open(self, hole: usize) -> Bytes {
        Bytes::from(format!("<template for=\"pasteup:{:016x}:{hole}\">", self.salt))
    }

    /// and behind it.
    pub(super) fn close(self) -> Bytes {
        Bytes::from(format!("</template><script>{}</script>", self.script.text()))
    }
}
