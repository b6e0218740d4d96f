//! Parses one file below `layouts/` without the others.
//! A file that is larger than [`MAX_BYTES`] is not read at all.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source, SourceSpan};
use crate::page::source::names;

use super::front_matter::{self, FrontMatter};
use super::markup::{self, Markup, Role};
use super::node::Node;

/// Maximum size of a layout file, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// A layout file, and all its errors that can be found without other files.
#[derive(Debug)]
pub struct LayoutFile {
    /// The file, named by its path below the site: `layouts/front.html`.
    pub source: Arc<Source>,
    /// The TOML between the two lines `+++`.
    pub front: FrontMatter,
    /// The HTML after it.
    pub nodes: Vec<Node>,
    /// Maximum depth of nested elements of Pasteup's.
    pub depth: usize,
    /// Errors and warnings.
    pub problems: Vec<Diagnostic>,
}

impl LayoutFile {
    /// Parses a file.
    #[must_use]
    pub fn parse(source: &Arc<Source>) -> Self {
        let mut problems = Vec::new();
        let (range, body) = split(&source.text);
        let mut front = match range {
            Some(range) => front_matter::parse(source, range, &mut problems),
            None => FrontMatter::default(),
        };
        if let Some(line) = misplaced_front_matter(&source.text).filter(|_| body == Some(byte_order_mark(&source.text)))
        {
            let message = "this looks like front matter, but it does not start on the first line";
            let problem = Diagnostic::new(Code::FrontMatter, SourceSpan::new(source, line), message);
            problems.push(problem.help(
                "the very first line must be `+++` and nothing else, and another such line must end the front matter",
            ));
            // The file was not meant to be a partial, so its last good version stays live as a page.
            front.has_invalid_route = true;
        }
        let body = body.unwrap_or_else(|| {
            let at = SourceSpan::new(source, 0..source.text.lines().next().map_or(0, str::len));
            let problem = Diagnostic::new(Code::FrontMatter, at, "the front matter is not closed");
            problems.push(problem.help("end it with a line that is `+++` and nothing else"));
            source.text.len()
        });
        // In a page a `<slot>` is HTML's own element; in a frame it is filled by the page.
        let role = Role {
            has_slots: front.routes.is_empty() && front.status.is_none(),
            fills: front.frame.is_some(),
            is_response: false,
            esi: front.esi,
        };
        let Markup { nodes, depth, .. } = markup::parse(source, body, role, &mut problems);
        Self { source: Arc::clone(source), front, nodes, depth, problems }
    }

    /// The path below `layouts/`, as `frame` and `include` name it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.source.file.strip_prefix("layouts/").unwrap_or(&self.source.file)
    }

    /// Whether it is the layout of a page rather than a frame or a partial.
    #[must_use]
    pub fn is_page(&self) -> bool {
        !self.front.routes.is_empty() || self.front.status.is_some() || self.front.has_invalid_route
    }
}

/// Warnings about front matter of a frame or a partial that has no effect there.
pub(crate) fn without_effect(file: &LayoutFile) -> impl Iterator<Item = Diagnostic> + '_ {
    file.front.page_keys.iter().map(|key| {
        let message = format!("`{}` has no effect here: the page that uses this file decides it", key.value);
        Diagnostic::new(Code::Ignored, key.at.clone(), message).help("move it to the file with the `route`")
    })
}

/// The error that a file which another one names does not exist.
pub(crate) fn missing_file(named: &Located<String>, files: &BTreeMap<String, LayoutFile>) -> Diagnostic {
    let help = names::did_you_mean(&named.value, files.keys().map(String::as_str));
    let message = format!("there is no file `{}` below layouts/", named.value);
    Diagnostic::new(Code::MissingFile, named.at.clone(), message).maybe_help(help)
}

/// The length of a byte order mark in bytes; 0 if there is none. Some editors on Windows write one; it is not a part of
/// the page.
fn byte_order_mark(text: &str) -> usize {
    if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

/// A line that was probably meant to begin front matter, but does not.
fn misplaced_front_matter(text: &str) -> Option<Range<usize>> {
    let bare = &text[byte_order_mark(text)..];
    let start = text.len() - bare.trim_start().len();
    let line = text[start..].lines().next().unwrap_or_default().trim_end();
    let dashes = line.len() >= 3 && line.bytes().all(|byte| byte == b'-');
    (line.starts_with("+++") || dashes).then_some(start..start + line.len())
}

/// The bytes of the front matter, and the first byte of the HTML; `None` for front matter that does not end.
fn split(text: &str) -> (Option<Range<usize>>, Option<usize>) {
    let mark = byte_order_mark(text);
    let mut lines = text[mark..].split_inclusive('\n');
    let mut at = mark;
    match lines.next() {
        Some(first) if first.trim_end() == "+++" => at += first.len(),
        _ => return (None, Some(mark)),
    }
    let start = at;
    for line in lines {
        if line.trim_end() == "+++" {
            return (Some(start..at), Some(at + line.len()));
        }
        at += line.len();
    }
    (None, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_ends_at_its_last_line() {
        for (text, html) in [
            ("+++\nroute = \"/\"\n+++\n<p>", "<p>"),
            ("+++\r\nroute = \"/\"\r\n+++\r\n\r\n<p>", "\r\n<p>"),
            ("\u{feff}+++\nroute = \"/\"\n+++\n", ""),
            ("<p>+++\n", "<p>+++\n"),
            (" +++\n", " +++\n"),
        ] {
            let body = split(text).1.expect("it ends");
            assert_eq!(&text[body..], html, "{text:?}");
        }
        assert_eq!(split("+++\nroute = 1\n"), (None, None));
    }

    #[test]
    fn misplaced_front_matter_is_an_error() {
        for text in [
            "\n+++\nroute = \"/\"\n+++\n",
            "  +++\nroute = \"/\"\n+++\n",
            "++++\nroute = \"/\"\n++++\n",
            "---\nroute: /\n---\n",
            "+++ route = \"/\" +++\n<p>",
            "\u{feff} +++\n",
        ] {
            let file = LayoutFile::parse(&Source::new("layouts/a.html", text));
            assert_eq!(file.problems.len(), 1, "{text:?}");
            assert_eq!(file.problems[0].code, Code::FrontMatter);
            assert!(file.is_page(), "{text:?}");
        }
        for text in ["", "\n", "<p>+++\n", "-- \n", "--- a\n", "a\n+++\n", "+++\n+++\n"] {
            assert_eq!(LayoutFile::parse(&Source::new("layouts/a.html", text)).problems, [], "{text:?}");
        }
    }
}
