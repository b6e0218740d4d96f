//! Responses of nanoservices at the level of HTTP/1.1, and what clients get for them.

use std::time::Duration;

use crate::support::process::TestSite;
use crate::support::service::RawService;

/// The reason of the part's outcome when a nanoservice sends these bytes, or the HTML that is shown.
async fn reason(response: &[u8]) -> String {
    let service = RawService::start(Duration::ZERO, response).await;
    let site = TestSite::new().front("<fragment name=a timeout=2s>instead</fragment>").service("a", service.address);
    let output = site.run(&["render", "/"]).await;
    let html = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    match log.split_once('(') {
        Some((_, reason)) => {
            assert_eq!(html, "instead");
            reason.split(')').next().unwrap().to_owned()
        }
        None => format!("shown: {html}"),
    }
}

#[tokio::test]
async fn faults_on_the_wire_have_their_reason() {
    for (response, expected) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nfine"[..], "shown: fine"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nuntil close", "shown: until close"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "shown: ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 40\r\n\r\ncut short", "incomplete"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ncut", "incomplete"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not-html"),
        (b"", "connect"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip", "encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: rot13\r\nContent-Length: 1\r\n\r\nx", "encoding"),
        (b"HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nbang", "status"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "gone"),
    ] {
        assert_eq!(reason(response).await, expected, "{}", String::from_utf8_lossy(response));
    }
}

#[tokio::test]
async fn problem_details_of_a_failure_are_logged_and_never_shown() {
    let body = r#"{"title": "No data", "detail": "the feed is empty", "status": 503}"#;
    let response = format!(
        "HTTP/1.1 503 Oh\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let service = RawService::start(Duration::ZERO, response).await;
    let site = TestSite::new().front("<fragment name=a>instead</fragment>").service("a", service.address);
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "instead");
    let line = server.process.line("fetch failed").await;
    assert!(line.contains("it answered 503 (No data: the feed is empty)"), "{line}");
}

/// Encodes a text.
async fn encoded(coding: &str, text: &str) -> Vec<u8> {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    match coding {
        "br" => BrotliEncoder::new(text.as_bytes()).read_to_end(&mut bytes).await,
        "zstd" => ZstdEncoder::new(text.as_bytes()).read_to_end(&mut bytes).await,
        _ => GzipEncoder::new(text.as_bytes()).read_to_end(&mut bytes).await,
    }
    .unwrap();
    bytes
}

#[tokio::test]
async fn content_codings_are_decoded_to_the_last_byte_or_fail() {
    let response = |coding: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    for coding in ["gzip", "br", "zstd", "GZIP", "x-gzip", "Zstd"] {
        let body = encoded(&coding.to_lowercase(), "whole").await;
        assert_eq!(reason(&response(coding, &body)).await, "shown: whole", "{coding}");
        assert_eq!(reason(&response(coding, &body[..body.len() - 3])).await, "encoding", "{coding}, cut short");
        assert_eq!(reason(&response(coding, b"")).await, "shown: ", "an empty body is not an error");
    }
    for coding in ["gzip", "zstd"] {
        let two = [encoded(coding, "one ").await, encoded(coding, "two").await].concat();
        assert_eq!(reason(&response(coding, &two)).await, "shown: one two", "{coding}");
        let junk = [encoded(coding, "one").await, b"junk".to_vec()].concat();
        assert_eq!(reason(&response(coding, &junk)).await, "encoding", "{coding}");
    }
    let bomb = encoded("gzip", &"x".repeat(2 << 20)).await;
    assert!(bomb.len() < 10_000);
    assert_eq!(reason(&response("gzip", &bomb)).await, "too-large");
}

#[tokio::test]
async fn a_refused_connection_has_the_reason_connect() {
    let site = TestSite::new().front("<fragment name=a />").service("a", "127.0.0.1:1".parse().unwrap());
    let output = site.run(&["render", "/"]).await;
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(report.contains("`a`: omitted (connect)"), "{report}");
}

#[tokio::test]
async fn a_fragment_by_url_needs_an_allowed_upstream_and_a_public_address() {
    let service = RawService::html(Duration::ZERO, "", "by url").await;
    let port = service.address.port();
    let page = |host: &str| format!("<fragment src=\"http://{host}:{port}/x?y=1\" data-z=2>instead</fragment>");
    let allow = |entry: &str, private: bool| format!("[upstreams]\nallow = [\"{entry}\"]\nprivate = {private}\n");
    for (host, entry, private, expected) in [
        ("127.0.0.1", "http://127.0.0.1:*", false, "by url"),
        ("localhost", "http://localhost:*", true, "by url"),
        ("localhost", "http://localhost:*", false, "instead"),
    ] {
        let site = TestSite::new().front(&page(host)).file("pasteup.toml", &allow(entry, private));
        let output = site.run(&["render", "/"]).await;
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{host} {private}");
    }
}
