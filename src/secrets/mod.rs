//! Looks up secrets in environment variables and files. A secret never appears in logs, messages or debug output.
//! Secrets are looked up again from time to time, so that a file can be replaced while the compositor runs.

pub mod credentials;
pub mod debug_tokens;
pub mod load_token;
pub mod site_key;
pub mod state;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::page::source::secret::Reference;

/// How long a secret is used before it is looked up again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// A text that is never shown: its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secrets of a site. Paths are relative to the site's folder.
#[derive(Debug)]
pub struct Secrets {
    root: PathBuf,
    /// Each secret, and when it was looked up.
    known: Mutex<HashMap<Reference, (Instant, Secret)>>,
}

impl Secrets {
    /// The secrets of the site in this folder.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, known: Mutex::default() }
    }

    /// The secret that a reference names. If it cannot be looked up again, its last value stays in use.
    ///
    /// # Errors
    /// The secret has never been found; the message names the variable or file.
    pub fn get(&self, reference: &Reference) -> Result<Secret, String> {
        let now = Instant::now();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known().get(reference).cloned();
        if let Some((since, secret)) = &last
            && now.duration_since(*since) < REFRESH_INTERVAL
        {
            return Ok(secret.clone());
        }
        // The lock is not held while a file is read.
        let found = match (look_up(reference, &self.root), last) {
            (Ok(found), _) => found,
            // A file that is being replaced may be empty for a moment.
            (Err(error), Some((_, last))) => {
                tracing::warn!("{error}; keeping the last value");
                last
            }
            (Err(error), None) => return Err(error),
        };
        known().insert(reference.clone(), (now, found.clone()));
        Ok(found)
    }
}

/// Looks a secret up now. White space at its end is removed, since editors add a line feed.
///
/// # Errors
/// There is no such variable or file, it is not text, or it is empty; the message names it.
pub fn look_up(reference: &Reference, root: &Path) -> Result<Secret, String> {
    let text = String::from_utf8(look_up_bytes(reference, root)?);
    text.map(Secret).map_err(|_| format!("the secret at {reference} is not text in UTF-8"))
}

/// Looks a secret up that need not be text. White space at the end of a text is removed.
///
/// # Errors
/// There is no such variable or file, or it is empty; the message names it.
pub fn look_up_bytes(reference: &Reference, root: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = match reference {
        Reference::Environment(name) => {
            std::env::var(name).map_err(|_| format!("there is no environment variable `{name}`"))?.into_bytes()
        }
        Reference::File(path) => {
            std::fs::read(root.join(path)).map_err(|error| format!("`{path}` cannot be read: {error}"))?
        }
    };
    if let Ok(text) = std::str::from_utf8(&bytes) {
        bytes.truncate(text.trim_end().len());
    }
    if bytes.is_empty() { Err(format!("the secret at {reference} is empty")) } else { Ok(bytes) }
}
