//! ESI's elements: what their attributes say, what may stand in which, and texts with variables.

use std::ops::Range;
use std::sync::Arc;

use crate::page::diagnostic::{Code, Located, Spot};
use crate::page::esi::expr::Expr;
use crate::page::esi::mistake::Mistake;
use crate::page::esi::text::Text;
use crate::page::esi::unwrapped;
use crate::page::esi::variables::NAMES;
use crate::page::html::tokens::{self, Attribute, StartTag, Token};
use crate::page::layout::node::{Branch, Esi, Include, Node};
use crate::page::names;

use super::Parser;

/// What its names begin with.
pub(super) const PREFIX: &str = "esi:";
const ELEMENTS: [&str; 10] = [
    "esi:include",
    "esi:remove",
    "esi:comment",
    "esi:try",
    "esi:attempt",
    "esi:except",
    "esi:choose",
    "esi:when",
    "esi:otherwise",
    "esi:vars",
];
/// Elements in which nothing stands, whether they are closed or not.
const EMPTY: [&str; 2] = ["esi:include", "esi:comment"];

/// Whether this is an element of ESI. What only looks like one is a mistake of a layout, and no more than
/// unknown HTML in an answer.
pub(super) fn is_element(name: &str, is_answer: bool) -> bool {
    if is_answer { ELEMENTS.contains(&name) } else { name.starts_with(PREFIX) }
}

pub(super) fn is_empty(name: &str) -> bool {
    EMPTY.contains(&name)
}

impl Parser<'_> {
    /// Reads what stands in `<!--esi -->` as if it stood there alone.
    pub(super) fn unwrap(&mut self, span: Range<usize>) {
        let Some(inside) = unwrapped(&self.source.text, &span) else { return };
        self.text_until(span.start, inside.start);
        let source = Arc::clone(self.source);
        for token in tokens::tokens(&source.text[..inside.end], inside.start) {
            self.token(token);
        }
        self.text_until(inside.end, span.end);
    }

    /// A text of `<esi:vars>`: bytes, and places for values.
    pub(super) fn values(&mut self, span: Range<usize>) {
        let source = Arc::clone(self.source);
        let mut from = span.start;
        // In scripts a value would be code, whatever is escaped in it.
        for script in scripts(&source.text[..span.end], span.start) {
            self.value(from..script.start);
            if let Some(at) = NAMES.iter().find_map(|name| source.text[script.clone()].find(&format!("$({name}"))) {
                let at = script.start + at;
                self.note(Code::BadValue, at..at + 2, "no value is put into a script or a style".to_owned()).help =
                    Some("put it into an attribute `data-…`, and let the script read that".to_owned());
            }
            self.top().push(Node::Text(script.clone()));
            from = script.end;
        }
        self.value(from..span.end);
    }

    fn value(&mut self, span: Range<usize>) {
        let text = self.source.slice(span.clone());
        if span.is_empty() || !text.contains("$(") {
            return self.top().extend((!span.is_empty()).then_some(Node::Text(span)));
        }
        let parsed = Text::parse(text);
        let node = match parsed {
            Ok(text) => Node::Esi(Esi::Value(Located { value: Arc::new(text), at: self.spot(span) })),
            Err(mistake) => {
                let at = span.start + mistake.at.start..span.start + mistake.at.end;
                self.mistake(mistake, at);
                Node::Text(span)
            }
        };
        self.top().push(node);
    }

    fn mistake(&mut self, mistake: Mistake, at: Range<usize>) {
        self.note(Code::BadValue, at, mistake.message).help = mistake.help;
    }

    /// The node of an element that has come to its end, if any is left of it.
    pub(super) fn esi(&mut self, tag: &StartTag, inside: Vec<Node>) -> Option<Node> {
        let around = self.open.last().map(|tag| tag.name.clone()).unwrap_or_default();
        let (belongs_in, branch) = match tag.name.as_str() {
            "esi:include" => return self.esi_include(tag).map(|include| Node::Esi(Esi::Include(Box::new(include)))),
            "esi:comment" | "esi:remove" => return None,
            "esi:vars" => return Some(Node::Esi(Esi::Vars(inside))),
            "esi:choose" => return self.choose(tag, inside).map(Node::Esi),
            "esi:try" => return self.attempts(tag, inside).map(Node::Esi),
            "esi:when" => {
                let test = self.test(tag);
                ("esi:choose", Branch::When(test))
            }
            "esi:otherwise" => ("esi:choose", Branch::Otherwise),
            "esi:attempt" => ("esi:try", Branch::Attempt),
            "esi:except" => ("esi:try", Branch::Except),
            other => {
                let help = names::did_you_mean(other, ELEMENTS);
                self.note(Code::BadValue, tag.span.clone(), format!("`<{other}>` is no element of ESI 1.0")).help =
                    help;
                return None;
            }
        };
        if around == belongs_in {
            return Some(Node::Esi(Esi::Branch(branch, inside)));
        }
        let message = format!("`<{}>` stands in `<{belongs_in}>` only", tag.name);
        self.note(Code::BadValue, tag.span.clone(), message);
        None
    }

    fn esi_include(&mut self, tag: &StartTag) -> Option<Include> {
        let (mut src, mut alt, mut goes_on) = (None, None, false);
        for attribute in self.attributes(tag) {
            match attribute.name.as_str() {
                "src" => src = Some(self.url(attribute)),
                "alt" => alt = self.url(attribute),
                "onerror" if attribute.value == "continue" => goes_on = true,
                "onerror" => {
                    let message = format!("`{}` is nothing that can be done", attribute.value);
                    self.bad(attribute, message, Some("write `onerror=\"continue\"`, or leave it out".to_owned()));
                }
                _ => self.unknown(attribute, "esi:include", &["src", "alt", "onerror"]),
            }
        }
        if src.is_none() {
            self.note(Code::MissingName, tag.span.clone(), "`<esi:include>` does not say what".to_owned()).help =
                Some("add `src=\"…\"`".to_owned());
        }
        Some(Include { at: self.spot(tag.span.clone()), src: src??, alt, goes_on })
    }

    fn url(&mut self, attribute: &Attribute) -> Option<Located<Arc<Text>>> {
        if attribute.value.is_empty() {
            self.bad(attribute, "a URL is missing".to_owned(), None);
            return None;
        }
        match Text::parse(&attribute.value) {
            Ok(text) => {
                Some(Located { value: Arc::new(text), at: self.spot(super::elements::value_or_name(attribute)) })
            }
            Err(mistake) => {
                let at = self.within(attribute, &mistake.at);
                self.mistake(mistake, at);
                None
            }
        }
    }

    fn test(&mut self, tag: &StartTag) -> Located<Expr> {
        let mut test = None;
        for attribute in self.attributes(tag) {
            match attribute.name.as_str() {
                "test" => {
                    let at = self.spot(super::elements::value_or_name(attribute));
                    match Expr::parse(&attribute.value) {
                        Ok(value) => test = Some(Located { value, at }),
                        Err(mistake) => {
                            let place = self.within(attribute, &mistake.at);
                            self.mistake(mistake, place);
                            test = Some(Located { value: Expr::never(), at });
                        }
                    }
                }
                _ => self.unknown(attribute, "esi:when", &["test"]),
            }
        }
        test.unwrap_or_else(|| {
            self.note(Code::MissingName, tag.span.clone(), "`<esi:when>` has no test".to_owned()).help =
                Some("add `test=\"…\"`, or write `<esi:otherwise>`".to_owned());
            Located { value: Expr::never(), at: self.spot(tag.span.clone()) }
        })
    }

    /// Where a mistake in an attribute's value stands: exactly, unless character references are in it.
    fn within(&self, attribute: &Attribute, at: &Range<usize>) -> Range<usize> {
        let span = &attribute.value_span;
        if self.source.slice(span.clone()) == attribute.value && !at.is_empty() {
            span.start + at.start..span.start + at.end
        } else {
            super::elements::value_or_name(attribute)
        }
    }

    fn choose(&mut self, tag: &StartTag, inside: Vec<Node>) -> Option<Esi> {
        let (mut tests, mut branches, mut otherwise) = (Vec::new(), Vec::new(), None);
        for (branch, inside) in self.branches(tag, inside) {
            match branch {
                Branch::When(test) => {
                    tests.push(test);
                    branches.push(inside);
                }
                _ if otherwise.is_none() => otherwise = Some(inside),
                _ => self.several(tag, "esi:otherwise"),
            }
        }
        if tests.is_empty() {
            self.note(Code::BadValue, tag.span.clone(), "there is no `<esi:when>` in this".to_owned());
            return None;
        }
        branches.extend(otherwise);
        Some(Esi::Choose(tests, branches))
    }

    fn attempts(&mut self, tag: &StartTag, inside: Vec<Node>) -> Option<Esi> {
        let (mut attempt, mut except) = (None, None);
        for (branch, inside) in self.branches(tag, inside) {
            let (place, name) = match branch {
                Branch::Attempt => (&mut attempt, "esi:attempt"),
                _ => (&mut except, "esi:except"),
            };
            match place {
                Some(_) => self.several(tag, name),
                None => *place = Some(inside),
            }
        }
        if attempt.is_none() || except.is_none() {
            let message = "an `<esi:attempt>` and an `<esi:except>` belong into this";
            self.note(Code::BadValue, tag.span.clone(), message.to_owned());
        }
        Some(Esi::Try(attempt?, except.unwrap_or_default()))
    }

    fn several(&mut self, tag: &StartTag, name: &str) {
        self.note(Code::BadValue, tag.span.clone(), format!("there is more than one `<{name}>` in this"));
    }

    /// The children of an element in which nothing else may stand.
    fn branches(&mut self, tag: &StartTag, inside: Vec<Node>) -> Vec<(Branch, Vec<Node>)> {
        let mut branches = Vec::new();
        let mut other: Option<Spot> = None;
        for node in inside {
            match node {
                Node::Esi(Esi::Branch(branch, inside)) => branches.push((branch, inside)),
                Node::Text(span) => {
                    let text = self.source.slice(span.clone());
                    let start = span.start + (text.len() - text.trim_start().len());
                    if !text.trim().is_empty() && other.is_none() {
                        other = Some(self.spot(start..start + text.trim().len()));
                    }
                }
                Node::Mark(_) => {}
                _ if other.is_none() => other = Some(self.spot(tag.span.clone())),
                _ => {}
            }
        }
        if let Some(other) = other {
            let children = if tag.name == "esi:try" {
                "`<esi:attempt>` and `<esi:except>`"
            } else {
                "`<esi:when>` and `<esi:otherwise>`"
            };
            let message = format!("in `<{}>` stand only {children}: this is never shown", tag.name);
            self.note(Code::BadValue, other.span, message);
        }
        branches
    }
}

/// Where the texts of scripts and styles are, from a byte on.
fn scripts(text: &str, from: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open = None;
    for token in tokens::tokens(text, from) {
        match token {
            Token::Start(tag) if matches!(&*tag.name, "script" | "style") => open = Some(tag.span.end),
            Token::End { name, span } if matches!(&*name, "script" | "style") => {
                found.extend(open.take().map(|start| start..span.start));
            }
            _ => {}
        }
    }
    found.extend(open.map(|start| start..text.len()));
    found
}
