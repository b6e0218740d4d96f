//! Opens the listening sockets, or takes those that systemd passes.
//! An address that is in use is an error that names the flag for another one.

use std::io::ErrorKind;
use std::net::SocketAddr;

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
        ErrorKind::AddrInUse => {
            format!("cannot listen on {address}: address already in use (choose another with {})", role.flag())
        }
        _ => format!("cannot listen on {address}: {error}"),
    })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
