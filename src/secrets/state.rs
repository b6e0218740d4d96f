//! The state folder: what the compositor keeps for its next start: secrets that it makes itself, and the versions that it chose.
//! A folder that cannot be written stops nothing: what would be kept is used in memory until the process ends.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Secret;

/// The file with the site's key.
pub const KEY: &str = "key";
/// The file with the admin token.
pub const ADMIN_TOKEN: &str = "admin-token";

/// Only the user that the compositor runs as may read what it keeps.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// The state folder of a site. It is made when something is kept for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

/// A secret that the compositor made itself.
#[derive(Debug)]
pub struct Kept {
    /// The secret.
    pub secret: Secret,
    /// Whether it was made just now.
    pub is_new: bool,
    /// Why it is not kept for the next start; `None` if it is.
    pub not_kept: Option<String>,
}

impl StateFolder {
    /// The state folder at a path.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The secret that is kept under a name. `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read, or it is empty; the message names the file.
    pub fn read(&self, name: &str) -> Result<Option<Secret>, String> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if text.trim_end().is_empty() => Err(format!("{} is empty", path.display())),
            Ok(text) => Ok(Some(Secret::new(text.trim_end().to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    /// The secret that is kept under a name. If there is none, a random one is made and kept.
    ///
    /// # Errors
    /// The operating system provides no random numbers.
    pub fn read_or_make(&self, name: &str) -> Result<Kept, String> {
        let not_kept = match self.read(name) {
            Ok(Some(secret)) => return Ok(Kept { secret, is_new: false, not_kept: None }),
            Ok(None) => None,
            Err(why) => Some(why),
        };
        let secret = random()?;
        if not_kept.is_some() {
            return Ok(Kept { secret, is_new: true, not_kept });
        }
        match self.write_new(name, &secret) {
            Ok(true) => Ok(Kept { secret, is_new: true, not_kept: None }),
            // Another process was faster.
            Ok(false) => match self.read(name) {
                Ok(Some(secret)) => Ok(Kept { secret, is_new: false, not_kept: None }),
                other => {
                    let why =
                        other.err().unwrap_or_else(|| format!("{} cannot be followed", self.0.join(name).display()));
                    Ok(Kept { secret, is_new: true, not_kept: Some(why) })
                }
            },
            Err(error) => {
                let why = format!("{} cannot be written: {error}", self.0.join(name).display());
                Ok(Kept { secret, is_new: true, not_kept: Some(why) })
            }
        }
    }

    /// Writes a file, as a whole or not at all.
    ///
    /// # Errors
    /// It cannot be written; the message names the file.
    pub fn replace(&self, name: &str, text: &str) -> Result<(), String> {
        let written = self.write(name, text, |unfinished, path| fs::rename(unfinished, path));
        written.map_err(|error| format!("{} cannot be written: {error}", self.0.join(name).display()))
    }

    /// Writes a file that does not exist yet, as a whole or not at all. `false`: it exists.
    fn write_new(&self, name: &str, secret: &Secret) -> io::Result<bool> {
        // Unlike renaming, linking never replaces a file that another process has written meanwhile.
        self.write(name, secret.reveal(), |unfinished, path| match fs::hard_link(unfinished, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // Some file systems know no links.
            Err(_) => fs::rename(unfinished, path).map(|()| true),
        })
    }

    /// Writes a file under another name, and then puts it in its place.
    fn write<T>(&self, name: &str, text: &str, place: impl FnOnce(&Path, &Path) -> io::Result<T>) -> io::Result<T> {
        fs::DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(&self.0)?;
        let unfinished = self.0.join(format!(".{name}-{:x}", fastrand::u64(..)));
        let written = write_private(&unfinished, text).and_then(|()| place(&unfinished, &self.0.join(name)));
        // After a rename there is nothing left to remove.
        let _gone = fs::remove_file(&unfinished);
        written
    }
}

/// Writes a file that only its owner may read, through to the disk.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// 32 random bytes as text, which an operator can copy.
fn random() -> Result<Secret, String> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| "the operating system provides no random numbers".to_owned())?;
    Ok(Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateFolder::new(folder.path().join("a/b"));
        assert_eq!(state.read(KEY), Ok(None));
        assert!(!state.path().exists(), "reading makes no folder");
        let first = state.read_or_make(KEY).expect("a secret");
        assert!(first.is_new && first.not_kept.is_none() && first.secret.reveal().len() >= 32);
        let again = state.read_or_make(KEY).expect("a secret");
        assert!(!again.is_new && again.secret == first.secret);
        assert_ne!(state.read_or_make(ADMIN_TOKEN).expect("a secret").secret, first.secret);
        assert_eq!((mode(state.path()), mode(&state.path().join(KEY))), (0o700, 0o600));
        assert_eq!(fs::read_dir(state.path()).expect("a folder").count(), 2, "nothing unfinished is left");
    }

    #[test]
    fn all_that_start_together_use_one_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateFolder::new(folder.path().join("state"));
        let made: Vec<Secret> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| state.read_or_make(KEY))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic").expect("a secret").secret).collect()
        });
        assert!(made.iter().all(|secret| *secret == made[0]));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_stops_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "").expect("it can be written");
        let state = StateFolder::new(folder.path().join("file/state"));
        let kept = state.read_or_make(KEY).expect("a secret");
        assert!(kept.is_new && kept.not_kept.expect("a reason").contains("file/state/key"));
        fs::write(folder.path().join(KEY), "\n").expect("it can be written");
        let kept = StateFolder::new(folder.path().to_owned()).read_or_make(KEY).expect("a secret");
        assert!(kept.not_kept.expect("a reason").contains("is empty"), "it is not replaced");
    }
}
