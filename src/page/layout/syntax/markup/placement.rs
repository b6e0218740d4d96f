//! Checks places that browsers treat in a special way: where a part cannot be loaded late or lazily, and a `<base>`.

use url::Url;

use crate::page::html::tokens::{Attribute, StartTag};
use crate::page::layout::syntax::node::Load;
use crate::page::source::diagnostic::Code;

use super::Parser;

impl Parser<'_> {
    /// Reports a fragment that cannot be loaded late or lazily at the current place.
    pub(super) fn check_load(&mut self, load: &Attribute) {
        let [templates, svg, math, _] = self.no_title;
        let value = Load::ALL.into_iter().find(|value| value.as_str() == load.value);
        let in_head = self.outline.is_in_head() || self.region.as_ref().is_some_and(|region| region.slot.is_none());
        let (message, help) = match value {
            Some(Load::Defer | Load::Lazy) if templates > 0 => (
                "browsers do not render a `<template>`, so nothing can be put into it later".to_owned(),
                "remove `load`",
            ),
            Some(Load::Defer | Load::Lazy) if svg + math > 0 => {
                let message = "a late part is parsed as HTML, not as SVG or MathML";
                (message.to_owned(), "put the whole drawing into the fragment")
            }
            Some(Load::Lazy) if in_head => {
                ("nobody scrolls to the head".to_owned(), "remove `load`, or write `load=\"defer\"`")
            }
            Some(Load::Lazy) => match self.html.refuses_elements() {
                Some(around) => (
                    format!("browsers move or drop a lazy part directly inside `<{around}>`"),
                    "write `load=\"defer\"`, put it into a cell, or load the whole element lazily",
                ),
                None => return,
            },
            _ => return,
        };
        self.note(Code::BadValue, load.value_span.clone(), format!("`load`: {message}")).help = Some(help.to_owned());
    }

    /// Reports a `<base>` with another origin. Whatever the compositor adds to pages has paths of this site.
    pub(super) fn check_base(&mut self, tag: &StartTag) {
        let Some(href) = tag.attributes.iter().find(|attribute| attribute.name == "href") else { return };
        let Some(site) = foreign(&href.value) else { return };
        let message = format!(
            "with this `<base>`, browsers ask {site} for what Pasteup serves at `/_pasteup/`: its scripts and the assets of fragments"
        );
        self.note(Code::ForeignBase, href.value_span.clone(), message).help =
            Some("write only a path, such as `/app/`, and whole URLs where you need them".to_owned());
    }
}

/// The site that an address leads to, if it names one.
fn foreign(href: &str) -> Option<String> {
    let here = Url::parse("http://site.invalid/").expect("it is a URL");
    let site = here.join(href).ok()?.origin();
    (site != here.origin()).then(|| site.ascii_serialization())
}
