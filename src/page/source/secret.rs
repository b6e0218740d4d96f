//! Names where a secret is. The secret itself is never written into a file of the site.

use super::table::{self, Value, Wrong};

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `env:NAME`
    Environment(String),
    /// `file:PATH`, which is read again from time to time.
    File(String),
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// It is no reference; the text is not repeated, since it may be the secret.
    pub fn read(value: &Value) -> Result<Self, Wrong> {
        let text = table::text(value)?;
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let reference = match text.split_once(':') {
            Some(("env", name)) => named(name).map(Self::Environment),
            Some(("file", path)) => named(path).map(Self::File),
            _ => None,
        };
        reference.ok_or_else(|| {
            Wrong::with_help(
                "a secret is never written here".to_owned(),
                "write \"env:NAME\" or \"file:PATH\", which name where it is",
            )
        })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}
