//! Finds the best place on a page for what is added to its head, over all its partials.
//! A partial counts once, however often it is included.

use std::collections::{BTreeMap, HashSet};

use super::file::LayoutFile;
use super::node::Node;

/// The lowest rank of any node of a page: the place to look for while it is put together.
pub(super) fn best<R: Ord>(
    roots: &[&LayoutFile],
    files: &BTreeMap<String, LayoutFile>,
    rank: impl Fn(&Node) -> Option<R>,
) -> Option<R> {
    let mut best = None;
    // Which is lowest does not depend on the order, so that no file need be read twice.
    let mut met: HashSet<&str> = roots.iter().map(|file| file.path()).collect();
    let mut open: Vec<&[Node]> = roots.iter().map(|file| file.nodes.as_slice()).collect();
    while let Some(nodes) = open.pop() {
        for node in nodes {
            best = best.take().into_iter().chain(rank(node)).min();
            match node {
                Node::Include(named) if met.insert(&named.value) => {
                    open.extend(files.get(&named.value).map(|file| file.nodes.as_slice()));
                }
                other => open.extend(other.inside()),
            }
        }
    }
    best
}
