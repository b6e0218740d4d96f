//! Accepts connections, even if file descriptors have run out: a listener can hold some in reserve.
//! A failure is followed by a pause, and logged at most once a second by all listeners together.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::unconstrained;
use tokio::time::Instant;

/// Pause after `accept` failed, as it does when file descriptors have run out.
const PAUSE: Duration = Duration::from_millis(50);
/// Shortest time between two lines in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Most connections that are still accepted when the server stops.
const MAX_BACKLOG: usize = 8192;
/// The errors `ENFILE` and `EMFILE` of Unix: the system or the process has no file descriptor left.
const EXHAUSTED: [i32; 2] = [23, 24];

/// When a failure was last logged.
static LOGGED: Mutex<Option<Instant>> = Mutex::new(None);

/// Accepts the connections of a listener.
pub(super) struct Acceptor {
    listener: TcpListener,
    pub(super) reserve: Arc<Reserve>,
}

impl Acceptor {
    /// Accepts connections with `reserve` file descriptors in reserve.
    pub(super) fn new(listener: TcpListener, reserve: usize) -> Self {
        Self { listener, reserve: Arc::new(Reserve { size: reserve, held: Mutex::default() }) }
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> (TcpStream, SocketAddr) {
        self.reserve.refill();
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) => {
                    if !self.reserve.release() {
                        pause(&error).await;
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    /// The connections that wait to be accepted. If they were not accepted, they would be reset.
    pub(super) fn backlog(&self) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
        // Unconstrained, since tokio would make the task yield after some of them.
        let next = || unconstrained(self.listener.accept()).now_or_never();
        std::iter::from_fn(next).take(MAX_BACKLOG).filter_map(Result::ok)
    }
}

async fn pause(error: &io::Error) {
    {
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            *logged = Some(Instant::now());
            tracing::warn!(%error, "cannot accept a connection");
        }
    }
    tokio::time::sleep(PAUSE).await;
}

/// File descriptors that are held in reserve.
pub(super) struct Reserve {
    size: usize,
    held: Mutex<Vec<File>>,
}

impl Reserve {
    /// Takes the file descriptors that are missing, as far as there are any.
    pub(super) fn refill(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.len() < self.size {
            let Ok(file) = File::open("/dev/null") else { return };
            held.push(file);
        }
    }

    /// Releases a file descriptor. `false`: there is none.
    fn release(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).pop().is_some()
    }
}
