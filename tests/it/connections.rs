//! Connections: strict HTTP/1.1 parsing, timeouts, TLS, and replies with and without hyper.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::process::{Server, TestSite, client};
use crate::support::service::RawService;

fn page() -> TestSite {
    TestSite::new().front("<p>page</p>")
}

/// Sends bytes, and returns everything that the server sends until it closes the connection.
async fn send(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut response = Vec::new();
    let _reset = stream.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

fn statuses(response: &str) -> Vec<&str> {
    response.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect()
}

#[tokio::test]
async fn an_ambiguous_request_is_answered_with_400_and_the_connection_closes() {
    let server = page().serve().await;
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", vec!["400"]),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", vec!["400"]),
        ("GET / HTTP/1.1\nHost: a\n\n", vec!["400"]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", vec!["400"]),
        // The request before the malformed one gets a response; the request after it gets none.
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            vec!["200", "400"],
        ),
    ] {
        assert_eq!(statuses(&send(&server, bytes.as_bytes()).await), expected, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_body_is_dropped_and_the_next_request_follows_it() {
    let server = page().serve().await;
    let body = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
    let fat = format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&send(&server, format!("{fat}{last}").as_bytes()).await), ["200", "200"]);
    let waits = "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(statuses(&send(&server, waits.as_bytes()).await), ["200"], "the server does not wait for the body");
}

#[tokio::test]
async fn every_wait_on_a_connection_has_a_timeout() {
    let settings = "[server]\nheader_timeout = \"300ms\"\nidle_timeout = \"600ms\"\n";
    let server = page().file("pasteup.toml", settings).serve().await;
    let cached = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bytes, expected) in [
        ("", vec![]),
        ("GET / HT", vec![]),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", vec![]),
        (cached, vec!["200"]),
    ] {
        // The test ends only if the server closes the connection.
        assert_eq!(statuses(&send(&server, bytes.as_bytes()).await), expected, "{bytes:?}");
    }
    // A client that sends another request in time is served on the same connection, for longer than a head may take.
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    for _ in 0..2 {
        stream.write_all(cached.as_bytes()).await.unwrap();
        let mut response = [0; 4096];
        assert!(stream.read(&mut response).await.unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_its_reply_is_not_idle() {
    let service = RawService::html(Duration::from_millis(600), "", "<p>slow</p>").await;
    let settings = "[server]\nheader_timeout = \"100ms\"\nidle_timeout = \"100ms\"\n[page]\nbudget = \"9s\"\n[fragment]\ntimeout = \"9s\"\n";
    for front in ["<p>at once</p><fragment name=a />", "<fragment name=a required />"] {
        let server =
            TestSite::new().front(front).service("a", service.address).file("pasteup.toml", settings).serve().await;
        let response = send(&server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(response.contains("slow"), "{response}");
    }
}

#[tokio::test]
async fn the_connection_of_a_client_that_reads_nothing_is_closed() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", &"x".repeat(900_000)).await;
    let parts = "<fragment name=a />".repeat(15);
    let settings = "[server]\nwrite_timeout = \"300ms\"\nmax_in_flight = 1\n";
    let server =
        TestSite::new().front(&parts).service("a", service.address).file("pasteup.toml", settings).serve().await;
    let mut stuck = TcpStream::connect(server.address()).await.unwrap();
    stuck.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // The client's window fills up, and the connection is reset.
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut received = Vec::new();
    let _reset = stuck.read_to_end(&mut received).await;
    assert!(received.len() < 15 * 900_000, "{} bytes", received.len());
}

#[tokio::test]
async fn a_client_that_reads_a_page_slowly_is_not_idle() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", &"x".repeat(900_000)).await;
    let settings = "[server]\nidle_timeout = \"200ms\"\nheader_timeout = \"200ms\"\n";
    let parts = "<fragment name=a />".repeat(12);
    let server =
        TestSite::new().front(&parts).service("a", service.address).file("pasteup.toml", settings).serve().await;
    // The last page is cached: hyper has all of it before the first byte is read.
    for _ in 0..4 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let mut stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let (mut piece, mut received) = (vec![0; 100_000], 0);
        loop {
            // Slowly, but it reads something all the time.
            tokio::time::sleep(Duration::from_millis(5)).await;
            match stream.read(&mut piece).await.unwrap() {
                0 => break,
                more => received += more,
            }
        }
        assert!(received > 12 * 900_000, "{received} bytes");
    }
}

#[tokio::test]
async fn two_hundred_half_open_connections_block_nobody() {
    let server = page().file("pasteup.toml", "[server]\nheader_timeout = \"500ms\"\n").serve().await;
    let mut half_open = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        half_open.push(stream);
    }
    assert_eq!(server.get("/").await.status(), StatusCode::OK);
    for mut stream in half_open {
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap_or(0), 0, "the connection is closed");
    }
}

/// Writes a certificate for `localhost` and its key into the site, and returns the certificate for clients to trust.
pub(crate) fn certificate(site: &TestSite) -> reqwest::Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    // Each file is replaced atomically, as programs that renew certificates do.
    for (name, text) in [("key", key.serialize_pem()), ("cert", certificate.clone())] {
        site.write(&format!("{name}.new"), &text);
        std::fs::rename(site.path().join(format!("{name}.new")), site.path().join(format!("{name}.pem"))).unwrap();
    }
    reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap()
}

pub(crate) fn trusting(certificate: &reqwest::Certificate, server: &Server, h2: bool) -> (reqwest::Client, String) {
    let port: u16 = server.pages.rsplit(':').next().unwrap().parse().unwrap();
    let builder = reqwest::Client::builder()
        .tls_certs_only([certificate.clone()])
        .resolve("localhost", ([127, 0, 0, 1], port).into());
    let client = if h2 { builder } else { builder.http1_only() }.build().unwrap();
    (client, format!("https://localhost:{port}/"))
}

#[tokio::test]
async fn pages_are_served_over_tls_with_http_1_and_2_and_a_new_certificate_is_used() {
    let site = page().file("pasteup.toml", "[server]\ntls = { cert = \"file:cert.pem\", key = \"file:key.pem\" }\n");
    let first = certificate(&site);
    let mut server = site.serve().await;
    assert!(server.pages.starts_with("https://"));
    for (h2, version) in [(true, http::Version::HTTP_2), (false, http::Version::HTTP_11)] {
        let (client, url) = trusting(&first, &server, h2);
        let response = client.get(url).send().await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        assert_eq!(response.text().await.unwrap(), "<p>page</p>");
    }
    assert!(client().get(format!("http://{}", server.pages.trim_start_matches("https://"))).send().await.is_err());
    let second = certificate(&site);
    server.process.line("the new certificate is in use").await;
    let (trusts_first, url) = trusting(&first, &server, true);
    assert!(trusts_first.get(&url).send().await.is_err());
    assert_eq!(trusting(&second, &server, true).0.get(&url).send().await.unwrap().status(), StatusCode::OK);
    // An unusable file changes nothing.
    site.write("key.pem", "no key");
    server.process.line("keeping the previous certificate").await;
    assert_eq!(trusting(&second, &server, true).0.get(&url).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_http_2_client_that_reads_nothing_does_not_hold_its_permit() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=60\r\n", &"x".repeat(900_000)).await;
    let settings = "[server]\ntls = { cert = \"file:cert.pem\", key = \"file:key.pem\" }\nwrite_timeout = \"300ms\"\nmax_in_flight = 1\n";
    let site = TestSite::new()
        .front(&"<fragment name=a />".repeat(12))
        .service("a", service.address)
        .file("pasteup.toml", settings);
    let certificate = certificate(&site);
    let server = site.serve().await;
    let (client, url) = trusting(&certificate, &server, true);
    // The head has arrived, and nothing of the body is read.
    let stuck = client.get(&url).send().await.unwrap();
    let (other, _) = trusting(&certificate, &server, false);
    while other.get(&url).send().await.unwrap().status() != StatusCode::OK {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(stuck.bytes().await.is_err(), "the connection is reset");
}

#[tokio::test]
async fn without_its_certificate_the_server_does_not_start() {
    let site = page().file("pasteup.toml", "[server]\ntls = { cert = \"file:cert.pem\", key = \"file:key.pem\" }\n");
    let output = site.run(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("server.tls: file:cert.pem"), "{stderr}");
}

/// Reads replies from a connection that stays open: the lines of each head, and the body.
pub(crate) async fn read_replies(stream: &mut TcpStream, count: usize) -> Vec<(Vec<String>, Vec<u8>)> {
    let (mut read, mut found) = (Vec::new(), Vec::new());
    for number in 0..count {
        let head = String::from_utf8(read_to(stream, &mut read, b"\r\n\r\n", number).await).unwrap();
        let lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        let mut body = Vec::new();
        if lines.iter().any(|line| line == "transfer-encoding: chunked") {
            loop {
                let size = String::from_utf8(read_to(stream, &mut read, b"\r\n", number).await).unwrap();
                let chunk =
                    read_exactly(stream, &mut read, usize::from_str_radix(&size, 16).unwrap() + 2, number).await;
                body.extend_from_slice(&chunk[..chunk.len() - 2]);
                if size == "0" {
                    break;
                }
            }
        } else {
            let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            body = read_exactly(stream, &mut read, length.parse().unwrap(), number).await;
        }
        found.push((lines, body));
    }
    assert!(read.is_empty(), "there are more bytes than replies");
    found
}

/// Reads this many bytes of a reply. `number`: the number of the reply on its connection.
async fn read_exactly(stream: &mut TcpStream, read: &mut Vec<u8>, length: usize, number: usize) -> Vec<u8> {
    while read.len() < length {
        assert!(stream.read_buf(read).await.unwrap() > 0, "the connection was closed within reply {number}");
    }
    read.drain(..length).collect()
}

/// Reads up to a delimiter, and returns the bytes before it.
async fn read_to(stream: &mut TcpStream, read: &mut Vec<u8>, end: &[u8], number: usize) -> Vec<u8> {
    loop {
        if let Some(at) = read.windows(end.len()).position(|bytes| bytes == end) {
            let mut before = read_exactly(stream, read, at + end.len(), number).await;
            before.truncate(at);
            return before;
        }
        assert!(stream.read_buf(read).await.unwrap() > 0, "the connection was closed within reply {number}");
    }
}

/// Reads one reply.
async fn response(server: &Server, fields: &str) -> (Vec<String>, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).await.unwrap();
    let (mut head, body) = read_replies(&mut stream, 1).await.remove(0);
    head.retain(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "));
    head.sort();
    (head, body)
}

#[tokio::test]
async fn a_reply_without_hyper_is_what_hyper_would_send() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=600\r\n", &"<p>part</p>".repeat(99)).await;
    let server =
        TestSite::new().front("<title>p</title><fragment name=a />").service("a", service.address).serve().await;
    let etag = server.get("/").await.headers()["etag"].to_str().unwrap().to_owned();
    for _ in 0..3 {
        client().get(format!("{}/", server.pages)).header("host", "a").send().await.unwrap().text().await.unwrap();
    }
    for fields in [
        String::new(),
        "Accept-Encoding: gzip\r\n".to_owned(),
        "Accept-Encoding: zstd, br;q=0.5\r\n".to_owned(),
        format!("If-None-Match: {etag}\r\n"),
    ] {
        // A request with an unknown connection option is left to hyper.
        let by_hyper = || async { response(&server, &format!("{fields}Connection: keep-alive, other\r\n")).await };
        for _ in 0..5 {
            // Meanwhile, a smaller encoding may have been made in the background.
            let (before, found, after) = (by_hyper().await, response(&server, &fields).await, by_hyper().await);
            assert!(found.0.iter().any(|line| line.starts_with("HTTP/1.1 ")));
            let [before, found, after] = [before, found, after].map(|(mut head, body)| {
                // A second may have passed.
                head.retain(|line| !line.starts_with("cache-control: public, max-age="));
                (head, body)
            });
            assert!(found == before || found == after, "{fields}: {found:?} instead of {before:?}");
        }
    }
    assert_eq!(service.requests(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_with_and_without_hyper() {
    let cached = RawService::html(Duration::ZERO, "Cache-Control: max-age=600\r\n", "kept").await;
    let slow = RawService::html(Duration::from_millis(100), "Cache-Control: no-store\r\n", "slow").await;
    let page = |route: &str, name: &str| format!("+++\nroute = \"{route}\"\n+++\n<fragment name={name} required />");
    let server = TestSite::new()
        .file("layouts/kept.html", &page("/kept", "kept"))
        .file("layouts/slow.html", &page("/slow", "slow"))
        .service("kept", cached.address)
        .service("slow", slow.address)
        .serve()
        .await;
    for _ in 0..3 {
        server.text("/kept").await;
    }
    let order = "kslkkslsskk";
    let mut all = String::new();
    for page in order.chars() {
        let (path, fields) = match page {
            'k' => ("kept", ""),
            's' => ("slow", ""),
            // Left to hyper, although it does not close the connection.
            _ => ("kept", "Connection: keep-alive, other\r\n"),
        };
        all.push_str(&format!("GET /{path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    }
    for pieces in [1, 7, 40, all.len()] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in all.as_bytes().chunks(all.len().div_ceil(pieces)) {
            stream.write_all(piece).await.unwrap();
        }
        let bodies: Vec<String> = read_replies(&mut stream, order.len())
            .await
            .into_iter()
            .map(|(_, body)| String::from_utf8(body).unwrap())
            .collect();
        let expected: Vec<&str> = order.chars().map(|page| if page == 's' { "slow" } else { "kept" }).collect();
        assert_eq!(bodies, expected);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_a_cached_page_holds_no_permit() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=600\r\n", &"x".repeat(900_000)).await;
    let server = TestSite::new()
        .front(&"<fragment name=a />".repeat(12))
        .file("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother")
        .service("a", service.address)
        .file("pasteup.toml", "[server]\nmax_in_flight = 1\n")
        .serve()
        .await;
    let host = client().get(format!("{}/", server.pages)).header("host", "a");
    for _ in 0..3 {
        host.try_clone().unwrap().send().await.unwrap().bytes().await.unwrap();
    }
    let mut stuck = TcpStream::connect(server.address()).await.unwrap();
    stuck.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    stuck.read_exact(&mut [0; 100]).await.unwrap();
    assert_eq!(server.text("/other").await, "other");
}

#[tokio::test]
async fn a_page_that_is_sent_without_hyper_is_finished_when_the_server_stops() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=600\r\n", &"x".repeat(900_000)).await;
    let parts = "<fragment name=a />".repeat(12);
    let mut server = TestSite::new().front(&parts).service("a", service.address).serve().await;
    let length = server.text("/").await.len();
    for _ in 0..2 {
        server.text("/").await;
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut received = vec![0; 1000];
    stream.read_exact(&mut received).await.unwrap();
    server.process.terminate();
    let stopping = server.process.line("stopping").await;
    assert!(!stopping.is_empty());
    stream.read_to_end(&mut received).await.unwrap();
    let head = received.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(received.len() - head, length);
    assert!(server.process.exit_status().await.success());
}
