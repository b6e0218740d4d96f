//! `pasteup purge`: purges a running compositor by surrogate keys or names of nanoservices.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Flags;
use crate::edge::admin::{PurgeRequest, PurgeResult};
use crate::secrets::Secret;

use super::loading;

/// Longest time for the answer: everything may be much.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to purge.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Surrogate keys, or names of nanoservices
    #[arg(value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
    keys: Vec<String>,
    /// Makes stale what it meets, so that it may be shown while it is refreshed
    #[arg(long)]
    soft: bool,
    /// Purges everything
    #[arg(long)]
    all: bool,
    /// The admin listener of the compositor, if it is not the one of these settings
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let flags = Flags { admin: options.admin, ..Flags::default() };
    let loaded = loading::load(&loading::open(site)?, flags, None, loading::offline);
    let server = loaded.settings.server;
    let request = PurgeRequest { keys: options.keys.clone(), all: options.all, soft: options.soft };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let token = server.admin_token.as_ref().map(Secret::reveal);
    let purged = runtime.block_on(post(server.admin, token, &request))?;
    let what = if options.soft { "made stale" } else { "purged" };
    anstream::println!("{purged} {} {what}", if purged == 1 { "answer" } else { "answers" });
    Ok(ExitCode::SUCCESS)
}

async fn post(admin: SocketAddr, token: Option<&str>, request: &PurgeRequest) -> Result<usize, String> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().map_err(|error| error.to_string())?;
    let body = serde_json::to_vec(request).expect("texts and booleans are JSON");
    let mut request = client
        .post(format!("http://{admin}/api/purge"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(|_| {
        format!("no compositor answers on {admin}: is it running, and is this its admin listener (`--admin ADDR`)?")
    })?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    if status == http::StatusCode::UNAUTHORIZED {
        return Err(format!("{admin} wants the admin token: set PASTEUP_SERVER__ADMIN_TOKEN"));
    }
    let done: Result<PurgeResult, _> = serde_json::from_str(&text);
    done.map(|done| done.purged).map_err(|_| format!("{admin} answered {status}: {}", text.trim()))
}
