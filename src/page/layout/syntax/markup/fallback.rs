//! Parses `<fallback>`: what a fragment shows for certain reasons.
//! One that is not directly inside a fragment, or whose reasons are not known, is an error and left out.

use crate::page::html::tokens::StartTag;
use crate::page::layout::syntax::node::{Node, ReasonFallback};
use crate::page::source::diagnostic::Code;
use crate::page::source::names::did_you_mean;
use crate::page::source::reason::Reason;

use super::Parser;
use super::attributes::value_or_name;
use super::schema::{FALLBACK, fallback, names};

impl Parser<'_> {
    /// Keeps a fallback for the fragment around it.
    pub(super) fn fallback(&mut self, tag: &StartTag, inside: Vec<Node>) {
        let attributes = self.attributes(tag, &FALLBACK);
        self.unknown_attributes(&attributes);
        let Some(attribute) = attributes.get(&fallback::REASON) else {
            let message = "`<fallback>` does not name its reasons".to_owned();
            self.note(Code::MissingName, tag.span.clone(), message).help = Some(
                "add `reason=\"gone\"`; the fallback for all other reasons needs no element of its own".to_owned(),
            );
            return;
        };
        let mut reasons: Vec<Reason> = Vec::new();
        for word in attribute.value.split_ascii_whitespace() {
            let depth = self.open.len();
            let of_fragment = self.fallbacks.iter().filter(|(around, _)| *around == depth);
            let is_taken = |reason: &Reason| {
                reasons.contains(reason) || of_fragment.clone().any(|(_, other)| other.reasons.contains(reason))
            };
            match Reason::ALL.iter().find(|reason| reason.as_str() == word) {
                Some(reason) if is_taken(reason) => {
                    self.bad_value(attribute, format!("the fragment has two fallbacks for `{word}`"), None);
                }
                Some(reason) => {
                    if matches!(reason, Reason::Condition | Reason::Revalidating) {
                        let message = format!("`reason`: a part shows no fallback for `{word}`");
                        self.note(Code::NeverShown, value_or_name(attribute), message);
                    }
                    reasons.push(*reason);
                }
                None => {
                    let help = did_you_mean(word, Reason::WORDS.iter().copied());
                    self.bad_value(attribute, format!("`{word}` is not a reason"), help);
                }
            }
        }
        if attribute.value.trim_ascii().is_empty() {
            self.bad_value(attribute, "the list is empty".to_owned(), Some("write one reason or several".to_owned()));
        }
        if self.open.last().is_none_or(|around| around.name != names::FRAGMENT) {
            let message = "`<fallback>` is not directly inside `<fragment>`".to_owned();
            self.note(Code::BadValue, tag.span.clone(), message).help =
                Some("put it there, beside the fallback for all other reasons".to_owned());
            return;
        }
        self.fallbacks.push((self.open.len(), ReasonFallback { reasons, inside }));
    }

    /// The fallbacks of the fragment that has just been closed.
    pub(super) fn fallbacks_inside(&mut self) -> Vec<ReasonFallback> {
        let depth = self.open.len() + 1;
        let first = self.fallbacks.iter().position(|(around, _)| *around >= depth).unwrap_or(self.fallbacks.len());
        self.fallbacks.drain(first..).map(|(_, fallback)| fallback).collect()
    }
}
