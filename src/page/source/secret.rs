//! References to secrets. The secret itself is never written into a file of the site.
//! A value that is not a reference is refused, and not repeated, since it may be the secret.

use super::table::{self, Value, ValueError};

/// A reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `env:NAME`
    Environment(String),
    /// `file:PATH`. The file is read again from time to time.
    File(String),
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// The value is not a reference. The message does not repeat it, since it may be the secret.
    pub fn read(value: &Value) -> Result<Self, ValueError> {
        let text = table::text(value)?;
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let reference = match text.split_once(':') {
            Some(("env", name)) => named(name).map(Self::Environment),
            Some(("file", path)) => named(path).map(Self::File),
            _ => None,
        };
        reference.ok_or_else(|| {
            ValueError::with_help(
                "a secret must not be written here",
                "write \"env:NAME\" or \"file:PATH\", which state where it is",
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
