//! Parses `<fragment>`: which nanoservice it names, with which parameters, and how it is loaded.
//! An attribute with an error counts as left out; the element itself stays.

use std::ops::Range;

use semver::VersionReq;

use crate::page::html::tokens::{Attribute, StartTag};
use crate::page::layout::syntax::node::{FragmentElement, FragmentTarget, Load, Node, Parameter, ParameterPiece};
use crate::page::manifest::upstreams;
use crate::page::source::diagnostic::{Code, Located};
use crate::page::source::names;

use super::Parser;
use super::attributes::{RUNS_ON, value_or_name};
use super::elements::ConditionFields;
use super::placeholders::pieces;
use super::schema::{FRAGMENT, fragment};

static CONDITIONS: ConditionFields = ConditionFields {
    device: &fragment::DEVICE,
    region: &fragment::REGION,
    locale: &fragment::LOCALE,
    variant: &fragment::VARIANT,
    from: &fragment::FROM,
    until: &fragment::UNTIL,
};

/// The start of the names of parameters.
const DATA: &str = "data-";

impl Parser<'_> {
    pub(super) fn fragment(&mut self, tag: &StartTag, inside: Vec<Node>, end: Range<usize>) -> FragmentElement {
        let attributes = self.attributes(tag, &FRAGMENT);
        let id = attributes.get(&fragment::ID).and_then(|id| self.id(id));
        let ttl = attributes.get(&fragment::TTL);
        let ttl = self.duration(ttl).zip(ttl).map(|(value, ttl)| Located { value, at: self.value_at(ttl) });
        let stale = self.duration(attributes.get(&fragment::STALE));
        let timeout = attributes.get(&fragment::TIMEOUT);
        let limit = self.duration(timeout);
        if let (Some(limit), Some(timeout)) = (limit, timeout)
            && limit.is_zero()
        {
            let help = Some("leave it out, or write it like `300ms`".to_owned());
            self.bad_value(timeout, "must not be zero".to_owned(), help);
        }
        let required = self.boolean(attributes.get(&fragment::REQUIRED));
        let load = self.word(attributes.get(&fragment::LOAD), &fragment::LOAD, &Load::ALL, Load::as_str);
        let slot = attributes.get(&fragment::SLOT);
        let slot = slot.map(|slot| Located { value: slot.value.clone(), at: self.value_at(slot) });
        let timeout = limit.zip(timeout).map(|(value, timeout)| Located { value, at: self.value_at(timeout) });
        let parameters = attributes.of(&fragment::DATA).filter_map(|data| self.parameter(data)).collect();
        let (conditions, conditions_at) = self.conditions(&attributes, &CONDITIONS);
        let target = self.target(
            tag,
            attributes.get(&fragment::NAME),
            attributes.get(&fragment::SRC),
            attributes.get(&fragment::VERSION),
        );
        self.unknown_attributes(&attributes);
        FragmentElement {
            at: self.span(tag.span.clone()),
            end,
            target,
            id,
            ttl,
            stale,
            timeout,
            required,
            load: load.unwrap_or_default(),
            conditions,
            conditions_at,
            slot,
            parameters,
            inside,
            fallbacks: Vec::new(),
        }
    }

    fn id(&mut self, attribute: &Attribute) -> Option<Located<String>> {
        let value = attribute.value.as_str();
        if names::is_name(value) {
            return Some(Located { value: value.to_owned(), at: self.value_at(attribute) });
        }
        self.bad_value(attribute, format!("`{value}` is not a valid id"), Some(format!("use {}", names::NAME_RULE)));
        None
    }

    fn target(
        &mut self,
        tag: &StartTag,
        name: Option<&Attribute>,
        src: Option<&Attribute>,
        version: Option<&Attribute>,
    ) -> FragmentTarget {
        let range = version.map(|attribute| {
            let at = self.value_at(attribute);
            match VersionReq::parse(&attribute.value) {
                Ok(value) => Located { value, at },
                Err(_) => {
                    let help = "ranges look like `*`, `^3.2`, `~1.4` or `>=2, <4` (semver.org)".to_owned();
                    let message = format!("`{}` is not a valid range of versions", attribute.value);
                    self.bad_value(attribute, message, Some(help));
                    Located { value: VersionReq::STAR, at }
                }
            }
        });
        match (name, src) {
            (Some(name), None) if name.value.is_empty() => {
                self.note(Code::MissingName, value_or_name(name), "`name` is empty".to_owned()).help =
                    Some("`pasteup catalog` lists the names".to_owned());
                FragmentTarget::Missing
            }
            (Some(name), None) if name.value.contains(RUNS_ON) => {
                self.bad_value(name, "this is not a name".to_owned(), None);
                FragmentTarget::Missing
            }
            (Some(name), None) => {
                let name = Located { value: name.value.clone(), at: self.value_at(name) };
                let version = range.unwrap_or_else(|| Located { value: VersionReq::STAR, at: name.at.clone() });
                FragmentTarget::Named { name, version }
            }
            (None, Some(src)) => {
                if let Some(version) = version {
                    let message = "a fragment that is named by `src` has no versions".to_owned();
                    self.bad_value(version, message, Some("remove it".to_owned()));
                }
                match upstreams::source(&src.value) {
                    _ if src.value.contains(['{', '}']) => {
                        let help = "write parameters as `data-…` attributes, which are added to the query";
                        self.bad_value(src, "a URL cannot have placeholders".to_owned(), Some(help.to_owned()));
                        FragmentTarget::Missing
                    }
                    Ok(value) => FragmentTarget::Source(Located { value, at: self.value_at(src) }),
                    Err(error) => {
                        let help = Some("write it like `https://fragments.example.org/weather`".to_owned());
                        self.bad_value(src, error.to_string(), help);
                        FragmentTarget::Missing
                    }
                }
            }
            (Some(_), Some(src)) => {
                let help = Some("keep one of them".to_owned());
                self.bad_value(src, "a fragment has a `name` or a `src`, not both".to_owned(), help);
                FragmentTarget::Missing
            }
            // A misspelt `name` is reported as an unknown attribute.
            (None, None) if tag.attributes.iter().any(is_nearly_a_target) => FragmentTarget::Missing,
            (None, None) => {
                let message = "`<fragment>` does not name its nanoservice".to_owned();
                self.note(Code::MissingName, tag.span.clone(), message).help =
                    Some("add `name=\"…\"`; `pasteup catalog` lists the names".to_owned());
                FragmentTarget::Missing
            }
        }
    }

    fn parameter(&mut self, attribute: &Attribute) -> Option<Parameter> {
        let name = attribute.name.strip_prefix(DATA).filter(|name| names::is_name(name));
        let Some(name) = name else {
            let message = format!("`{}` is not a valid parameter name", attribute.name);
            self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help =
                Some(format!("after `{DATA}` use {}", names::NAME_RULE));
            return None;
        };
        let value = if self.role.is_response {
            // A program wrote it, and knows the value: braces are literal.
            Ok(vec![ParameterPiece::Literal(attribute.value.clone())])
        } else {
            pieces(&attribute.value)
        };
        match value {
            Ok(value) => Some(Parameter {
                name: Located { value: name.to_owned(), at: self.span(attribute.name_span.clone()) },
                value,
                value_at: self.value_at(attribute),
            }),
            Err(message) => {
                let help = "`{section}` is a placeholder, `{{` is a brace".to_owned();
                self.bad_value(attribute, message.to_owned(), Some(help));
                None
            }
        }
    }
}

fn is_nearly_a_target(attribute: &Attribute) -> bool {
    names::nearest(&attribute.name, [fragment::NAME.name, fragment::SRC.name]).is_some()
}
