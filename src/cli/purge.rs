//! `pasteup purge`: purges responses from a running compositor by surrogate key or nanoservice name.
//! A purge that matches nothing succeeds; a compositor that does not respond is an error.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::admin_client::AdminClient;
use super::exit::COULD_NOT_RUN;
use super::{report, runtime, site_loading, terminal};
use crate::config::Flags;
use crate::edge::admin::{PurgeRequest, PurgeResult, ReplicaPurge};

/// Longest wait for the response: purging a full cache takes time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What can be given, for a command without keys.
const WAYS: &str = "
  pasteup purge town-1 town-2    the responses with one of these surrogate keys
  pasteup purge weather          all responses of this nanoservice
  pasteup purge --all            everything

With --soft, responses are marked stale instead of removed.
A single response has a button in the console, on the screen Cache.";

/// The options of `pasteup purge`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Surrogate keys or nanoservice names
    #[arg(value_name = "KEY", conflicts_with = "all")]
    keys: Vec<String>,
    /// Marks matching responses stale instead of removing them
    #[arg(long)]
    soft: bool,
    /// Purges everything
    #[arg(long)]
    all: bool,
    /// Address of the compositor's admin listener, if it is not the one in the settings
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    if options.keys.is_empty() && !options.all {
        terminal::message(report::could_not_run("no keys were given; name what to purge"));
        terminal::message(WAYS);
        return Ok(COULD_NOT_RUN.into());
    }
    let flags = Flags { admin: options.admin, ..Flags::default() };
    let loaded = site_loading::load(&site_loading::open(site)?, flags, None, site_loading::offline);
    let admin = AdminClient::of(&loaded.settings.server, TIMEOUT)?;
    let request =
        PurgeRequest { keys: options.keys.clone(), entries: Vec::new(), all: options.all, soft: options.soft };
    let purged = runtime::current_thread()?.block_on(admin.post("/api/purge", &request))?;
    let PurgeResult { purged, replicas } = purged;
    let responses = report::counted(purged, "response");
    terminal::print(match (purged, options.soft) {
        (0, _) => "nothing to purge\n".to_owned(),
        (_, false) => format!("purged {responses}\n"),
        (_, true) => format!("marked {responses} stale\n"),
    })?;
    for (replica, purged) in replicas {
        terminal::print(match purged {
            ReplicaPurge::Purged(purged) => format!("  {replica}: {purged}\n"),
            ReplicaPurge::Unreachable(why) => format!("  {replica}: {why}\n"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
