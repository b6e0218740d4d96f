//! `pasteup update`: locks the versions that ranges choose, and prints one line for each change.
//! While a layout has an error it is unknown which ranges there are, so nothing is written.

use std::path::Path;
use std::process::ExitCode;

use semver::Version;

use crate::config::Flags;
use crate::page::manifest::lock::{self, Lock};
use crate::page::site::Precisely;
use crate::page::source::diagnostic::{Code, Diagnostic};
use crate::page::source::names::Name;

use super::exit::PROBLEMS_FOUND;
use super::{report, site_loading, terminal};

/// The options of `pasteup update`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The nanoservices to lock anew; all of them if left out
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Locks exactly this version, of one NAME
    #[arg(long, value_name = "VERSION", requires = "names")]
    precise: Option<Version>,
    /// Prints the changes, and writes nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let folder = site_loading::open(site)?;
    let names: Vec<Name> = options.names.iter().map(|name| Name::from(name.as_str())).collect();
    let precisely = match (&options.precise, &*names) {
        (None, _) => None,
        (Some(version), [name]) => Some(Precisely { name: Name::from(&**name), version: version.clone() }),
        (Some(_), _) => return Err("`--precise` locks a version of one NAME".to_owned()),
    };
    let loaded = site_loading::load_unlocked(&folder, Flags::default(), site_loading::discover_once);
    let is_ours = |problem: &&Diagnostic| problem.is_error() && problem.code != Code::Settings;
    let problems = loaded.problems();
    let errors: Vec<&Diagnostic> = problems.iter().filter(is_ours).collect();
    for problem in &errors {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    if errors.iter().any(|problem| problem.at.source.file.starts_with("layouts/")) {
        terminal::message("nothing is locked: while layouts have errors, it is unknown what they use");
        return Ok(PROBLEMS_FOUND.into());
    }
    // One with an error is written anew.
    let before = folder.files().lock.and_then(|source| Lock::parse(&source.ok()?).0);
    let (after, changes) =
        loaded.site.relock(before.as_ref().unwrap_or(&Lock::default()), &names, precisely.as_ref())?;
    terminal::print(changes.iter().map(|change| format!("{change}\n")).collect::<String>())?;
    if changes.is_empty() {
        terminal::message("all versions are locked already");
    }
    if options.dry_run {
        terminal::message(format_args!("{} is not written, because of `--dry-run`", lock::FILE));
    } else if before.as_ref() != Some(&after) {
        folder.write_lock(&after.write())?;
    }
    Ok(ExitCode::SUCCESS)
}
