//! Errors and warnings about a site's files: where each one is, what is wrong, and what to do about it.
//! A span that lies outside its file is moved to the file's end.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;
use serde::Serialize;

/// A file's name, as its author knows it, and its text.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Path below the site, with forward slashes: `layouts/front.html`.
    pub file: String,
    /// The whole file.
    pub text: String,
    /// The offset of each line's first byte, so that positions are found without searching the text.
    lines: Vec<usize>,
}

impl Source {
    /// Creates a source from a file's name and text.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        // A byte order mark is not counted as a column of the first line.
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let lines = std::iter::once(first).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Arc::new(Self { file: file.into(), text, lines })
    }

    /// The text of a span; empty if the span is not inside the text.
    #[must_use]
    pub fn slice(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// The bytes of the line that contains an offset, without its line ending.
    #[must_use]
    pub fn line(&self, offset: usize) -> Range<usize> {
        let (line, _) = self.position(offset);
        let start = self.lines[line - 1];
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        start..start + self.slice(start..end).trim_end_matches('\r').len()
    }

    /// Line and column of a byte offset, both counted from 1. A column is a Unicode scalar value; a tab counts as one.
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

/// A range of bytes in a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceSpan {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes, whose ends are character boundaries.
    pub span: Range<usize>,
}

impl SourceSpan {
    /// Creates a span, and widens it to whole characters.
    #[must_use]
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        // A renderer slices the text at these offsets.
        let start = source.text.floor_char_boundary(span.start);
        let end = source.text.ceil_char_boundary(span.end).max(start);
        Self { source: Arc::clone(source), span: start..end }
    }
}

/// A value, and its position in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The position of the value.
    pub at: SourceSpan,
}

/// Whether a diagnostic prevents its file from going live.
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
        /// The stable name of a kind of diagnostic, for programs and for searching the documentation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// The name, as it is printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether diagnostics of this kind are errors or warnings.
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
    /// The same route pattern is used in two places.
    DuplicateRoute = "duplicate-route", Error;
    /// A route pattern is not valid.
    BadRoute = "bad-route", Error;
    /// The program of a manifest is missing, or cannot be executed.
    NoProgram = "no-program", Error;
    /// The component of a manifest is missing or is not one, needs what components are not offered, or this build runs none.
    BadComponent = "bad-component", Error;
    /// A fragment's name is not in the catalogue.
    UnknownFragment = "unknown-fragment", Error;
    /// No version in the catalogue satisfies the range.
    NoSuchVersion = "no-such-version", Error;
    /// No locked version satisfies the range.
    NotLocked = "not-locked", Error;
    /// The lock file has an error.
    Lock = "lock", Error;
    /// A locked version's manifest says something else than when it was locked.
    ChangedWithoutVersion = "changed-without-version", Warning;
    /// A `data-*` attribute is not a parameter that the nanoservice declares.
    UnknownParameter = "unknown-parameter", Error;
    /// The layout does not give a required parameter.
    MissingParameter = "missing-parameter", Error;
    /// A literal value is not valid for its parameter.
    BadParameter = "bad-parameter", Error;
    /// An element of Pasteup's does not have this attribute.
    UnknownAttribute = "unknown-attribute", Error;
    /// The value of an attribute is not valid.
    BadValue = "bad-value", Error;
    /// An element lacks the attribute without which it has no meaning.
    MissingName = "missing-name", Error;
    /// `{x}` is neither a route parameter nor a declared query parameter.
    UnknownPlaceholder = "unknown-placeholder", Error;
    /// A file that another file names does not exist.
    MissingFile = "missing-file", Error;
    /// Partials or frames include each other in a cycle.
    IncludeCycle = "include-cycle", Error;
    /// The frame has no slot of this name.
    UnknownSlot = "unknown-slot", Error;
    /// Two slots have the same name.
    DuplicateSlot = "duplicate-slot", Error;
    /// An element of Pasteup's is not closed, or a file ends within a tag, a comment or a script.
    Unclosed = "unclosed", Error;
    /// An end tag closes nothing.
    UnexpectedClose = "unexpected-close", Error;
    /// `src` is not on an allowed upstream.
    UpstreamNotAllowed = "upstream-not-allowed", Error;
    /// The file cannot be read.
    Unreadable = "unreadable", Error;
    /// A nanoservice's manifest has an error.
    Manifest = "manifest", Error;
    /// Two manifests have the same name and version.
    DuplicateVersion = "duplicate-version", Error;
    /// A manifest asks for what its discovery source is not granted.
    NotGranted = "not-granted", Error;
    /// A discovery source cannot be read; its last good manifests are in use.
    Discovery = "discovery", Warning;
    /// A setting has an error.
    Settings = "settings", Error;
    /// What must outlive the process cannot be kept, or read.
    State = "state", Warning;
    /// `ttl` is longer than the nanoservice allows.
    TtlTooLong = "ttl-too-long", Warning;
    /// The nanoservice is deprecated.
    Deprecated = "deprecated", Warning;
    /// A `required` fragment has no fallback.
    NoFallback = "no-fallback", Warning;
    /// An element has nearly the name of one of Pasteup's.
    NearMiss = "near-miss", Error;
    /// Something is never shown to any reader.
    NeverShown = "never-shown", Warning;
    /// A file of `public/` is never served.
    HiddenFile = "hidden-file", Warning;
    /// `timeout` is longer than the page's `budget`.
    OverBudget = "over-budget", Warning;
    /// No file uses a file that has fragments.
    Unused = "unused", Warning;
    /// An element of Pasteup's or of ESI is in a place where HTML has only text.
    TextOnly = "text-only", Warning;
    /// An element of ESI without content lacks the slash at its end.
    MissingSlash = "missing-slash", Warning;
    /// This version of Pasteup reads something, but does not support it.
    NotYet = "not-yet", Warning;
    /// Two nanoservices declare different `integrity` values for the same asset.
    Integrity = "integrity", Warning;
    /// A folder, a setting or an environment variable is ignored, which may not be intended.
    Ignored = "ignored", Warning;
    /// Several replicas need one key of the site, and none is set.
    NoKey = "no-key", Warning;
    /// A `<base>` that sends browsers to another site for what the compositor serves.
    ForeignBase = "foreign-base", Warning;
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// The place that it is about.
    pub at: SourceSpan,
    /// The description of the error, without a full stop.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
    /// The day from which on it is to be fixed: `pasteup check` fails then, although the file stays live.
    pub sunset: Option<Date>,
}

impl Diagnostic {
    /// Creates a diagnostic without help.
    pub fn new(code: Code, at: SourceSpan, message: impl Into<String>) -> Self {
        Self { code, at, message: message.into(), help: None, sunset: None }
    }

    /// Sets the day from which on it is to be fixed.
    #[must_use]
    pub const fn sunset(mut self, day: Option<Date>) -> Self {
        self.sunset = day;
        self
    }

    /// Whether it is to be fixed by this day at the latest.
    #[must_use]
    pub fn is_due(&self, today: Date) -> bool {
        self.sunset.is_some_and(|day| day <= today)
    }

    /// Sets the help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Sets or clears the help.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Whether it prevents its file from going live.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }
}

/// Maximum number of diagnostics that are reported for one file.
const MAX_PER_FILE: usize = 100;

/// Sorts diagnostics by file and place and removes duplicates (a partial is read once for each layout that includes it).
/// For a file with very many, keeps the first errors and then warnings, and counts the rest.
pub fn tidy(diagnostics: &mut Vec<Diagnostic>) {
    fn order(a: &Diagnostic, b: &Diagnostic) -> std::cmp::Ordering {
        let key = |d: &Diagnostic| (d.at.span.start, d.code.as_str());
        a.at.source.file.cmp(&b.at.source.file).then(key(a).cmp(&key(b))).then_with(|| a.message.cmp(&b.message))
    }
    diagnostics.sort_by(order);
    diagnostics.dedup_by(|a, b| {
        a.at.source.file == b.at.source.file && a.at.span == b.at.span && a.code == b.code && a.message == b.message
    });
    let mut reported = Vec::with_capacity(diagnostics.len());
    for of_file in diagnostics.chunk_by_mut(|a, b| a.at.source.file == b.at.source.file) {
        // One more than the maximum is allowed, so that a list that was tidied before does not change.
        if of_file.len() <= MAX_PER_FILE + 1 {
            reported.extend_from_slice(of_file);
            continue;
        }
        // Errors come first: a warning does not prevent the file from going live.
        of_file.sort_by_key(|problem| !problem.is_error());
        let (first, rest) = of_file.split_at_mut(MAX_PER_FILE);
        first.sort_by(order);
        reported.extend_from_slice(first);
        let next = &rest[0];
        let message = format!("there are {} more errors and warnings in this file", rest.len());
        reported.push(Diagnostic::new(next.code, next.at.clone(), message));
    }
    *diagnostics = reported;
}

/// A diagnostic as it is serialised for programs.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    code: &'a str,
    severity: String,
    message: &'a str,
    help: Option<&'a str>,
}

impl Diagnostic {
    /// The diagnostic as it is serialised for programs.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        let (line, column) = self.at.source.position(self.at.span.start);
        Report {
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
    fn diagnostics_beyond_the_maximum_are_counted() {
        let source = Source::new("a", "x".repeat(500));
        let one = |at: usize, code| Diagnostic::new(code, SourceSpan::new(&source, at..at + 1), "wrong");
        let mut problems: Vec<_> = (0..300).map(|at| one(at, Code::NotYet)).collect();
        problems.extend((400..410).map(|at| one(at, Code::BadValue)));
        tidy(&mut problems);
        assert_eq!(problems.len(), MAX_PER_FILE + 1);
        assert_eq!(problems.iter().filter(|problem| problem.is_error()).count(), 10);
        assert_eq!(problems[MAX_PER_FILE].message, "there are 210 more errors and warnings in this file");
        let before = problems.clone();
        tidy(&mut problems);
        assert_eq!(problems.len(), before.len(), "tidying twice changes nothing");
    }
}
