//! Finds the best place on a page for what is added to its head, over all its frames and partials.
//! A partial is searched once in each file of the page, however often it is included.

use std::collections::{BTreeMap, HashSet};

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::node::Node;

use super::frames::Frames;

/// The lowest rank of any node of a page: the place to look for while the page is assembled.
pub(super) fn best<R: Ord>(
    frames: &Frames<'_>,
    files: &BTreeMap<String, LayoutFile>,
    rank: impl Fn(&Node) -> Option<R>,
) -> Option<R> {
    let mut best = None;
    // The lowest rank does not depend on the order of nodes, so no file is read twice.
    for (level, file) in frames.levels.iter().enumerate() {
        let is_filled = |name: &str| frames.fills.get(level + 1).is_some_and(|fills| fills.slots.contains_key(name));
        let mut visited: HashSet<&str> = HashSet::from([file.path()]);
        let mut open: Vec<&[Node]> = vec![&file.nodes];
        while let Some(nodes) = open.pop() {
            for node in nodes {
                best = best.take().into_iter().chain(rank(node)).min();
                match node {
                    Node::Include(named) if visited.insert(&named.value) => {
                        open.extend(files.get(&named.value).map(|file| file.nodes.as_slice()));
                    }
                    // The default of a filled slot is not on the page.
                    Node::Slot { name, .. } if is_filled(&name.value) => {}
                    other => open.extend(other.inside()),
                }
            }
        }
    }
    best
}
