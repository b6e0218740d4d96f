//! Reads the files of a site, and watches them for changes.
//! A file that cannot be read becomes a diagnostic, like any error in its content.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::page::layout::syntax::file::MAX_BYTES;
use crate::page::site::Files;
use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};

/// Maximum depth of folders below `layouts/`.
const MAX_DEPTH: usize = 32;

/// A site's folder.
#[derive(Debug, Clone)]
pub struct SiteFolder {
    root: PathBuf,
}

impl SiteFolder {
    /// Opens the folder of a site.
    ///
    /// # Errors
    /// The folder does not exist, or has no `layouts/` in it.
    pub fn open(root: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
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
        let path = self.root.join("pasteup.toml");
        exists(&path).then(|| read(&path, "pasteup.toml".to_owned()))
    }

    /// Reads all layouts and manifests.
    #[must_use]
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        let layouts = self.root.join("layouts");
        let real_layouts = layouts.canonicalize().unwrap_or_else(|_| layouts.clone());
        let mut paths = Vec::new();
        self.walk(&layouts, 0, &mut paths, &mut files);
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "html")) {
            let name = self.name(&path);
            let read = match path.canonicalize() {
                Ok(real) if real.starts_with(&real_layouts) => read(&path, name),
                Ok(_) => Err(unreadable(name, "it is a link to a file outside layouts/")),
                Err(error) => Err(unreadable(name, &why(&path, &error))),
            };
            match read {
                Ok(source) => files.layouts.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        let fragments = self.root.join("fragments");
        // A site that declares no nanoservices itself has no such folder.
        if !exists(&fragments) {
            return files;
        }
        for folder in self.list(&fragments, &mut files) {
            let path = folder.join("fragment.toml");
            if !exists(&path) {
                continue;
            }
            match read(&path, self.name(&path)) {
                Ok(source) => files.manifests.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        files
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

    /// Calls `changed` after every change in the site, until the watch is dropped. Watches folders, not files, because
    /// editors replace files.
    ///
    /// # Errors
    /// The operating system does not allow the folders to be watched.
    // No debouncer is used: it matters only that the events have stopped, not which they were.
    pub fn watch(&self, changed: impl Fn() + Send + 'static) -> Result<Watch, notify::Error> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // After an error events may have been lost. Reading the site once too often does no harm.
            if event.map_or(true, |event| may_change_content(event.kind)) {
                changed();
            }
        })?;
        let folders = ["layouts", "fragments"].map(|name| (self.root.join(name), None));
        let mut watch = Watch { watcher, folders };
        watch.watcher.watch(&self.root, RecursiveMode::NonRecursive)?;
        watch.renew();
        Ok(watch)
    }
}

/// Whether the content of a file may have changed. Reading a file causes events too.
const fn may_change_content(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_)) || matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// Watches a site until it is dropped.
pub struct Watch {
    watcher: RecommendedWatcher,
    /// Each watched folder, with its identity when the watch began; `None` while it is not watched.
    folders: [(PathBuf, Option<Identity>); 2],
}

/// Device and inode, which change when a folder is replaced.
type Identity = (u64, u64);

impl Watch {
    /// Watches the folders that exist now: one may have been created, or replaced as a whole.
    pub fn renew(&mut self) {
        use std::os::unix::fs::MetadataExt as _;
        for (folder, watched) in &mut self.folders {
            let present = folder.metadata().ok().filter(std::fs::Metadata::is_dir).map(|m| (m.dev(), m.ino()));
            if *watched == present {
                continue;
            }
            // A folder that does not exist or cannot be watched is tried again after the next change.
            let _gone = self.watcher.unwatch(folder);
            *watched = present.filter(|_| self.watcher.watch(folder, RecursiveMode::Recursive).is_ok());
        }
    }
}

/// Whether there is anything at a path, even a broken link.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn read(path: &Path, name: String) -> Result<Arc<Source>, Diagnostic> {
    let mut bytes = Vec::new();
    // Checked before it is opened: opening a pipe waits for its other end.
    let read = std::fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        // One byte more than allowed shows that a file is too large, without reading all of it.
        std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return Err(unreadable(name, &why(path, &error)));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable(name, "it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map(|text| Source::new(name.clone(), text)).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let source = Source::new(name, text);
        Diagnostic::new(Code::Unreadable, SourceSpan::new(&source, valid..valid), "this is not valid UTF-8")
            .help("save the file as UTF-8")
    })
}

fn unreadable(name: String, why: &str) -> Diagnostic {
    let source = Source::new(name, "");
    Diagnostic::new(Code::Unreadable, SourceSpan::new(&source, 0..0), format!("this cannot be read: {why}"))
        .help("its last good version stays live until it can be read, or is removed")
}

/// Explains why a path cannot be read.
fn why(path: &Path, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound && path.is_symlink() {
        "it is a broken link".to_owned()
    } else {
        error.to_string()
    }
}

fn ignored(name: String, message: &str, help: &str) -> Diagnostic {
    Diagnostic::new(Code::Ignored, SourceSpan::new(&Source::new(name, ""), 0..0), message).help(help)
}
