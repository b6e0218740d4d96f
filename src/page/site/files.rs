//! The texts of a site's files, as they were read, and what could not be read.

use std::sync::Arc;

use crate::page::source::diagnostic::{Diagnostic, Source};

/// The texts of a site's files.
#[derive(Debug, Default)]
pub struct Files {
    /// `layouts/**.html`
    pub layouts: Vec<Arc<Source>>,
    /// `fragments/*/fragment.toml`
    pub manifests: Vec<Arc<Source>>,
    /// What the files of components contain, as a hash, by the files of their manifests.
    pub components: Vec<(String, u128)>,
    /// `pasteup.lock`, if there is one; or why it cannot be read.
    pub lock: Option<Result<Arc<Source>, Diagnostic>>,
    /// The manifests that sources have declared, each text under its URL.
    pub discovered: Vec<Arc<Source>>,
    /// Files and folders that could not be read.
    pub unreadable: Vec<Diagnostic>,
    /// Folders that were ignored.
    pub ignored: Vec<Diagnostic>,
    /// Sources of manifests that could not be reached.
    pub unreachable: Vec<Diagnostic>,
}

/// Whether a file has a path, or is in the folder with that path.
pub(super) fn is_at(file: &str, path: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
