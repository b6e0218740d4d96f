//! `pasteup rollout`: asks a running compositor how far new versions are, and what to do with them.
//! A name that nothing is rolled out of, and an action that is not possible now, are errors.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Flags;
use crate::edge::admin::RolloutRequest;
use crate::engine::{RolloutStatus, SideStatus};
use crate::page::policy::rollout::progress::Action;
use crate::page::source::units::show_ms;
use crate::page::source::visible::{visible, visible_json};

use super::admin_client::AdminClient;
use super::list_format::ListFormat;
use super::report::counted;
use super::{runtime, site_loading, terminal};

/// Longest wait for the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The options of `pasteup rollout`.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
    /// Address of the compositor's admin listener, if it is not the one in the settings
    #[arg(long, value_name = "ADDR", global = true)]
    admin: Option<SocketAddr>,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the rollouts that run, and those that went back
    Status {
        /// Only those of this nanoservice
        name: Option<String>,
        /// Output format
        #[arg(long, value_enum, default_value_t = ListFormat::Human)]
        format: ListFormat,
    },
    /// Goes on to the next step, from the last one to all page views
    Promote {
        /// The nanoservice
        name: String,
    },
    /// Stays at the present step until it is resumed
    Pause {
        /// The nanoservice
        name: String,
    },
    /// Goes on by itself again
    Resume {
        /// The nanoservice
        name: String,
    },
    /// Goes back to the version before
    Abort {
        /// The nanoservice
        name: String,
    },
    /// Begins again at the first step after it went back
    Retry {
        /// The nanoservice
        name: String,
    },
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let flags = Flags { admin: options.admin, ..Flags::default() };
    let loaded = site_loading::load(&site_loading::open(site)?, flags, None, site_loading::offline);
    let admin = AdminClient::of(&loaded.settings.server, TIMEOUT)?;
    let runtime = runtime::current_thread()?;
    let act = |name: &str, action: Action| -> Result<Vec<RolloutStatus>, String> {
        let path = format!("/api/rollouts/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
        runtime.block_on(admin.post(&path, &RolloutRequest { action: action.as_str().to_owned() }))
    };
    let (name, action) = match &options.command {
        Command::Status { name, format } => {
            let all: Vec<RolloutStatus> = runtime.block_on(admin.get("/api/rollouts"))?;
            let is_wanted = |status: &RolloutStatus| name.as_ref().is_none_or(|name| *name == status.name);
            let all: Vec<RolloutStatus> = all.into_iter().filter(is_wanted).collect();
            if let (Some(name), true) = (name, all.is_empty()) {
                return Err(format!("no version of `{name}` is rolled out, or went back"));
            }
            return show(&all, *format);
        }
        Command::Promote { name } => (name, Action::Promote),
        Command::Pause { name } => (name, Action::Pause),
        Command::Resume { name } => (name, Action::Resume),
        Command::Abort { name } => (name, Action::Abort),
        Command::Retry { name } => (name, Action::Retry),
    };
    let left = act(name, action)?;
    if left.is_empty() {
        terminal::print(format_args!("{} has taken over: all page views show it\n", visible(name)))?;
        return Ok(ExitCode::SUCCESS);
    }
    show(&left, ListFormat::Human)
}

fn show(all: &[RolloutStatus], format: ListFormat) -> Result<ExitCode, String> {
    match format {
        ListFormat::Json => {
            let json = serde_json::to_string_pretty(all).expect("texts and numbers can be written as JSON");
            terminal::print(format_args!("{}\n", visible_json(json)))?;
        }
        ListFormat::Human if all.is_empty() => terminal::message("nothing is rolled out"),
        ListFormat::Human => terminal::print(all.iter().map(human).collect::<String>())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A rollout in a few lines.
fn human(status: &RolloutStatus) -> String {
    let RolloutStatus { name, stable, candidate, state, step, steps, share, why, waits_for, sides, .. } = status;
    let mut text =
        format!("{} {stable} -> {candidate}  {}, step {step} of {steps}: {share}%\n", visible(name), state.as_str());
    for (label, line) in [("why", why), ("waits for", waits_for)] {
        if let Some(line) = line {
            text.push_str(&format!("  {label}: {}\n", visible(line)));
        }
    }
    for (version, SideStatus { requests, faults, p95_ms }) in [(stable, &sides.stable), (candidate, &sides.candidate)] {
        let p95 = p95_ms.map(|ms| format!(", p95 {}", show_ms(ms))).unwrap_or_default();
        let answers = counted(usize::try_from(*requests).unwrap_or(usize::MAX), "answer");
        text.push_str(&format!("  {version}: {answers}, {faults} failed{p95}\n"));
    }
    text
}
