//! `pasteup health`: asks a running compositor whether it lives, for containers that hold nothing
//! but the binary.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Flags;

use super::{FOUND, loading};

/// Longest time for the whole question.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(site: &Path, admin: Option<SocketAddr>) -> Result<ExitCode, String> {
    let address = match admin {
        Some(address) => address,
        None => loading::load(&loading::open(site)?, Flags::default(), None, loading::offline).settings.server.admin,
    };
    match ask(address) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(ExitCode::SUCCESS),
        Ok(answer) => {
            anstream::eprintln!("{address} answered {}", answer.lines().next().unwrap_or_default());
            Ok(FOUND.into())
        }
        Err(error) => {
            anstream::eprintln!("{address}: {error}");
            Ok(FOUND.into())
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
