//! The compositor as a process of its own, and clients that send requests over plain sockets.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Serves nanoservices on a free port. Returns their address.
pub(crate) async fn serve_router(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A site in a folder of its own.
pub(crate) struct Site(TempDir);

impl Site {
    /// A site with these settings.
    pub(crate) fn new(settings: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.write("pasteup.toml", settings);
        site
    }

    /// Writes a file of the site.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes the manifest of a nanoservice at an address, under its name.
    pub(crate) fn fragment(&self, name: &str, address: SocketAddr, more: &str) {
        let manifest =
            format!("name = \"{name}\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/{name}\"\n{more}");
        self.write(&format!("fragments/{name}/fragment.toml"), &manifest);
    }

    /// Serves the site. `pinned`: the compositor runs on the last core only.
    pub(crate) fn serve(self, pinned: bool) -> Running {
        let other = std::env::var_os(OTHER);
        let pasteup = other.as_ref().map_or(Path::new(env!("CARGO_BIN_EXE_pasteup")), Path::new);
        let last = last_core();
        let mut command = if pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", &last.to_string()]).arg(pasteup);
            command
        } else {
            Command::new(pasteup)
        };
        command.arg("--site").arg(self.0.path()).args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = || lines.next().unwrap().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        let (pages, admin) = (address(), address());
        Running { process, pages, admin, site: self }
    }
}

/// The environment variable that names another program than the one that was built.
const OTHER: &str = "PASTEUP";

/// The number of the last core, as of the first call; later a bench may restrict itself to the others.
pub(crate) fn last_core() -> usize {
    static LAST: OnceLock<usize> = OnceLock::new();
    *LAST.get_or_init(|| std::thread::available_parallelism().unwrap().get() - 1)
}

/// A running compositor, its addresses, and its site. The process ends when this is dropped.
pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) pages: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) site: Site,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::env::var_os(OTHER).is_some() {
            // An instrumented program writes its profile when it is terminated.
            let _signalled = Command::new("kill").arg(self.process.id().to_string()).status();
        } else {
            let _ended = self.process.kill();
        }
        let _status = self.process.wait();
    }
}

/// The resources that a process uses at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    /// Resident memory in KiB.
    pub(crate) memory: u64,
    /// The number of open files.
    pub(crate) files: usize,
    /// The number of threads.
    pub(crate) threads: u64,
}

impl Running {
    /// The resources that the process uses at the moment.
    pub(crate) fn resources(&self) -> Resources {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count();
        Resources { memory: field("VmRSS:"), files, threads: field("Threads:") }
    }

    /// The values of a metric, one per line.
    pub(crate) async fn metric(&self, name: &str) -> Vec<f64> {
        let mut client = Client::new(self.admin).await.unwrap();
        client.get("/metrics", "").await.unwrap();
        let text = String::from_utf8(client.body().to_vec()).unwrap();
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        text.lines().filter(is_it).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }
}

/// A client with one connection. It is no full HTTP client, since a client should take less CPU time than the server.
pub(crate) struct Client {
    stream: TcpStream,
    /// The bytes of the current response so far.
    received: Vec<u8>,
    /// Where the body begins in `received`.
    body: usize,
}

impl Client {
    pub(crate) async fn new(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4096), body: 0 })
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, target: &str, headers: &str) -> io::Result<()> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n");
        self.stream.write_all(request.as_bytes()).await
    }

    /// Waits for the first bytes of a response.
    pub(crate) async fn first_bytes(&mut self) -> io::Result<()> {
        self.received.clear();
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a request and waits for the last byte of the response, which must state its length. Returns the status and
    /// the elapsed time.
    pub(crate) async fn get(&mut self, target: &str, headers: &str) -> io::Result<(u16, Duration)> {
        let began = Instant::now();
        self.send(target, headers).await?;
        self.first_bytes().await?;
        let head = loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more().await?;
        };
        let text = std::str::from_utf8(&self.received[..head]).map_err(io::Error::other)?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        self.body = head;
        let end = head + length.ok_or_else(|| io::Error::other("a response without a length"))?;
        while self.received.len() < end {
            self.read_more().await?;
        }
        Ok((status, began.elapsed()))
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The body of the last response.
    pub(crate) fn body(&self) -> &[u8] {
        &self.received[self.body..]
    }
}

/// The quantile at this share; zero without values.
pub(crate) fn quantile(of: &mut [Duration], share: f64) -> Duration {
    of.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((of.len() as f64 * share) as usize).min(of.len().saturating_sub(1));
    of.get(index).copied().unwrap_or_default()
}

/// Milliseconds with one decimal place.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}
