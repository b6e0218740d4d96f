//! Reads one file of a site.
//! A file is opened once, and what was opened is checked: whoever can write into the site could replace the file in between.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::page::layout::syntax::file::MAX_BYTES;
use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};

/// The folders that a file must really be in one of, wherever links lead.
pub(super) struct Within<'a> {
    /// Their paths without links.
    pub(super) folders: &'a [&'a Path],
    /// Their name in messages.
    pub(super) name: &'static str,
}

/// Reads a file as text. With `within`, a file outside those folders is refused.
pub(super) fn read(path: &Path, name: String, within: Option<&Within<'_>>) -> Result<Arc<Source>, Diagnostic> {
    let bytes = match read_bytes(path, within) {
        Ok(bytes) => bytes,
        Err(error) => return Err(unreadable(name, &why(path, &error))),
    };
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

fn read_bytes(path: &Path, within: Option<&Within<'_>>) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    if let Some(within) = within
        && let real = real_path(&file, path)?
        && !within.folders.iter().any(|folder| real.starts_with(folder))
    {
        return Err(io::Error::other(format!("it is a link to a file outside {}", within.name)));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed shows that a file is too large, without reading all of it.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let is_regular = |metadata: std::fs::Metadata| {
        if metadata.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
    };
    // Opening a device can have effects of its own, so it is not even opened unless it replaces the file just now.
    is_regular(std::fs::metadata(path)?)?;
    // `NONBLOCK`: opening a pipe would wait for its other end.
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    is_regular(file.metadata()?)?;
    Ok(file)
}

/// Where an open file is, without links. To look at its path again would not do: it may lead elsewhere by now.
pub(super) fn real_path(file: &File, path: &Path) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).or_else(|_| {
        // Without /proc: what the path leads to now must be the file that was opened.
        let real = path.canonicalize()?;
        let (now, opened) = (real.symlink_metadata()?, file.metadata()?);
        let is_same = (now.dev(), now.ino()) == (opened.dev(), opened.ino());
        if is_same { Ok(real) } else { Err(io::Error::other("it was replaced while it was read")) }
    })
}

pub(super) fn unreadable(name: String, why: &str) -> Diagnostic {
    let source = Source::new(name, "");
    Diagnostic::new(Code::Unreadable, SourceSpan::new(&source, 0..0), format!("this cannot be read: {why}"))
        .help("its last good version stays live until it can be read, or is removed")
}

/// Explains why a path cannot be read.
pub(super) fn why(path: &Path, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound && path.is_symlink() {
        "it is a broken link".to_owned()
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_file_that_is_replaced_by_a_link_while_it_is_read_never_shows_what_is_outside() {
        let site = tempfile::tempdir().expect("a temporary folder can be written");
        let root = site.path().canonicalize().expect("a temporary folder can be written");
        let (inside, outside) = (root.join("layouts"), root.join("secret"));
        std::fs::create_dir(&inside).expect("a temporary folder can be written");
        std::fs::write(&outside, "secret").expect("a temporary folder can be written");
        let page = inside.join("a.html");
        std::fs::write(&page, "page").expect("a temporary folder can be written");
        let (done, shown) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let next = inside.join("next");
                while !done.load(Ordering::Relaxed) {
                    std::os::unix::fs::symlink(&outside, &next).expect("a temporary folder can be written");
                    std::fs::rename(&next, &page).expect("a temporary folder can be written");
                    std::fs::write(&next, "page").expect("a temporary folder can be written");
                    std::fs::rename(&next, &page).expect("a temporary folder can be written");
                }
            });
            let within = Within { folders: &[&inside], name: "layouts/" };
            let mut read_pages = 0;
            for _ in 0..5_000 {
                match read(&page, "layouts/a.html".to_owned(), Some(&within)) {
                    Ok(source) if source.text == "page" => read_pages += 1,
                    Ok(_) => shown.store(true, Ordering::Relaxed),
                    Err(_) => {}
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(read_pages > 0);
        });
        assert!(!shown.load(Ordering::Relaxed));
    }
}
