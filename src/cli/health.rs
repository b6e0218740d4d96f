//! `pasteup health`: checks whether a running compositor is ready, for containers that contain only the binary.
//! No response, and any status except 200, exits with 1.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Flags;
use crate::page::source::visible::visible;

use super::exit::PROBLEMS_FOUND;
use super::{site_loading, terminal};

/// Longest wait for the connection, and for each read of the response.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of the response that are read.
const MAX_RESPONSE: u64 = 4096;

/// The options of `pasteup health`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Address of the compositor's admin listener, if it is not the one in the settings
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let address = match options.admin {
        Some(address) => address,
        None => {
            let folder = site_loading::open(site)?;
            site_loading::load(&folder, Flags::default(), None, site_loading::offline).settings.server.admin
        }
    };
    match readiness(address) {
        Ok(response) if response.starts_with("HTTP/1.1 200") => {
            terminal::print("ready\n")?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(response) => {
            let status = response.lines().next().unwrap_or_default();
            let status = status.strip_prefix("HTTP/1.1 ").unwrap_or(status);
            terminal::message(format_args!("not ready: {address} responded with `{}`", visible(status)));
            Ok(PROBLEMS_FOUND.into())
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            terminal::message(format_args!("not ready: connection to {address} refused"));
            Ok(PROBLEMS_FOUND.into())
        }
        Err(error) => {
            terminal::message(format_args!("not ready: no response from {address}: {error}"));
            Ok(PROBLEMS_FOUND.into())
        }
    }
}

/// The beginning of the response to `GET /readyz`.
fn readiness(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.take(MAX_RESPONSE).read_to_string(&mut response)?;
    Ok(response)
}
