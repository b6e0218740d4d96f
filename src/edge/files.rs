//! A site's folder: reads its files, and tells when one has changed.
//! A file that cannot be read is a mistake like any other.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::page::layout::syntax::file::MAX_BYTES;
use crate::page::site::Files;
use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};

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
        is_there(&path).then(|| read(&path, "pasteup.toml".to_owned()))
    }

    /// All layouts and manifests.
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
                Ok(_) => Err(unreadable(name, "it is a link that leaves layouts/")),
                Err(error) => Err(unreadable(name, &why(&path, &error))),
            };
            match read {
                Ok(source) => files.layouts.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        let fragments = self.root.join("fragments");
        // A site without nanoservices of its own has no such folder.
        if !is_there(&fragments) {
            return files;
        }
        for folder in self.list(&fragments, &mut files) {
            let path = folder.join("fragment.toml");
            if !is_there(&path) {
                continue;
            }
            match read(&path, self.name(&path)) {
                Ok(source) => files.manifests.push(source),
                Err(problem) => files.unreadable.push(problem),
            }
        }
        files
    }

    /// What is in a folder, sorted. One that cannot be read is a mistake.
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

    fn walk(&self, folder: &Path, depth: usize, found: &mut Vec<PathBuf>, files: &mut Files) {
        for path in self.list(folder, files) {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            if !path.is_dir() {
                found.push(path);
            } else if path.is_symlink() {
                // It could lead anywhere, or in a circle.
                let help = "put the folder itself here, or link its files";
                files.ignored.push(ignored(self.name(&path), "a folder that is linked is not read", help));
            } else if depth == MAX_DEPTH {
                let message = format!("a folder inside {MAX_DEPTH} others is not read");
                files.ignored.push(ignored(self.name(&path), &message, "put it further up"));
            } else {
                self.walk(&path, depth + 1, found, files);
            }
        }
    }

    /// The path below the site, with forward slashes.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
    }

    /// Calls `changed` at every change in the site, until the watch is dropped. Folders are watched
    /// and not files: editors replace files.
    ///
    /// # Errors
    /// The operating system does not let folders be watched.
    // Not by a debouncer: which event it was does not matter here, only that it has become quiet.
    pub fn watch(&self, changed: impl Fn() + Send + 'static) -> Result<Watch, notify::Error> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // On an error events may be lost: reading once more does no harm.
            if event.map_or(true, |event| changes(event.kind)) {
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

/// Whether a file may read otherwise after an event. Our own reading makes events too.
const fn changes(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_)) || matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// Watches a site while it lives.
pub struct Watch {
    watcher: RecommendedWatcher,
    /// Each with what it was when its watch began.
    folders: [(PathBuf, Option<Identity>); 2],
}

/// Device and inode: another one where a folder was replaced.
type Identity = (u64, u64);

impl Watch {
    /// Watches the folders that are there now: one may have been made, or replaced as a whole.
    pub fn renew(&mut self) {
        use std::os::unix::fs::MetadataExt as _;
        for (folder, watched) in &mut self.folders {
            let present = folder.metadata().ok().filter(std::fs::Metadata::is_dir).map(|m| (m.dev(), m.ino()));
            if *watched == present {
                continue;
            }
            // One that is not there, or cannot be watched, is looked at again after the next change.
            let _gone = self.watcher.unwatch(folder);
            *watched = present.filter(|_| self.watcher.watch(folder, RecursiveMode::Recursive).is_ok());
        }
    }
}

/// Whether anything stands at a path, a link that leads nowhere too.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn read(path: &Path, name: String) -> Result<Arc<Source>, Diagnostic> {
    let mut bytes = Vec::new();
    // Looked at before it is opened: to open a pipe is to wait for its other end.
    let read = std::fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        // One byte more than allowed tells a file that is too large, however large it is.
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
        Diagnostic::new(Code::Unreadable, SourceSpan::new(&source, valid..valid), "this is no UTF-8")
            .help("save the file in the encoding UTF-8")
    })
}

fn unreadable(name: String, why: &str) -> Diagnostic {
    let source = Source::new(name, "");
    Diagnostic::new(Code::Unreadable, SourceSpan::new(&source, 0..0), format!("this cannot be read: {why}"))
        .help("what was live of it stays live until it can be read, or is removed")
}

/// Why something cannot be read, in words for who made it.
fn why(path: &Path, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound && path.is_symlink() {
        "it is a link that leads nowhere".to_owned()
    } else {
        error.to_string()
    }
}

fn ignored(name: String, message: &str, help: &str) -> Diagnostic {
    Diagnostic::new(Code::Ignored, SourceSpan::new(&Source::new(name, ""), 0..0), message).help(help)
}
