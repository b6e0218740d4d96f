//! Nanoservices on demand: real programs in Python and Node, started, stopped, replaced and killed by a real compositor.

mod development;
mod lifecycle;
mod limits;
mod reasons;
mod scaffolds;

use std::process::Command;
use std::sync::OnceLock;

use crate::support::process::{Server, TestSite, until};

/// A program that says its process ID when it listens, and answers by the path that it is asked.
const PROGRAM: &str = r#"
import os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1

    def do_GET(self):
        what = self.path.partition("?")[0]
        if what == "/crash":
            os._exit(3)
        if what == "/half":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            os._exit(4)
        if what == "/grow":
            self.server.held = bytearray(os.urandom(1 << 20) * 200)
        if what == "/env":
            self.answer(" ".join(sorted(os.environ)))
        elif what == "/cwd":
            self.answer(os.getcwd() + " " + repr(sys.stdin.read()))
        else:
            self.answer(os.environ.get("SAYS", "pid %d" % os.getpid()))

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Cache-Control", os.environ.get("CACHING", "no-store"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

mode = sys.argv[1] if len(sys.argv) > 1 else ""
if mode == "fail":
    print("about to fail", flush=True)
    sys.exit(7)
if mode == "escape":
    # A grandchild in a session of its own, whose parent is gone.
    script = "import os, time; os.fork() and os._exit(0); os.setsid(); print('escaped', os.getpid(), flush=True); open('escaped', 'w'); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", script]).wait()
    while not os.path.exists("escaped"):
        time.sleep(0.01)
if mode == "wait":
    print("waiting", flush=True)
    while not os.path.exists("go"):
        time.sleep(0.01)
server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
print("listens as", os.getpid(), flush=True)
server.serve_forever()
"#;

/// The Python that `python3` leads to, which may be a script that takes long to find it.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        String::from_utf8(output.expect("Python is installed").stdout).unwrap().trim().to_owned()
    })
}

/// The manifest of the program, started with these arguments, and with further lines.
fn manifest(name: &str, arguments: &[&str], more: &str) -> String {
    let command = [python(), "program.py"].into_iter().chain(arguments.iter().copied());
    let command = command.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    format!("name = \"{name}\"\nversion = \"1.0.0\"\ncommand = [{command}]\n{more}")
}

/// A site whose page at `/` is this HTML, with the program `a`.
fn site(html: &str, arguments: &[&str], more: &str) -> TestSite {
    program(TestSite::new().front(html), "a", arguments, more)
}

/// Adds a program.
fn program(site: TestSite, name: &str, arguments: &[&str], more: &str) -> TestSite {
    site.file(&format!("fragments/{name}/fragment.toml"), &manifest(name, arguments, more))
        .file(&format!("fragments/{name}/program.py"), PROGRAM)
}

/// The page of a fragment that takes as long as it takes.
const PATIENT: &str = "<fragment name=a timeout=30s>instead</fragment>";
/// Time for the page of [`PATIENT`].
const LONG_BUDGET: &str = "[page]\nbudget = \"30s\"\n";

/// The process ID that a program logs after a text, whatever else it logs before or after.
async fn id_after(server: &mut Server, text: &str) -> String {
    let output = server.process.output();
    let logged = output.lines().rev().find_map(|line| line.split_once(text));
    let rest = match logged {
        Some((_, rest)) => rest.to_owned(),
        None => server.process.line(text).await,
    };
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Whether a process is there, other than as a zombie.
fn is_alive(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

async fn until_gone(id: &str) {
    until(async || !is_alive(id)).await;
}

/// What the API shows of the program `a`.
async fn status(server: &Server) -> serde_json::Value {
    let url = format!("{}/api/fragments", server.admin);
    let all: serde_json::Value = serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap();
    let fragments = all.as_array().unwrap();
    fragments.iter().find(|one| one["name"] == "a").expect("`a` is declared")["process"].clone()
}

/// Waits until the program `a` is in a state.
async fn until_state(server: &Server, state: &str) {
    until(async || status(server).await["state"] == state).await;
}
