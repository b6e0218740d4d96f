//! The life cycle of the process: start, notification of systemd, load, exhausted file descriptors, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::net::{TcpStream, UnixDatagram};
use tokio::process::Command;

use crate::support::process::{Process, TestSite, client};
use crate::support::service::RawService;

#[tokio::test]
async fn systemd_is_notified_of_start_and_stop() {
    let site = TestSite::new().front("page");
    let path = site.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let server = site.serve_with(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    let notification = async || {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    assert_eq!(notification().await, "READY=1\n");
    assert_eq!(server.text("/").await, "page");
    server.process.terminate();
    assert_eq!(notification().await, "STOPPING=1\n");
}

/// Passes a listening socket as systemd does, and executes the compositor.
const HANDS_OVER: &str = "
import os, socket, sys
s = socket.create_server(('127.0.0.1', 0))
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
print('handed over', s.getsockname()[1], flush=True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
";

#[tokio::test]
async fn a_socket_passed_by_systemd_is_used() {
    if Command::new("python3").arg("--version").output().await.is_err() {
        eprintln!("skipped: there is no python3 on this machine");
        return;
    }
    let site = TestSite::new().front("page");
    let mut command = Command::new("python3");
    command.args(["-c", HANDS_OVER, env!("CARGO_BIN_EXE_pasteup"), "--site"]).arg(site.path());
    command.args(["serve", "--listen", "127.0.0.1:1", "--admin", "127.0.0.1:0"]);
    let mut process = Process::start(command);
    let port = process.line("handed over ").await;
    process.line("admin on ").await;
    let response = client().get(format!("http://127.0.0.1:{port}/")).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "page");
}

#[tokio::test]
async fn reloads_under_load_fail_no_request_and_neither_does_a_stop() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=1\r\n", "part").await;
    let site = TestSite::new().front("<p>0</p><fragment name=a />").service("a", service.address);
    let mut server = site.serve().await;
    let (over, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, requests, url) = (Arc::clone(&over), Arc::clone(&requests), server.pages.clone());
            tokio::spawn(async move {
                let client = client();
                loop {
                    let response = match client.get(&url).send().await {
                        Err(error) if over.load(Ordering::Relaxed) && error.is_connect() => return,
                        response => response.unwrap(),
                    };
                    assert_eq!(response.status(), StatusCode::OK);
                    let text = response.text().await.unwrap();
                    assert!(text.starts_with("<p>") && text.ends_with("</p>part"), "{text}");
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for number in 1..=100 {
        site.write("layouts/front.html", &format!("+++\nroute = \"/\"\n+++\n<p>{number}</p><fragment name=a />"));
        if number % 10 == 0 {
            // Every tenth time the file is invalid for a moment.
            site.write("layouts/front.html", "+++\nroute = \n+++\n");
            site.write("layouts/front.html", &format!("+++\nroute = \"/\"\n+++\n<p>{number}</p><fragment name=a />"));
            server.wait_for_text("/", &format!("<p>{number}</p>part")).await;
        }
    }
    // The clients continue until they can no longer connect.
    over.store(true, Ordering::Relaxed);
    server.process.terminate();
    for client in clients {
        client.await.unwrap();
    }
    assert!(requests.load(Ordering::Relaxed) > 100);
    assert!(server.process.exit_status().await.success());
}

#[tokio::test]
async fn running_out_of_file_descriptors_pauses_the_server_and_does_not_end_it() {
    let site = TestSite::new().front("page");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pasteup"), "--site"]).arg(site.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut process = Process::start(command);
    let pages = process.line("listening on ").await;
    let admin = process.line("admin on ").await;
    let mut connections = Vec::new();
    for _ in 0..80 {
        connections.push(TcpStream::connect(pages.trim_start_matches("http://")).await.unwrap());
    }
    process.line("cannot accept a connection").await;
    let began = Instant::now();
    // The admin listener has file descriptors in reserve, again and again.
    for path in ["/livez", "/readyz", "/metrics"].repeat(10) {
        assert_eq!(client().get(format!("{admin}{path}")).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    let seconds = began.elapsed().as_secs() as usize;
    let lines = process.output().matches("cannot accept a connection").count();
    assert!(lines <= seconds + 2, "at most one line a second: {lines} in {seconds} s");
    drop(connections);
    assert_eq!(client().get(&pages).send().await.unwrap().text().await.unwrap(), "page");
}
