//! Starts a built service on a free port, and sends it requests as a compositor would.
//! For tests only: every failure is a panic. The service is stopped when it is dropped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

/// A running service.
#[derive(Debug)]
pub struct Running {
    process: Child,
    address: String,
}

/// A response of a service.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, with their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

/// What is needed of a manifest to test its service.
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
    /// Starts a program with these environment variables, and waits until it listens.
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
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the service prints its address");
        let (_, address) = line.trim().split_once("http://").expect("an address");
        let address = address.to_owned();
        Self { process, address }
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap_or_default()
    }

    /// Requests a path and query.
    #[must_use]
    pub fn get(&self, path: &str) -> Reply {
        self.get_with(path, "")
    }

    /// Requests a path and query with additional header lines, each ended by CRLF.
    #[must_use]
    pub fn get_with(&self, path: &str, headers: &str) -> Reply {
        let mut stream = TcpStream::connect(&self.address).expect("the service listens");
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).expect("a timeout");
        // HTTP/1.0, so that no response is chunked.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        Reply::parse(&response)
    }

    /// Sends SIGTERM, as container platforms do, and returns whether the service exited successfully within 4 seconds.
    #[must_use]
    pub fn stop(mut self) -> bool {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill");
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
    fn parse(response: &str) -> Self {
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.and_then(|code| code.parse().ok()).expect("a status"),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// The value of a header; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Panics unless this is a complete problem document with that status.
    #[track_caller]
    pub fn expect_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }

    /// Panics unless this is a fragment as the contract requires.
    #[track_caller]
    pub fn expect_fragment(&self) {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.header("content-type"), "text/html; charset=utf-8");
        assert!(self.header("cache-control").starts_with("public, max-age="));
        assert!(self.header("etag").starts_with('"'));
        assert!(!self.header("surrogate-key").is_empty());
        let body = self.body.trim();
        assert!(body.starts_with('<') && body.ends_with('>'), "{body}");
        for forbidden in ["<style", "<script", "style=", "{{", "{%"] {
            assert!(!body.contains(forbidden), "{forbidden} in {body}");
        }
    }
}

/// Panics unless the service responds to every example of its manifest with a fragment.
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

/// The path of recorded data next to the repository; if it does not exist, prints that the test is skipped.
#[must_use]
pub fn recorded(folder: &str, file: &str) -> Option<PathBuf> {
    let path = Path::new(folder).join("../../../shared/data").join(file);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no recorded data at {}", path.display());
    None
}
