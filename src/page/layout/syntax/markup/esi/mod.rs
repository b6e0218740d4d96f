//! Parses ESI's elements: their attributes, and which elements may contain which.
//! An element that is not valid is reported and left out.

mod values;

use std::ops::Range;
use std::sync::Arc;

use crate::page::esi::error::EsiError;
use crate::page::esi::expr::{Doubt, Expr};
use crate::page::esi::text::EsiText;
use crate::page::esi::unwrapped;
use crate::page::html::tokens::{self, Attribute, StartTag, Token};
use crate::page::layout::syntax::node::{Branch, Esi, Include, Node};
use crate::page::source::diagnostic::{Code, Located, SourceSpan};
use crate::page::source::names;

use super::Parser;
use super::attributes::value_or_name;
use super::schema::{ESI_ELEMENTS, ESI_INCLUDE, ESI_WHEN, esi_include, esi_when, names as tag};

/// The prefix of the names of ESI's elements.
pub(super) const PREFIX: &str = "esi:";

/// Whether this is an element of ESI. Any other name with the prefix is an error in a layout, and unknown HTML in a
/// response.
pub(super) fn is_element(name: &str, is_response: bool) -> bool {
    if is_response { ESI_ELEMENTS.iter().any(|element| element.name == name) } else { name.starts_with(PREFIX) }
}

/// Whether an element of this name may have no content and no end tag.
pub(super) fn may_be_empty(name: &str) -> bool {
    matches!(name, tag::ESI_INCLUDE | tag::ESI_COMMENT)
}

/// Whether an end tag follows before any other element of ESI.
pub(super) fn is_closed(rest: &str, name: &str) -> bool {
    let next = rest.match_indices('<').find_map(|(at, _)| {
        let tag = &rest.as_bytes()[at + 1..];
        let starts = |name: &str| tag.get(..name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()));
        (starts(PREFIX) || starts("/esi:")).then(|| starts(&format!("/{name}")))
    });
    next.unwrap_or(false)
}

impl Parser<'_> {
    /// Reads the content of `<!--esi -->` as if it were not in a comment.
    pub(super) fn unwrap(&mut self, span: Range<usize>) {
        let Some(inside) = unwrapped(&self.source.text, &span) else { return };
        self.text_until(span.start, inside.start);
        let source = Arc::clone(self.source);
        for token in tokens::tokens(&source.text[..inside.end], inside.start) {
            self.token(token);
        }
        self.text_until(inside.end, span.end);
    }

    /// Reports an error of ESI's own parsers.
    fn report(&mut self, error: EsiError, at: Range<usize>) {
        self.note(Code::BadValue, at, error.message).help = error.help;
    }

    /// The node of an element that has ended; `None` if nothing is left of it.
    pub(super) fn esi(&mut self, element: &StartTag, inside: Vec<Node>) -> Option<Node> {
        let parent = self.open.last().map(|tag| tag.name.clone()).unwrap_or_default();
        let (belongs_in, branch) = match element.name.as_str() {
            tag::ESI_INCLUDE if !self.is_blank(&inside) => {
                let message = "`<esi:include>` is replaced by what it includes, so its content is never shown";
                self.note(Code::BadValue, element.span.clone(), message.to_owned()).help =
                    Some("name another URL in `alt`, or use `<esi:try>`".to_owned());
                return None;
            }
            tag::ESI_INCLUDE => {
                return self.esi_include(element).map(|include| Node::Esi(Esi::Include(Box::new(include))));
            }
            tag::ESI_COMMENT | tag::ESI_REMOVE => return None,
            tag::ESI_VARS => return Some(Node::Esi(Esi::Vars(inside))),
            tag::ESI_CHOOSE => return self.choose(element, inside).map(Node::Esi),
            tag::ESI_TRY => return self.attempts(element, inside).map(Node::Esi),
            tag::ESI_WHEN => {
                let test = self.test(element);
                (tag::ESI_CHOOSE, Branch::When(test))
            }
            tag::ESI_OTHERWISE => (tag::ESI_CHOOSE, Branch::Otherwise),
            tag::ESI_ATTEMPT => (tag::ESI_TRY, Branch::Attempt),
            tag::ESI_EXCEPT => (tag::ESI_TRY, Branch::Except),
            "esi:inline" => {
                let message = "`<esi:inline>` is not supported".to_owned();
                self.note(Code::BadValue, element.span.clone(), message).help =
                    Some("give its content a URL of its own, and include that".to_owned());
                return None;
            }
            other => {
                let help = names::did_you_mean(other, ESI_ELEMENTS.iter().map(|element| element.name));
                let message = format!("`<{other}>` is not an element of ESI 1.0");
                self.note(Code::BadValue, element.span.clone(), message).help = help;
                return None;
            }
        };
        if parent == belongs_in {
            return Some(Node::Esi(Esi::Branch(branch, inside)));
        }
        let message = format!("`<{}>` is allowed in `<{belongs_in}>` only", element.name);
        self.note(Code::BadValue, element.span.clone(), message);
        None
    }

    fn esi_include(&mut self, element: &StartTag) -> Option<Include> {
        let attributes = self.attributes(element, &ESI_INCLUDE);
        let src = attributes.get(&esi_include::SRC);
        if src.is_none() {
            let message = "`<esi:include>` does not name what it includes".to_owned();
            self.note(Code::MissingName, element.span.clone(), message).help = Some("add `src=\"…\"`".to_owned());
        }
        let src = src.and_then(|src| self.url(src));
        let alt = attributes.get(&esi_include::ALT).and_then(|alt| self.url(alt));
        let onerror = attributes.get(&esi_include::ONERROR);
        let words = esi_include::ONERROR.kind.words();
        let goes_on = onerror.is_some_and(|onerror| words.contains(&onerror.value.as_str()));
        if let Some(onerror) = onerror.filter(|_| !goes_on) {
            let message = format!("`{}` is not a known action", onerror.value);
            let help = format!("write `onerror=\"{}\"`, or leave it out", words.join(", "));
            self.bad_value(onerror, message, Some(help));
        }
        self.unknown_attributes(&attributes);
        Some(Include { at: self.span(element.span.clone()), src: src?, alt, goes_on })
    }

    fn url(&mut self, attribute: &Attribute) -> Option<Located<Arc<EsiText>>> {
        if attribute.value.is_empty() {
            self.bad_value(attribute, "a URL is missing".to_owned(), None);
            return None;
        }
        match EsiText::parse(&attribute.value) {
            Ok(text) => Some(Located { value: Arc::new(text), at: self.value_at(attribute) }),
            Err(error) => {
                let at = self.within(attribute, &error.at);
                self.report(error, at);
                None
            }
        }
    }

    /// The test of `<esi:when>`. If it is missing or wrong, a test that never holds.
    fn test(&mut self, element: &StartTag) -> Located<Expr> {
        let attributes = self.attributes(element, &ESI_WHEN);
        self.unknown_attributes(&attributes);
        let Some(test) = attributes.get(&esi_when::TEST) else {
            self.note(Code::MissingName, element.span.clone(), "`<esi:when>` has no test".to_owned()).help =
                Some("add `test=\"…\"`, or write `<esi:otherwise>`".to_owned());
            return Located { value: Expr::never(), at: self.span(element.span.clone()) };
        };
        let value = match Expr::parse(&test.value) {
            Ok(value) => {
                self.doubt(test, &value);
                value
            }
            Err(error) => {
                let at = self.within(test, &error.at);
                self.report(error, at);
                Expr::never()
            }
        };
        Located { value, at: self.value_at(test) }
    }

    /// Warns of a test that will not hold when its author thinks it does.
    fn doubt(&mut self, attribute: &Attribute, test: &Expr) {
        if self.role.is_response {
            return;
        }
        let (message, help) = match test.doubt() {
            Some(Doubt::Never) => ("this test never holds".to_owned(), None),
            Some(Doubt::Empty) => {
                let message = "a comparison with an empty text never holds, whatever its operator";
                let help =
                    "to test whether a value is there, compare a default: `$(HTTP_COOKIE{group}|none) != 'none'`";
                (message.to_owned(), Some(help.to_owned()))
            }
            Some(Doubt::Alone(variable)) => {
                let with_default = variable.with_default("none");
                let help = format!("to test whether it is there, write `{with_default} != 'none'`");
                (format!("`{variable}` alone holds only if its value is the word `true`"), Some(help))
            }
            None => return,
        };
        self.note(Code::NeverShown, value_or_name(attribute), format!("`{}`: {message}", attribute.name)).help = help;
    }

    /// The place of an error in an attribute's value: exact, unless the value has character references.
    fn within(&self, attribute: &Attribute, at: &Range<usize>) -> Range<usize> {
        let span = &attribute.value_span;
        if self.source.slice(span.clone()) == attribute.value && !at.is_empty() {
            span.start + at.start..span.start + at.end
        } else {
            value_or_name(attribute)
        }
    }

    fn choose(&mut self, element: &StartTag, inside: Vec<Node>) -> Option<Esi> {
        let (mut tests, mut branches, mut otherwise) = (Vec::new(), Vec::new(), None);
        for (branch, inside) in self.branches(element, inside) {
            match branch {
                Branch::When(test) => {
                    tests.push(test);
                    branches.push(inside);
                }
                _ if otherwise.is_none() => otherwise = Some(inside),
                _ => self.several(element, tag::ESI_OTHERWISE),
            }
        }
        if tests.is_empty() {
            let message = format!("`<{}>` needs at least one `<{}>`", tag::ESI_CHOOSE, tag::ESI_WHEN);
            self.note(Code::BadValue, element.span.clone(), message);
            return None;
        }
        branches.extend(otherwise);
        Some(Esi::Choose(tests, branches))
    }

    fn attempts(&mut self, element: &StartTag, inside: Vec<Node>) -> Option<Esi> {
        let (mut attempt, mut except) = (None, None);
        for (branch, inside) in self.branches(element, inside) {
            let (place, name) = match branch {
                Branch::Attempt => (&mut attempt, tag::ESI_ATTEMPT),
                _ => (&mut except, tag::ESI_EXCEPT),
            };
            match place {
                Some(_) => self.several(element, name),
                None => *place = Some(inside),
            }
        }
        if attempt.is_none() || except.is_none() {
            let message =
                format!("`<{}>` needs an `<{}>` and an `<{}>`", tag::ESI_TRY, tag::ESI_ATTEMPT, tag::ESI_EXCEPT);
            self.note(Code::BadValue, element.span.clone(), message);
        }
        Some(Esi::Try(attempt?, except.unwrap_or_default()))
    }

    fn several(&mut self, element: &StartTag, child: &str) {
        let message = format!("`<{}>` has more than one `<{child}>`", element.name);
        self.note(Code::BadValue, element.span.clone(), message);
    }

    /// The part of a text that is neither blank nor a comment.
    fn content(&self, span: Range<usize>) -> Option<Range<usize>> {
        let text = &self.source.text[..span.end];
        let mut from = span.start;
        let comments = tokens::tokens(text, from).into_iter().filter(|token| matches!(token, Token::Comment { .. }));
        for comment in comments.map(|token| token.span()).chain(std::iter::once(span.end..span.end)) {
            let between = &text[from..comment.start];
            let start = from + (between.len() - between.trim_start().len());
            if !between.trim().is_empty() {
                return Some(start..start + between.trim().len());
            }
            from = comment.end;
        }
        None
    }

    /// Whether nodes are only whitespace and comments.
    pub(super) fn is_blank(&self, nodes: &[Node]) -> bool {
        nodes.iter().all(|node| match node {
            Node::Text(span) => self.content(span.clone()).is_none(),
            Node::InsertionPoint(_) => true,
            _ => false,
        })
    }

    /// The children of an element that may have no other content.
    fn branches(&mut self, element: &StartTag, inside: Vec<Node>) -> Vec<(Branch, Vec<Node>)> {
        let mut branches = Vec::new();
        let mut other: Option<SourceSpan> = None;
        for node in inside {
            match node {
                Node::Esi(Esi::Branch(branch, inside)) => branches.push((branch, inside)),
                Node::Text(span) => other = other.or_else(|| self.content(span).map(|span| self.span(span))),
                Node::InsertionPoint(_) => {}
                _ if other.is_none() => other = Some(self.span(element.span.clone())),
                _ => {}
            }
        }
        if let Some(other) = other {
            let (first, second) = if element.name == tag::ESI_TRY {
                (tag::ESI_ATTEMPT, tag::ESI_EXCEPT)
            } else {
                (tag::ESI_WHEN, tag::ESI_OTHERWISE)
            };
            let message =
                format!("only `<{first}>` and `<{second}>` are allowed in `<{}>`: this is never shown", element.name);
            self.note(Code::BadValue, other.span, message);
        }
        branches
    }
}
