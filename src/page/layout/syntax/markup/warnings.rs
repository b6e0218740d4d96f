//! Warns of markup that does not do what its author meant: a misspelt element, a fragment where browsers read only text,
//! and content that nobody sees.

use std::ops::Range;

use crate::page::html::names::is_standard;
use crate::page::html::tokens::StartTag;
use crate::page::layout::syntax::node::Node;
use crate::page::source::diagnostic::Code;

use super::schema::{ELEMENTS, names};
use super::{Parser, esi};

/// Elements whose content is only text for browsers.
const TEXT_ONLY: [&str; 8] = ["title", "textarea", "script", "style", "xmp", "iframe", "noembed", "noframes"];
/// The number of letters by which a misspelt name differs at most.
const NEAR: usize = 2;
/// Names of fewer letters are near to too many others.
const SHORTEST: usize = 3;

impl Parser<'_> {
    /// Checks the start tag of an element that is not one of Pasteup's.
    pub(super) fn check_foreign_tag(&mut self, tag: &StartTag) {
        self.check_name(tag);
        for attribute in &tag.attributes {
            self.check_text(attribute.value_span.clone(), &format!("the attribute `{}`", attribute.name));
        }
        if TEXT_ONLY.contains(&tag.name.as_str()) && !self.is_foreign() {
            self.text_of = Some(tag.name.clone());
        }
    }

    /// Reports an element whose name is nearly one of Pasteup's: its content would be shown to everybody.
    fn check_name(&mut self, tag: &StartTag) {
        let name = tag.name.as_str();
        if name.contains(['-', ':']) || name.len() < SHORTEST || is_standard(name) {
            return;
        }
        let ours = ELEMENTS.iter().map(|element| element.name);
        let near = ours
            .filter(|ours| ours.len().abs_diff(name.len()) <= NEAR)
            .map(|ours| (strsim::damerau_levenshtein(name, ours), ours));
        let Some((_, ours)) = near.filter(|(distance, _)| (1..=NEAR).contains(distance)).min() else { return };
        let message = format!("`<{name}>` is not an element of HTML");
        self.note(Code::NearMiss, tag.span.start..tag.span.start + 1 + name.len(), message).help =
            Some(format!("did you mean `<{ours}>`? The name of an element of your own needs a hyphen"));
    }

    /// Warns of an element in a text that browsers, and so Pasteup, do not read as HTML.
    pub(super) fn check_text(&mut self, span: Range<usize>, place: &str) {
        let source = std::sync::Arc::clone(self.source);
        let text = source.slice(span.clone());
        for (at, _) in text.match_indices('<') {
            let rest = &text[at + 1..];
            let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(rest.len())];
            let has_attributes = rest[name.len()..].starts_with(|c: char| c.is_ascii_whitespace());
            let lower = name.to_ascii_lowercase();
            let is_esi = self.role.esi && esi::is_element(&lower, false);
            let is_ours = matches!(lower.as_str(), names::FRAGMENT | names::INCLUDE | names::WHEN) && has_attributes;
            if is_esi || is_ours {
                let start = span.start + at;
                let message = format!("`<{name}>` stays as it is: {place} has only text");
                self.note(Code::TextOnly, start..start + 1 + name.len(), message).help = Some(
                    "let a service return the whole element, or for a title use `title` in the front matter".to_owned(),
                );
            }
        }
    }

    /// Warns of an element of ESI that is not closed.
    pub(super) fn missing_slash(&mut self, tag: &StartTag) {
        let name = &tag.name;
        let message = format!("`<{name}>` has no slash at its end; it is read as if it had one");
        self.note(Code::MissingSlash, tag.span.clone(), message).help =
            Some(format!("write `<{name} … />`: other programs may take all that follows for its content"));
    }

    /// Warns of a `<when>` without content.
    pub(super) fn check_content(&mut self, tag: &StartTag, inside: &[Node]) {
        if !self.too_deep && self.is_blank(inside) {
            self.note(Code::NeverShown, tag.span.clone(), "this `<when>` is empty".to_owned()).help =
                Some("put into it what is shown under its conditions, or remove it".to_owned());
        }
    }
}
