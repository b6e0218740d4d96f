//! `pasteup check`: reports every error and warning in layouts, manifests and settings.
//! A nanoservice that does not respond is not an error; `--offline` makes no requests at all.

use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::tz::TimeZone;

use crate::config::Flags;
use crate::edge::clock::SystemClock;
use crate::engine::port::Clock as _;
use crate::page::source::diagnostic;

use super::exit::PROBLEMS_FOUND;
use super::{deprecations, report, site_loading, terminal};

/// The options of `pasteup check`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Requests no manifests from running services
    #[arg(long)]
    offline: bool,
    /// Treats warnings as errors
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: each problem with its source line
    Human,
    /// One JSON object per line
    Json,
    /// Annotations for GitHub Actions
    Github,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let discover = if options.offline { site_loading::offline } else { site_loading::discover_once };
    let folder = site_loading::open(site)?;
    let loaded = site_loading::load(&folder, Flags::default(), None, discover);
    let mut problems = loaded.problems();
    problems.extend(site_loading::missing_programs(&loaded.site, folder.root()));
    problems.extend(site_loading::broken_components(&loaded, folder.root()));
    problems.extend(loaded.site.hidden_files(&folder.public_files()));
    diagnostic::tidy(&mut problems);
    if !options.offline {
        problems.extend(deprecations::warnings(&loaded, folder.root()));
        diagnostic::tidy(&mut problems);
    }
    let lines = problems.iter().map(|problem| match options.format {
        Format::Human => format!("{}\n\n", report::human(problem)),
        Format::Json => format!("{}\n", report::json(problem)),
        Format::Github => format!("{}\n", report::github(problem)),
    });
    terminal::print(lines.collect::<String>())?;
    if options.format == Format::Human {
        let pages = report::counted(loaded.site.templates.len(), "page");
        let services = report::counted(loaded.site.catalogue.names().len(), "nanoservice");
        let root = folder.root().display();
        match report::count(&problems) {
            None => terminal::message(format_args!("{root} is valid: {pages}, {services}")),
            Some(count) => terminal::message(format_args!("{count} in {root}; {pages} and {services} are valid")),
        }
    }
    let today = SystemClock.wall().to_zoned(TimeZone::UTC).date();
    let due = problems.iter().filter(|problem| problem.is_due(today)).count();
    if due > 0 && options.format == Format::Human {
        let uses = report::counted(due, "use");
        terminal::message(format_args!(
            "{uses} of what should be gone by today: layouts stay live, but the check fails"
        ));
    }
    let failed = due > 0 || problems.iter().any(|problem| options.strict || problem.is_error());
    Ok(if failed { PROBLEMS_FOUND.into() } else { ExitCode::SUCCESS })
}
