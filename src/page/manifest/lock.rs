//! The lock file `pasteup.lock`: the versions that ranges may choose, each with the checksum of its manifest's meaning.
//! Every error in it is a diagnostic with the code `lock`; a lock with an error is not used.

use std::collections::BTreeMap;
use std::sync::Arc;

use semver::Version;

use crate::page::source::diagnostic::{Code, Diagnostic, Source, SourceSpan};
use crate::page::source::names::Name;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::table::{self, Table, TableReader, Value, ValueError};

/// The name of the lock file, in the site's folder.
pub const FILE: &str = "pasteup.lock";

/// The first line of a lock file.
const HEAD: &str = "# Written by `pasteup update`. Keep it under version control.\nversion = 1\n";
/// What to do about a lock file that cannot be used.
const HELP: &str = "run `pasteup update`, which writes the file anew";

schema! {
    /// The versions of nanoservices that ranges may choose.
    pub(crate) mod file {
        /// The version of this notation.
        VERSION = Field::new("version", Kind::Integer(1, 1)).required().example("1");
        /// The versions.
        FRAGMENT = Field::new("fragment", Kind::Tables(&entry::SCHEMA));
    }
}

schema! {
    /// One version that ranges may choose.
    pub(crate) mod entry {
        /// The name of the nanoservice.
        NAME = Field::new("name", Kind::Name).required().example("\"weather\"");
        /// The version.
        VERSION = Field::new("version", Kind::Version).required().example("\"3.1.0\"");
        /// The checksum of its manifest's meaning.
        CHECKSUM = Field::new("checksum", Kind::Text).required().example(
            "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
        );
    }
}

/// The versions that ranges may choose, each with its checksum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<Name, BTreeMap<Version, String>>);

impl Lock {
    /// Reads a lock file. `None`: it has an error.
    #[must_use]
    pub fn parse(source: &Arc<Source>) -> (Option<Self>, Vec<Diagnostic>) {
        let (table, mut problems) = Table::parse(source, 0..source.text.len(), Code::Lock);
        // A key that a syntax error hides would be reported as missing as well.
        if !problems.is_empty() {
            problems.iter_mut().for_each(|problem| problem.help = Some(HELP.to_owned()));
            return (None, problems);
        }
        let mut reader = TableReader::new(&table, &file::SCHEMA, Code::Lock);
        reader.required(&file::VERSION, table::integer(&file::VERSION.kind));
        let entries = reader.tables(&file::FRAGMENT, |table| {
            let name = table.required(&entry::NAME, table::name);
            let version = table.required(&entry::VERSION, version);
            let checksum = table.required(&entry::CHECKSUM, checksum);
            Some((table.at().clone(), name?, version?, checksum?))
        });
        problems.extend(reader.finish());
        let mut lock = Self::default();
        for (at, name, version, checksum) in entries.into_iter().flatten() {
            let message = format!("{name} {version} is locked twice");
            if lock.insert(&name, version, checksum).is_some() {
                problems.push(Diagnostic::new(Code::Lock, first_line(&at), message).help("keep one of them"));
            }
        }
        (Some(lock).filter(|_| !problems.iter().any(Diagnostic::is_error)), problems)
    }

    /// Locks a version, and returns the checksum that it was locked with before.
    pub fn insert(&mut self, name: &Name, version: Version, checksum: String) -> Option<String> {
        self.0.entry(Arc::clone(name)).or_default().insert(version, checksum)
    }

    /// The checksum of a locked version. `None`: it is not locked.
    #[must_use]
    pub fn checksum(&self, name: &str, version: &Version) -> Option<&str> {
        self.0.get(name)?.get(version).map(String::as_str)
    }

    /// The locked versions by name, from the lowest up, each with its checksum.
    pub fn entries(&self) -> impl Iterator<Item = (&Name, &Version, &str)> {
        self.0
            .iter()
            .flat_map(|(name, versions)| versions.iter().map(move |(version, sum)| (name, version, sum.as_str())))
    }

    /// The locked versions of a name, from the lowest up.
    pub fn versions(&self, name: &str) -> impl DoubleEndedIterator<Item = &Version> {
        self.0.get(name).into_iter().flat_map(BTreeMap::keys)
    }

    /// The text of the file.
    #[must_use]
    pub fn write(&self) -> String {
        let entry = |(name, version, checksum): (&Name, &Version, &str)| {
            format!("\n[[fragment]]\nname     = \"{name}\"\nversion  = \"{version}\"\nchecksum = \"{checksum}\"\n")
        };
        std::iter::once(HEAD.to_owned()).chain(self.entries().map(entry)).collect()
    }
}

/// The first line of a span.
fn first_line(at: &SourceSpan) -> SourceSpan {
    let line = at.source.line(at.span.start);
    SourceSpan { span: at.span.start..line.end.max(at.span.start), ..at.clone() }
}

fn version(value: &Value) -> Result<Version, ValueError> {
    let text = table::text(value)?;
    Version::parse(&text).map_err(|_| ValueError::with_help(format!("`{text}` is not a valid version"), HELP))
}

fn checksum(value: &Value) -> Result<String, ValueError> {
    let text = table::text(value)?;
    let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
    match hex {
        Some(hex) if hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) => Ok(text),
        _ => Err(ValueError::with_help(format!("`{text}` is not a checksum"), HELP)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::schema::check::toml_fields;

    fn sum(byte: char) -> String {
        format!("sha256:{}", byte.to_string().repeat(64))
    }

    #[test]
    fn a_lock_that_was_written_is_read_back_in_order() {
        let mut lock = Lock::default();
        for (name, version) in [("weather", "3.10.0"), ("icon", "1.0.0"), ("weather", "3.2.0")] {
            lock.insert(&Name::from(name), version.parse().expect("a version"), sum('a'));
        }
        let text = lock.write();
        let entries: Vec<String> = lock.entries().map(|(name, version, _)| format!("{name} {version}")).collect();
        assert_eq!(entries, ["icon 1.0.0", "weather 3.2.0", "weather 3.10.0"]);
        assert_eq!(Lock::parse(&Source::new(FILE, text)), (Some(lock), Vec::new()));
    }

    #[test]
    fn every_error_of_a_lock_is_reported_at_its_line() {
        let entry = |name: &str, version: &str, checksum: &str| {
            format!("[[fragment]]\nname = \"{name}\"\nversion = \"{version}\"\nchecksum = \"{checksum}\"\n")
        };
        for (text, line) in [
            ("<<<<<<< ours\n".to_owned(), 1),
            (String::new(), 1),
            ("version = 2\n".to_owned(), 1),
            ("version = 1\nfragments = []\n".to_owned(), 2),
            (format!("version = 1\n{}", entry("a b", "1.0.0", &sum('a'))), 3),
            (format!("version = 1\n{}", entry("a", "1.0", &sum('a'))), 4),
            (format!("version = 1\n{}", entry("a", "1.0.0", "sha256:5f2c…")), 5),
            (format!("version = 1\n{0}{0}", entry("a", "1.0.0", &sum('a'))), 6),
        ] {
            let (lock, problems) = Lock::parse(&Source::new(FILE, text.as_str()));
            assert_eq!(lock, None, "{text}");
            let lines = problems.iter().map(|one| one.at.source.position(one.at.span.start).0);
            let lines: Vec<usize> = lines.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            assert_eq!(lines, [line], "{text} {problems:?}");
            assert!(problems.iter().all(|problem| problem.code == Code::Lock));
        }
    }

    #[test]
    fn every_field_is_read_as_its_schema_states() {
        toml_fields(&file::SCHEMA, |text| Lock::parse(&Source::new(FILE, text)).1);
    }
}
