//! Real processes: the compositor itself, and the sample nanoservices.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The longest wait for an event that always happens; long, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of a site, which is removed after the test.
pub(crate) struct TestSite {
    folder: Arc<TempDir>,
    /// The path of the site, if it is not the folder itself.
    path: Option<PathBuf>,
}

impl TestSite {
    pub(crate) fn new() -> Self {
        let site = Self { folder: Arc::new(tempfile::tempdir().unwrap()), path: None };
        std::fs::create_dir(site.path().join("layouts")).unwrap();
        std::fs::create_dir(site.path().join("fragments")).unwrap();
        site
    }

    /// Another site with the same files.
    pub(crate) fn copy(&self) -> Self {
        fn copy(from: &Path, to: &Path) {
            std::fs::create_dir_all(to).unwrap();
            for entry in std::fs::read_dir(from).unwrap() {
                let path = entry.unwrap().path();
                let target = to.join(path.file_name().unwrap());
                if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, target).map(|_| ()).unwrap() }
            }
        }
        let site = Self::new();
        copy(self.path(), site.path());
        site
    }

    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| self.folder.path())
    }

    /// A site in this folder at another path.
    pub(crate) fn at(&self, path: &Path) -> Self {
        Self { folder: Arc::clone(&self.folder), path: Some(path.to_owned()) }
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Turns streaming off, so that headers do not depend on how busy the machine is.
    pub(crate) fn without_streaming(self) -> Self {
        self.file("pasteup.toml", "[page]\nstream = false\n")
    }

    /// Adds a page at `/`.
    pub(crate) fn front(self, html: &str) -> Self {
        self.file("layouts/front.html", &format!("+++\nroute = \"/\"\n+++\n{html}"))
    }

    /// Changes the page at `/`.
    pub(crate) fn front_now(&self, html: &str) {
        self.write("layouts/front.html", &format!("+++\nroute = \"/\"\n+++\n{html}"));
    }

    /// Adds the manifest of a nanoservice at an address.
    pub(crate) fn service(self, name: &str, address: std::net::SocketAddr) -> Self {
        let text = format!("name = \"{name}\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/{name}\"\n");
        self.file(&format!("fragments/{name}/fragment.toml"), &text)
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = pasteup(self.path());
        timeout(PATIENCE, command.args(arguments).output()).await.expect("the command ends").unwrap()
    }

    /// Runs a command to its end, with an environment variable.
    pub(crate) async fn run_with(&self, arguments: &[&str], name: &str, value: Option<&str>) -> Output {
        let mut command = pasteup(self.path());
        command.args(arguments).envs(value.map(|value| (name, value)));
        timeout(PATIENCE, command.output()).await.expect("the command ends").unwrap()
    }

    /// Starts `pasteup serve`, and waits until it is ready.
    pub(crate) async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    pub(crate) async fn serve_with(&self, environment: &[(&str, &str)]) -> Server {
        self.start("serve", environment).await
    }

    /// Starts `pasteup dev`, and waits until it is ready.
    pub(crate) async fn dev(&self) -> Server {
        self.start("dev", &[]).await
    }

    async fn start(&self, command_name: &str, environment: &[(&str, &str)]) -> Server {
        let mut command = pasteup(self.path());
        command
            .args([command_name, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .envs(environment.iter().copied());
        self.started(Process::start(command)).await
    }

    /// Starts `pasteup serve` with this standard output and standard error, one of which is a pipe.
    pub(crate) async fn serve_to(&self, output: Stdio, error: Stdio) -> Server {
        let mut command = pasteup(self.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        self.started(Process::start_to(command, output, error)).await
    }

    /// Runs a command to its end with this standard output.
    pub(crate) async fn run_to(&self, arguments: &[&str], output: Stdio) -> Output {
        let mut command = pasteup(self.path());
        let child = command.args(arguments).stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        timeout(PATIENCE, child.wait_with_output()).await.expect("the command ends").unwrap()
    }

    async fn started(&self, mut process: Process) -> Server {
        let pages = process.line("listening on ").await;
        let (pages, admin) = match pages.split_once(", admin on ") {
            Some((pages, admin)) => (pages.to_owned(), admin.to_owned()),
            None => (pages, process.line("admin on ").await),
        };
        Server { process, pages, admin, client: client(), _folder: Arc::clone(&self.folder) }
    }
}

fn pasteup(site: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pasteup"));
    command.arg("--site").arg(site).env("NO_COLOR", "1").kill_on_drop(true);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PASTEUP_")) {
        command.env_remove(name);
    }
    command
}

/// Waits for an event that nothing reports, by looking again and again.
pub(crate) async fn until(has_happened: impl AsyncFn() -> bool) {
    let wait = async {
        while !has_happened().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it happens");
}

/// A running compositor.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// `http://127.0.0.1:PORT`
    pub(crate) pages: String,
    /// `http://127.0.0.1:PORT`
    pub(crate) admin: String,
    client: reqwest::Client,
    /// Keeps the folder, because its removal would be a change that is reloaded.
    _folder: Arc<TempDir>,
}

impl Server {
    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.pages)).send().await.unwrap()
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let get = self.client.get(format!("{}{path}", self.pages));
        headers.iter().fold(get, |get, (name, value)| get.header(*name, *value)).send().await.unwrap()
    }

    /// What the admin listener answers to a GET.
    pub(crate) async fn admin_get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.admin)).send().await.unwrap()
    }

    /// What the admin listener answers to a POST of JSON.
    pub(crate) async fn admin_post(&self, path: &str, body: &str) -> reqwest::Response {
        let post = self.client.post(format!("{}{path}", self.admin)).header("content-type", "application/json");
        post.body(body.to_owned()).send().await.unwrap()
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = self.client.get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no metric {name} in\n{metrics}")).parse().unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.unwrap()
    }

    /// Waits until a page has this text. One change on disk may be noticed in several steps, so one line is not enough.
    pub(crate) async fn wait_for_text(&mut self, path: &str, text: &str) {
        while self.text(path).await != text {
            self.process.line("reloaded").await;
        }
    }

    /// Waits until a page no longer exists.
    pub(crate) async fn wait_for_404(&mut self, path: &str) {
        while self.get(path).await.status() != 404 {
            self.process.line("reloaded").await;
        }
    }

    /// The address of the page listener, `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.pages.strip_prefix("http://").unwrap()
    }
}

/// A client that neither follows redirects nor decodes bodies.
pub(crate) fn client() -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .build()
        .unwrap()
}

/// A process and its output, standard output and standard error together.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    output: Vec<String>,
}

impl Process {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_to(command, Stdio::piped(), Stdio::piped())
    }

    fn start_to(mut command: Command, output: Stdio, error: Stdio) -> Self {
        let mut child = command.stdout(output).stderr(error).kill_on_drop(true).spawn().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        child.stdout.take().into_iter().for_each(|output| forward(output, sender.clone()));
        child.stderr.take().into_iter().for_each(|error| forward(error, sender.clone()));
        Self { child, lines, output: Vec::new() }
    }

    /// Waits for a line that contains a text, and returns what follows the text.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        loop {
            let next = timeout(PATIENCE, self.lines.recv()).await;
            let Ok(Some(line)) = next else { panic!("`{text}` was never printed, only:\n{}", self.output.join("\n")) };
            self.output.push(line.clone());
            if let Some((_, behind)) = line.split_once(text) {
                return behind.trim().to_owned();
            }
        }
    }

    /// The same; `None` if the process ends without such a line.
    pub(crate) async fn line_or_end(&mut self, text: &str) -> Option<String> {
        loop {
            let line = timeout(PATIENCE, self.lines.recv()).await.expect("it prints a line, or ends")?;
            self.output.push(line.clone());
            if let Some((_, behind)) = line.split_once(text) {
                return Some(behind.trim().to_owned());
            }
        }
    }

    /// The output so far.
    pub(crate) fn output(&mut self) -> String {
        while let Ok(line) = self.lines.try_recv() {
            self.output.push(line);
        }
        self.output.join("\n")
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().expect("the process runs").to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits until the process ends.
    pub(crate) async fn exit_status(&mut self) -> std::process::ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("the process ends").unwrap()
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

fn forward(stream: impl tokio::io::AsyncRead + Unpin + Send + 'static, to: mpsc::UnboundedSender<String>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

/// The root folder of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Starts a sample nanoservice on this port; 0 selects a free one. Returns the process and its address.
pub(crate) async fn sample(name: &str, port: u16) -> (Process, String) {
    let binary = Path::new(env!("CARGO_BIN_EXE_pasteup")).with_file_name(name);
    assert!(binary.exists(), "{} is not built: run `make test`, or `cargo test --workspace`", binary.display());
    let mut command = Command::new(binary);
    command.env("PORT", port.to_string());
    let mut process = Process::start(command);
    let address = process.line("listening on http://").await;
    (process, address)
}
