//! Gives each fragment of a page an id of its own: as written, else its name, then `name-2`, `name-3`.
//! One id that is written in two places is a mistake.

use std::collections::{HashMap, HashSet};

use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names::Name;

/// What a fragment would be called.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// By its `id`.
    Written(Located<String>),
    /// By its name.
    Named(String),
}

/// The ids of fragments, which come in document order, and the mistakes among them.
pub(crate) fn give(wishes: &[Wish]) -> (Vec<Name>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    // Ids that are taken, each with where it was written. Those come first, wherever they stand.
    let mut taken: HashMap<String, Option<&SourceSpan>> = HashMap::new();
    for wish in wishes {
        let Wish::Written(id) = wish else { continue };
        let first = *taken.entry(id.value.clone()).or_insert(Some(&id.at));
        if let Some(first) = first.filter(|first| **first != id.at) {
            let (line, _) = first.source.position(first.span.start);
            let message = format!("`id`: `{}` is the id of another fragment: {}:{line}", id.value, first.source.file);
            let problem = Diagnostic::new(Code::BadValue, id.at.clone(), message);
            problems.push(problem.help("give each its own, or leave one out"));
        }
    }
    // How far each name has been numbered.
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut given = HashSet::new();
    let ids = wishes
        .iter()
        .map(|wish| {
            let (name, free) = match wish {
                // The first time it is what was written; a partial may be included again.
                Wish::Written(id) => (id.value.as_str(), given.insert(id.value.as_str())),
                Wish::Named(name) => (name.as_str(), !taken.contains_key(name)),
            };
            let number = numbers.entry(name).or_insert(1);
            let mut id = name.to_owned();
            if !free {
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

    /// Wishes by words: `=x` is written, each at a place of its own.
    fn given(words: &[&str]) -> (Vec<String>, usize) {
        let source = Source::new("layouts/a.html", "x".repeat(words.len()));
        let wishes: Vec<Wish> = words
            .iter()
            .enumerate()
            .map(|(at, word)| match word.strip_prefix('=') {
                Some(id) => Wish::Written(Located { value: id.to_owned(), at: SourceSpan::new(&source, at..at + 1) }),
                None => Wish::Named((*word).to_owned()),
            })
            .collect();
        let (ids, problems) = give(&wishes);
        (ids.iter().map(ToString::to_string).collect(), problems.len())
    }

    #[test]
    fn ids_are_given_in_document_order_and_what_is_written_comes_first() {
        assert_eq!(given(&["a", "b", "a", "a"]).0, ["a", "b", "a-2", "a-3"]);
        assert_eq!(given(&["a", "=a", "a"]), (vec!["a-2".into(), "a".into(), "a-3".into()], 0));
        assert_eq!(given(&["a", "=a-2", "a"]).0, ["a", "a-2", "a-3"]);
        assert_eq!(given(&["=a", "=a"]).1, 1);
    }

    #[test]
    fn a_partial_that_is_included_twice_is_no_mistake() {
        let id = Wish::Written(Located { value: "a".into(), at: SourceSpan::new(&Source::new("p", "x"), 0..1) });
        let (ids, problems) = give(&[id.clone(), id]);
        assert_eq!(ids, ["a".into(), "a-2".into()]);
        assert_eq!(problems, []);
    }
}
