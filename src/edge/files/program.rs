//! The files of a program's folder, to notice while a site is developed that one of them has changed.
//! What a program writes itself is left out: hidden files, caches, dependencies, and whatever `.gitignore` names.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ignore::{DirEntry, WalkBuilder};

/// Folders that interpreters and build tools write.
const WRITTEN: [&str; 3] = ["__pycache__", "node_modules", "target"];
/// The manifest, whose changes are noticed by its content.
const MANIFEST: &str = "fragment.toml";

/// A hash of the names, sizes and times of all files of a program. It differs after any of them was changed, added or removed.
#[must_use]
pub fn fingerprint(folder: &Path) -> u64 {
    let is_written = |entry: &DirEntry| {
        let name = entry.file_name();
        WRITTEN.iter().any(|written| name == *written) || (entry.depth() == 1 && name == MANIFEST)
    };
    let mut walk = WalkBuilder::new(folder);
    // Only the files of the folder itself decide, and a site need not be a repository.
    walk.parents(false).git_global(false).git_exclude(false).ignore(false).require_git(false);
    walk.filter_entry(move |entry| !is_written(entry)).sort_by_file_name(Ord::cmp);
    let mut hasher = DefaultHasher::new();
    for entry in walk.build().filter_map(Result::ok).filter(|entry| entry.depth() > 0) {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            continue;
        }
        entry.path().hash(&mut hasher);
        (metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_counts_that_a_program_does_not_write_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        write(".gitignore", "*.log\n/data/\n");
        write("main.py", "1");
        let mut last = fingerprint(folder.path());
        for (name, counts) in [
            ("main.py", true),
            ("sub/other.py", true),
            ("page.html", true),
            ("fragment.toml", false),
            (".hidden", false),
            ("__pycache__/main.pyc", false),
            ("sub/__pycache__/other.pyc", false),
            ("node_modules/x/index.js", false),
            ("target/debug/main", false),
            ("today.log", false),
            ("data/cache", false),
        ] {
            write(name, "22");
            let now = fingerprint(folder.path());
            assert_eq!(now != last, counts, "{name}");
            last = now;
        }
        std::fs::remove_file(folder.path().join("page.html")).expect("it is there");
        assert_ne!(fingerprint(folder.path()), last);
    }
}
