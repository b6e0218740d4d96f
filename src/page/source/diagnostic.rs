//! A mistake in somebody's file: where it is, what it is, and what to do about it.
//! A span that lies outside its file is shown at the file's end.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

/// A file's name, as its writer knows it, and its text.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Path below the site, with forward slashes: `layouts/front.html`.
    pub file: String,
    /// The whole file.
    pub text: String,
    /// Where each line begins, so that places are found without reading the file again.
    lines: Vec<usize>,
}

impl Source {
    /// Names a text.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        // A byte order mark is no column of the first line.
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let lines = std::iter::once(first).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Arc::new(Self { file: file.into(), text, lines })
    }

    /// The text of a span; empty where the span is none of this file's.
    #[must_use]
    pub fn slice(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// The bytes of the line that an offset stands in, without its end.
    #[must_use]
    pub fn line(&self, offset: usize) -> Range<usize> {
        let (line, _) = self.position(offset);
        let start = self.lines[line - 1];
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        start..start + self.slice(start..end).trim_end_matches('\r').len()
    }

    /// Line and column, both from 1, of a byte offset. A column counts characters, a tab as one.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1].min(offset);
        (line, self.text[start..offset].chars().count() + 1)
    }
}

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceSpan {
    /// The file.
    pub source: Arc<Source>,
    /// Bytes of it.
    pub span: Range<usize>,
}

impl SourceSpan {
    /// A place in a source.
    #[must_use]
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        // Whoever draws it cuts the text there.
        let start = source.text.floor_char_boundary(span.start);
        let end = source.text.ceil_char_boundary(span.end).max(start);
        Self { source: Arc::clone(source), span: start..end }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub at: SourceSpan,
}

/// Whether a mistake keeps a file from going live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The file does not go live.
    Error,
    /// The file goes live.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $severity:ident;)*) => {
        /// The stable name of a kind of mistake, for programs and for searching the docs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// The name as it is printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How much it weighs.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// A layout's front matter does not parse, or a key or value in it is wrong.
    FrontMatter = "front-matter", Error;
    /// One route pattern in two places.
    DuplicateRoute = "duplicate-route", Error;
    /// A route pattern that is none.
    BadRoute = "bad-route", Error;
    /// A fragment's name is not in the catalogue.
    UnknownFragment = "unknown-fragment", Error;
    /// No version in the catalogue satisfies the range.
    NoSuchVersion = "no-such-version", Error;
    /// A `data-*` that the nanoservice does not declare.
    UnknownParameter = "unknown-parameter", Error;
    /// A required parameter that the layout does not give.
    MissingParameter = "missing-parameter", Error;
    /// A literal value that the nanoservice would refuse.
    BadParameter = "bad-parameter", Error;
    /// An attribute that one of our elements does not have.
    UnknownAttribute = "unknown-attribute", Error;
    /// An attribute's value is not of its kind.
    BadValue = "bad-value", Error;
    /// An element lacks the attribute that says what it is about.
    MissingName = "missing-name", Error;
    /// `{x}` is neither a route parameter nor a declared query parameter.
    UnknownPlaceholder = "unknown-placeholder", Error;
    /// A file that is referred to is not there.
    MissingFile = "missing-file", Error;
    /// Partials or frames include each other.
    IncludeCycle = "include-cycle", Error;
    /// The frame has no such slot.
    UnknownSlot = "unknown-slot", Error;
    /// Two slots of one name.
    DuplicateSlot = "duplicate-slot", Error;
    /// One of our own elements is not closed.
    Unclosed = "unclosed", Error;
    /// An end tag closes nothing.
    UnexpectedClose = "unexpected-close", Error;
    /// `src` is on no allowed upstream.
    UpstreamNotAllowed = "upstream-not-allowed", Error;
    /// The file cannot be read at all.
    Unreadable = "unreadable", Error;
    /// A nanoservice's manifest is wrong.
    Manifest = "manifest", Error;
    /// One name and version in two manifests.
    DuplicateVersion = "duplicate-version", Error;
    /// A source of manifests cannot be asked; what it told last is in use.
    Discovery = "discovery", Warning;
    /// A setting is wrong.
    Settings = "settings", Error;
    /// `ttl` is longer than what the nanoservice allows.
    TtlTooLong = "ttl-too-long", Warning;
    /// The nanoservice is going away.
    Deprecated = "deprecated", Warning;
    /// A `required` fragment without a fallback.
    NoFallback = "no-fallback", Warning;
    /// Understood, but this version of Pasteup does not act on it.
    NotYet = "not-yet", Warning;
    /// Two nanoservices say that one asset holds different bytes.
    Integrity = "integrity", Warning;
    /// A folder, a setting, or a variable of the environment that is passed over though it may not be meant
    /// to be.
    Ignored = "ignored", Warning;
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// What kind.
    pub code: Code,
    /// Where.
    pub at: SourceSpan,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake without advice.
    pub fn new(code: Code, at: SourceSpan, message: impl Into<String>) -> Self {
        Self { code, at, message: message.into(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds advice where there is some.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Whether it keeps its file from going live.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }
}

/// Mistakes of one file that are told, at most.
const MOST: usize = 100;

/// Puts mistakes in reading order and drops those said twice (a partial is read once a layout), and of
/// a file with very many all but the first.
pub fn tidy(diagnostics: &mut Vec<Diagnostic>) {
    fn order(a: &Diagnostic, b: &Diagnostic) -> std::cmp::Ordering {
        let key = |d: &Diagnostic| (d.at.span.start, d.code.as_str());
        a.at.source.file.cmp(&b.at.source.file).then(key(a).cmp(&key(b))).then_with(|| a.message.cmp(&b.message))
    }
    diagnostics.sort_by(order);
    diagnostics.dedup_by(|a, b| {
        a.at.source.file == b.at.source.file && a.at.span == b.at.span && a.code == b.code && a.message == b.message
    });
    let mut told = Vec::with_capacity(diagnostics.len());
    for of_file in diagnostics.chunk_by_mut(|a, b| a.at.source.file == b.at.source.file) {
        // One more is told as it is, so that what was tidied stays as it is.
        if of_file.len() <= MOST + 1 {
            told.extend_from_slice(of_file);
            continue;
        }
        // Errors first: a warning does not keep the file from going live.
        of_file.sort_by_key(|problem| !problem.is_error());
        let (most, rest) = of_file.split_at_mut(MOST);
        most.sort_by(order);
        told.extend_from_slice(most);
        let next = &rest[0];
        let message = format!("there are {} more mistakes in this file", rest.len());
        told.push(Diagnostic::new(next.code, next.at.clone(), message));
    }
    *diagnostics = told;
}

/// A mistake as programs are told of it.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    code: &'a str,
    severity: String,
    message: &'a str,
    help: Option<&'a str>,
}

impl Diagnostic {
    /// It, as programs are told of it.
    #[must_use]
    pub fn told(&self) -> Told<'_> {
        let (line, column) = self.at.source.position(self.at.span.start);
        Told {
            file: &self.at.source.file,
            line,
            column,
            code: self.code.as_str(),
            severity: self.code.severity().to_string(),
            message: &self.message,
            help: self.help.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_counts_characters_not_bytes() {
        let source = Source::new("a", "zwölf\r\nÄ<x");
        let at = source.text.find('<').expect("it is there");
        assert_eq!(source.position(at), (2, 2));
        assert_eq!(source.position(999), (2, 4));
        assert_eq!(source.position(0), (1, 1));
        let source = Source::new("a", "\u{feff}ab\nc");
        assert_eq!([0, 3, 4, 5, 6].map(|at| source.position(at)), [(1, 1), (1, 1), (1, 2), (1, 3), (2, 1)]);
    }

    #[test]
    fn of_very_many_mistakes_the_rest_is_counted() {
        let source = Source::new("a", "x".repeat(500));
        let one = |at: usize, code| Diagnostic::new(code, SourceSpan::new(&source, at..at + 1), "wrong");
        let mut problems: Vec<_> = (0..300).map(|at| one(at, Code::NotYet)).collect();
        problems.extend((400..410).map(|at| one(at, Code::BadValue)));
        tidy(&mut problems);
        assert_eq!(problems.len(), MOST + 1);
        assert_eq!(problems.iter().filter(|problem| problem.is_error()).count(), 10);
        assert_eq!(problems[MOST].message, "there are 210 more mistakes in this file");
        let before = problems.clone();
        tidy(&mut problems);
        assert_eq!(problems.len(), before.len(), "tidying twice changes nothing");
    }
}
