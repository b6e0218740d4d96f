//! `pasteup can-i-deploy`: whether a version can go live in this site, or in one that runs.
//! What cannot be found out is unknown, which is no success unless that is allowed.

mod asking;
mod output;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use semver::Version;
use url::Url;

use crate::config::{Flags, Settings};
use crate::edge::admin::{DeployAnswer, DeployRequest};
use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::site::deploy::{Answer, Asked, PlaceAnswer};
use crate::page::source::diagnostic::{Diagnostic, Source};
use crate::page::source::names;
use crate::secrets::Secrets;

use super::admin_client::AdminClient;
use super::exit::PROBLEMS_FOUND;
use super::{report, runtime, site_loading, terminal};

/// Longest wait for the response of a site that runs.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The options of `pasteup can-i-deploy`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The nanoservice and its version
    #[arg(value_name = "NAME@VERSION", value_parser = parse_version)]
    version: (String, Version),
    /// The manifest of the version, if it is not in the catalogue yet
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The admin listener of a site that runs, instead of this one
    #[arg(long, value_name = "ADMIN_URL")]
    to: Option<Url>,
    /// Asks no nanoservice
    #[arg(long)]
    offline: bool,
    /// Exits with 0 also where something could not be found out
    #[arg(long)]
    allow_unknown: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: one line per place
    Human,
    /// JSON
    Json,
    /// JUnit XML, for CI
    Junit,
    /// Annotations for GitHub Actions
    Github,
}

/// Reads `NAME@VERSION`.
pub(super) fn parse_version(text: &str) -> Result<(String, Version), String> {
    let wrong = || format!("`{text}` is not a version of a nanoservice; write it like weather@3.2.0");
    let (name, version) = text.split_once('@').ok_or_else(wrong)?;
    Ok((name.to_owned(), version.parse().map_err(|_| wrong())?))
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let folder = site_loading::open(site)?;
    let discover = if options.offline { site_loading::offline } else { site_loading::discover_once };
    let loaded = site_loading::load(&folder, Flags::default(), None, discover);
    for problem in loaded.problems().iter().filter(|problem| problem.is_error()) {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    let version = version(&loaded.site.catalogue, options)?;
    let runtime = runtime::current_thread()?;
    let secrets = Arc::new(Secrets::new(folder.root().to_owned()));
    let defaults = &loaded.settings.defaults;
    let conform = match options.offline {
        true => asking::unasked("it was not asked, because of `--offline`"),
        false => runtime.block_on(asking::conform(&version, &secrets, defaults)),
    };
    let mut places = match &options.to {
        Some(to) => runtime.block_on(places_at(to, options, &version, conform.slots.clone(), &loaded.settings))?,
        None => {
            let mut asked = Asked { slots: conform.slots.clone(), ..Asked::default() };
            if !options.offline {
                for combiner in loaded.site.combiners_of(&version.name) {
                    let key = (combiner.name.to_string(), combiner.version.to_string());
                    let found = runtime.block_on(asking::compositions(&combiner, &secrets, defaults));
                    asked.combiners.insert(key, found);
                }
            }
            let locales = loaded.settings.limits.locales.len();
            loaded.site.deploy(&version, &asked, defaults, locales)
        }
    };
    if places.is_empty() {
        terminal::message(format_args!("no page uses {}", version.name));
    }
    let (line, _) = version.at.source.position(version.at.span.start);
    let file = version.at.source.file.clone();
    let (verdict, says) = (conform.verdict, format!("conform: {}", conform.says));
    places.push(PlaceAnswer { file, line, route: String::new(), verdict, says });
    let verdict = Answer::of(&places);
    let title = format!("{} {}", version.name, version.version);
    terminal::print(match options.format {
        Format::Human => output::human(verdict, &places),
        Format::Json => output::json(verdict, &places),
        Format::Junit => output::junit(&title, &places)?,
        Format::Github => output::github(&title, verdict, &places),
    })?;
    if options.format == Format::Junit {
        terminal::message(verdict.as_str());
    }
    let is_success = verdict == Answer::Yes || (verdict == Answer::Unknown && options.allow_unknown);
    Ok(if is_success { ExitCode::SUCCESS } else { PROBLEMS_FOUND.into() })
}

/// The manifest of the version: in a file, or in the catalogue.
fn version(catalogue: &Catalogue, options: &Options) -> Result<Arc<Manifest>, String> {
    let (name, version) = &options.version;
    let Some(path) = &options.manifest else {
        let found = catalogue.versions(name).find(|manifest| manifest.version == *version).cloned();
        return found.ok_or_else(|| {
            let known: Vec<String> = catalogue.versions(name).map(|one| one.version.to_string()).collect();
            let help = match known.is_empty() {
                true => names::did_you_mean(name, catalogue.names()).unwrap_or_default(),
                false => format!("available: {}", known.join(", ")),
            };
            format!("the catalogue has no {name} {version}: give its manifest by `--manifest FILE`; {help}")
        });
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (manifest, problems) = Manifest::parse(&Source::new(path.display().to_string(), text));
    for problem in problems.iter().filter(|problem| Diagnostic::is_error(problem)) {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    let manifest = manifest.ok_or_else(|| format!("{} has errors", path.display()))?;
    if *manifest.name != **name || manifest.version != *version {
        return Err(format!(
            "{} is the manifest of {} {}, not of {name} {version}",
            path.display(),
            manifest.name,
            manifest.version
        ));
    }
    Ok(Arc::new(manifest))
}

/// What the places of a site that runs say.
async fn places_at(
    to: &Url,
    options: &Options,
    version: &Manifest,
    slots: Option<std::collections::BTreeSet<String>>,
    settings: &Settings,
) -> Result<Vec<PlaceAnswer>, String> {
    let admin = AdminClient::at(to, &settings.server, TIMEOUT)?;
    // A version that its catalogue has needs no manifest.
    let manifest = options.manifest.as_ref().map(|_| version.at.source.text.clone());
    let (name, version) = &options.version;
    let request = DeployRequest { name: name.clone(), version: version.to_string(), manifest, slots };
    let answer: DeployAnswer = admin.post("/api/can-i-deploy", &request).await?;
    Ok(answer.places)
}
