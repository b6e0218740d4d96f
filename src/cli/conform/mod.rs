//! `pasteup conform`: checks a running nanoservice against every rule of the contract that can be checked from outside.
//! A nanoservice that does not respond breaks a rule; a name that is not in the catalogue could not run.

mod output;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::Flags;
use crate::edge::discovery::Sources;
use crate::edge::upstream::component::listener;
use crate::edge::upstream::probe::Probe;
use crate::engine::port::Unobserved;
use crate::page::conform::exchange::{BodyError, Exchange, Purpose, RecordedResponse};
use crate::page::conform::subject::Subject;
use crate::page::conform::{Finding, MAX_CONCURRENT, Verdict, check};
use crate::page::manifest::discovered::Published;
use crate::page::manifest::upstreams::ServiceUrl;
use crate::page::manifest::{Endpoint, Manifest};
use crate::page::request::defaults::Defaults;
use crate::page::response::parsed::Failure;
use crate::page::source::diagnostic::{Diagnostic, Located, Source, SourceSpan};
use crate::page::source::names;
use crate::page::source::visible::visible;
use crate::secrets::Secrets;

use super::exit::PROBLEMS_FOUND;
use super::site_loading::OnDemand;
use super::{report, runtime, site_loading, terminal};

/// The options of `pasteup conform`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// A nanoservice from the catalogue, or the URL of one that has no manifest here
    #[arg(value_name = "NAME|URL")]
    service: String,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// A request parameter; with a NAME, replaces the examples in its manifest
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param)]
    params: Vec<(String, String)>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people: one line per rule
    Human,
    /// One JSON object per line and rule
    Json,
    /// JUnit XML, for CI
    Junit,
}

/// The findings for one nanoservice at one address.
struct Report {
    subject: Subject,
    findings: Vec<Finding>,
    /// Number of requests that were sent.
    requests: usize,
}

fn parse_param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like `city=london`")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let runtime = runtime::current_thread()?;
    if options.service.contains("://") {
        // A URL can be checked outside a site, with the default settings.
        let settings = site_loading::open(site)
            .map(|folder| site_loading::load(&folder, Flags::default(), None, site_loading::offline).settings);
        let defaults = settings.map_or_else(|_| Defaults::default(), |settings| settings.defaults);
        let subject = match published(&options.service) {
            Some((manifest, endpoint)) => Subject::declared(&manifest, &endpoint, &options.params, &defaults),
            None => Subject::bare(&options.service, &options.params, &defaults)?,
        };
        return check_all(site, options, &runtime, vec![subject]);
    }
    let Named { mut subjects, to_start, on_demand: OnDemand { programs, components }, defaults } =
        named(site, options)?;
    let _runs = runtime.enter();
    programs.declare(to_start.iter().cloned(), to_start.len().max(1));
    let broken = components.load(to_start.iter().cloned()).problems;
    for problem in &broken {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    if !broken.is_empty() {
        return Ok(PROBLEMS_FOUND.into());
    }
    let (mut leases, mut served) = (Vec::new(), Vec::new());
    for manifest in &to_start {
        if manifest.component().is_some() {
            let failed = |failure: &Failure| {
                terminal::message(format_args!("{}: {}", failure.reason, visible_lines(&failure.detail)));
            };
            let listening = listener::listen(components.clone(), Arc::clone(manifest), failed);
            let listening = runtime.block_on(listening).map_err(|error| error.to_string())?;
            subjects.push(subject(manifest, listening.port, options, &defaults)?);
            served.push(listening);
            continue;
        }
        match runtime.block_on(programs.start(manifest)) {
            Ok(lease) => leases.push(lease),
            Err(failure) => {
                let (name, version) = (&manifest.name, &manifest.version);
                terminal::message(format_args!("{name} {version} was not started: {}", visible_lines(&failure.detail)));
                runtime.block_on(programs.stop_all());
                return Ok(PROBLEMS_FOUND.into());
            }
        }
        let port = programs.port(manifest).ok_or("the program has ended")?;
        subjects.push(subject(manifest, port, options, &defaults)?);
    }
    let result = check_all(site, options, &runtime, subjects);
    drop((leases, served));
    runtime.block_on(programs.stop_all());
    result
}

/// What is checked of a nanoservice that runs on demand, and answers on this port.
fn subject(manifest: &Arc<Manifest>, port: u16, options: &Options, defaults: &Defaults) -> Result<Subject, String> {
    let on_demand = manifest.on_demand.as_ref().ok_or("the nanoservice does not run on demand")?;
    let endpoint = on_demand.path().at(&format!("http://127.0.0.1:{port}")).map_err(|error| error.message)?;
    Ok(Subject::declared(manifest, &endpoint, &options.params, defaults))
}

/// Checks all subjects, and reports on them.
fn check_all(site: &Path, options: &Options, runtime: &Runtime, subjects: Vec<Subject>) -> Result<ExitCode, String> {
    let secrets = Arc::new(Secrets::new(site.to_owned()));
    let mut reports = Vec::new();
    for subject in subjects {
        let exchanges = runtime.block_on(exchange(&subject, &secrets))?;
        let findings = check(&subject, &exchanges);
        let report = Report { subject, findings, requests: exchanges.len() };
        match options.format {
            Format::Human => terminal::print(output::human(&report))?,
            Format::Json => terminal::print(output::json(&report))?,
            // The counts come before the cases, so the output waits for all reports.
            Format::Junit => {}
        }
        reports.push(report);
    }
    if matches!(options.format, Format::Junit) {
        terminal::print(output::junit(&reports)?)?;
    }
    reports.iter().for_each(|report| terminal::message(output::summary(report)));
    let broken = reports.iter().flat_map(|report| &report.findings).any(|finding| finding.verdict == Verdict::Failed);
    Ok(if broken { PROBLEMS_FOUND.into() } else { ExitCode::SUCCESS })
}

/// The lines of a failure's description, without what a terminal would obey.
fn visible_lines(text: &str) -> String {
    text.lines().map(|line| visible(line).into_owned()).collect::<Vec<_>>().join("\n  ")
}

/// The versions of a nanoservice in the catalogue.
struct Named {
    /// One subject for each endpoint.
    subjects: Vec<Subject>,
    /// The programs and components that are to be started before they can be checked.
    to_start: Vec<Arc<Manifest>>,
    on_demand: OnDemand,
    defaults: Defaults,
}

/// The manifest that the nanoservice at a URL publishes, and the endpoint with that URL, if there are any.
fn published(url: &str) -> Option<(Arc<Manifest>, Endpoint)> {
    let nowhere = SourceSpan::new(&Source::new("", ""), 0..0);
    let urls = vec![Located { value: ServiceUrl::parse(url).ok()?, at: nowhere }];
    let discovered = site_loading::discover_once(&Sources { urls, refresh: Duration::ZERO, resolver: Vec::new() });
    let manifests = discovered.documents.iter().flat_map(|text| Published::read(text, &[]).manifests);
    manifests.into_iter().find_map(|manifest| {
        let endpoint = manifest.endpoints.iter().find(|endpoint| endpoint.as_str() == url)?.clone();
        Some((Arc::new(manifest), endpoint))
    })
}

/// Every version of a nanoservice in the catalogue, at every address.
fn named(site: &Path, options: &Options) -> Result<Named, String> {
    let folder = site_loading::open(site)?;
    let loaded = site_loading::load(&folder, Flags::default(), None, site_loading::discover_once);
    let catalogue = &loaded.site.catalogue;
    let manifests: Vec<_> = catalogue.versions(&options.service).collect();
    if manifests.is_empty() {
        let mut message = format!("no nanoservice is called `{}`", options.service);
        if let Some(help) = names::did_you_mean(&options.service, catalogue.names()) {
            message = format!("{message}: {help}");
        }
        if loaded.problems().iter().any(Diagnostic::is_error) {
            message.push_str(" (manifests with errors are not used; run `pasteup check` for details)");
        }
        return Err(message);
    }
    let subjects: Vec<Subject> = manifests
        .iter()
        .flat_map(|manifest| manifest.endpoints.iter().map(move |endpoint| (manifest, endpoint)))
        .map(|(manifest, endpoint)| Subject::declared(manifest, endpoint, &options.params, &loaded.settings.defaults))
        .collect();
    let to_start: Vec<_> =
        manifests.iter().filter(|manifest| manifest.on_demand.is_some()).map(|m| Arc::clone(m)).collect();
    let (_, on_demand) = site_loading::upstream(&folder, &loaded.settings, Arc::new(Unobserved))?;
    Ok(Named { subjects, to_start, on_demand, defaults: loaded.settings.defaults.clone() })
}

/// Sends all requests that the rules need. If the first gets no response, or two in a row, no more are sent.
pub(super) async fn exchange(subject: &Subject, secrets: &Arc<Secrets>) -> Result<Vec<Exchange>, String> {
    let probe = Probe::new(subject, Arc::clone(secrets))?;
    let Some(first) = subject.probe() else { return Ok(Vec::new()) };
    let mut exchanges = vec![probe.ask(&first).await];
    let stalled = |reply: &RecordedResponse| reply.body == Err(BodyError::Stalled);
    if exchanges[0].head().is_none_or(stalled) {
        return Ok(exchanges);
    }
    for request in subject.examples() {
        exchanges.push(probe.ask(&request).await);
        if is_gone(&exchanges) {
            return Ok(exchanges);
        }
    }
    for request in subject.variations(&exchanges) {
        exchanges.push(probe.ask(&request).await);
        if is_gone(&exchanges) {
            return Ok(exchanges);
        }
    }
    let concurrency = subject.manifest.as_ref().and_then(|manifest| manifest.limits.concurrency);
    if let Some(request) = subject.first_example(Purpose::Concurrent) {
        exchanges.extend(
            probe.together(&request, concurrency.map_or(MAX_CONCURRENT, |most| most.min(MAX_CONCURRENT))).await,
        );
    }
    if let Some(request) = subject.first_example(Purpose::Reused) {
        exchanges.extend(probe.twice(&request).await);
    }
    Ok(exchanges)
}

/// Whether the last two requests got no response: each would be waited for.
fn is_gone(exchanges: &[Exchange]) -> bool {
    exchanges.iter().rev().take(2).filter(|exchange| exchange.response.is_err()).count() == 2
}
