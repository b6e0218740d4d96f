//! Runs the components of nanoservices: WebAssembly that exports `wasi:http/incoming-handler`, in a fresh instance for each
//! request. A build without the feature `wasm` knows what a component is, and runs none.
//!
//! A component that traps, loops or grows is a failure of its own request, and of nothing else.

#[cfg(feature = "wasm")]
mod compile;

#[cfg(feature = "wasm")]
mod guest;

#[cfg(feature = "wasm")]
mod outbound;

#[cfg(feature = "wasm")]
mod machine;

#[cfg(feature = "wasm")]
mod request;

#[cfg(feature = "wasm")]
mod registry;

#[cfg(not(feature = "wasm"))]
mod absent;

pub mod listener;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::page::manifest::{Component, Manifest};
use crate::page::source::diagnostic::{Code, Diagnostic};

#[cfg(not(feature = "wasm"))]
pub use absent::Components;
#[cfg(feature = "wasm")]
pub use registry::Components;

/// Whether this build runs components.
pub const IS_AVAILABLE: bool = cfg!(feature = "wasm");

/// What components are run with.
pub struct ComponentSettings {
    /// The folder of the site.
    pub root: PathBuf,
    /// Where compiled components are kept. `None`: in the user's cache directory.
    pub cache: Option<PathBuf>,
    /// Whether a name may resolve to an address that is not public.
    pub private_upstreams: bool,
}

/// What came of loading the components of a site.
#[derive(Default)]
pub struct Loaded {
    /// Why some of them cannot be run.
    pub problems: Vec<Diagnostic>,
    /// Those whose file or manifest has changed.
    pub replaced: Vec<Arc<Manifest>>,
}

/// Differs after a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(u64, i64, i64, u64);

impl Stamp {
    /// The stamp of the component that a manifest names. `None`: there is no such file.
    #[must_use]
    pub fn of(component: &Component, root: &Path, manifest: &Manifest) -> Option<Self> {
        let metadata = file(component, root, manifest).metadata().ok()?;
        Some(Self(metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
    }
}

/// The file of a component.
fn file(component: &Component, root: &Path, manifest: &Manifest) -> PathBuf {
    super::folder(root, &manifest.at.source.file).join(&component.file)
}

fn problem(manifest: &Manifest, why: &str, help: &str) -> Diagnostic {
    Diagnostic::new(Code::BadComponent, manifest.at.clone(), format!("`{}`: {why}", manifest.name)).help(help)
}
