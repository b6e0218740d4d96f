//! Opens the listening sockets, or takes those that systemd passes.
//! An address that is in use is an error that names the setting, what to do, and the process that uses it.

use std::io::ErrorKind;
use std::net::SocketAddr;

use listeners::{Listener, Process, Protocol, SocketState};
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted. tokio's default of 128 overflows when a few hundred clients connect at once,
/// and a client whose connection is dropped retries only after a second.
const BACKLOG: u32 = 4096;

/// One of the two listeners.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// Serves pages.
    Pages,
    /// Serves operators.
    Admin,
}

impl Role {
    /// Its position among the sockets that systemd passes.
    const fn index(self) -> usize {
        match self {
            Self::Pages => 0,
            Self::Admin => 1,
        }
    }

    /// The setting of its address.
    const fn setting(self) -> &'static str {
        match self {
            Self::Pages => "server.listen",
            Self::Admin => "server.admin",
        }
    }

    /// The flag that sets its address.
    const fn flag(self) -> &'static str {
        match self {
            Self::Pages => "--listen",
            Self::Admin => "--admin",
        }
    }
}

/// Takes the socket that systemd passes for this role, or opens one.
///
/// # Errors
/// The address cannot be listened on.
pub(super) async fn bind(passed: &mut ListenFd, role: Role, address: SocketAddr) -> Result<TcpListener, String> {
    let index = role.index();
    let passed =
        passed.take_tcp_listener(index).map_err(|error| format!("cannot use socket {index} from systemd: {error}"))?;
    let listener = match passed {
        Some(listener) => listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)),
        None => open(address),
    };
    listener.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => in_use(role, address, holder(address).as_deref()),
        _ => format!("cannot listen on {address} (`{}`): {error}", role.setting()),
    })
}

/// The message that another process uses an address.
fn in_use(role: Role, address: SocketAddr, holder: Option<&str>) -> String {
    let (setting, flag) = (role.setting(), role.flag());
    let by = holder.map(|holder| format!(" by {holder}")).unwrap_or_default();
    format!("cannot listen on {address} (`{setting}`): address already in use{by} (choose another with {flag})")
}

/// The process that listens on an address, as far as this user may see it.
fn holder(address: SocketAddr) -> Option<String> {
    let is_there = |listener: &Listener| {
        let at = listener.socket;
        let everywhere = at.ip().is_unspecified() || address.ip().is_unspecified();
        (listener.protocol, listener.state) == (Protocol::TCP, SocketState::Listen)
            && at.port() == address.port()
            && (at.ip() == address.ip() || everywhere)
    };
    let Process { name, pid, .. } = listeners::get_all().ok()?.into_iter().find(is_there)?.process;
    Some(format!("{name} (process {pid})"))
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_message_names_address_setting_flag_and_process() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = taken.local_addr().expect("an address");
        let error = bind(&mut ListenFd::empty(), Role::Admin, address).await.expect_err("it is in use");
        let process = format!("(process {})", std::process::id());
        for wanted in [&*address.to_string(), "`server.admin`", "already in use", "--admin"] {
            assert!(error.contains(wanted), "{error}");
        }
        assert!(cfg!(not(target_os = "linux")) || error.contains(&process), "{error}");
    }
}
