//! A connection to Redis or Valkey that opens itself again. Whoever asks while there is none is told so at once.
//! A connection on which nothing comes any more is replaced too: its other end may be gone without having said so.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::secrets::Secret;

/// Longest time to connect, the TLS handshake and the log-in included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after an attempt to connect that failed.
const PAUSE: Duration = Duration::from_millis(250);
/// Requests in a row without a response after which the connection is replaced.
const MAX_SILENT: u32 = 8;

/// The codes of errors of a store that is full, is a copy, cannot keep what it has, or allows this user only to read.
const NO_WRITES: [&str; 5] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOPERM"];

/// The store takes no writes now.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoWrites;

/// Where the store is, and how one logs in there.
#[derive(Clone)]
pub struct StoreAddress {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: i64,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// How it is checked that it is the right one. `None`: the connection is in plain text.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// A connection that opens itself again. A clone is another handle to it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Wakes whoever opens the connection.
    broken: Notify,
    /// Wakes whoever waits for a connection.
    opened: Notify,
    /// Longest wait for one response. `None`: whoever asks decides.
    patience: Option<Duration>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// A new one for each connection.
    number: u64,
    silent: u32,
    /// Why there is no connection.
    why: String,
}

impl Link {
    /// Opens a connection whenever there is none, until the last handle is dropped.
    pub(super) fn open(address: StoreAddress, patience: Option<Duration>) -> Self {
        let state = Mutex::new(State { why: "not connected yet".to_owned(), ..State::default() });
        let inner = Arc::new(Inner { state, broken: Notify::new(), opened: Notify::new(), patience });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                let opened = match timeout(CONNECT_TIMEOUT, connect(&address)).await {
                    Ok(opened) => opened.map_err(|error| error.to_string()),
                    Err(_) => Err("no connection in time".to_owned()),
                };
                let Some(inner) = weak.upgrade() else { return };
                let is_open = opened.is_ok();
                inner.change(|state| {
                    state.silent = 0;
                    match opened {
                        Ok(connection) => {
                            state.connection = Some(connection);
                            state.number += 1;
                        }
                        Err(why) => state.why = why,
                    }
                });
                if is_open {
                    inner.opened.notify_waiters();
                    drop(inner);
                    loop {
                        // Not for longer: the task must not keep the link alive.
                        let Some(inner) = weak.upgrade() else { return };
                        let _late = timeout(PAUSE, inner.broken.notified()).await;
                        if inner.is_down() {
                            break;
                        }
                    }
                } else {
                    drop(inner);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self(inner)
    }

    /// Waits until there is a connection.
    pub(super) async fn wait(&self) {
        loop {
            let opened = self.0.opened.notified();
            if !self.0.is_down() {
                return;
            }
            // Looked at again from time to time: it may have opened before this began to wait.
            let _late = timeout(PAUSE, opened).await;
        }
    }

    /// Sends a command, and returns its response.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, String> {
        self.run(async |connection| command.query_async(connection).await).await
    }

    /// Sends a command that writes, and returns its response, or that the store takes no writes now.
    pub(super) async fn ask_to_write<T: FromRedisValue>(&self, command: Cmd) -> Result<Result<T, NoWrites>, String> {
        let query = async |connection: &mut MultiplexedConnection| match command.query_async(connection).await {
            Err(error) if error.code().is_some_and(|code| NO_WRITES.contains(&code)) => Ok(Err(NoWrites)),
            response => response.map(Ok),
        };
        self.run(query).await
    }

    /// Sends commands one after another, and returns their responses.
    pub(super) async fn ask_all<T: FromRedisValue>(&self, commands: Pipeline) -> Result<T, String> {
        self.run(async |connection| commands.query_async(connection).await).await
    }

    async fn run<T>(
        &self,
        query: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, String> {
        let open = self.0.change(|state| match &state.connection {
            Some(connection) => Ok((connection.clone(), state.number)),
            None => Err(state.why.clone()),
        });
        let (mut connection, number) = open?;
        // It counts as silent until a response comes, even if whoever asks no longer waits.
        let silent = Silent { inner: &self.0, number };
        let result = match self.0.patience {
            Some(patience) => timeout(patience, query(&mut connection)).await,
            None => Ok(query(&mut connection).await),
        };
        match result {
            Ok(result) => {
                std::mem::forget(silent);
                let is_broken =
                    result.as_ref().is_err_and(|error| error.is_io_error() || error.is_unrecoverable_error());
                self.0.change(|state| {
                    state.silent = 0;
                    if is_broken && state.number == number {
                        state.connection = None;
                        "the connection broke".clone_into(&mut state.why);
                    }
                });
                if is_broken {
                    self.0.broken.notify_one();
                }
                result.map_err(|error| error.to_string())
            }
            Err(_) => Err("no response in time".to_owned()),
        }
    }
}

impl Inner {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_down(&self) -> bool {
        self.change(|state| state.connection.is_none())
    }
}

/// A request without a response, as which it is counted when this is dropped.
struct Silent<'i> {
    inner: &'i Inner,
    number: u64,
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let is_dead = self.inner.change(|state| {
            state.silent += 1;
            let is_dead = state.silent >= MAX_SILENT && state.number == self.number && state.connection.is_some();
            if is_dead {
                state.connection = None;
                "no responses came any more".clone_into(&mut state.why);
            }
            is_dead
        });
        if is_dead {
            self.inner.broken.notify_one();
        }
    }
}

/// Connects and logs in.
async fn connect(address: &StoreAddress) -> Result<MultiplexedConnection, RedisError> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    match &address.tls {
        None => log_in(address, stream).await,
        Some(tls) => {
            let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
            log_in(address, TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?).await
        }
    }
}

async fn log_in(
    address: &StoreAddress,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<MultiplexedConnection, RedisError> {
    let mut info =
        RedisConnectionInfo::default().set_db(address.database).set_lib_name("pasteup", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &address.user {
        info = info.set_username(user);
    }
    if let Some(password) = &address.password {
        info = info.set_password(password.reveal());
    }
    // Time limits are those of whoever asks.
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
    tokio::spawn(driver);
    Ok(connection)
}
