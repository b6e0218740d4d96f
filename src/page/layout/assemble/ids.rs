//! Assigns each fragment of a page a unique id: as written, or otherwise its name, then `name-2`, `name-3`.
//! An id that is written in two places is an error.

use std::collections::{HashMap, HashSet};

use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names::Name;

/// The source of a fragment's id.
#[derive(Debug, Clone)]
pub(super) enum IdSource {
    /// Its attribute `id`.
    Written(Located<String>),
    /// The name of the nanoservice or host that fills it.
    Name(String),
}

/// The ids of fragments in document order, and the errors among them.
pub(super) fn assign(sources: &[IdSource]) -> (Vec<Name>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    // The ids that are taken, each with its position. Explicit ids come first, wherever they are.
    let mut taken: HashMap<String, Option<&SourceSpan>> = HashMap::new();
    for source in sources {
        let IdSource::Written(id) = source else { continue };
        let first = *taken.entry(id.value.clone()).or_insert(Some(&id.at));
        if let Some(first) = first.filter(|first| **first != id.at) {
            let (line, _) = first.source.position(first.span.start);
            let message = format!("`id`: `{}` is the id of another fragment: {}:{line}", id.value, first.source.file);
            let problem = Diagnostic::new(Code::BadValue, id.at.clone(), message);
            problems.push(problem.help("give each its own id, or remove one"));
        }
    }
    // The last number of each name.
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut assigned = HashSet::new();
    let ids = sources
        .iter()
        .map(|source| {
            let (name, is_free) = match source {
                // Only the first use has the written id: a partial may be included several times.
                IdSource::Written(id) => (id.value.as_str(), assigned.insert(id.value.as_str())),
                IdSource::Name(name) => (name.as_str(), !taken.contains_key(name)),
            };
            let number = numbers.entry(name).or_insert(1);
            let mut id = name.to_owned();
            if !is_free {
                while taken.contains_key(&id) {
                    *number += 1;
                    id = format!("{name}-{number}");
                }
            }
            taken.entry(id.clone()).or_insert(None);
            Name::from(id)
        })
        .collect();
    (ids, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::diagnostic::Source;

    /// The ids made from words, and the number of errors: `=x` is written, each in a different place.
    fn assigned(words: &[&str]) -> (Vec<String>, usize) {
        let source = Source::new("layouts/a.html", "x".repeat(words.len()));
        let sources: Vec<IdSource> = words
            .iter()
            .enumerate()
            .map(|(at, word)| match word.strip_prefix('=') {
                Some(id) => {
                    IdSource::Written(Located { value: id.to_owned(), at: SourceSpan::new(&source, at..at + 1) })
                }
                None => IdSource::Name((*word).to_owned()),
            })
            .collect();
        let (ids, problems) = assign(&sources);
        (ids.iter().map(ToString::to_string).collect(), problems.len())
    }

    #[test]
    fn ids_are_assigned_in_document_order_and_written_ids_come_first() {
        assert_eq!(assigned(&["a", "b", "a", "a"]).0, ["a", "b", "a-2", "a-3"]);
        assert_eq!(assigned(&["a", "=a", "a"]), (vec!["a-2".into(), "a".into(), "a-3".into()], 0));
        assert_eq!(assigned(&["a", "=a-2", "a"]).0, ["a", "a-2", "a-3"]);
        assert_eq!(assigned(&["=a", "=a"]).1, 1);
    }

    #[test]
    fn a_written_id_in_a_partial_that_is_included_twice_is_not_an_error() {
        let id = IdSource::Written(Located { value: "a".into(), at: SourceSpan::new(&Source::new("p", "x"), 0..1) });
        let (ids, problems) = assign(&[id.clone(), id]);
        assert_eq!(ids, ["a", "a-2"].map(Name::from));
        assert_eq!(problems, []);
    }
}
