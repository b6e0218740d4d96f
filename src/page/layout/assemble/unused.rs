//! Checks the frames and partials that no page uses, so that their errors are known before a page does.
//! Only what does not depend on the page is reported: its routes and experiments are not known here.

use std::collections::HashSet;

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::markup::MAX_DEPTH;
use crate::page::layout::syntax::node::Node;
use crate::page::source::diagnostic::{Code, Diagnostic};

use super::assemble_for;
use super::assembler::AssemblyContext;
use super::frames;

/// The errors and warnings that a file has whichever page uses it.
const OF_THE_FILE: [Code; 10] = [
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
];

/// The diagnostics of the files that no page uses.
#[must_use]
pub fn problems(context: &AssemblyContext<'_>) -> Vec<Diagnostic> {
    let used = used(context);
    let mut problems = Vec::new();
    // A file that is nested too deeply has that error, and was not read to its end.
    let unused = context.files.values().filter(|file| !used.contains(file.path()) && file.depth < MAX_DEPTH);
    for file in unused {
        frames::slot_names(file, context.files, &mut problems);
        let (_, found) = assemble_for(file, &[], context);
        problems.extend(found.into_iter().filter(|problem| OF_THE_FILE.contains(&problem.code)));
    }
    problems
}

/// The paths of all pages, and of the files that they name, directly or by others.
fn used<'a>(context: &AssemblyContext<'a>) -> HashSet<&'a str> {
    let mut used = HashSet::new();
    let mut next: Vec<&LayoutFile> = context.files.values().filter(|file| file.is_page()).collect();
    while let Some(file) = next.pop() {
        if !used.insert(file.path()) {
            continue;
        }
        let frame = file.front.frame.iter().map(|frame| &frame.value);
        let scheduled = file.front.schedule.iter().map(|takeover| &takeover.file.value);
        let mut named: Vec<&String> = frame.chain(scheduled).collect();
        let mut open: Vec<&[Node]> = vec![&file.nodes];
        while let Some(nodes) = open.pop() {
            for node in nodes {
                match node {
                    Node::Include(file) => named.push(&file.value),
                    Node::Fragment(element) => open.push(&element.inside),
                    other => open.extend(other.inside()),
                }
            }
        }
        next.extend(named.into_iter().filter_map(|path| context.files.get(path)));
    }
    used
}
