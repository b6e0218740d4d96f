//! How mistakes are shown: drawn with the line and a caret, as JSON, or for GitHub.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use crate::page::diagnostic::{Diagnostic, Severity};

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    code: &'a str,
    severity: String,
    message: &'a str,
    help: Option<&'a str>,
}

/// A mistake as an editor should see it. `anstream` takes the colours out where none are wanted.
pub(super) fn human(problem: &Diagnostic) -> String {
    let level = match problem.code.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let source = &problem.at.source;
    let span = visible(&source.text, problem.at.span.clone());
    let title = level.primary_title(problem.message.as_str()).id(problem.code.as_str());
    let mut group = if source.text.is_empty() {
        Group::with_title(title).element(annotate_snippets::Origin::path(source.file.as_str()))
    } else {
        let snippet = Snippet::source(source.text.as_str())
            .path(source.file.as_str())
            .annotation(AnnotationKind::Primary.span(span));
        Group::with_title(title).element(snippet)
    };
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    Renderer::styled().decor_style(DecorStyle::Ascii).render(&[group])
}

/// The first line of a span: a tag over many lines is told at its head.
fn visible(text: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    let line_end = text[start..end].find(['\r', '\n']).map_or(end, |at| start + at);
    start..line_end
}

/// A mistake as one line of JSON.
pub(super) fn json(problem: &Diagnostic) -> String {
    let (line, column) = problem.at.source.position(problem.at.span.start);
    let line = Line {
        file: &problem.at.source.file,
        line,
        column,
        code: problem.code.as_str(),
        severity: problem.code.severity().to_string(),
        message: &problem.message,
        help: problem.help.as_deref(),
    };
    serde_json::to_string(&line).expect("texts and numbers are JSON")
}

/// A mistake as an annotation of GitHub Actions.
pub(super) fn github(problem: &Diagnostic) -> String {
    let (line, column) = problem.at.source.position(problem.at.span.start);
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let help = problem.help.as_deref().map(|help| format!("\n{help}")).unwrap_or_default();
    format!(
        "::{} file={},line={line},col={column},title={}::{}",
        problem.code.severity(),
        property(&problem.at.source.file),
        problem.code.as_str(),
        data(&format!("{}{help}", problem.message)),
    )
}

/// How many mistakes there are, in words.
pub(super) fn count(problems: &[Diagnostic]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let some = |count: usize, one: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        more => Some(format!("{more} {one}s")),
    };
    let parts: Vec<String> = some(errors, "error").into_iter().chain(some(warnings, "warning")).collect();
    if parts.is_empty() { "no mistakes".to_owned() } else { parts.join(" and ") }
}

/// Why a command could not run.
pub(super) fn cannot_run(why: &str) -> String {
    Renderer::styled().render(&[Group::with_title(Level::ERROR.primary_title(why))])
}
