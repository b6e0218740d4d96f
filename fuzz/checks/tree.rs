//! Compares the tree that html5ever, like a browser, builds around a fragment's HTML with that around nothing.

use std::fmt::Write;
use std::sync::LazyLock;

use html5ever::driver::ParseOpts;
use html5ever::parse_document;
use html5ever::tendril::TendrilSink;
use html5ever::tree_builder::TreeBuilderOpts;
use markup5ever_rcdom::{Handle, NodeData, RcDom};

const BEFORE: &str = "<!doctype html><html><head><title>t</title></head><body><div id=frame><main>";
/// What an unclosed element before it would change: a paragraph, an item, a form, a link, a table cell, text.
const BEHIND: &str = "</main><p id=after>x</p><li>y</li><form id=form></form><a href=z>z</a><table><tr><td>u</td></tr></table>\
                      <select><option>o</option></select><h2>v</h2>w</div></body></html>";

/// Checks that the page around `<main>` is the same whatever `<main>` contains, with scripts and without.
pub(crate) fn stays_in_place(html: &str) {
    static EXPECTED: LazyLock<[String; 2]> = LazyLock::new(|| [false, true].map(|scripting| around("", scripting)));
    // Only this element is parsed differently without scripts.
    let both = html.to_ascii_lowercase().contains("<noscript");
    for (scripting, expected) in [false, true].into_iter().zip(EXPECTED.iter()).take(1 + usize::from(both)) {
        assert_eq!(around(html, scripting), *expected, "scripting: {scripting}, in `<main>`: {html}");
    }
}

/// The tree of a page, without the content of the first `<main>`.
fn around(html: &str, scripting_enabled: bool) -> String {
    let tree_builder = TreeBuilderOpts { scripting_enabled, ..TreeBuilderOpts::default() };
    let options = ParseOpts { tree_builder, ..ParseOpts::default() };
    let dom = parse_document(RcDom::default(), options).one(format!("{BEFORE}{html}{BEHIND}"));
    let mut written = String::new();
    write(&dom.document, &mut false, &mut written);
    written
}

fn write(node: &Handle, met: &mut bool, into: &mut String) {
    match &node.data {
        NodeData::Element { name, attrs, .. } => {
            let _ = write!(into, "<{}", &*name.local);
            for attribute in attrs.borrow().iter() {
                let _ = write!(into, " {}='{}'", &*attribute.name.local, attribute.value);
            }
            into.push('>');
            let first_main = !*met && &*name.local == "main";
            *met |= first_main;
            if !first_main {
                for child in node.children.borrow().iter() {
                    write(child, met, into);
                }
            }
            let _ = write!(into, "</{}>", &*name.local);
        }
        NodeData::Text { contents } => into.push_str(&contents.borrow()),
        NodeData::Comment { contents } => {
            let _ = write!(into, "<!--{contents}-->");
        }
        NodeData::Document => node.children.borrow().iter().for_each(|child| write(child, met, into)),
        NodeData::Doctype { name, .. } => {
            let _ = write!(into, "<!doctype {name}>");
        }
        NodeData::ProcessingInstruction { .. } => into.push_str("<?>"),
    }
}
