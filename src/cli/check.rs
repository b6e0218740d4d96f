//! `pasteup check`: every mistake in layouts, manifests and settings.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::config::Flags;
use crate::page::source::diagnostic;

use super::{CheckFormat, FOUND, endings, loading, report};

pub(super) fn run(site: &Path, format: CheckFormat, offline: bool, strict: bool) -> Result<ExitCode, String> {
    let discover = if offline { loading::offline } else { loading::ask_once };
    let folder = loading::open(site)?;
    let loaded = loading::load(&folder, Flags::default(), None, discover);
    let mut problems = loaded.problems();
    if !offline {
        problems.extend(endings::warnings(&loaded, folder.root()));
        diagnostic::tidy(&mut problems);
    }
    let mut output = anstream::stdout().lock();
    let written = problems.iter().try_for_each(|problem| match format {
        CheckFormat::Human => writeln!(output, "{}\n", report::human(problem)),
        CheckFormat::Json => writeln!(output, "{}", report::json(problem)),
        CheckFormat::Github => writeln!(output, "{}", report::github(problem)),
    });
    report::written(written.and_then(|()| output.flush()))?;
    if matches!(format, CheckFormat::Human) {
        let (pages, services) = (loaded.site.templates.len(), loaded.site.catalogue.names().len());
        let live = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        anstream::eprintln!(
            "{} in {}: {} and {} can go live",
            report::count(&problems),
            folder.root().display(),
            live(pages, "page"),
            live(services, "nanoservice"),
        );
    }
    let bad = problems.iter().any(|problem| strict || problem.is_error());
    Ok(if bad { FOUND.into() } else { ExitCode::SUCCESS })
}
