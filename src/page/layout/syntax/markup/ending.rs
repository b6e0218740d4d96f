//! Finds what the text of a file ends within: a tag, a comment, a doctype, or an element whose content is text.
//! Such a file was probably seen while it was being written, and its last good version stays live.

use std::ops::Range;

use crate::page::html::tokens::{CDATA, Token};

/// What a text ends within.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) at: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

impl Unfinished {
    /// A tag that begins at a byte. The name of an end tag begins with its slash.
    pub(super) fn tag(name: &str, start: usize) -> Self {
        Self {
            at: start..start + 1 + name.len(),
            message: format!("`<{name}` has no `>`"),
            help: "end it with `>` or ` />`; a quotation mark that is not closed extends to everything that follows"
                .to_owned(),
        }
    }

    /// A comment or a doctype.
    fn declaration(text: &str, span: &Range<usize>) -> Option<Self> {
        let whole = &text[span.clone()];
        let end = if whole.starts_with("<!--") { "-->" } else { ">" };
        // These are comments too (HTML standard, 13.2.5.43 to 13.2.5.52).
        let is_whole = whole.ends_with(end) || whole.ends_with("--!>") || matches!(whole, "<!-->" | "<!--->");
        (!is_whole && span.end == text.len()).then(|| {
            let what = if whole.starts_with("<!--") { "this comment" } else { "this" };
            let start = whole.char_indices().nth(4).map_or(whole.len(), |(at, _)| at);
            Self {
                at: span.start..span.start + start,
                message: format!("{what} has no `{end}`"),
                help: format!("write `{end}` where it ends; without it, everything that follows belongs to it"),
            }
        })
    }
}

/// What the text from byte `body` on ends within, given its last token.
pub(super) fn unfinished(text: &str, body: usize, last: Option<&Token>) -> Option<Unfinished> {
    match last {
        Some(Token::Unfinished { name, span }) => Some(Unfinished::tag(name, span.start)),
        // A CDATA section is not a comment, and ends where its drawing does.
        Some(Token::Comment { span }) if text[span.start..].starts_with(CDATA) => None,
        Some(Token::Comment { span } | Token::Doctype { span }) if span.end == text.len() => {
            Unfinished::declaration(text, span)
        }
        Some(Token::Start(tag)) if !tag.self_closing && is_text(&tag.name) => {
            let name = &tag.name;
            Some(Unfinished {
                at: tag.span.start..tag.span.start + 1 + name.len(),
                message: format!("`<{name}>` is not closed"),
                help: format!("write `</{name}>` where it ends; without it, everything that follows belongs to it"),
            })
        }
        other => {
            let from = other.map_or(body, |token| token.span().end);
            let rest = &text[from..];
            let tail = ["</", "<"].into_iter().find(|tail| rest.ends_with(tail))?;
            let start = text.len() - tail.len();
            Some(Unfinished {
                at: start..text.len(),
                message: format!("the file ends with `{tail}`"),
                help: "complete the tag, or write `&lt;` for the character".to_owned(),
            })
        }
    }
}

/// Whether the content of an element is text, in which only its own end tag counts. `<plaintext>` has no end tag.
fn is_text(name: &str) -> bool {
    matches!(name, "script" | "style" | "title" | "textarea" | "xmp" | "iframe" | "noembed" | "noframes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::html::tokens::tokens;

    #[test]
    fn a_text_that_ends_within_something_is_unfinished() {
        for (text, at) in [
            ("<div><fragm", "<fragm"),
            ("<div></di", "</di"),
            ("<a href=\"x>y", "<a"),
            ("<p>a <!-- b", "<!--"),
            ("<p>a <!", "<!"),
            ("<!doctype ht", "<!do"),
            ("<script>var a = '<b>';", "<script"),
            ("<style>a", "<style"),
            ("<title>a", "<title"),
            ("<script>a</scr", "<script"),
            ("<p>a<", "<"),
            ("</p>a</", "</"),
        ] {
            let found = unfinished(text, 0, tokens(text, 0).last()).map(|ending| text[ending.at].to_owned());
            assert_eq!(found.as_deref(), Some(at), "{text}");
        }
    }

    #[test]
    fn a_whole_text_is_finished() {
        for text in [
            "",
            "a < b",
            "<p>a",
            "<!-- a -->",
            "<!-->",
            "<!--->",
            "<!-- a --!>",
            "<!x>",
            "<?xml?>",
            "<!doctype html>",
            "<script></script>",
            "<title>a</title>\n",
            "<svg><style/></svg>",
            "<svg><![CDATA[ a ",
            "<plaintext>a <b",
            "<!--é-->",
        ] {
            assert_eq!(unfinished(text, 0, tokens(text, 0).last()), None, "{text}");
        }
    }
}
