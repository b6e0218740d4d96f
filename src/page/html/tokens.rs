//! Finds the tags of an HTML text, each with its byte range, with html5gum's tokenizer.
//! Text that only looks like a tag (in scripts, styles, comments, titles, attributes) is not reported as one.
//!
//! html5gum tokenizes without building a tree, so this module switches to the states that a tree builder would
//! choose (HTML standard, 13.2.6). Not lol_html: it reports an end tag only for a matching start tag, and a stray
//! `</fragment>` must be reported with its position.

use std::ops::Range;

use super::byte_reader::ByteReader;
use super::stack::{OpenElement, Stack};

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Emitter, Error, ForwardingEmitter, Span, State, Tokenizer};

/// A tag, a doctype or a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A start tag, `<name …>`.
    Start(StartTag),
    /// An end tag, `</name>`.
    End {
        /// The name in lower case.
        name: String,
        /// The bytes from `<` to `>`.
        span: Range<usize>,
    },
    /// A doctype, `<!doctype …>`.
    Doctype {
        /// The bytes from `<` to `>`.
        span: Range<usize>,
    },
    /// A comment, `<!-- … -->`, or what parsers treat as one.
    Comment {
        /// The bytes of the whole comment.
        span: Range<usize>,
    },
    /// An unfinished tag: `<name …` or `</name …` up to the end of the text, without a `>`.
    Unfinished {
        /// The name in lower case; that of an end tag begins with its slash.
        name: String,
        /// The bytes from `<` to the end of the text.
        span: Range<usize>,
    },
}

impl Token {
    /// The bytes of the token.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        match self {
            Self::Start(tag) => tag.span.clone(),
            Self::End { span, .. }
            | Self::Doctype { span }
            | Self::Comment { span }
            | Self::Unfinished { span, .. } => span.clone(),
        }
    }
}

/// A start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartTag {
    /// The name in lower case.
    pub name: String,
    /// Whether it ends with a slash, `<name … />`.
    pub self_closing: bool,
    /// All attributes, including repeated ones.
    pub attributes: Vec<Attribute>,
    /// The bytes from `<` to `>`.
    pub span: Range<usize>,
}

/// An attribute of a start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The name in lower case.
    pub name: String,
    /// The value with its character references resolved; empty if there is none.
    pub value: String,
    /// The bytes of the name.
    pub name_span: Range<usize>,
    /// The bytes of the value, without quotation marks; an empty range after the name if there is no value.
    pub value_span: Range<usize>,
}

enum Event {
    Open(String, usize),
    Name(String, Range<usize>),
    Value(String),
    Close(bool, usize),
    End(String, Range<usize>),
    Doctype(Range<usize>),
    Comment(Range<usize>),
    CutOff,
}

/// The tokens of a text from a byte on, in order.
#[must_use]
pub fn tokens(text: &str, from: usize) -> Vec<Token> {
    let mut found = Vec::new();
    let mut open = Stack::default();
    let mut from = from;
    while let Some(next) = read(text, from, &mut open, &mut found) {
        from = next;
    }
    found
}

/// The beginning of a CDATA section.
pub const CDATA: &str = "<![CDATA[";

/// Reads tokens from a byte on. Stops at a CDATA section in SVG or MathML, and returns the position of its end:
/// html5gum treats the section as a comment that ends at the first `>`.
fn read(text: &str, from: usize, open: &mut Stack, found: &mut Vec<Token>) -> Option<usize> {
    let own = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let emitter = CallbackEmitter::new(move |event: CallbackEvent<'_>, span: Span<usize>| {
        let span = span.start + from..span.end + from;
        match event {
            CallbackEvent::OpenStartTag { name } => Some(Event::Open(own(name), span.start)),
            CallbackEvent::AttributeName { name } => Some(Event::Name(own(name), span)),
            CallbackEvent::AttributeValue { value } => Some(Event::Value(own(value))),
            CallbackEvent::CloseStartTag { self_closing } => Some(Event::Close(self_closing, span.end)),
            CallbackEvent::EndTag { name } => Some(Event::End(own(name), span)),
            CallbackEvent::Doctype { .. } => Some(Event::Doctype(span)),
            CallbackEvent::Comment { .. } => Some(Event::Comment(span)),
            CallbackEvent::Error(Error::EofInTag) => Some(Event::CutOff),
            CallbackEvent::String { .. } | CallbackEvent::Error(_) => None,
        }
    });
    let mut tokenizer =
        Tokenizer::new_with_emitter(ByteReader(&text.as_bytes()[from..]), TagsOnly { inner: emitter, in_tag: false });
    let mut tag: Option<StartTag> = None;
    // The open element whose content is text, in which only its own end tag counts.
    let mut raw: Option<String> = None;
    // The attributes of an end tag are reported too; no start tag is open then, and they are dropped.
    while let Some(Ok(event)) = tokenizer.next() {
        match event {
            Event::Open(name, start) => {
                tag = Some(StartTag { name, self_closing: false, attributes: Vec::new(), span: start..start });
            }
            Event::Name(name, name_span) => {
                if let Some(tag) = &mut tag {
                    let value_span = value_span(text, name_span.end);
                    tag.attributes.push(Attribute { name, value: String::new(), name_span, value_span });
                }
            }
            Event::Value(value) => {
                if let Some(attribute) = tag.as_mut().and_then(|tag| tag.attributes.last_mut()) {
                    attribute.value = value;
                }
            }
            Event::Close(self_closing, end) => {
                let Some(mut tag) = tag.take() else { continue };
                tag.self_closing = self_closing;
                tag.span.end = end;
                open.start_tag(&tag);
                if let Some(state) = state(&tag.name).filter(|_| !open.last().is_some_and(OpenElement::is_foreign)) {
                    tokenizer.set_state(state);
                    raw = Some(tag.name.clone());
                }
                found.push(Token::Start(tag));
            }
            Event::End(name, span) => {
                open.end_tag(&name);
                raw = None;
                found.push(Token::End { name, span });
            }
            Event::Doctype(span) => found.push(Token::Doctype { span }),
            Event::Comment(span)
                if open.last().is_some_and(OpenElement::is_foreign) && text[span.start..].starts_with(CDATA) =>
            {
                let end = text[span.start..].find("]]>").map(|end| span.start + end + "]]>".len());
                found.push(Token::Comment { span: span.start..end.unwrap_or(text.len()) });
                return end;
            }
            Event::Comment(span) => found.push(Token::Comment { span }),
            Event::CutOff => {
                let after = found.last().map_or(from, |token| token.span().end.max(from));
                found.extend(unfinished(text, tag.take(), after, raw.as_deref()));
            }
        }
    }
    None
}

/// An emitter that ignores text, and errors outside of tags: checking every character would take most of the time.
/// Within a tag, errors are reported, because the end of the text is one of them.
struct TagsOnly<E> {
    inner: E,
    in_tag: bool,
}

impl<E: Emitter> ForwardingEmitter for TagsOnly<E> {
    type Token = E::Token;

    fn inner(&mut self) -> &mut impl Emitter<Token = E::Token> {
        &mut self.inner
    }

    fn should_emit_errors(&mut self) -> bool {
        self.in_tag
    }

    fn init_start_tag(&mut self) {
        self.in_tag = true;
        self.inner.init_start_tag();
    }

    fn init_end_tag(&mut self) {
        self.in_tag = true;
        self.inner.init_end_tag();
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        self.in_tag = false;
        self.inner.emit_current_tag()
    }

    fn emit_string(&mut self, _: &[u8]) {}
}

/// The unfinished tag at the end of a text. An end tag, or one without attributes, has not been reported yet: it is the
/// first tag after all others or, in a `raw` text element, the first end tag of that.
fn unfinished(text: &str, tag: Option<StartTag>, after: usize, raw: Option<&str>) -> Option<Token> {
    let begins = |start: &usize| {
        let name = text[start + 1..].strip_prefix('/');
        match raw {
            Some(raw) => name.and_then(|name| name.get(..raw.len())).is_some_and(|name| name.eq_ignore_ascii_case(raw)),
            None => name.unwrap_or(&text[start + 1..]).starts_with(|c: char| c.is_ascii_alphabetic()),
        }
    };
    let (name, start) = match tag {
        Some(tag) => (tag.name, tag.span.start),
        None => {
            let start = text[after..].match_indices('<').map(|(at, _)| after + at).find(begins)?;
            let name = &text[start + 1..];
            let ends = |(at, c): (usize, char)| c.is_ascii_whitespace() || (c == '/' && at > 0);
            let end = name.char_indices().find(|found| ends(*found)).map_or(name.len(), |(at, _)| at);
            (name[..end].to_ascii_lowercase(), start)
        }
    };
    Some(Token::Unfinished { name, span: start..text.len() })
}

/// The bytes of the value after an attribute's name, as in 13.2.5.34 and the sections that follow it.
fn value_span(text: &str, name_end: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let skip_space = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let equals = skip_space(name_end);
    if bytes.get(equals) != Some(&b'=') {
        return name_end..name_end;
    }
    let start = skip_space(equals + 1);
    let (start, ends): (usize, fn(u8, u8) -> bool) = match bytes.get(start) {
        Some(b'"' | b'\'') => (start + 1, |byte, quote| byte == quote),
        _ => (start, |byte, _| byte.is_ascii_whitespace() || byte == b'>'),
    };
    let quote = bytes.get(start.wrapping_sub(1)).copied().unwrap_or_default();
    let length = bytes[start..].iter().position(|byte| ends(*byte, quote)).unwrap_or(bytes.len() - start);
    start..start + length
}

/// The tokenizer state for the text after a start tag of HTML. `None`: the normal one.
fn state(name: &str) -> Option<State> {
    match name {
        "title" | "textarea" => Some(State::RcData),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" => Some(State::RawText),
        "script" => Some(State::ScriptData),
        "plaintext" => Some(State::PlainText),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source text of all tags.
    fn written(text: &str) -> Vec<&str> {
        tokens(text, 0)
            .into_iter()
            .filter_map(|token| match token {
                Token::Start(tag) => Some(&text[tag.span]),
                Token::End { span, .. } | Token::Unfinished { span, .. } => Some(&text[span]),
                Token::Doctype { .. } | Token::Comment { .. } => None,
            })
            .collect()
    }

    #[test]
    fn text_that_only_looks_like_a_tag_is_not_reported() {
        for text in ["<!-- <fragment> -->", "<!doctype html>", "a < b && c <3", "<!-- a --!> b"] {
            assert_eq!(written(text), Vec::<&str>::new(), "{text}");
        }
        for name in ["script", "style", "title", "textarea", "iframe", "xmp", "noframes"] {
            let (open, close) = (format!("<{name}>"), format!("</{name}>"));
            let text = format!("{open}'</fragment>' <fragment name=x>{close}");
            assert_eq!(written(&text), [open.as_str(), close.as_str()]);
        }
        assert_eq!(written("<script><!--<script></script><fragment>--></script>"), ["<script>", "</script>"]);
        assert_eq!(written("<a title='<fragment>'>"), ["<a title='<fragment>'>"]);
        assert_eq!(written("<svg><style><b></style></svg><style><b></style>").len(), 7);
        assert_eq!(written("<svg><title><b></title></svg>").len(), 5);
    }

    #[test]
    fn cdata_sections_exist_only_in_foreign_content() {
        let text = "<svg><style><![CDATA[ a>b <fragment name=\"nope\"/> ]]><b/></style></svg><i>";
        assert_eq!(written(text), ["<svg>", "<style>", "<b/>", "</style>", "</svg>", "<i>"]);
        assert_eq!(written("<svg><![CDATA[ <b> "), ["<svg>"]);
        // In HTML it is a comment that ends at the first `>`.
        assert_eq!(written("<![CDATA[ <b> <i> ]]>"), ["<i>"]);
    }

    #[test]
    fn an_unfinished_start_tag_is_reported() {
        for text in ["<a b=\"c>d", "<a b=\"<c\"", "<a b", "<a b=", "<a ", "<a", "<A\n", "<a /"] {
            let found = tokens(&format!("<i>é{text}"), 0);
            assert!(
                matches!(&found[1..], [Token::Unfinished { name, span }] if name == "a" && span.start == 5),
                "{found:?}"
            );
        }
    }

    #[test]
    fn an_unfinished_end_tag_is_reported_where_it_begins() {
        for (text, name, start) in [
            ("a < b</u href='<i>", "/u", 5),
            ("<i></A<b c=\"<d", "/a<b", 3),
            ("<title>a<b></title x='", "/title", 11),
            ("<i<b", "i<b", 0),
        ] {
            let last = tokens(text, 0).pop();
            assert_eq!(last, Some(Token::Unfinished { name: name.to_owned(), span: start..text.len() }), "{text}");
        }
    }

    #[test]
    fn spans_are_exact_in_unusual_html() {
        let text = "ä\r\n<!--x\r\n--><DIV\r\n Title = \"a&amp;b\r\nc\" hidden data-X='ü' y=z/w><!DOCTYPE html></Div >\r\n<fragment NAME=héé />";
        let found = tokens(text, 0);
        let Token::Start(div) = &found[1] else { panic!("{found:?}") };
        assert_eq!(div.name, "div");
        assert_eq!(&text[div.span.clone()], "<DIV\r\n Title = \"a&amp;b\r\nc\" hidden data-X='ü' y=z/w>");
        let names: Vec<_> =
            div.attributes.iter().map(|a| (&text[a.name_span.clone()], &text[a.value_span.clone()])).collect();
        assert_eq!(names, [("Title", "a&amp;b\r\nc"), ("hidden", ""), ("data-X", "ü"), ("y", "z/w")]);
        assert_eq!(div.attributes[0].value, "a&b\nc");
        let spans: Vec<&str> = written(text);
        assert_eq!(&spans[1..], ["</Div >", "<fragment NAME=héé />"]);
    }
}
