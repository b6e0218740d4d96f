//! The commands, one file each, and the only place that wires adapters to the engine.
//! Exit 0 is good, 1 is "it found something", 2 is "could not run".

mod asking;
mod catalog;
mod check;
mod conform;
mod endings;
mod explain;
mod health;
mod loading;
mod purge;
mod reloading;
mod render;
mod report;
mod serve;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Flags;

use serve::Mode;

/// It found something.
const FOUND: u8 = 1;
/// It could not run.
const CANNOT_RUN: u8 = 2;

#[derive(Parser)]
#[command(name = "pasteup", version, about = "Composes web pages out of the HTML fragments of many small services.")]
struct Arguments {
    /// The site's folder, with layouts/, fragments/ and perhaps pasteup.toml
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    site: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves pages, and reloads layouts, manifests and settings as they change
    Serve {
        /// Where pages are served (port 0 picks a free one)
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
        /// Where operators ask: health, metrics and the console
        #[arg(long, value_name = "ADDR")]
        admin: Option<SocketAddr>,
    },
    /// Serves a site while it is written: each part is explained on the page, which follows the files as they change
    Dev {
        /// Where pages are served (port 0 picks a free one)
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
        /// Where operators ask: health, metrics and the console
        #[arg(long, value_name = "ADDR")]
        admin: Option<SocketAddr>,
    },
    /// Tells every mistake in layouts, manifests and settings
    Check {
        /// How it is told
        #[arg(long, value_enum, default_value_t = CheckFormat::Human)]
        format: CheckFormat,
        /// Asks no service for its manifest
        #[arg(long)]
        offline: bool,
        /// A warning counts as an error
        #[arg(long)]
        strict: bool,
    },
    /// Composes one page to standard output
    Render(asking::Wanted),
    /// Composes one page, and tells what became of each part, and why
    Explain {
        #[command(flatten)]
        wanted: asking::Wanted,
        /// How it is told
        #[arg(long, value_enum, default_value_t = ListFormat::Human)]
        format: ListFormat,
    },
    /// Lists nanoservices, versions, owners, and the pages that use each
    Catalog {
        /// How it is listed
        #[arg(long, value_enum, default_value_t = ListFormat::Human)]
        format: ListFormat,
    },
    /// Purges a running compositor by surrogate keys or names of nanoservices
    Purge(purge::Options),
    /// Holds a running nanoservice against the contract, a line a rule
    Conform(conform::Options),
    /// Asks a running compositor whether it lives (for containers without curl)
    Health {
        /// Its admin listener
        #[arg(long, value_name = "ADDR")]
        admin: Option<SocketAddr>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum CheckFormat {
    /// With the lines, for people
    Human,
    /// One JSON object a line
    Json,
    /// Annotations of GitHub Actions
    Github,
}

#[derive(Clone, Copy, ValueEnum)]
enum ListFormat {
    /// A table
    Human,
    /// JSON
    Json,
}

/// Runs the command that the arguments name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come as errors too; a closed pipe is nobody's concern.
            let _printed = error.print();
            return if error.use_stderr() { CANNOT_RUN.into() } else { ExitCode::SUCCESS };
        }
    };
    // All HTTP clients use it. Fails only where one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let site = arguments.site.as_path();
    let result = match arguments.command {
        Command::Serve { listen, admin } => serve::run(site, Flags { listen, admin }, Mode::Live),
        Command::Dev { listen, admin } => serve::run(site, Flags { listen, admin }, Mode::Dev),
        Command::Check { format, offline, strict } => check::run(site, format, offline, strict),
        Command::Render(wanted) => render::run(site, &wanted),
        Command::Explain { wanted, format } => explain::run(site, &wanted, format),
        Command::Catalog { format } => catalog::run(site, format),
        Command::Purge(options) => purge::run(site, &options),
        Command::Conform(options) => conform::run(site, &options),
        Command::Health { admin } => health::run(site, admin),
    };
    result.unwrap_or_else(|why| {
        anstream::eprintln!("{}", report::cannot_run(&why));
        CANNOT_RUN.into()
    })
}
