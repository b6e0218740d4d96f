//! Finds the best place on a page for what is added to its head, over all its partials.

use std::collections::BTreeMap;

use super::file::LayoutFile;
use super::node::Node;

/// The lowest rank of any node of a page: the place to look for while it is put together.
pub(super) fn best<R: Ord>(
    page: &LayoutFile,
    files: &BTreeMap<String, LayoutFile>,
    rank: impl Fn(&Node) -> Option<R>,
) -> Option<R> {
    let mut best = None;
    walk(&page.nodes, files, &mut vec![page.path()], &mut |node| {
        best = best.take().into_iter().chain(rank(node)).min();
    });
    best
}

fn walk<'a>(
    nodes: &'a [Node],
    files: &'a BTreeMap<String, LayoutFile>,
    open: &mut Vec<&'a str>,
    see: &mut impl FnMut(&Node),
) {
    for node in nodes {
        see(node);
        match node {
            Node::Include(named) if !open.contains(&named.value.as_str()) => {
                if let Some(file) = files.get(&named.value) {
                    open.push(&named.value);
                    walk(&file.nodes, files, open, see);
                    open.pop();
                }
            }
            Node::When { inside, .. } | Node::Slot { inside, .. } => walk(inside, files, open, see),
            Node::Text(_) | Node::Fragment(_) | Node::Include(_) | Node::Title(_) | Node::Mark(_) => {}
        }
    }
}
