//! Texts with ESI variables, as in `<esi:vars>`.
//! A variable in a place that browsers treat as code is an error, and is not replaced.

use std::ops::Range;
use std::sync::Arc;

use crate::page::esi::text::EsiText;
use crate::page::esi::variables::NAMES;
use crate::page::html::tokens::{self, Attribute, Token};
use crate::page::layout::syntax::markup::Parser;
use crate::page::layout::syntax::node::{Esi, Node};
use crate::page::source::diagnostic::{Code, Located};

impl Parser<'_> {
    /// Adds a text of `<esi:vars>`: bytes, and places for values.
    pub(in crate::page::layout::syntax::markup) fn values(&mut self, span: Range<usize>) {
        let source = Arc::clone(self.source);
        let mut from = span.start;
        for (code, why) in code(&source.text[..span.end], span.start) {
            if code.start < from {
                continue;
            }
            self.value(from..code.start);
            if let Some(at) = NAMES.iter().find_map(|name| source.text[code.clone()].find(&format!("$({name}"))) {
                let at = code.start + at;
                self.note(Code::BadValue, at..at + 2, why.to_owned()).help =
                    Some("put it into a `data-…` attribute, or after the beginning of a URL".to_owned());
            }
            self.top().push(Node::Text(code.clone()));
            from = code.end;
        }
        self.value(from..span.end);
    }

    fn value(&mut self, span: Range<usize>) {
        let text = self.source.slice(span.clone());
        if span.is_empty() || !text.contains("$(") {
            return self.top().extend((!span.is_empty()).then_some(Node::Text(span)));
        }
        let parsed = EsiText::parse(text);
        let node = match parsed {
            Ok(text) => Node::Esi(Esi::Value(Located { value: Arc::new(text), at: self.span(span) })),
            Err(error) => {
                let at = span.start + error.at.start..span.start + error.at.end;
                self.report(error, at);
                Node::Text(span)
            }
        };
        self.top().push(node);
    }
}

/// Attributes whose value is a URL, which may be a `javascript:` URL.
const URLS: [&str; 12] = [
    "action",
    "background",
    "cite",
    "data",
    "formaction",
    "href",
    "manifest",
    "ping",
    "poster",
    "src",
    "srcset",
    "xlink:href",
];
const IN_SCRIPTS: &str = "a value cannot be put into a script or a style";
const IN_TAGS: &str = "a value cannot be put into a tag";

/// The parts of a text that browsers treat as code, even if a value in them is escaped, and why no value is put there.
fn code(text: &str, from: usize) -> Vec<(Range<usize>, &'static str)> {
    let mut found = Vec::new();
    let mut open = None;
    for token in tokens::tokens(text, from) {
        match token {
            Token::Start(tag) => {
                for attribute in &tag.attributes {
                    found.extend(attribute.name.contains("$(").then(|| (attribute.name_span.clone(), IN_TAGS)));
                    found.extend(is_code(&tag.name, attribute).map(|why| (attribute.value_span.clone(), why)));
                }
                if matches!(&*tag.name, "script" | "style") {
                    open = Some(tag.span.end);
                }
            }
            Token::End { name, span } if matches!(&*name, "script" | "style") => {
                found.extend(open.take().map(|start| (start..span.start, IN_SCRIPTS)));
            }
            _ => {}
        }
    }
    found.extend(open.map(|start| (start..text.len(), IN_SCRIPTS)));
    // A tokeniser reads this as text, but a value would make a tag of it.
    for tag in ["<$(", "</$("] {
        let whole = |at: usize| at..text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        found.extend(text[from..].match_indices(tag).map(|(at, _)| (whole(from + at), IN_TAGS)));
    }
    found.sort_by_key(|(range, _)| range.start);
    found
}

/// Why the value of an attribute cannot have a variable in it; `None` if it can, or has none.
fn is_code(element: &str, attribute: &Attribute) -> Option<&'static str> {
    let (before, _) = attribute.value.split_once("$(")?;
    let name = attribute.name.as_str();
    let animates = matches!(name, "to" | "from" | "by" | "values");
    let is_script = element == "script" && name == "src";
    if name.starts_with("on") || matches!(name, "srcdoc" | "style" | "content") || animates || is_script {
        return Some(IN_SCRIPTS);
    }
    (URLS.contains(&name) && !has_origin(before)).then_some("a URL cannot begin with a value")
}

/// Whether the text before a variable already decides the origin of a URL. Otherwise a value could begin with
/// `javascript:`, or with `//` and another host.
fn has_origin(url: &str) -> bool {
    let web = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    match (web, url.strip_prefix('/')) {
        (Some(rest), _) => rest.find(['/', '?', '#']).is_some_and(|at| at > 0),
        (None, Some(path)) => path.starts_with(|c| c != '/' && c != '\\'),
        (None, None) => url.contains(['/', '?', '#']) && !url.starts_with('\\'),
    }
}
