//! Reads the attributes of an element by its schema.
//! A value that is not valid, a repeated attribute, or one that the element does not have, is a diagnostic.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;

use crate::page::html::tokens::{Attribute, StartTag};
use crate::page::source::diagnostic::{Code, SourceSpan};
use crate::page::source::map::Set;
use crate::page::source::schema::Field;
use crate::page::source::{names, units};

use super::Parser;
use super::schema::Element;

/// Characters that no name, URL or list of Pasteup's contains. If a value contains one, its quotation mark is probably
/// not closed.
pub(super) const RUNS_ON: [char; 2] = ['<', '\n'];
const IS_IT_CLOSED: &str = "is a quotation mark before it unclosed, or is there one too many?";

/// The attributes of one tag, each once.
pub(super) struct Attributes<'t> {
    element: &'static Element,
    all: Vec<&'t Attribute>,
}

impl<'t> Attributes<'t> {
    /// The attribute of a field.
    pub(super) fn get(&self, field: &'static Field) -> Option<&'t Attribute> {
        self.of(field).next()
    }

    /// The attributes of a field whose name is a pattern for several.
    pub(super) fn of(&self, field: &'static Field) -> impl Iterator<Item = &'t Attribute> {
        debug_assert!(self.element.schema.has(field), "`<{}>` has no attribute `{}`", self.element.name, field.name);
        self.all.iter().copied().filter(|attribute| field.is_named(&attribute.name))
    }
}

impl Parser<'_> {
    /// The attributes of a tag. Repeated ones are reported and left out.
    pub(super) fn attributes<'t>(&mut self, tag: &'t StartTag, element: &'static Element) -> Attributes<'t> {
        let mut all: Vec<&Attribute> = Vec::with_capacity(tag.attributes.len());
        let mut names = Set::default();
        for attribute in &tag.attributes {
            if attribute.name.contains(['"', '\'', '<']) {
                // What follows is text that a quotation mark cut up rather than attributes.
                let message = format!("`{}` cannot be the name of an attribute", attribute.name);
                self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help =
                    Some(IS_IT_CLOSED.to_owned());
                break;
            }
            if !names.insert(attribute.name.as_str()) {
                let message = format!("`{}` is used twice", attribute.name);
                self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help =
                    Some("keep one of them".to_owned());
            } else {
                all.push(attribute);
            }
        }
        Attributes { element, all }
    }

    /// Reports the attributes that the element does not have.
    pub(super) fn unknown_attributes(&mut self, attributes: &Attributes<'_>) {
        let Element { name, schema } = attributes.element;
        for attribute in attributes.all.iter().filter(|attribute| schema.field(&attribute.name).is_none()) {
            let help = names::did_you_mean(&attribute.name, schema.names());
            let message = format!("`<{name}>` has no attribute `{}`", attribute.name);
            self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help = help;
        }
    }

    /// Reports that a value is not valid.
    pub(super) fn bad_value(&mut self, attribute: &Attribute, message: String, help: Option<String>) {
        let help = if attribute.value.contains(RUNS_ON) { Some(IS_IT_CLOSED.to_owned()) } else { help };
        self.note(Code::BadValue, value_or_name(attribute), format!("`{}`: {message}", attribute.name)).help = help;
    }

    /// The place of an attribute's value, or of its name if the value is empty.
    pub(super) fn value_at(&self, attribute: &Attribute) -> SourceSpan {
        self.span(value_or_name(attribute))
    }

    /// Reads a time with its offset from UTC.
    pub(super) fn time(&mut self, attribute: Option<&Attribute>) -> Option<Timestamp> {
        let attribute = attribute?;
        let time = attribute.value.parse().ok();
        if time.is_none() {
            let help = "write it like 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00".to_owned();
            self.bad_value(attribute, format!("`{}` is not a time with an offset", attribute.value), Some(help));
        }
        time
    }

    /// Reads a duration.
    pub(super) fn duration(&mut self, attribute: Option<&Attribute>) -> Option<Duration> {
        let attribute = attribute?;
        match units::duration(&attribute.value) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.bad_value(attribute, error.to_string(), Some(error.help()));
                None
            }
        }
    }

    /// Reads a boolean, which is `true` if it has no value.
    pub(super) fn boolean(&mut self, attribute: Option<&Attribute>) -> bool {
        let Some(attribute) = attribute else { return false };
        match attribute.value.as_str() {
            "" | "true" => true,
            value if value == attribute.name => true,
            "false" => false,
            other => {
                let help = Some("write it without a value, or leave it out".to_owned());
                self.bad_value(attribute, format!("`{other}` is neither `true` nor `false`"), help);
                false
            }
        }
    }

    /// Reads one of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        attribute: Option<&Attribute>,
        field: &'static Field,
        values: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        let attribute = attribute?;
        let value = values.iter().copied().find(|value| name(*value) == attribute.value);
        if value.is_none() {
            let words = field.kind.words();
            let help =
                names::nearest(&attribute.value, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            self.bad_value(attribute, format!("`{}` is not one of {}", attribute.value, words.join(", ")), help);
        }
        value
    }
}

/// The bytes of an attribute's value, or of its name if the value is empty.
pub(super) fn value_or_name(attribute: &Attribute) -> Range<usize> {
    if attribute.value_span.is_empty() { attribute.name_span.clone() } else { attribute.value_span.clone() }
}
