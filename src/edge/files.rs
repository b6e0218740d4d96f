//! A site's folder: reads its files, and tells when one has changed.
//! A file that cannot be read is a mistake like any other.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify_debouncer_full::notify::{self, EventKind, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};

use crate::page::diagnostic::{Code, Diagnostic, Source, Spot};
use crate::page::layout::file::MAX_BYTES;
use crate::page::site::Files;

/// How long a folder must be quiet: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// Folders below folders, at most.
const MAX_DEPTH: usize = 32;

/// A site's folder.
#[derive(Debug, Clone)]
pub struct SiteFolder {
    root: PathBuf,
}

impl SiteFolder {
    /// Opens a folder.
    ///
    /// # Errors
    /// It is not there, or has no `layouts/` in it.
    pub fn open(root: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        if !root.join("layouts").is_dir() {
            return Err(format!(
                "{} has no folder `layouts`, so it is no site; `--site DIR` names another folder",
                root.display()
            ));
        }
        Ok(Self { root })
    }

    /// Its place.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `pasteup.toml`, where there is one.
    #[must_use]
    pub fn settings(&self) -> Option<Result<Arc<Source>, Diagnostic>> {
        let path = self.root.join("pasteup.toml");
        path.exists().then(|| self.read(&path, "pasteup.toml".to_owned()))
    }

    /// All layouts and manifests.
    #[must_use]
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        let layouts = self.root.join("layouts");
        let real_layouts = layouts.canonicalize().unwrap_or_else(|_| layouts.clone());
        let mut paths = Vec::new();
        walk(&layouts, 0, &mut paths);
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "html")) {
            let name = self.name(&path);
            let inside = path.canonicalize().is_ok_and(|real| real.starts_with(&real_layouts));
            let read = if inside {
                self.read(&path, name)
            } else {
                Err(unreadable(name, "it is a link that leaves layouts/"))
            };
            match read {
                Ok(source) => files.layouts.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        let mut folders: Vec<PathBuf> = list(&self.root.join("fragments"));
        folders.retain(|folder| folder.join("fragment.toml").exists());
        for folder in folders {
            let path = folder.join("fragment.toml");
            match self.read(&path, self.name(&path)) {
                Ok(source) => files.manifests.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        files
    }

    /// The path below the site, with forward slashes.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
    }

    fn read(&self, path: &Path, name: String) -> Result<Arc<Source>, Diagnostic> {
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too large, however large it is.
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return Err(unreadable(name, &error.to_string()));
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(unreadable(name, "it is larger than 1 MiB"));
        }
        String::from_utf8(bytes).map(|text| Source::new(name.clone(), text)).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let source = Source::new(name, text);
            Diagnostic::new(Code::Unreadable, Spot::new(&source, valid..valid), "this is no UTF-8")
                .help("save the file in the encoding UTF-8")
        })
    }

    /// Calls `changed` whenever something in the site may have changed, until the watch is dropped.
    /// Folders are watched and not files: editors replace files.
    ///
    /// # Errors
    /// The operating system does not let folders be watched.
    pub fn watch(&self, changed: impl Fn() + Send + 'static) -> Result<Watch, notify::Error> {
        let debouncer = new_debouncer(QUIET, None, move |result: DebounceEventResult| {
            // On an error events may be lost: reading once more does no harm.
            if result.map_or(true, |events| events.iter().any(|event| !matches!(event.kind, EventKind::Access(_)))) {
                changed();
            }
        })?;
        let mut watch = Watch { debouncer, root: self.root.clone() };
        watch.debouncer.watch(&self.root, RecursiveMode::NonRecursive)?;
        watch.renew();
        Ok(watch)
    }
}

/// Watches a folder while it lives.
pub struct Watch {
    debouncer: Debouncer<notify::RecommendedWatcher, RecommendedCache>,
    root: PathBuf,
}

impl Watch {
    /// Watches the folders that are there now: one may have been made, or replaced as a whole.
    pub fn renew(&mut self) {
        for folder in ["layouts", "fragments"].map(|name| self.root.join(name)) {
            // One that is not there, or cannot be watched, is looked at again after the next change.
            let _gone = self.debouncer.unwatch(&folder);
            if folder.is_dir() {
                let _not_now = self.debouncer.watch(&folder, RecursiveMode::Recursive);
            }
        }
    }
}

fn unreadable(name: String, why: &str) -> Diagnostic {
    let source = Source::new(name, "");
    Diagnostic::new(Code::Unreadable, Spot::new(&source, 0..0), format!("the file cannot be read: {why}"))
}

/// What is in a folder, sorted; nothing where it cannot be read.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for path in list(folder) {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        // Linked folders are not walked into: they could lead anywhere, or in a circle.
        let linked = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        if path.is_dir() && !linked && depth < MAX_DEPTH {
            walk(&path, depth + 1, found);
        } else if !path.is_dir() {
            found.push(path);
        }
    }
}
