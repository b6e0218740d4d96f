//! `pasteup conform`: holds a running nanoservice against every rule of the contract that can be
//! seen from outside. One that is not there breaks a rule; a name that nobody has cannot run.

mod show;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::Flags;
use crate::edge::discovery::Sources;
use crate::edge::upstream::probe::Probe;
use crate::page::conform::exchange::{BodyFault, Exchange, Purpose, Reply};
use crate::page::conform::subject::Subject;
use crate::page::conform::{AT_ONCE, Finding, Verdict, judge};
use crate::page::manifest::{Endpoint, Manifest};
use crate::page::request::defaults::Defaults;
use crate::page::source::diagnostic::{Diagnostic, Located, Source, SourceSpan};
use crate::page::source::names;
use crate::secrets::Secrets;

use super::{FOUND, loading};

/// What to hold against the contract, and how to tell.
#[derive(clap::Args)]
pub(super) struct Options {
    /// A nanoservice of the catalogue, or the URL of one that has no manifest here
    #[arg(value_name = "NAME|URL")]
    service: String,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// A parameter to ask with; with a NAME, instead of the examples of its manifest
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A line a rule, for people
    Human,
    /// One JSON object a rule and line
    Json,
    /// JUnit's XML, for CI
    Junit,
}

/// What was found about one nanoservice at one address.
struct Report {
    subject: Subject,
    findings: Vec<Finding>,
    /// How many requests it took.
    requests: usize,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like `city=london`")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let subjects = if options.service.contains("://") {
        // A service can be tried where no site is.
        let settings =
            loading::open(site).map(|folder| loading::load(&folder, Flags::default(), None, loading::offline).settings);
        let defaults = settings.map_or_else(|_| Defaults::default(), |settings| settings.defaults);
        vec![match told(&options.service) {
            Some((manifest, endpoint)) => Subject::declared(&manifest, &endpoint, &options.params, &defaults),
            None => Subject::bare(&options.service, &options.params, &defaults)?,
        }]
    } else {
        named(site, options)?
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let secrets = Arc::new(Secrets::new(site.to_owned()));
    let mut reports = Vec::new();
    for subject in subjects {
        let exchanges = runtime.block_on(ask(&subject, &secrets))?;
        let findings = judge(&subject, &exchanges);
        let report = Report { subject, findings, requests: exchanges.len() };
        match options.format {
            Format::Human => show::human(&report),
            Format::Json => show::json(&report),
            // Its counts stand before its cases, so it waits for all.
            Format::Junit => {}
        }
        reports.push(report);
    }
    if matches!(options.format, Format::Junit) {
        show::junit(&reports)?;
    }
    show::summary(&reports);
    let broken = reports.iter().flat_map(|report| &report.findings).any(|finding| finding.verdict == Verdict::Failed);
    Ok(if broken { FOUND.into() } else { ExitCode::SUCCESS })
}

/// What the service at a URL tells of itself, where it does.
fn told(url: &str) -> Option<(Arc<Manifest>, Endpoint)> {
    let nowhere = SourceSpan::new(&Source::new("", ""), 0..0);
    let urls = vec![Located { value: Url::parse(url).ok()?, at: nowhere }];
    let discovered = loading::ask_once(&Sources { urls, refresh: Duration::ZERO });
    let manifests = discovered.documents.iter().flat_map(|text| Manifest::parse_all(text, &[]).0);
    manifests.into_iter().find_map(|manifest| {
        let endpoint = manifest.endpoints.iter().find(|endpoint| endpoint.as_str() == url)?.clone();
        Some((Arc::new(manifest), endpoint))
    })
}

/// Every version of a name, at every address.
fn named(site: &Path, options: &Options) -> Result<Vec<Subject>, String> {
    let folder = loading::open(site)?;
    let loaded = loading::load(&folder, Flags::default(), None, loading::ask_once);
    let catalogue = &loaded.site.catalogue;
    let manifests: Vec<_> = catalogue.versions(&options.service).collect();
    if manifests.is_empty() {
        let mut why = format!("no nanoservice is called `{}`", options.service);
        if let Some(help) = names::did_you_mean(&options.service, catalogue.names()) {
            why = format!("{why}: {help}");
        }
        if loaded.problems().iter().any(Diagnostic::is_error) {
            why.push_str(" (a manifest with a mistake is not used: `pasteup check` tells it)");
        }
        return Err(why);
    }
    let subjects: Vec<Subject> = manifests
        .iter()
        .flat_map(|manifest| manifest.endpoints.iter().map(move |endpoint| (manifest, endpoint)))
        .map(|(manifest, endpoint)| Subject::declared(manifest, endpoint, &options.params, &loaded.settings.defaults))
        .collect();
    if subjects.is_empty() {
        return Err(format!("`{}` runs on demand, and this version does not start it: give its URL", options.service));
    }
    Ok(subjects)
}

/// Asks all that there is to ask. Of one that is silent nothing more is asked.
async fn ask(subject: &Subject, secrets: &Arc<Secrets>) -> Result<Vec<Exchange>, String> {
    let probe = Probe::new(subject, Arc::clone(secrets))?;
    let Some(opening) = subject.opening() else { return Ok(Vec::new()) };
    let mut seen = vec![probe.ask(&opening).await];
    let stalled = |reply: &Reply| reply.body == Err(BodyFault::Stalled);
    if seen[0].head().is_none_or(stalled) {
        return Ok(seen);
    }
    for question in subject.examples() {
        seen.push(probe.ask(&question).await);
    }
    for question in subject.variations(&seen) {
        seen.push(probe.ask(&question).await);
    }
    let concurrency = subject.manifest.as_ref().and_then(|manifest| manifest.limits.concurrency);
    if let Some(question) = subject.about_first(Purpose::Together) {
        seen.extend(probe.together(&question, concurrency.map_or(AT_ONCE, |most| most.min(AT_ONCE))).await);
    }
    if let Some(question) = subject.about_first(Purpose::KeptOpen) {
        seen.extend(probe.twice(&question).await);
    }
    Ok(seen)
}
