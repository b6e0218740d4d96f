//! The files of a site's folder `public/`, which are served as they are.
//! Hidden files, folders, and links that lead out of the folder are reported as missing.

use std::fs::File;
use std::io;
use std::path::{Component, Path};

use ignore::WalkBuilder;
use rustix::io::Errno;

use crate::page::site::PublicFile;

use super::SiteFolder;
use super::read::{open, real_path};

/// The folder.
const PUBLIC: &str = "public";
/// The one hidden folder whose files are meant for others (RFC 8615).
const WELL_KNOWN: &str = ".well-known";
/// The errors of a path at which there is nothing to serve. Others, such as too many open files, are failures.
const NOTHING_THERE: [Errno; 6] =
    [Errno::NOENT, Errno::NOTDIR, Errno::NAMETOOLONG, Errno::LOOP, Errno::ACCESS, Errno::NXIO];

impl SiteFolder {
    /// Opens a file of `public/` by its path in it.
    ///
    /// # Errors
    /// The file cannot be opened. An error of the kind `NotFound` means that there is nothing to serve.
    pub fn open_public(&self, path: &Path) -> io::Result<File> {
        if !is_visible(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // Resolved at each request: a release is often switched by a link.
        let found = self.root().join(PUBLIC).canonicalize().and_then(|folder| {
            let asked = folder.join(path);
            let file = open(&asked)?;
            let real = real_path(&file, &asked)?;
            let is_inside = real.strip_prefix(&folder).is_ok_and(is_visible);
            if is_inside { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
        });
        found.map_err(|error| match Errno::from_io_error(&error) {
            // Made here: it is no regular file, or a link to what is not served.
            None => io::ErrorKind::NotFound.into(),
            Some(code) if NOTHING_THERE.contains(&code) => io::ErrorKind::NotFound.into(),
            Some(_) => error,
        })
    }

    /// The files of `public/` that are not hidden, sorted.
    #[must_use]
    pub fn public_files(&self) -> Vec<PublicFile> {
        let folder = self.root().join(PUBLIC);
        let mut walk = WalkBuilder::new(&folder);
        walk.standard_filters(false).follow_links(true).sort_by_file_name(Ord::cmp);
        let entries = walk.build().filter_map(Result::ok);
        let file = |entry: ignore::DirEntry| {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let path = entry.path().strip_prefix(&folder).ok().filter(|path| is_visible(path))?;
            Some(PublicFile { path: path.to_str()?.to_owned(), modified: metadata.modified().ok()? })
        };
        entries.filter_map(file).collect()
    }
}

/// Whether no part of a path is hidden, and each is a name.
fn is_visible(path: &Path) -> bool {
    let mut parts = path.components().enumerate();
    parts.all(|(index, part)| match part {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b".") || (index == 0 && name == WELL_KNOWN),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_paths_are_not_visible() {
        for (path, expected) in [
            ("site.css", true),
            ("css/site.css", true),
            (".well-known/security.txt", true),
            (".env", false),
            ("css/.htpasswd", false),
            (".git/config", false),
            ("css/.well-known/x", false),
            (".well-known/.x", false),
            ("../site.css", false),
            ("css/../../x", false),
            ("/etc/passwd", false),
        ] {
            assert_eq!(is_visible(Path::new(path)), expected, "{path}");
        }
    }
}
