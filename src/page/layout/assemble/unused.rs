//! Checks the frames and partials that no page uses, so that their errors are known before a page does.
//! Only what does not depend on the page is reported: its routes and experiments are not known here.

use std::collections::HashSet;

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::markup::MAX_DEPTH;
use crate::page::layout::syntax::node::{Esi, Node};
use crate::page::source::diagnostic::{Code, Diagnostic, SourceSpan};

use super::assemble_for;
use super::assembler::AssemblyContext;
use super::frames;

/// The errors and warnings that a file has whichever page uses it.
const OF_THE_FILE: [Code; 11] = [
    Code::UnknownFragment,
    Code::NoSuchVersion,
    Code::UnknownParameter,
    Code::MissingParameter,
    Code::MissingFile,
    Code::IncludeCycle,
    Code::UnknownSlot,
    Code::DuplicateSlot,
    Code::UpstreamNotAllowed,
    Code::TtlTooLong,
    Code::NeverShown,
];

/// The diagnostics of the files that no page uses.
#[must_use]
pub fn problems(context: &AssemblyContext<'_>) -> Vec<Diagnostic> {
    let used = reachable(context, context.files.values().filter(|file| file.is_page()));
    let named: HashSet<&str> = context.files.values().flat_map(names).collect();
    let mut problems = Vec::new();
    // A file that is nested too deeply has that error, and was not read to its end.
    let unused = context.files.values().filter(|file| !used.contains(file.path()) && file.depth < MAX_DEPTH);
    for file in unused {
        frames::slot_names(file, context.files, &mut problems);
        let (_, found) = assemble_for(file, &[], context);
        problems.extend(found.into_iter().filter(|problem| OF_THE_FILE.contains(&problem.code)));
        // Its errors come first: perhaps it is being written.
        let is_clean = |problem: &Diagnostic| !problem.is_error() || problem.at.source.file != file.source.file;
        if !problems.iter().chain(&file.problems).all(is_clean) {
            continue;
        }
        let shows = |path: &&str| context.files.get(*path).is_some_and(has_fragments);
        if !named.contains(file.path()) && reachable(context, std::iter::once(file)).iter().any(shows) {
            let at = SourceSpan::new(&file.source, 0..file.source.text.lines().next().map_or(0, str::len));
            let message = "no page uses this file, so its fragments are never shown";
            let problem = Diagnostic::new(Code::Unused, at, message);
            problems
                .push(problem.help(
                    "include it, name it as a `frame` or in a `schedule`, give it a `route`, or remove the file",
                ));
        }
    }
    problems
}

/// The paths of some files, and of the files that they name, directly or by others.
fn reachable<'a>(context: &AssemblyContext<'a>, from: impl Iterator<Item = &'a LayoutFile>) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    let mut next: Vec<&LayoutFile> = from.collect();
    while let Some(file) = next.pop() {
        if found.insert(file.path()) {
            next.extend(names(file).filter_map(|path| context.files.get(path)));
        }
    }
    found
}

/// The paths that a file names.
fn names(file: &LayoutFile) -> impl Iterator<Item = &str> {
    let frame = file.front.frame.iter().map(|frame| frame.value.as_str());
    let scheduled = file.front.schedule.iter().map(|takeover| takeover.file.value.as_str());
    let included = nodes(file).into_iter().filter_map(|node| match node {
        Node::Include(file) => Some(file.value.as_str()),
        _ => None,
    });
    frame.chain(scheduled).chain(included)
}

/// Whether a file has a fragment or an include of ESI.
fn has_fragments(file: &LayoutFile) -> bool {
    nodes(file).into_iter().any(|node| matches!(node, Node::Fragment(_) | Node::Esi(Esi::Include(_))))
}

/// All nodes of a file.
fn nodes(file: &LayoutFile) -> Vec<&Node> {
    let mut found = Vec::new();
    let mut open: Vec<&[Node]> = vec![&file.nodes];
    while let Some(nodes) = open.pop() {
        for node in nodes {
            found.push(node);
            match node {
                Node::Fragment(element) => open.extend(element.all_inside()),
                other => open.extend(other.inside()),
            }
        }
    }
    found
}
