//! Finds the best place on a page for what is added to its head, over all its frames and partials.
//! A partial counts once in each of them, however often it is included.

use std::collections::{BTreeMap, HashSet};

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::node::Node;

use super::frames::Frames;

/// The lowest rank of any node of a page: the place to look for while it is put together.
pub(crate) fn best<R: Ord>(
    frames: &Frames<'_>,
    files: &BTreeMap<String, LayoutFile>,
    rank: impl Fn(&Node) -> Option<R>,
) -> Option<R> {
    let mut best = None;
    // Which is lowest does not depend on the order, so that no file need be read twice.
    for (level, file) in frames.levels.iter().enumerate() {
        let filled = |name: &str| frames.fills.get(level + 1).is_some_and(|fills| fills.slots.contains_key(name));
        let mut met: HashSet<&str> = HashSet::from([file.path()]);
        let mut open: Vec<&[Node]> = vec![&file.nodes];
        while let Some(nodes) = open.pop() {
            for node in nodes {
                best = best.take().into_iter().chain(rank(node)).min();
                match node {
                    Node::Include(named) if met.insert(&named.value) => {
                        open.extend(files.get(&named.value).map(|file| file.nodes.as_slice()));
                    }
                    // Its default is on no page.
                    Node::Slot { name, .. } if filled(&name.value) => {}
                    other => open.extend(other.inside()),
                }
            }
        }
    }
    best
}
