//! `pasteup catalog`: lists nanoservices with their versions, owners, and the pages that use them.
//! A manifest with an error is not listed; standard error reports how many problems there are.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Flags;
use crate::page::layout::Template;
use crate::page::manifest::Manifest;
use crate::page::site::Site;
use crate::page::source::diagnostic::Diagnostic;
use crate::page::source::visible::{visible, visible_json};

use super::list_format::ListFormat;
use super::{report, site_loading, terminal};

/// The options of `pasteup catalog`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    format: ListFormat,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    version: String,
    owner: Option<String>,
    lifecycle: &'static str,
    endpoints: Vec<String>,
    pages: Vec<String>,
    manifest: String,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let folder = site_loading::open(site)?;
    let loaded = site_loading::load(&folder, Flags::default(), None, site_loading::discover_once);
    let entries: Vec<Entry> =
        loaded.site.catalogue.manifests().iter().map(|manifest| entry(manifest, &loaded.site)).collect();
    match options.format {
        ListFormat::Json => {
            let json = serde_json::to_string_pretty(&entries).expect("texts and lists can be written as JSON");
            terminal::print(format_args!("{}\n", visible_json(json)))?;
        }
        ListFormat::Human if entries.is_empty() => {
            terminal::message("no nanoservices found: each has a folder fragments/NAME with a fragment.toml");
        }
        ListFormat::Human => terminal::print(table(&entries))?,
    }
    let problems = loaded.problems();
    if let Some(count) = report::count(&problems).filter(|_| problems.iter().any(Diagnostic::is_error)) {
        terminal::message(format_args!(
            "{count}: manifests with errors are not listed; run `pasteup check` for details"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(manifest: &Arc<Manifest>, site: &Site) -> Entry {
    let users = site.templates.iter().filter(|template| {
        template.with_takeovers().flat_map(Template::manifests).any(|used| Arc::ptr_eq(used, manifest))
    });
    let mut pages: Vec<String> = users.flat_map(|template| template.labels()).collect();
    pages.sort();
    Entry {
        name: manifest.name.to_string(),
        version: manifest.version.to_string(),
        owner: manifest.owner.clone(),
        lifecycle: manifest.lifecycle.as_str(),
        endpoints: manifest.endpoints.iter().map(|endpoint| endpoint.as_str().to_owned()).collect(),
        pages,
        manifest: manifest.at.source.file.clone(),
    }
}

fn table(entries: &[Entry]) -> String {
    let header = ["NANOSERVICE", "VERSION", "OWNER", "LIFECYCLE", "PAGES"].map(str::to_owned);
    let rows: Vec<[String; 5]> = entries
        .iter()
        .map(|entry| {
            let pages = if entry.pages.is_empty() { "-".to_owned() } else { entry.pages.join("  ") };
            let owner = entry.owner.clone().unwrap_or_else(|| "-".to_owned());
            [entry.name.clone(), entry.version.clone(), owner, entry.lifecycle.to_owned(), pages]
                .map(|cell| visible(&cell).into_owned())
        })
        .collect();
    let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    // The last column is not padded.
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut text = String::new();
    for row in [&header].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(&format!("{}  {}\n", cells.join("  "), row[4]));
    }
    text
}
