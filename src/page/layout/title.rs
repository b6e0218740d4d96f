//! A page's title: into its `<title>`, else into its `<head>`, else as far to the front as may be.

use std::collections::BTreeMap;

use super::file::LayoutFile;
use super::node::{Mark, Node};

/// Puts a page's title where it belongs: once.
pub(super) struct Title {
    text: Option<String>,
    place: Place,
}

enum Place {
    /// There is a `<title>`, whose text is replaced.
    Title,
    /// An element is added at this mark.
    Mark(Mark),
    /// Nothing says where: it comes first.
    Front,
}

impl Title {
    pub(super) fn new(title: Option<&str>, page: &LayoutFile, files: &BTreeMap<String, LayoutFile>) -> Self {
        let mut place = Place::Front;
        if title.is_some() {
            best_place(&page.nodes, files, &mut vec![page.path()], &mut place);
        }
        Self { text: title.map(escape), place }
    }

    /// The text of the page's first `<title>`.
    pub(super) fn replacement(&mut self) -> Option<String> {
        self.text.take_if(|_| matches!(self.place, Place::Title))
    }

    /// The element to add at a mark.
    pub(super) fn at(&mut self, mark: Mark) -> Option<String> {
        self.text.take_if(|_| matches!(self.place, Place::Mark(best) if best == mark)).map(|text| element(&text))
    }

    /// The title of a page without any place for one.
    pub(super) fn left_over(&mut self) -> Option<String> {
        self.text.take().map(|text| element(&text))
    }
}

fn element(text: &str) -> String {
    format!("<title>{text}</title>")
}

fn best_place<'a>(
    nodes: &'a [Node],
    files: &'a BTreeMap<String, LayoutFile>,
    open: &mut Vec<&'a str>,
    best: &mut Place,
) {
    for node in nodes {
        match node {
            Node::Title(_) => *best = Place::Title,
            Node::Mark(mark) => match best {
                Place::Front => *best = Place::Mark(*mark),
                Place::Mark(known) => *known = (*known).min(*mark),
                Place::Title => {}
            },
            Node::Include(named) if !open.contains(&named.value.as_str()) => {
                if let Some(file) = files.get(&named.value) {
                    open.push(&named.value);
                    best_place(&file.nodes, files, open, best);
                    open.pop();
                }
            }
            Node::When { inside, .. } | Node::Slot { inside, .. } => best_place(inside, files, open, best),
            Node::Text(_) | Node::Fragment(_) | Node::Include(_) => {}
        }
    }
}

/// Text as it may stand in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
