//! `pasteup purge`: purges responses from a running compositor by surrogate key or nanoservice name.
//! A purge that matches nothing succeeds; a compositor that does not respond is an error.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Flags;
use crate::edge::admin::{PurgeRequest, PurgeResult};
use crate::secrets::Secret;

use super::{keys, report, runtime, site_loading, terminal};

/// Longest wait for the response: purging a full cache takes time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The options of `pasteup purge`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Surrogate keys or nanoservice names
    #[arg(value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
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
    let flags = Flags { admin: options.admin, ..Flags::default() };
    let loaded = site_loading::load(&site_loading::open(site)?, flags, None, site_loading::offline);
    let server = loaded.settings.server;
    let request = PurgeRequest { keys: options.keys.clone(), all: options.all, soft: options.soft };
    let token = keys::admin_token_if_any(&server);
    let token = token.as_ref().map(Secret::reveal);
    let purged = runtime::current_thread()?.block_on(post(server.admin, token, &request))?;
    let responses = report::counted(purged, "response");
    terminal::print(match (purged, options.soft) {
        (0, _) => "nothing to purge\n".to_owned(),
        (_, false) => format!("purged {responses}\n"),
        (_, true) => format!("marked {responses} stale\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Sends the purge request, and returns the number of purged responses.
async fn post(admin: SocketAddr, token: Option<&str>, request: &PurgeRequest) -> Result<usize, String> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
    let body = serde_json::to_vec(request).expect("texts and booleans can be written as JSON");
    let mut request = client
        .post(format!("http://{admin}/api/purge"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(|_| {
        format!("no compositor responds on {admin}: is it running, and is this its admin listener (`--admin ADDR`)?")
    })?;
    let status = response.status();
    let text = response.text().await.map_err(|error| error.to_string())?;
    if status == http::StatusCode::UNAUTHORIZED {
        return Err(format!("{admin} requires the admin token: set PASTEUP_SERVER__ADMIN_TOKEN"));
    }
    let done: Result<PurgeResult, _> = serde_json::from_str(&text);
    done.map(|done| done.purged).map_err(|_| format!("{admin} responded with {status}: {}", text.trim()))
}
