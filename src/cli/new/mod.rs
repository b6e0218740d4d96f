//! `pasteup new`: makes a site, a page or a nanoservice that works as it is.
//! Nothing is ever overwritten: what is there already is named, and the command exits with 2.

mod fragment;
mod page;
mod site;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::page::source::names;
use crate::page::source::visible::visible;

/// The options of `pasteup new`.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Makes a small site in a new folder
    Site(site::Options),
    /// Makes a page: layouts/NAME.html
    Page(page::Options),
    /// Makes a nanoservice that runs on demand: fragments/NAME/
    Fragment(fragment::Options),
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    match &options.what {
        What::Site(options) => site::run(options),
        What::Page(options) => page::run(site, options),
        What::Fragment(options) => fragment::run(site, options),
    }
}

/// A file that is to be made: its path below a folder, and its text.
type NewFile = (PathBuf, String);

/// Writes files below a folder, none of which may be there.
fn write(folder: &Path, files: &[NewFile]) -> Result<(), String> {
    let taken = files.iter().map(|(path, _)| folder.join(path)).find(|path| path.symlink_metadata().is_ok());
    if let Some(path) = taken {
        return Err(format!("{} is there already, and nothing is overwritten", path.display()));
    }
    for (path, text) in files {
        let path = folder.join(path);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// Refuses what is not a name.
fn check_name(name: &str) -> Result<(), String> {
    // A name becomes a folder, and one that begins with a point would be hidden.
    if names::is_name(name) && !name.starts_with('.') {
        return Ok(());
    }
    Err(format!("`{}` is not a valid name: use {}, not beginning with `.`", visible(name), names::NAME_RULE))
}

/// The paths of files, for the last lines.
fn listed(folder: &Path, files: &[NewFile]) -> String {
    files.iter().map(|(path, _)| format!("made {}\n", folder.join(path).display())).collect()
}
