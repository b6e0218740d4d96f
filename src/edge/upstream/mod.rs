//! Sends requests to nanoservices.
//! Every error on the way is a failure with a reason.

mod resolver;

pub mod names;

mod connection;

mod client;

mod decoding;

mod output;

pub mod http;

pub mod process;

pub mod component;

pub mod any;

pub mod probe;

pub mod tamper;

use std::path::{Path, PathBuf};

/// The folder of a manifest, in which its program is started, and its component is looked for.
#[must_use]
pub fn folder(root: &Path, manifest: &str) -> PathBuf {
    let file = root.join(manifest);
    file.parent().map_or_else(|| root.to_owned(), Path::to_owned)
}
