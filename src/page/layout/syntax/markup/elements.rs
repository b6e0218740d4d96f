//! `<when>`, `<include>` and `<slot>`, and the conditions that elements share.
//! An attribute with an error counts as left out.

use std::ops::Range;

use crate::page::html::tokens::{Attribute, StartTag};
use crate::page::layout::syntax::node::ConditionSpans;
use crate::page::source::diagnostic::{Code, Located};
use crate::page::source::names;
use crate::page::source::schema::Field;
use crate::page::visit::context::{Conditions, Device, TokenFilter};
use crate::page::visit::region;
use crate::page::visit::window::TimeWindow;

use super::Parser;
use super::attributes::{Attributes, RUNS_ON, value_or_name};
use super::schema::{INCLUDE, SLOT, WHEN, include, slot, when};

/// The attributes that are conditions, in the schema of one element.
pub(super) struct ConditionFields {
    pub(super) device: &'static Field,
    pub(super) region: &'static Field,
    pub(super) locale: &'static Field,
    pub(super) variant: &'static Field,
    pub(super) from: &'static Field,
    pub(super) until: &'static Field,
}

static WHEN_CONDITIONS: ConditionFields = ConditionFields {
    device: &when::DEVICE,
    region: &when::REGION,
    locale: &when::LOCALE,
    variant: &when::VARIANT,
    from: &when::FROM,
    until: &when::UNTIL,
};

impl Parser<'_> {
    /// The conditions of `<when>`, and where they are.
    pub(super) fn when(&mut self, tag: &StartTag) -> (Conditions, ConditionSpans) {
        let attributes = self.attributes(tag, &WHEN);
        let conditions = self.conditions(&attributes, &WHEN_CONDITIONS);
        self.unknown_attributes(&attributes);
        conditions
    }

    /// The file of `<include>`, which must have no content.
    pub(super) fn include(&mut self, tag: &StartTag, end: &Range<usize>) -> Option<Located<String>> {
        let inside = self.source.slice(tag.span.end..end.start);
        if !end.is_empty() && !inside.trim().is_empty() {
            let at = tag.span.end + (inside.len() - inside.trim_start().len());
            let message = "`<include>` is replaced by its file, so its content is never shown";
            self.note(Code::BadValue, at..tag.span.end + inside.trim_end().len(), message.to_owned()).help =
                Some("move it after the element, and end the element with ` />`".to_owned());
        }
        let attributes = self.attributes(tag, &INCLUDE);
        let file = attributes.get(&include::FILE);
        if let Some(file) = file.filter(|file| file.value.contains(RUNS_ON)) {
            self.bad_value(file, "this is not the path of a file".to_owned(), None);
            return None;
        }
        self.unknown_attributes(&attributes);
        let file = file.filter(|file| !file.value.is_empty());
        if file.is_none() {
            self.note(Code::MissingName, tag.span.clone(), "`<include>` does not name its file".to_owned()).help =
                Some("add `file=\"partials/…\"`, a path below layouts/".to_owned());
        }
        file.map(|file| Located { value: file.value.clone(), at: self.value_at(file) })
    }

    /// The name of `<slot>`, empty if it has none.
    pub(super) fn slot(&mut self, tag: &StartTag) -> Located<String> {
        let attributes = self.attributes(tag, &SLOT);
        self.unknown_attributes(&attributes);
        match attributes.get(&slot::NAME) {
            Some(name) => Located { value: name.value.clone(), at: self.span(name.value_span.clone()) },
            None => Located { value: String::new(), at: self.span(tag.span.clone()) },
        }
    }

    /// Reads the conditions of an element, and where they are.
    pub(super) fn conditions(
        &mut self,
        attributes: &Attributes<'_>,
        fields: &ConditionFields,
    ) -> (Conditions, ConditionSpans) {
        let device = self.token_filter(attributes, fields.device, |_| None, WORDS);
        self.check_readers(attributes.get(fields.device), device.as_ref(), "device", |token| {
            let known = token.parse::<Device>().is_ok();
            (!known).then(|| names::did_you_mean(token, Device::WORDS))
        });
        let region = self.token_filter(attributes, fields.region, |_| None, WORDS);
        self.check_readers(attributes.get(fields.region), region.as_ref(), "region", |token| {
            let is_known = region::code(token).is_some_and(|code| code.eq_ignore_ascii_case(token));
            let meant = region::suggestion(token).map(|code| format!("did you mean `{code}`?"));
            let help = meant.or_else(|| Some("regions are ISO 3166-1 codes, such as `GB`".to_owned()));
            (!is_known).then_some(help)
        });
        let locale = self.token_filter(attributes, fields.locale, |_| None, WORDS);
        let is_pair = |token: &str| token.contains(':');
        let variant =
            |token: &str| (!is_pair(token)).then(|| format!("`{token}` is not of the form `experiment:variant`"));
        let variant = self.token_filter(attributes, fields.variant, variant, "write it like `lead:big`");
        let from = self.time(attributes.get(fields.from));
        let window = TimeWindow { from, until: self.time(attributes.get(fields.until)) };
        if let Some(attribute) = attributes.get(fields.until).filter(|_| window.is_empty()) {
            self.bad_value(attribute, "it is not after `from`, so this is never shown".to_owned(), None);
        }
        let at = |field| attributes.get(field).map(|attribute| self.value_at(attribute));
        let spans = ConditionSpans { variant: at(fields.variant), locale: at(fields.locale) };
        (Conditions { device, region, locale, variant, window }, spans)
    }

    /// Warns of words that no reader has. `unknown`: `None` for a word that some reader has, and otherwise the help.
    fn check_readers(
        &mut self,
        attribute: Option<&Attribute>,
        filter: Option<&TokenFilter>,
        what: &str,
        unknown: impl Fn(&str) -> Option<Option<String>>,
    ) {
        let (Some(attribute), Some(filter), false) = (attribute, filter, self.role.is_response) else { return };
        for token in &filter.tokens {
            if let Some(help) = unknown(token) {
                let message = format!("`{}`: no reader has the {what} `{token}`", attribute.name);
                self.note(Code::NeverShown, value_or_name(attribute), message).help = help;
            }
        }
    }

    /// Reads words, or `not` and words. `check` returns what is wrong with a word.
    fn token_filter(
        &mut self,
        attributes: &Attributes<'_>,
        field: &'static Field,
        check: impl Fn(&str) -> Option<String>,
        help: &str,
    ) -> Option<TokenFilter> {
        let attribute = attributes.get(field)?;
        let filter = TokenFilter::parse(&attribute.value);
        match &filter {
            None => {
                let help = Some("write one word or several, or `not` and words".to_owned());
                self.bad_value(attribute, "the list is empty".to_owned(), help);
            }
            Some(filter) => {
                if let Some(message) = filter.tokens.iter().find_map(|token| check(token)) {
                    self.bad_value(attribute, message, Some(help.to_owned()));
                }
            }
        }
        filter
    }
}

const WORDS: &str = "write words of that list, or `not` and words";
