//! Formats errors and warnings: with the source line and a caret, as JSON, or as annotations for GitHub Actions.
//! A line that may contain a secret, and a very long one, is not quoted; only its position is given.
//! The fuzz target `layout` compiles this file too, so it does not depend on the command line.

use crate::page::source::diagnostic::{Diagnostic, Severity};
use crate::page::source::names;
use crate::page::source::visible::{masked, visible, visible_json};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Longest line that is quoted, in bytes. In a longer one the caret is hard to find.
const MAX_QUOTED: usize = 4_000;

/// A problem with its source line, in colour. `anstream` removes the colours if the output does not support them.
pub(super) fn human(problem: &Diagnostic) -> String {
    with_source(problem, Renderer::styled())
}

/// A problem with its source line, without colours.
pub(super) fn plain(problem: &Diagnostic) -> String {
    with_source(problem, Renderer::plain())
}

fn with_source(problem: &Diagnostic, renderer: Renderer) -> String {
    let level = match problem.code.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (source, span) = (&problem.at.source, &problem.at.span);
    let line = source.line(span.start);
    let text = source.slice(line.clone());
    let (number, column) = source.position(span.start);
    // All of these may be the words of a manifest's author, or of a program that publishes one.
    let (message, file) = (visible(&problem.message), visible(&source.file));
    let help = problem.help.as_deref().map(visible);
    let quoted = masked(text);
    let title = Group::with_title(level.primary_title(&*message).id(problem.code.as_str()));
    let mut group = if source.text.is_empty() {
        title.element(Origin::path(&*file))
    } else if text.len() > MAX_QUOTED || may_contain_secret(&source.file, text) {
        title.element(Origin::path(&*file).line(number).char_column(column))
    } else {
        // Only the first line of a span over several lines is quoted.
        let in_line = |at: usize| at.clamp(line.start, line.end) - line.start;
        let annotation = AnnotationKind::Primary.span(in_line(span.start)..in_line(span.end));
        title.element(Snippet::source(&*quoted).line_start(number).path(&*file).annotation(annotation))
    };
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(&**help));
    }
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// Words in the keys of settings and manifests whose values may be secrets.
const SECRET_WORDS: [&str; 8] = ["auth", "cert", "key", "otlp", "password", "redis", "secret", "token"];

/// Whether a line contains one of [`SECRET_WORDS`], or a misspelling of one. Many people can read build logs.
fn may_contain_secret(file: &str, line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_ascii_lowercase);
    !file.ends_with(".html") && words.any(|word| !word.is_empty() && names::nearest(&word, SECRET_WORDS).is_some())
}

/// A problem as one line of JSON.
pub(super) fn json(problem: &Diagnostic) -> String {
    visible_json(serde_json::to_string(&problem.report()).expect("texts and numbers can be written as JSON"))
}

/// A problem as an annotation for GitHub Actions.
pub(super) fn github(problem: &Diagnostic) -> String {
    let (line, column) = problem.at.source.position(problem.at.span.start);
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let help = problem.help.as_deref().map(|help| format!("\n{help}")).unwrap_or_default();
    let annotation = format!(
        "::{} file={},line={line},col={column},title={}::{}",
        problem.code.severity(),
        property(&problem.at.source.file),
        problem.code.as_str(),
        data(&format!("{}{help}", problem.message)),
    );
    visible(&annotation).into_owned()
}

/// The number of errors and of warnings: `1 error and 2 warnings`. `None`: there are neither.
pub(super) fn count(problems: &[Diagnostic]) -> Option<String> {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    match (errors, problems.len() - errors) {
        (0, 0) => None,
        (errors, 0) => Some(counted(errors, "error")),
        (0, warnings) => Some(counted(warnings, "warning")),
        (errors, warnings) => Some(format!("{} and {}", counted(errors, "error"), counted(warnings, "warning"))),
    }
}

/// A number of things: `1 page`, `2 pages`.
pub(super) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// The reason why a command could not run, as an error message.
pub(super) fn could_not_run(reason: &str) -> String {
    Renderer::styled().render(&[Group::with_title(Level::ERROR.primary_title(&*visible(reason)))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::diagnostic::{Code, Source, SourceSpan};

    #[test]
    fn a_line_that_may_contain_a_secret_is_not_quoted() {
        for line in [
            "admin_token = \"hush\"",
            "admin_tokn = \"hush\"",
            "auth = { kind = \"beer\", pasword = \"hush\" }",
            "PASTEUP_SERVER__ADMIN_TOKEN=hush",
            "redis = \"redis://u:hush@a\"",
            "token = \"hush",
        ] {
            let source = Source::new("pasteup.toml", format!("[server]\n{line}\n"));
            let quoted = human(&Diagnostic::new(Code::Settings, SourceSpan::new(&source, 9..12), "wrong"));
            assert!(!quoted.contains("hush") && quoted.contains("pasteup.toml:2:1"), "{quoted}");
        }
        for (file, line) in [("pasteup.toml", "listen = \"everywhere\""), ("layouts/a.html", "<p token=x>")] {
            let source = Source::new(file, line);
            let quoted = human(&Diagnostic::new(Code::Settings, SourceSpan::new(&source, 0..2), "wrong"));
            assert!(quoted.contains(line), "{quoted}");
        }
    }
}
