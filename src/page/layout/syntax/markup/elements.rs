//! Our own elements: what their attributes say, and every attribute that says it wrongly.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use semver::VersionReq;

use crate::page::html::tokens::{Attribute, StartTag};
use crate::page::layout::syntax::node::{FragmentElement, FragmentTarget, Load, Node, Parameter, ParameterPiece};
use crate::page::manifest::upstreams;
use crate::page::source::diagnostic::{Code, Located, SourceSpan};
use crate::page::source::{names, units};
use crate::page::visit::context::{Conditions, Device, TokenFilter};

use super::Parser;

/// What no name, URL or list of ours holds: the value goes on where it should have ended.
const RUNS_ON: [char; 2] = ['<', '\n'];
const IS_IT_CLOSED: &str = "is a quotation mark before it not closed, or one too many?";

impl Parser<'_> {
    pub(super) fn bad(&mut self, attribute: &Attribute, message: String, help: Option<String>) {
        let help = if attribute.value.contains(RUNS_ON) { Some(IS_IT_CLOSED.to_owned()) } else { help };
        self.note(Code::BadValue, value_or_name(attribute), format!("`{}`: {message}", attribute.name)).help = help;
    }

    pub(super) fn unknown(&mut self, attribute: &Attribute, element: &str, known: &[&str]) {
        let help = names::did_you_mean(&attribute.name, known.iter().copied());
        let message = format!("`<{element}>` has no attribute `{}`", attribute.name);
        self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help = help;
    }

    /// The attributes, repeated ones told and left out.
    pub(super) fn attributes<'t>(&mut self, tag: &'t StartTag) -> Vec<&'t Attribute> {
        let mut seen = HashSet::new();
        let mut attributes = Vec::new();
        for attribute in &tag.attributes {
            if attribute.name.contains(['"', '\'', '<']) {
                // What follows is no attribute either, but text that a quotation mark cut up.
                let message = format!("`{}` cannot be the name of an attribute", attribute.name);
                self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help =
                    Some(IS_IT_CLOSED.to_owned());
                break;
            }
            if seen.insert(attribute.name.as_str()) {
                attributes.push(attribute);
            } else {
                let message = format!("`{}` stands twice", attribute.name);
                self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help =
                    Some("keep one of them".to_owned());
            }
        }
        attributes
    }

    pub(super) fn fragment(&mut self, tag: &StartTag, inside: Vec<Node>, end: Range<usize>) -> FragmentElement {
        const KNOWN: [&str; 17] = [
            "name",
            "src",
            "version",
            "id",
            "ttl",
            "stale",
            "timeout",
            "required",
            "load",
            "slot",
            "device",
            "region",
            "locale",
            "variant",
            "from",
            "until",
            "data-NAME",
        ];
        let mut element = FragmentElement {
            at: self.spot(tag.span.clone()),
            end,
            target: FragmentTarget::Missing,
            id: None,
            ttl: None,
            stale: None,
            timeout: None,
            required: false,
            load: Load::Auto,
            conditions: Conditions::default(),
            variants_at: self.variants(tag),
            slot: None,
            parameters: Vec::new(),
            inside,
        };
        let (mut name, mut src, mut version) = (None, None, None);
        let attributes = self.attributes(tag);
        for attribute in attributes.iter().copied() {
            let value_at = self.spot(value_or_name(attribute));
            let value = attribute.value.as_str();
            match attribute.name.as_str() {
                "name" => name = Some(attribute),
                "src" => src = Some(attribute),
                "version" => version = Some(attribute),
                "id" if names::is_name(value) => {
                    element.id = Some(Located { value: value.to_owned(), at: value_at });
                }
                "id" => self.bad(attribute, format!("`{value}` is no id"), Some(format!("write {}", names::NAME_RULE))),
                "ttl" => element.ttl = self.duration(attribute).map(|value| Located { value, at: value_at }),
                "stale" => element.stale = self.duration(attribute),
                "timeout" => {
                    element.timeout = self.duration(attribute);
                    if element.timeout.is_some_and(|timeout| timeout.is_zero()) {
                        let help = Some("leave it out, or write it like `300ms`".to_owned());
                        self.bad(attribute, "no fragment comes in no time at all".to_owned(), help);
                    }
                }
                "required" => element.required = self.boolean(attribute),
                "load" => match value {
                    "auto" => element.load = Load::Auto,
                    "defer" => element.load = Load::Defer,
                    "lazy" => element.load = Load::Lazy,
                    _ => {
                        let help = names::did_you_mean(value, ["auto", "defer", "lazy"]);
                        self.bad(attribute, format!("`{value}` is none of auto, defer, lazy"), help);
                    }
                },
                "slot" => element.slot = Some(Located { value: attribute.value.clone(), at: value_at }),
                other if other.starts_with("data-") => {
                    let parameter = self.parameter(attribute, value_at);
                    element.parameters.extend(parameter);
                }
                _ if self.condition(attribute, &mut element.conditions) => {}
                _ => self.unknown(attribute, "fragment", &KNOWN),
            }
        }
        self.span_of_time(&attributes, &element.conditions);
        element.target = self.target(tag, name, src, version);
        element
    }

    fn target(
        &mut self,
        tag: &StartTag,
        name: Option<&Attribute>,
        src: Option<&Attribute>,
        version: Option<&Attribute>,
    ) -> FragmentTarget {
        let range = version.map(|attribute| {
            let at = self.spot(value_or_name(attribute));
            match VersionReq::parse(&attribute.value) {
                Ok(value) => Located { value, at },
                Err(error) => {
                    let help = "ranges look like `*`, `^3.2`, `~1.4` or `>=2, <4` (semver.org)".to_owned();
                    self.bad(attribute, format!("`{}` is no range of versions: {error}", attribute.value), Some(help));
                    Located { value: VersionReq::STAR, at }
                }
            }
        });
        match (name, src) {
            (Some(name), None) if name.value.is_empty() => {
                self.note(Code::MissingName, value_or_name(name), "`name` is empty".to_owned()).help =
                    Some("`pasteup catalog` lists names".to_owned());
                FragmentTarget::Missing
            }
            (Some(name), None) if name.value.contains(RUNS_ON) => {
                self.bad(name, "this is no name".to_owned(), None);
                FragmentTarget::Missing
            }
            (Some(name), None) => {
                let name = Located { value: name.value.clone(), at: self.spot(value_or_name(name)) };
                let version = range.unwrap_or_else(|| Located { value: VersionReq::STAR, at: name.at.clone() });
                FragmentTarget::Named { name, version }
            }
            (None, Some(src)) => {
                if let Some(version) = version {
                    self.bad(
                        version,
                        "a fragment named by `src` has no versions".to_owned(),
                        Some("remove it".to_owned()),
                    );
                }
                match upstreams::source(&src.value) {
                    _ if src.value.contains(['{', '}']) => {
                        let help = "parameters go into `data-…` attributes, which are added to the query";
                        self.bad(src, "a URL holds no placeholders".to_owned(), Some(help.to_owned()));
                        FragmentTarget::Missing
                    }
                    Ok(value) => FragmentTarget::Source(Located { value, at: self.spot(value_or_name(src)) }),
                    Err(error) => {
                        let help = Some("write it like `https://fragments.example.org/weather`".to_owned());
                        self.bad(src, error.to_string(), help);
                        FragmentTarget::Missing
                    }
                }
            }
            (Some(_), Some(src)) => {
                let help = Some("keep the one that is meant".to_owned());
                self.bad(src, "a fragment has a `name` or a `src`, not both".to_owned(), help);
                FragmentTarget::Missing
            }
            // A misspelt `name` has been told as that.
            (None, None) if tag.attributes.iter().any(|a| names::nearest(&a.name, ["name", "src"]).is_some()) => {
                FragmentTarget::Missing
            }
            (None, None) => {
                self.note(
                    Code::MissingName,
                    tag.span.clone(),
                    "`<fragment>` does not say which nanoservice it is for".to_owned(),
                )
                .help = Some("add `name=\"…\"`; `pasteup catalog` lists them".to_owned());
                FragmentTarget::Missing
            }
        }
    }

    pub(super) fn when(&mut self, tag: &StartTag) -> Conditions {
        let mut conditions = Conditions::default();
        let attributes = self.attributes(tag);
        for attribute in attributes.iter().copied() {
            if !self.condition(attribute, &mut conditions) {
                self.unknown(attribute, "when", &["device", "region", "locale", "variant", "from", "until"]);
            }
        }
        self.span_of_time(&attributes, &conditions);
        conditions
    }

    /// An `<include>` and its end tag, between which nothing may stand.
    pub(super) fn include(&mut self, tag: &StartTag, end: &Range<usize>) -> Option<Located<String>> {
        let inside = self.source.slice(tag.span.end..end.start);
        if !end.is_empty() && !inside.trim().is_empty() {
            let at = tag.span.end + (inside.len() - inside.trim_start().len());
            let message = "`<include>` stands for its file, so what is inside it is never shown";
            self.note(Code::BadValue, at..tag.span.end + inside.trim_end().len(), message.to_owned()).help =
                Some("put it behind the element, and end that with ` />`".to_owned());
        }
        let mut file = None;
        for attribute in self.attributes(tag) {
            match attribute.name.as_str() {
                "file" if attribute.value.contains(RUNS_ON) => {
                    self.bad(attribute, "this is no path of a file".to_owned(), None);
                    return None;
                }
                "file" if !attribute.value.is_empty() => {
                    file = Some(Located { value: attribute.value.clone(), at: self.spot(value_or_name(attribute)) });
                }
                "file" => {}
                _ => self.unknown(attribute, "include", &["file"]),
            }
        }
        if file.is_none() {
            self.note(Code::MissingName, tag.span.clone(), "`<include>` does not say which file".to_owned()).help =
                Some("add `file=\"partials/…\"`, a path below layouts/".to_owned());
        }
        file
    }

    pub(super) fn slot(&mut self, tag: &StartTag) -> Located<String> {
        let mut name = Located { value: String::new(), at: self.spot(tag.span.clone()) };
        for attribute in self.attributes(tag) {
            if attribute.name == "name" {
                name = Located { value: attribute.value.clone(), at: self.spot(attribute.value_span.clone()) };
            } else {
                self.unknown(attribute, "slot", &["name"]);
            }
        }
        name
    }

    /// Takes an attribute that is a condition; `false` where it is none.
    fn condition(&mut self, attribute: &Attribute, conditions: &mut Conditions) -> bool {
        let field = match attribute.name.as_str() {
            "device" => &mut conditions.device,
            "region" => &mut conditions.region,
            "locale" => &mut conditions.locale,
            "variant" => &mut conditions.variant,
            "from" => {
                conditions.window.from = self.time(attribute);
                return true;
            }
            "until" => {
                conditions.window.until = self.time(attribute);
                return true;
            }
            _ => return false,
        };
        *field = TokenFilter::parse(&attribute.value);
        let Some(choice) = field.as_ref() else {
            let help = Some("write a list of words, or `not` and a list".to_owned());
            self.bad(attribute, "the list is empty".to_owned(), help);
            return true;
        };
        let wrong = choice.tokens.iter().find_map(|token| match attribute.name.as_str() {
            "device" => token.parse::<Device>().err(),
            "variant" if !token.contains(':') => Some(format!("`{token}` is not of the form `experiment:variant`")),
            _ => None,
        });
        if let Some(wrong) = wrong {
            let device = attribute.name == "device";
            let help =
                if device { "write words of that list, or `not` before them" } else { "write it like `lead:big`" };
            self.bad(attribute, wrong, Some(help.to_owned()));
        }
        true
    }

    /// Tells a span of time that is none.
    fn span_of_time(&mut self, attributes: &[&Attribute], conditions: &Conditions) {
        let until = attributes.iter().find(|attribute| attribute.name == "until");
        if let (Some(from), Some(until_time), Some(until)) = (conditions.window.from, conditions.window.until, until)
            && from >= until_time
        {
            self.bad(until, "it is not after `from`, so this is never shown".to_owned(), None);
        }
    }

    fn time(&mut self, attribute: &Attribute) -> Option<Timestamp> {
        let time = attribute.value.parse().ok();
        if time.is_none() {
            let help = "write it like 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00".to_owned();
            self.bad(attribute, format!("`{}` is no time with an offset", attribute.value), Some(help));
        }
        time
    }

    fn duration(&mut self, attribute: &Attribute) -> Option<Duration> {
        match units::duration(&attribute.value) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.bad(attribute, error.to_string(), Some(error.help()));
                None
            }
        }
    }

    fn boolean(&mut self, attribute: &Attribute) -> bool {
        match attribute.value.as_str() {
            "" | "required" | "true" => true,
            "false" => false,
            other => {
                let help = Some("write it without a value, or leave it out".to_owned());
                self.bad(attribute, format!("`{other}` is neither true nor false"), help);
                false
            }
        }
    }

    fn parameter(&mut self, attribute: &Attribute, value_at: SourceSpan) -> Option<Parameter> {
        let name = attribute.name.strip_prefix("data-").filter(|name| names::is_name(name));
        let Some(name) = name else {
            let message = format!("`{}` names no parameter", attribute.name);
            self.note(Code::UnknownAttribute, attribute.name_span.clone(), message).help =
                Some(format!("after `data-` stand {}", names::NAME_RULE));
            return None;
        };
        let value = if self.role.is_answer {
            // It comes from a program, which knows what it means.
            Ok(vec![ParameterPiece::Literal(attribute.value.clone())])
        } else {
            pieces(&attribute.value)
        };
        match value {
            Ok(value) => Some(Parameter {
                name: Located { value: name.to_owned(), at: self.spot(attribute.name_span.clone()) },
                value,
                value_at,
            }),
            Err(message) => {
                self.bad(
                    attribute,
                    message.to_owned(),
                    Some("`{section}` is a placeholder, `{{` a literal brace".to_owned()),
                );
                None
            }
        }
    }
}

/// Where an attribute's value is, or its name where the value is empty.
pub(super) fn value_or_name(attribute: &Attribute) -> Range<usize> {
    if attribute.value_span.is_empty() { attribute.name_span.clone() } else { attribute.value_span.clone() }
}

/// Takes a parameter's value apart.
fn pieces(text: &str) -> Result<Vec<ParameterPiece>, &'static str> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        literal.push_str(&rest[..brace]);
        rest = &rest[brace..];
        if let Some(after) = rest.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('}') {
            // Alone it can mean nothing else.
            literal.push('}');
            rest = after;
        } else {
            let close = rest.find('}').ok_or("`{` is not closed")?;
            let name = &rest[1..close];
            if !names::is_name(name) {
                return Err("there is no name between `{` and `}`");
            }
            if !literal.is_empty() {
                pieces.push(ParameterPiece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(ParameterPiece::Placeholder(name.to_owned()));
            rest = &rest[close + 1..];
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(ParameterPiece::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_apart_at_their_placeholders() {
        let literal = |text: &str| ParameterPiece::Literal(text.to_owned());
        let placeholder = |text: &str| ParameterPiece::Placeholder(text.to_owned());
        for (text, expected) in [
            ("", vec![literal("")]),
            ("a", vec![literal("a")]),
            ("{x}", vec![placeholder("x")]),
            ("a{x}b{y}", vec![literal("a"), placeholder("x"), literal("b"), placeholder("y")]),
            ("{{x}}", vec![literal("{x}")]),
            ("{{{x}}}", vec![literal("{"), placeholder("x"), literal("}")]),
        ] {
            assert_eq!(pieces(text).expect(text), expected);
        }
        for text in ["{", "{x", "{}", "{a b}"] {
            pieces(text).expect_err(text);
        }
    }
}
