//! The book of versions on disk: `versions.json` in the state folder.
//! A file that is torn, or that is no such book, is a clear message and an empty book; it is replaced by the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::engine::port::RolloutStore;
use crate::page::policy::rollout::book::Book;
use crate::secrets::state::StateFolder;

/// The name of the file.
const FILE: &str = "versions.json";
/// The name of the notation, by which a foreign file is known.
const FORMAT: &str = "pasteup versions 1";
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Keeps the book in the state folder.
#[derive(Debug, Clone)]
pub struct VersionsFile {
    folder: StateFolder,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Content<B> {
    format: String,
    fragments: B,
}

impl VersionsFile {
    /// The book in a state folder.
    #[must_use]
    pub const fn new(folder: StateFolder) -> Self {
        Self { folder }
    }

    /// Reads the book, and states what is wrong with it. If there is none, it is empty.
    #[must_use]
    pub fn read(&self) -> (Book, Option<String>) {
        let path = self.path();
        let text = match fs::metadata(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return (Book::default(), None);
            }
            Ok(metadata) if metadata.len() > MAX_BYTES => Err("it is too large".to_owned()),
            _ => fs::read_to_string(&path).map_err(|error| error.to_string()),
        };
        let content = text.and_then(|text| {
            serde_json::from_str::<Content<Book>>(&text)
                .map_err(|error| format!("it is torn, or another program's ({error})"))
        });
        match content {
            Ok(content) if content.format == FORMAT => (content.fragments, None),
            Ok(content) => (Book::default(), Some(self.unusable(&format!("its format is `{}`", content.format)))),
            Err(why) => (Book::default(), Some(self.unusable(&why))),
        }
    }

    /// Why the book could not be kept. `None`: it probably can. Nothing is written to find out.
    #[must_use]
    pub fn why_not_kept(&self) -> Option<String> {
        let mut existing = self.folder.path();
        while !existing.exists() && !existing.as_os_str().is_empty() {
            existing = existing.parent().unwrap_or(Path::new(""));
        }
        let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
        let why = if existing.is_dir() {
            access(existing, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| error.to_string())
        } else {
            Some(format!("{} is not a folder", existing.display()))
        };
        why.map(|why| format!("{} cannot be written: {why}", self.path().display()))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn unusable(&self, why: &str) -> String {
        format!("{} cannot be used: {why}; versions take over at once, and it is written anew", self.path().display())
    }
}

impl RolloutStore for VersionsFile {
    fn keep(&self, book: &Book) -> Result<(), String> {
        let content = Content { format: FORMAT.to_owned(), fragments: book };
        let text = serde_json::to_string_pretty(&content).expect("texts and numbers can be written as JSON");
        self.folder.replace(FILE, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::policy::rollout::book::Used;
    use jiff::Timestamp;

    fn book() -> Book {
        let used = |version: &str, after: Option<&str>| Used {
            name: "weather".to_owned(),
            version: version.to_owned(),
            after: after.map(|before| (before.to_owned(), "sha256:x".to_owned())),
        };
        let mut book = Book::default().after(&[used("1.0.0", None)], Timestamp::UNIX_EPOCH);
        book = book.after(&[used("1.1.0", Some("1.0.0"))], Timestamp::UNIX_EPOCH);
        let rollout = book.rollout_mut("weather", "1.1.0").expect("it began");
        rollout.record(true, false, std::time::Duration::from_millis(3));
        book
    }

    #[test]
    fn a_book_that_was_kept_is_read_back_and_a_torn_or_foreign_one_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = VersionsFile::new(StateFolder::new(folder.path().join("state")));
        assert_eq!(file.read(), (Book::default(), None));
        file.keep(&book()).expect("it can be written");
        assert_eq!(file.read(), (book(), None));
        assert_eq!(
            fs::read_dir(folder.path().join("state")).expect("a folder").count(),
            1,
            "nothing unfinished is left"
        );
        let whole = fs::read_to_string(file.path()).expect("a file");
        for text in [&whole[..whole.len() / 2], "", "{}", "{\"format\":\"other\",\"fragments\":{}}", "[1]"] {
            fs::write(file.path(), text).expect("it can be written");
            let (read, why) = file.read();
            assert_eq!(read, Book::default());
            assert!(why.expect("a message").contains("versions.json cannot be used"), "{text}");
        }
        file.keep(&book()).expect("it is replaced");
        assert_eq!(file.read().1, None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_without_writing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(VersionsFile::new(StateFolder::new(folder.path().join("a/b"))).why_not_kept(), None);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        fs::write(folder.path().join("file"), "").expect("it can be written");
        let file = VersionsFile::new(StateFolder::new(folder.path().join("file/state")));
        assert!(file.why_not_kept().expect("a message").contains("file is not a folder"));
        file.keep(&book()).expect_err("it cannot be written");
    }
}
