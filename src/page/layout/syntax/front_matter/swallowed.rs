//! Finds keys of the front matter that a table has taken in, because in TOML a table has all keys that follow its line.
//! They are errors: otherwise `[headers]` before `route` would make a header of the route, and no page.

use crate::page::source::diagnostic::{Code, Diagnostic};
use crate::page::source::table::{Data, Entry, Table};

use super::file;

/// A key of the front matter in a table.
pub(super) struct Swallowed {
    pub(super) name: &'static str,
    pub(super) problem: Diagnostic,
}

/// Takes such keys out of the tables of the front matter.
pub(super) fn take_out(mut table: Table) -> (Table, Vec<Swallowed>) {
    let mut found = Vec::new();
    for entry in &mut table.entries {
        match &mut entry.value.data {
            Data::Table(inner) => from(inner, &entry.key, &format!("[{}]", entry.key), &mut found),
            Data::List(items) => {
                for item in items {
                    if let Data::Table(inner) = &mut item.data {
                        from(inner, &entry.key, &format!("[[{}]]", entry.key), &mut found);
                    }
                }
            }
            _ => {}
        }
    }
    (table, found)
}

/// Takes keys out of the table below a key. `line`: how the line of the table is written.
fn from(table: &mut Table, key: &str, line: &str, found: &mut Vec<Swallowed>) {
    // Whoever writes `{ … }` sees where the table ends.
    if table.at.source.slice(table.at.span.clone()).starts_with('{') {
        return;
    }
    table.entries.retain_mut(|entry| {
        // An experiment or a variant may have any name.
        let is_own = key == file::EXPERIMENT.name && matches!(entry.value.data, Data::Table(_) | Data::Integer(_));
        let field = file::SCHEMA.field(&entry.key).filter(|_| !is_own);
        found.extend(field.map(|field| Swallowed { name: field.name, problem: problem(entry, line) }));
        field.is_none()
    });
    for entry in &mut table.entries {
        if let Data::Table(inner) = &mut entry.value.data {
            let line = format!("[{}.{}]", line.trim_matches(['[', ']']), entry.key);
            from(inner, key, &line, found);
        }
    }
}

fn problem(entry: &Entry, line: &str) -> Diagnostic {
    let message = format!("`{}` is a key of the table `{line}` here, not of the page", entry.key);
    let help = format!("move it above the line `{line}`: in TOML, a table has all keys that follow its line");
    Diagnostic::new(Code::FrontMatter, entry.key_at.clone(), message).help(help)
}
