//! Starts a built service on a free port and asks it, as a compositor would. It is stopped when
//! dropped. Only for tests: whatever goes wrong here is a panic.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

/// A service that runs.
#[derive(Debug)]
pub struct Running {
    process: Child,
    address: String,
}

/// What it answered.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

/// What a manifest says that its service can be tested against.
#[derive(Debug, Deserialize)]
struct Manifest {
    name: String,
    endpoint: String,
    examples: Vec<Example>,
}

#[derive(Debug, Deserialize)]
struct Example {
    name: String,
    params: BTreeMap<String, String>,
}

impl Running {
    /// Starts the program with these environment variables, and waits until it listens.
    #[must_use]
    pub fn start(program: &str, env: &[(&str, &str)]) -> Self {
        let mut process = Command::new(program)
            .env("PORT", "0")
            .env_remove("HOST")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the service starts");
        let stdout = process.stdout.take().expect("stdout was asked for");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the service says where it listens");
        let (_, address) = line.trim().split_once("http://").expect("an address");
        let address = address.to_owned();
        Self { process, address }
    }

    /// The port that it got.
    #[must_use]
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap_or_default()
    }

    /// Asks for a path with its query.
    #[must_use]
    pub fn get(&self, path: &str) -> Reply {
        self.get_with(path, "")
    }

    /// Asks with more header lines, each ended by CRLF.
    #[must_use]
    pub fn get_with(&self, path: &str, headers: &str) -> Reply {
        let mut stream = TcpStream::connect(&self.address).expect("the service listens");
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).expect("a timeout");
        // HTTP/1.0, so that no answer comes in chunks.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        Reply::parse(&answer)
    }

    /// Sends the signal that container platforms send, and says whether it ended well in time.
    #[must_use]
    pub fn stop(mut self) -> bool {
        let id = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.is_ok_and(|status| status.success()), "kill");
        for _ in 0..80 {
            if let Ok(Some(status)) = self.process.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Reply {
    fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.and_then(|code| code.parse().ok()).expect("a status"),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// A header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Panics unless it is a problem of that status, in full.
    #[track_caller]
    pub fn expect_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }

    /// Panics unless it is a fragment as the contract wants it.
    #[track_caller]
    pub fn expect_fragment(&self) {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.header("content-type"), "text/html; charset=utf-8");
        assert!(self.header("cache-control").starts_with("public, max-age="));
        assert!(self.header("etag").starts_with('"'));
        assert!(!self.header("surrogate-key").is_empty());
        let body = self.body.trim();
        assert!(body.starts_with('<') && body.ends_with('>'), "{body}");
        for never in ["<style", "<script", "style=", "{{", "{%"] {
            assert!(!body.contains(never), "{never} in {body}");
        }
    }
}

/// Panics unless every example in the manifest is answered with a fragment.
#[track_caller]
pub fn check_manifest(folder: &str, service: &Running) {
    let text = std::fs::read_to_string(Path::new(folder).join("fragment.toml"));
    let manifest: Manifest = toml::from_str(&text.expect("a manifest")).expect("TOML");
    assert!(folder.ends_with(&manifest.name));
    let endpoint = manifest.endpoint.strip_prefix("http://127.0.0.1:");
    let (_, path) = endpoint.and_then(|rest| rest.split_once('/')).expect("a path");
    assert!(!manifest.examples.is_empty());
    for Example { name, params } in manifest.examples {
        let query: Vec<_> = params.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let reply = service.get(&format!("/{path}?{}", query.join("&")));
        assert_eq!(reply.status, 200, "example {name}");
        reply.expect_fragment();
    }
}

/// The recorded data next to the repository, where it is there; a note where it is not.
#[must_use]
pub fn recorded(folder: &str, file: &str) -> Option<PathBuf> {
    let path = Path::new(folder).join("../../../shared/data").join(file);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no recorded data at {}", path.display());
    None
}
