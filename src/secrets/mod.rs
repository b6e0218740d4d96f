//! Fetches secrets from where their references say. A secret shows nowhere, and is asked for again
//! from time to time, so that one in a file can be replaced while the compositor runs.

pub mod credentials;
pub mod passes;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::page::source::secret::Reference;

/// How long a secret is used before it is looked up again.
const USED_FOR: Duration = Duration::from_secs(10);

/// A text that shows nowhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from showing.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
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

/// Looks secrets up, paths below a site's folder.
#[derive(Debug)]
pub struct Secrets {
    root: PathBuf,
    known: Mutex<HashMap<Reference, (Instant, Secret)>>,
}

impl Secrets {
    /// Secrets of a site.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, known: Mutex::default() }
    }

    /// The secret that a reference names.
    ///
    /// # Errors
    /// There is none there; the message names the place.
    pub fn get(&self, reference: &Reference) -> Result<Secret, String> {
        let now = Instant::now();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known().get(reference).cloned();
        if let Some((since, secret)) = &last
            && now.duration_since(*since) < USED_FOR
        {
            return Ok(secret.clone());
        }
        // The lock is not held while a file is read.
        let found = match (look_up(reference, &self.root), last) {
            (Ok(found), _) => found,
            // A file that is being replaced may be empty for a moment.
            (Err(why), Some((_, last))) => {
                tracing::warn!("{why}; the last one stays in use");
                last
            }
            (Err(why), None) => return Err(why),
        };
        known().insert(reference.clone(), (now, found.clone()));
        Ok(found)
    }
}

/// Looks a secret up now. White space at its end is cut off: editors leave a line feed there.
///
/// # Errors
/// There is none there; the message names the place.
pub fn look_up(reference: &Reference, root: &std::path::Path) -> Result<Secret, String> {
    let text = match reference {
        Reference::Environment(name) => {
            std::env::var(name).map_err(|_| format!("there is no environment variable `{name}`"))?
        }
        Reference::File(path) => {
            std::fs::read_to_string(root.join(path)).map_err(|error| format!("`{path}` cannot be read: {error}"))?
        }
    };
    let text = text.trim_end();
    if text.is_empty() { Err(format!("the secret at {reference} is empty")) } else { Ok(Secret(text.to_owned())) }
}
