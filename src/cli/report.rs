//! How mistakes are shown: drawn with the line and a caret, as JSON, or for GitHub.

use crate::page::source::diagnostic::{Diagnostic, Severity};
use crate::page::source::names;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Bytes of a line that is drawn, at most: nobody finds a place in a longer one by looking.
const MAX_DRAWN: usize = 4_000;

/// A mistake as an editor should see it. `anstream` takes the colours out where none are wanted.
pub(super) fn human(problem: &Diagnostic) -> String {
    drawn(problem, Renderer::styled())
}

/// The same without any colours.
pub(super) fn plain(problem: &Diagnostic) -> String {
    drawn(problem, Renderer::plain())
}

fn drawn(problem: &Diagnostic, renderer: Renderer) -> String {
    let level = match problem.code.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (source, span) = (&problem.at.source, &problem.at.span);
    let line = source.line(span.start);
    let text = source.slice(line.clone());
    let (number, column) = source.position(span.start);
    let title = Group::with_title(level.primary_title(problem.message.as_str()).id(problem.code.as_str()));
    let mut group = if source.text.is_empty() {
        title.element(Origin::path(source.file.as_str()))
    } else if text.len() > MAX_DRAWN || may_show_a_secret(&source.file, text) {
        title.element(Origin::path(source.file.as_str()).line(number).char_column(column))
    } else {
        // A tag over many lines is told at its head.
        let within = |at: usize| at.clamp(line.start, line.end) - line.start;
        let annotation = AnnotationKind::Primary.span(within(span.start)..within(span.end));
        title.element(Snippet::source(text).line_start(number).path(source.file.as_str()).annotation(annotation))
    };
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// Words in keys of settings and manifests whose values may be secrets.
const SECRETS: [&str; 8] = ["auth", "cert", "key", "otlp", "password", "redis", "secret", "token"];

/// Whether a line says, or nearly says, that a secret stands in it. Logs of builds are read by many.
fn may_show_a_secret(file: &str, line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_ascii_lowercase);
    !file.ends_with(".html") && words.any(|word| !word.is_empty() && names::nearest(&word, SECRETS).is_some())
}

/// What came of writing to standard output. Whoever reads no further wants no more: no fault.
pub(super) fn written(result: std::io::Result<()>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("standard output: {error}")),
    }
}

/// A mistake as one line of JSON.
pub(super) fn json(problem: &Diagnostic) -> String {
    serde_json::to_string(&problem.told()).expect("texts and numbers are JSON")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::source::diagnostic::{Code, Source, SourceSpan};

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_drawn() {
        for line in [
            "admin_token = \"hush\"",
            "admin_tokn = \"hush\"",
            "auth = { kind = \"beer\", pasword = \"hush\" }",
            "PASTEUP_SERVER__ADMIN_TOKEN=hush",
            "redis = \"redis://u:hush@a\"",
            "token = \"hush",
        ] {
            let source = Source::new("pasteup.toml", format!("[server]\n{line}\n"));
            let drawn = human(&Diagnostic::new(Code::Settings, SourceSpan::new(&source, 9..12), "wrong"));
            assert!(!drawn.contains("hush") && drawn.contains("pasteup.toml:2:1"), "{drawn}");
        }
        for (file, line) in [("pasteup.toml", "listen = \"everywhere\""), ("layouts/a.html", "<p token=x>")] {
            let source = Source::new(file, line);
            let drawn = human(&Diagnostic::new(Code::Settings, SourceSpan::new(&source, 0..2), "wrong"));
            assert!(drawn.contains(line), "{drawn}");
        }
    }
}
