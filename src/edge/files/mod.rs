//! Reads the files of a site, and watches them for changes.
//! A file that cannot be read becomes a diagnostic, like any error in its content.

pub mod program;
pub mod public;

mod read;
mod watch;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::page::manifest::{Manifest, lock};
use crate::page::site::Files;
use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};

use read::{Within, read, unreadable, why};

pub use watch::{Watch, WatchMode};

/// Maximum depth of folders below `layouts/`.
const MAX_DEPTH: usize = 32;

/// The key of a manifest that names the file of a component.
const COMPONENT: &str = "component";

/// The folders of a site that are read.
const FOLDERS: [&str; 2] = ["layouts", "fragments"];

/// A site's folder. Links on the way to it are followed at each reading: a release is often switched by such a link.
#[derive(Debug, Clone)]
pub struct SiteFolder {
    /// Absolute; links are not resolved.
    root: PathBuf,
}

/// What the paths of a site lead to: the real path, the device and the inode of each.
pub(crate) type Place = [Option<(PathBuf, u64, u64)>; 3];

impl SiteFolder {
    /// Opens the folder of a site.
    ///
    /// # Errors
    /// The folder does not exist, or has no `layouts/` in it.
    pub fn open(root: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", root.display());
        root.canonicalize().map_err(failed)?;
        let root = std::path::absolute(root).map_err(failed)?;
        if !root.join("layouts").is_dir() {
            return Err(format!(
                "{} is not a site: it has no folder `layouts`; choose another folder with `--site DIR`",
                root.display()
            ));
        }
        Ok(Self { root })
    }

    /// The path of the folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads `pasteup.toml`; `None` if there is none.
    #[must_use]
    pub fn settings(&self) -> Option<Result<Arc<Source>, Diagnostic>> {
        // While a release is switched, there may be no folder for a moment. That does not mean that all settings are gone.
        let path = if exists(&self.root) { self.root.join("pasteup.toml") } else { self.root.clone() };
        (exists(&path) || path == self.root).then(|| read(&path, "pasteup.toml".to_owned(), None))
    }

    /// Reads `pasteup.lock`; `None` if there is none.
    fn lock(&self) -> Option<Result<Arc<Source>, Diagnostic>> {
        let path = if exists(&self.root) { self.root.join(lock::FILE) } else { self.root.clone() };
        (exists(&path) || path == self.root).then(|| read(&path, lock::FILE.to_owned(), None))
    }

    /// Writes `pasteup.lock`, as a whole or not at all.
    ///
    /// # Errors
    /// It cannot be written; the message names the file.
    pub fn write_lock(&self, text: &str) -> Result<(), String> {
        let (path, unfinished) = (self.root.join(lock::FILE), self.root.join(format!(".{}.new", lock::FILE)));
        let write = || {
            let mut file = std::fs::File::create(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(|error| {
            // After a rename there is nothing left to remove.
            let _gone = std::fs::remove_file(&unfinished);
            format!("{} cannot be written: {error}", path.display())
        })
    }

    /// Reads all layouts and manifests, the lock, and what the files of components contain.
    #[must_use]
    pub fn files(&self) -> Files {
        let mut files = self.texts();
        let content = |manifest: &Arc<Source>| {
            // Most manifests have none, and are not parsed twice.
            let parsed = manifest.text.contains(COMPONENT).then(|| Manifest::parse(manifest).0).flatten()?;
            let folder = self.root.join(&manifest.file);
            let bytes = std::fs::read(folder.parent()?.join(&parsed.component()?.file)).ok()?;
            Some((manifest.file.clone(), xxh3_128(&bytes)))
        };
        files.components = files.manifests.iter().filter_map(content).collect();
        files
    }

    /// Reads all layouts and manifests, and the lock.
    fn texts(&self) -> Files {
        let mut files = Files { lock: self.lock(), ..Files::default() };
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let layouts = self.root.join("layouts");
        let real_layouts = real(&layouts);
        let within = Within { folders: &[&real_layouts], name: "layouts/" };
        let mut paths = Vec::new();
        self.walk(&layouts, 0, &mut paths, &mut files);
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "html")) {
            match read(&path, self.name(&path), Some(&within)) {
                Ok(source) => files.layouts.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        let fragments = self.root.join("fragments");
        // A site that declares no nanoservices itself has no such folder.
        if !exists(&fragments) {
            return files;
        }
        // The folder itself may be a link to a release, and a service may have its manifest elsewhere in the site.
        let (real_root, real_fragments) = (real(&self.root), real(&fragments));
        let within = Within { folders: &[&real_root, &real_fragments], name: "the site" };
        for folder in self.list(&fragments, &mut files) {
            let path = folder.join("fragment.toml");
            if !exists(&path) {
                continue;
            }
            match read(&path, self.name(&path), Some(&within)) {
                Ok(source) => files.manifests.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        files
    }

    /// What the paths of the site lead to now.
    fn place(&self) -> Place {
        let look = |path: PathBuf| {
            let (real, metadata) = (path.canonicalize().ok()?, path.metadata().ok()?);
            Some((real, metadata.dev(), metadata.ino()))
        };
        let [layouts, fragments] = FOLDERS.map(|name| look(self.root.join(name)));
        [look(self.root.clone()), layouts, fragments]
    }

    /// A hash of all texts that are read from the site.
    fn fingerprint(&self) -> u64 {
        let Files { layouts, manifests, lock, unreadable, ignored, .. } = self.texts();
        let mut hasher = DefaultHasher::new();
        (self.settings(), layouts, manifests, lock, unreadable, ignored).hash(&mut hasher);
        hasher.finish()
    }

    /// The paths in a folder, sorted. A folder that cannot be read gives a diagnostic and no paths.
    fn list(&self, folder: &Path, files: &mut Files) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>());
        let mut paths = entries.unwrap_or_else(|error| {
            files.unreadable.push(unreadable(self.name(folder), &why(folder, &error)));
            Vec::new()
        });
        paths.sort();
        paths
    }

    /// Adds all files below a folder to `found`, except hidden ones.
    fn walk(&self, folder: &Path, depth: usize, found: &mut Vec<PathBuf>, files: &mut Files) {
        for path in self.list(folder, files) {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            if !path.is_dir() {
                found.push(path);
            } else if path.is_symlink() {
                // A linked folder could lead anywhere, or in a circle.
                let help = "move the folder itself here, or link its files";
                files.ignored.push(ignored(self.name(&path), "linked folders are not read", help));
            } else if depth == MAX_DEPTH {
                let message = format!("folders more than {MAX_DEPTH} levels deep are not read");
                files.ignored.push(ignored(self.name(&path), &message, "move it further up"));
            } else {
                self.walk(&path, depth + 1, found, files);
            }
        }
    }

    /// A path relative to the site, with forward slashes.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
    }
}

/// Whether there is anything at a path, even a broken link.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn ignored(name: String, message: &str, help: &str) -> Diagnostic {
    Diagnostic::new(Code::Ignored, SourceSpan::new(&Source::new(name, ""), 0..0), message).help(help)
}
