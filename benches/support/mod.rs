//! The compositor as a process of its own, and readers who ask over plain sockets.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Serves nanoservices, and tells where.
pub(crate) async fn served(router: axum::Router) -> SocketAddr {
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

    /// Writes one of its files.
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

    /// Serves it. On a machine that has several, the compositor has the last core for itself where `alone`.
    pub(crate) fn serve(self, alone: bool) -> Running {
        let other = std::env::var_os(OTHER);
        let pasteup = other.as_ref().map_or(Path::new(env!("CARGO_BIN_EXE_pasteup")), Path::new);
        let last = last_core();
        let mut command = if alone {
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

/// Names another program than the one that was built.
const OTHER: &str = "PASTEUP";

/// The last core that there was when this was asked first: later a bench may keep itself off it.
pub(crate) fn last_core() -> usize {
    static LAST: OnceLock<usize> = OnceLock::new();
    *LAST.get_or_init(|| std::thread::available_parallelism().unwrap().get() - 1)
}

/// A compositor, its addresses, and its site. It ends with this.
pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) pages: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) site: Site,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::env::var_os(OTHER).is_some() {
            // It may have something to write down.
            let _told = Command::new("kill").arg(self.process.id().to_string()).status();
        } else {
            let _ended = self.process.kill();
        }
        let _status = self.process.wait();
    }
}

/// What a process holds just now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// Resident memory in KiB.
    pub(crate) memory: u64,
    /// Open files.
    pub(crate) files: usize,
    /// Threads.
    pub(crate) threads: u64,
}

impl Running {
    /// What the process holds just now.
    pub(crate) fn held(&self) -> Held {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count();
        Held { memory: field("VmRSS:"), files, threads: field("Threads:") }
    }

    /// The values of a metric, by line.
    pub(crate) async fn metric(&self, name: &str) -> Vec<f64> {
        let mut reader = Reader::new(self.admin).await.unwrap();
        reader.get("/metrics", "").await.unwrap();
        let text = String::from_utf8(reader.body().to_vec()).unwrap();
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        text.lines().filter(is_it).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }
}

/// A reader with one connection. Not an HTTP client: a reader should cost less than whom he asks.
pub(crate) struct Reader {
    stream: TcpStream,
    got: Vec<u8>,
    body: usize,
}

impl Reader {
    pub(crate) async fn new(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, got: Vec::with_capacity(4096), body: 0 })
    }

    /// Sends a request.
    pub(crate) async fn ask(&mut self, target: &str, headers: &str) -> io::Result<()> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n");
        self.stream.write_all(request.as_bytes()).await
    }

    /// Waits for the first bytes of an answer.
    pub(crate) async fn first(&mut self) -> io::Result<()> {
        self.got.clear();
        match self.stream.read_buf(&mut self.got).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Asks, and waits for the last byte of an answer that says how long it is: its status, and how long it took.
    pub(crate) async fn get(&mut self, target: &str, headers: &str) -> io::Result<(u16, Duration)> {
        let began = Instant::now();
        self.ask(target, headers).await?;
        self.first().await?;
        let head = loop {
            if let Some(end) = self.got.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.got[..head]).map_err(io::Error::other)?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        self.body = head;
        let end = head + length.ok_or_else(|| io::Error::other("an answer without a length"))?;
        while self.got.len() < end {
            self.more().await?;
        }
        Ok((status, began.elapsed()))
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.got).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.got[self.body..]
    }
}

/// The value below which this share of them lies.
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

/// Milliseconds, as a person reads them.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}
