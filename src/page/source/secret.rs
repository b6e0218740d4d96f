//! References to secrets. The secret itself is never written into a file of the site.
//! A value that is not a reference is refused, and not repeated, since it may be the secret.

use super::table::{self, Value, ValueError};

/// A reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `env:NAME`
    Environment(String),
    /// `file:PATH`, absolute or relative to the site's folder, which it does not leave. The file is read again from time to
    /// time.
    File(String),
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// The value is not a reference. The message does not repeat it, since it may be the secret.
    pub fn read(value: &Value) -> Result<Self, ValueError> {
        let text = table::text(value)?;
        if let Some(("file", path)) = text.split_once(':')
            && leaves(path)
        {
            return Err(ValueError::with_help(
                format!("`{text}` leads out of the site's folder"),
                "put the file into the site's folder, or write its absolute path",
            ));
        }
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

/// Whether a relative path leads out of its folder by `..`. An absolute path is written on purpose: secrets are often mounted
/// elsewhere.
#[must_use]
pub fn leaves(path: &str) -> bool {
    let mut depth = 0_usize;
    !path.starts_with('/')
        && path.split('/').any(|part| match part {
            "" | "." => false,
            ".." if depth == 0 => true,
            ".." => {
                depth -= 1;
                false
            }
            _ => {
                depth += 1;
                false
            }
        })
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_site_is_refused() {
        for path in ["..", "../x", "./../x", "a/../../x", "a/b/../../../x", "a//../../x"] {
            assert!(leaves(path), "{path}");
        }
        for path in ["x", "./x", "a/../x", "a/b/../../x", "..x", "...", "/run/secrets/x", "/a/../../x", "..data/token"]
        {
            assert!(!leaves(path), "{path}");
        }
    }
}
