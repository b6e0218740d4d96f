//! ESI's elements: what their attributes say, what may stand in which, and texts with variables.

use std::ops::Range;
use std::sync::Arc;

use crate::page::esi::expr::Expr;
use crate::page::esi::mistake::Mistake;
use crate::page::esi::text::EsiText;
use crate::page::esi::unwrapped;
use crate::page::esi::variables::NAMES;
use crate::page::html::tokens::{self, Attribute, StartTag, Token};
use crate::page::layout::syntax::node::{Branch, Esi, Include, Node};
use crate::page::source::diagnostic::{Code, Located, SourceSpan};
use crate::page::source::names;

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

/// Whether nothing stands in it: many write it without the slash that XML wants.
pub(super) fn is_empty(name: &str) -> bool {
    EMPTY.contains(&name)
}

/// Whether an end tag follows before any other element of ESI.
pub(super) fn is_closed(behind: &str, name: &str) -> bool {
    let next = behind.match_indices('<').find_map(|(at, _)| {
        let tag = &behind.as_bytes()[at + 1..];
        let starts = |name: &str| tag.get(..name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()));
        (starts(PREFIX) || starts("/esi:")).then(|| starts(&format!("/{name}")))
    });
    next.unwrap_or(false)
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
        for (code, why) in code(&source.text[..span.end], span.start) {
            if code.start < from {
                continue;
            }
            self.value(from..code.start);
            if let Some(at) = NAMES.iter().find_map(|name| source.text[code.clone()].find(&format!("$({name}"))) {
                let at = code.start + at;
                self.note(Code::BadValue, at..at + 2, why.to_owned()).help =
                    Some("put it into an attribute `data-…`, or behind the beginning of a URL".to_owned());
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
            "esi:include" if !self.is_blank(&inside) => {
                let message = "an `<esi:include>` stands for what it includes: what is inside is never shown";
                self.note(Code::BadValue, tag.span.clone(), message.to_owned()).help =
                    Some("name something else in `alt`, or use `<esi:try>`".to_owned());
                return None;
            }
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
            "esi:inline" => {
                let message = "`<esi:inline>` is not supported".to_owned();
                self.note(Code::BadValue, tag.span.clone(), message).help =
                    Some("give what is inside an address of its own, and include that".to_owned());
                return None;
            }
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

    fn url(&mut self, attribute: &Attribute) -> Option<Located<Arc<EsiText>>> {
        if attribute.value.is_empty() {
            self.bad(attribute, "a URL is missing".to_owned(), None);
            return None;
        }
        match EsiText::parse(&attribute.value) {
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

    /// What of a text is neither blank nor a comment.
    fn something(&self, span: Range<usize>) -> Option<Range<usize>> {
        let text = &self.source.text[..span.end];
        let mut from = span.start;
        let comments = tokens::tokens(text, from).into_iter().filter(|token| matches!(token, Token::Comment { .. }));
        for gap in comments.map(|token| token.span()).chain(std::iter::once(span.end..span.end)) {
            let between = &text[from..gap.start];
            let start = from + (between.len() - between.trim_start().len());
            if !between.trim().is_empty() {
                return Some(start..start + between.trim().len());
            }
            from = gap.end;
        }
        None
    }

    fn is_blank(&self, nodes: &[Node]) -> bool {
        nodes.iter().all(|node| matches!(node, Node::Text(span) if self.something(span.clone()).is_none()))
    }

    /// The children of an element in which nothing else may stand.
    fn branches(&mut self, tag: &StartTag, inside: Vec<Node>) -> Vec<(Branch, Vec<Node>)> {
        let mut branches = Vec::new();
        let mut other: Option<SourceSpan> = None;
        for node in inside {
            match node {
                Node::Esi(Esi::Branch(branch, inside)) => branches.push((branch, inside)),
                Node::Text(span) => other = other.or_else(|| self.something(span).map(|span| self.spot(span))),
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

/// Attributes that hold a URL, which may be a script's.
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
const IN_SCRIPTS: &str = "no value is put into a script or a style";
const IN_TAGS: &str = "a value cannot be a part of a tag";

/// What of a text would be acted on as code, whatever is escaped in it, and why no value is put there.
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
    // To a tokenizer this is text; what a value makes of it is a tag.
    for tag in ["<$(", "</$("] {
        let whole = |at: usize| at..text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        found.extend(text[from..].match_indices(tag).map(|(at, _)| (whole(from + at), IN_TAGS)));
    }
    found.sort_by_key(|(range, _)| range.start);
    found
}

/// Why no value is put into an attribute that has one in it.
fn is_code(element: &str, attribute: &Attribute) -> Option<&'static str> {
    let (before, _) = attribute.value.split_once("$(")?;
    let name = attribute.name.as_str();
    let animates = matches!(name, "to" | "from" | "by" | "values");
    let is_script = element == "script" && name == "src";
    if name.starts_with("on") || matches!(name, "srcdoc" | "style" | "content") || animates || is_script {
        return Some(IN_SCRIPTS);
    }
    (URLS.contains(&name) && !has_begun(before)).then_some("a value cannot be the beginning of a URL")
}

/// Whether what a URL begins with says already whose it is: `javascript:` would else be a scheme, and `//` lead
/// elsewhere.
fn has_begun(url: &str) -> bool {
    let web = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    match (web, url.strip_prefix('/')) {
        (Some(rest), _) => rest.find(['/', '?', '#']).is_some_and(|at| at > 0),
        (None, Some(path)) => path.starts_with(|c| c != '/' && c != '\\'),
        (None, None) => url.contains(['/', '?', '#']) && !url.starts_with('\\'),
    }
}
