//! A real `redis-server` for a test, and a proxy in front of it that can be slow, silent or gone.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::process::until;

/// A `redis-server`.
pub(crate) struct Redis {
    child: Option<Child>,
    pub(crate) port: u16,
    folder: TempDir,
    arguments: Vec<&'static str>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(arguments: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut redis = Self { child: None, port: 0, folder, arguments: arguments.to_vec() };
        loop {
            redis.port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            redis.start_again().await;
            // Somebody else may have taken the port.
            if redis.child.as_mut().unwrap().try_wait().unwrap().is_none() {
                return redis;
            }
        }
    }

    /// Starts it at the same port, with nothing in it.
    pub(crate) async fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
        command.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let mut child = child.expect("redis-server is installed: run `make redis`");
        let address = ("127.0.0.1", self.port);
        while TcpStream::connect(address).await.is_err() && child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.child = Some(child);
    }

    pub(crate) async fn kill(&mut self) {
        self.child.take().expect("it runs").kill().await.unwrap();
    }

    /// Sends a signal, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Runs a command.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.unwrap()
    }

    /// The keys that match a pattern.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        self.ask(&["KEYS", pattern]).await
    }

    /// Waits until a number of keys match a pattern.
    pub(crate) async fn until_keys(&self, pattern: &str, count: usize) {
        until(async || self.keys(pattern).await.len() == count).await;
    }
}

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It passes everything on.
    Nothing,
    /// It passes responses on this much later.
    Slow(Duration),
    /// It closes them.
    Gone,
    /// It takes everything, and passes nothing on.
    Silent,
}

/// A proxy.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    fault: watch::Sender<Fault>,
    connections: Arc<Mutex<usize>>,
}

impl Proxy {
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = watch::channel(Fault::Nothing);
        let connections = Arc::new(Mutex::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let faults = faults.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let up = tokio::spawn(pass(from_client, to_server, faults.clone(), false));
                    pass(from_server, to_client, faults, true).await;
                    up.abort();
                });
            }
        });
        Self { address, fault, connections }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    is_response: bool,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            _ = faults.wait_for(|fault| *fault == Fault::Gone) => return,
        };
        let Ok(length @ 1..) = read else { return };
        let fault = *faults.borrow();
        match fault {
            Fault::Nothing => {}
            Fault::Slow(pause) if is_response => tokio::time::sleep(pause).await,
            Fault::Slow(_) => {}
            Fault::Gone => return,
            Fault::Silent => continue,
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
