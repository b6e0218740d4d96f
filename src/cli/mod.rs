//! Parses the command line and dispatches to the commands, one file each. Only the commands wire adapters to the engine.
//! Exit codes: 0 success, 1 problems found, 2 could not run.

mod catalog;
mod check;
mod conform;
mod deploy;
mod explain;
mod health;
mod impact;
mod load;
mod new;
mod purge;
mod reference;
mod render;
mod rollout;
mod serve;
mod update;

mod admin_client;
mod deprecations;
mod exit;
mod keys;
mod list_format;
mod page_request;
mod reload;
mod report;
mod runtime;
mod site_loading;
mod terminal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::edge::upstream::process::guard;

use exit::COULD_NOT_RUN;

#[derive(Parser)]
#[command(name = "pasteup", version, about = "Composes web pages from the HTML fragments of many small services.")]
struct Arguments {
    /// The site's folder, with layouts/, fragments/ and, optionally, pasteup.toml
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    site: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves pages, and reloads layouts, manifests and settings when they change
    Serve(serve::Options),
    /// Serves a site for development: live reload, and an overlay that explains each part
    Dev(serve::Options),
    /// Checks layouts, manifests and settings, and reports every error and warning
    Check(check::Options),
    /// Composes one page and writes it to standard output
    Render(page_request::PageOptions),
    /// Composes one page, and reports what happened to each part, and why
    Explain(explain::Options),
    /// Lists nanoservices with their versions, owners, and the pages that use them
    Catalog(catalog::Options),
    /// Locks the versions that ranges choose, in pasteup.lock
    Update(update::Options),
    /// Purges cached responses of a running compositor by surrogate key or nanoservice name
    Purge(purge::Options),
    /// Says whether a version of a nanoservice can go live
    CanIDeploy(deploy::Options),
    /// Shows the pages, nanoservices and owners that are touched when a nanoservice changes or goes
    Impact(impact::Options),
    /// Shows how far new versions are, and promotes, pauses, resumes, aborts or retries them
    Rollout(rollout::Options),
    /// Checks a running nanoservice against the contract
    Conform(conform::Options),
    /// Measures what clients wait for, and names the part that they waited for
    Load(Box<load::Options>),
    /// Makes a site, a page or a nanoservice that works as it is
    New(new::Options),
    /// Checks whether a running compositor is ready (for containers without curl)
    Health(health::Options),
    /// Writes the reference of settings, manifests, front matter and elements
    #[command(hide = true)]
    Reference(reference::Options),
}

/// Runs the command that the arguments name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(ended) = guard::run(&arguments) {
        return ended;
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` are reported as errors too.
            let printed = terminal::written(error.print());
            return if error.use_stderr() || printed.is_err() { COULD_NOT_RUN.into() } else { ExitCode::SUCCESS };
        }
    };
    // All HTTP clients use this provider. Installing fails only if one is installed already, which is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let site = arguments.site.as_path();
    let result = match arguments.command {
        Command::Serve(options) => serve::run(site, &options, serve::Mode::Live),
        Command::Dev(options) => serve::run(site, &options, serve::Mode::Development),
        Command::Check(options) => check::run(site, &options),
        Command::Render(options) => render::run(site, &options),
        Command::Explain(options) => explain::run(site, &options),
        Command::Catalog(options) => catalog::run(site, &options),
        Command::Update(options) => update::run(site, &options),
        Command::Purge(options) => purge::run(site, &options),
        Command::CanIDeploy(options) => deploy::run(site, &options),
        Command::Impact(options) => impact::run(site, &options),
        Command::Rollout(options) => rollout::run(site, &options),
        Command::Conform(options) => conform::run(site, &options),
        Command::Load(options) => load::run(site, &options),
        Command::New(options) => new::run(site, &options),
        Command::Health(options) => health::run(site, &options),
        Command::Reference(options) => reference::run(&options),
    };
    result.unwrap_or_else(|error| {
        terminal::message(report::could_not_run(&error));
        COULD_NOT_RUN.into()
    })
}
