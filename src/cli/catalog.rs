//! `pasteup catalog`: nanoservices, versions, owners, and the pages that use each.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Flags;
use crate::page::layout::Template;
use crate::page::manifest::Manifest;
use crate::page::site::Site;

use super::{ListFormat, loading, report};

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

pub(super) fn run(site: &Path, format: ListFormat) -> Result<ExitCode, String> {
    let folder = loading::open(site)?;
    let loaded = loading::load(&folder, Flags::default(), None, loading::ask_once);
    let entries: Vec<Entry> = loaded.site.catalogue.manifests().iter().map(|m| entry(m, &loaded.site)).collect();
    match format {
        ListFormat::Json => {
            anstream::println!("{}", serde_json::to_string_pretty(&entries).expect("texts and lists are JSON"));
        }
        ListFormat::Human => table(&entries),
    }
    let problems = loaded.problems();
    if problems.iter().any(crate::page::source::diagnostic::Diagnostic::is_error) {
        anstream::eprintln!(
            "{}: `pasteup check` tells them, and what has a mistake is not listed",
            report::count(&problems)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(manifest: &Arc<Manifest>, site: &Site) -> Entry {
    let users = site.templates.iter().filter(|template| {
        template.with_takeovers().flat_map(Template::manifests).any(|used| Arc::ptr_eq(used, manifest))
    });
    let mut pages: Vec<String> =
        users.flat_map(|template| template.routes.iter().map(|route| route.value.to_string())).collect();
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

fn table(entries: &[Entry]) {
    if entries.is_empty() {
        anstream::eprintln!("no nanoservices: each has a folder fragments/NAME with a fragment.toml");
        return;
    }
    let head = ["NANOSERVICE", "VERSION", "OWNER", "LIFECYCLE", "PAGES"].map(str::to_owned);
    let rows: Vec<[String; 5]> = entries
        .iter()
        .map(|entry| {
            let pages = if entry.pages.is_empty() { "-".to_owned() } else { entry.pages.join("  ") };
            let owner = entry.owner.clone().unwrap_or_else(|| "-".to_owned());
            [entry.name.clone(), entry.version.clone(), owner, entry.lifecycle.to_owned(), pages]
        })
        .collect();
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        anstream::println!("{}  {}", cells.join("  "), row[4]);
    }
}
