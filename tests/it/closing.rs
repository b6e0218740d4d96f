//! How a connection ends: errors arrive while the client is still sending, clients that close their half are answered,
//! and clients that are idle or have left are noticed.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::connections::{certificate, trusting};
use crate::support::process::{Server, TestSite, until};
use crate::support::service::RawService;

/// Long enough for what happens at once on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const TLS: &str = "[server]\ntls = { cert = \"file:cert.pem\", key = \"file:key.pem\" }\n";

/// A server with TLS, its port, and a connector that trusts it.
struct Secure {
    site: TestSite,
    server: Server,
    certificate: reqwest::Certificate,
}

impl Secure {
    async fn serve(site: TestSite, more: &str) -> Self {
        let site = site.file("pasteup.toml", &format!("{TLS}{more}"));
        let certificate = certificate(&site);
        Self { server: site.serve().await, site, certificate }
    }

    fn address(&self) -> &str {
        self.server.pages.strip_prefix("https://").unwrap()
    }

    async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(self.site.path().join("cert.pem")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

/// Requests that are refused before they are read to their end, with the status of the refusal.
fn refused() -> Vec<(Vec<u8>, &'static str)> {
    let post = |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let body = |head: String, length: usize| [head.into_bytes(), vec![b'x'; length]].concat();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let chunked =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(200));
    vec![
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40 << 10)).into_bytes(), "431"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: yyyyyyyyyyyyy\r\n".repeat(4 << 10)).into_bytes(), "431"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200_000)).into_bytes(), "414"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000)).into_bytes(), "414"),
        (body(post(400), 400), "405"),
        (body(post(400_000), 400_000), "405"),
        (body(post(9_000_000), 9_000_000), "405"),
        (chunked.into_bytes(), "405"),
        (body("GET / HTTP/1.1\r\n\r\n".to_owned(), 400_000), "400"),
    ]
}

/// Sends a request to its end before anything is read, as many clients do, and returns the reply.
async fn send_all(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    stream.write_all(request).await.expect("the server reads the request");
    stream.flush().await.expect("the server reads the request");
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).await.expect("the reply is not lost");
    String::from_utf8(reply.to_vec()).unwrap()
}

#[tokio::test]
async fn an_error_arrives_although_the_client_is_still_sending() {
    let server = TestSite::new().front("page").serve().await;
    for (request, status) in refused() {
        let beginning = String::from_utf8_lossy(&request[..30]).into_owned();
        let reply = send_all(TcpStream::connect(server.address()).await.unwrap(), &request).await;
        assert_eq!(reply, format!("HTTP/1.1 {status}"), "{beginning}");
    }
}

#[tokio::test]
async fn an_error_arrives_over_tls_although_the_client_is_still_sending() {
    let server = Secure::serve(TestSite::new().front("page"), "").await;
    for (request, status) in refused() {
        let beginning = String::from_utf8_lossy(&request[..30]).into_owned();
        let reply = send_all(server.connect(b"http/1.1").await, &request).await;
        assert_eq!(reply, format!("HTTP/1.1 {status}"), "{beginning}");
    }
    let (client, url) = trusting(&server.certificate, &server.server, true);
    let post = client.post(url).body(vec![b'x'; 4_000_000]).send().await.unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_refusal_is_an_error_page_after_which_the_connection_closes() {
    let server = TestSite::new().front("page").serve().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let requests = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40_000));
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    let (page, refusal) = replies.split_once("HTTP/1.1 414 ").unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.ends_with("page"), "{page}");
    let head = refusal.split("\r\n\r\n").next().unwrap();
    for field in ["connection: close", "x-request-id: ", "cache-control: no-store", "date: ", "content-type: text/html"]
    {
        assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
    }
    assert!(refusal.contains("Address too long"), "{refusal}");
    assert!(!page.contains("surrogate-key"), "a page without keys: {page}");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_not_read_for_ever() {
    let server = TestSite::new().front("page").serve().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n").await.unwrap();
    let endless = async { while stream.write_all(&[b'x'; 100_000]).await.is_ok() {} };
    timeout(PATIENCE, endless).await.expect("the connection is closed");
}

#[tokio::test]
async fn a_client_that_closes_its_half_of_the_connection_is_answered() {
    let service = RawService::html(Duration::from_millis(300), "Cache-Control: no-store\r\n", "<p>slow</p>").await;
    let site = || TestSite::new().front("<fragment name=a required />").service("a", service.address);
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
    let plain = site().serve().await;
    let secure = Secure::serve(site(), "").await;
    async fn half_close(mut stream: impl AsyncRead + AsyncWrite + Unpin, requests: &str) {
        stream.write_all(requests.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut replies = String::new();
        let began = Instant::now();
        stream.read_to_string(&mut replies).await.unwrap();
        assert_eq!(replies.matches("<p>slow</p>").count(), 2, "{replies}");
        assert!(began.elapsed() < PATIENCE, "the connection closes after the last reply");
    }
    half_close(TcpStream::connect(plain.address()).await.unwrap(), &requests).await;
    half_close(secure.connect(b"http/1.1").await, &requests).await;
}

#[tokio::test]
async fn a_client_that_leaves_altogether_holds_no_permit() {
    let service = RawService::html(Duration::from_secs(60), "", "never").await;
    let settings = "[server]\nmax_in_flight = 1\n[page]\nbudget = \"50s\"\n[fragment]\ntimeout = \"50s\"\n";
    let server = TestSite::new()
        .front("<fragment name=a required />")
        .file("layouts/other.html", "+++\nroute = \"/other\"\n+++\nother")
        .service("a", service.address)
        .file("pasteup.toml", settings)
        .serve()
        .await;
    for closes_its_half_first in [false, true] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        // Asked before the page has it, `/other` could take the only permit, and the page be refused.
        until(async || server.metric("pasteup_requests_in_flight").await == 1).await;
        assert_eq!(server.get("/other").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        if closes_its_half_first {
            stream.shutdown().await.unwrap();
        }
        stream.set_zero_linger().unwrap();
        drop(stream);
        let freed = async {
            while server.get("/other").await.status() != StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, freed).await.expect("its permit is released");
    }
}

/// A frame of HTTP/2 on the connection itself (RFC 9113, 4.1).
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, 0, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn an_http_2_connection_with_nothing_but_pings_is_idle() {
    let server = Secure::serve(TestSite::new().front("page"), "idle_timeout = \"300ms\"\n").await;
    let stream = server.connect(b"h2").await;
    let (mut read, mut write) = tokio::io::split(stream);
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, &[])].concat();
    write.write_all(&preface).await.unwrap();
    let pings = tokio::spawn(async move {
        while write.write_all(&frame(6, b"12345678")).await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut received = Vec::new();
    let _reset = timeout(PATIENCE, read.read_to_end(&mut received)).await.expect("the connection is closed");
    pings.abort();
    // A connection in use stays open: requests every 100 ms.
    let (client, url) = trusting(&server.certificate, &server.server, true);
    let first = client.get(&url).send().await.unwrap();
    let address = first.remote_addr();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(client.get(&url).send().await.unwrap().remote_addr(), address);
    }
}

#[tokio::test]
async fn head_over_http_2_sends_no_body() {
    let service = RawService::html(Duration::ZERO, "Cache-Control: max-age=600\r\n", &"<p>part</p>".repeat(99)).await;
    let site = TestSite::new().front("<title>p</title><fragment name=a />").service("a", service.address);
    let server = Secure::serve(site, "[page]\nstream = false\n").await;
    let (client, url) = trusting(&server.certificate, &server.server, true);
    for number in 0..6 {
        let get = client.get(&url).send().await.unwrap();
        let length = get.bytes().await.unwrap().len();
        let head = client.head(&url).send().await.unwrap();
        assert_eq!((head.status(), head.version()), (StatusCode::OK, http::Version::HTTP_2));
        assert_eq!(head.headers()["content-length"], length.to_string(), "{number}");
        // A client resets the stream of a `HEAD` that has a body.
        assert_eq!(head.bytes().await.expect("no body").len(), 0, "{number}");
    }
    assert_eq!(client.head(format!("{url}missing")).send().await.unwrap().bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn requests_that_are_only_unusual_are_answered() {
    let page = "+++\nroute = \"/\"\nesi = true\n+++\n<p><esi:vars>$(HTTP_HOST)</esi:vars></p>";
    let server = TestSite::new().file("layouts/front.html", page).serve().await;
    for (request, host) in [
        ("GET / HTTP/1.1\r\nHost: news.example:", "news.example"),
        ("GET / HTTP/1.2\r\nHost: a", "a"),
        ("GET http://news.example/ HTTP/1.1\r\nHost: other.example", "news.example"),
        ("GET http://news.example:/ HTTP/1.1\r\nHost: other.example:", "news.example"),
        ("GET http://news.example:8080 HTTP/1.9\r\nHost: a", "news.example:8080"),
    ] {
        for connection in ["keep-alive", "close"] {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            stream.write_all(format!("{request}\r\nConnection: {connection}\r\n\r\n").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            assert!(reply.starts_with("HTTP/1.1 200 "), "{request}: {reply}");
            assert!(reply.ends_with(&format!("<p>{host}</p>")), "{request}: {reply}");
            assert_eq!(reply.matches("date: ").count(), 1, "{reply}");
        }
    }
}

#[tokio::test]
async fn the_cookie_of_a_debug_token_is_sent_over_tls_only() {
    let server = Secure::serve(TestSite::new().front("page"), "").await;
    let token = crate::explain::token(&server.server).await;
    let mut stream = server.connect(b"http/1.1").await;
    let request = format!("GET /_pasteup/debug?token={token} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("set-cookie: pasteup-debug=") && reply.contains("; Secure\r\n"), "{reply}");
    let plain = TestSite::new().front("page").serve().await;
    let token = crate::explain::token(&plain).await;
    let response = plain.get(&format!("/_pasteup/debug?token={token}")).await;
    assert!(!response.headers()["set-cookie"].to_str().unwrap().contains("Secure"));
    for (trusted, is_secure) in [("[\"127.0.0.1\"]", true), ("[]", false)] {
        let site = TestSite::new().front("page").file("pasteup.toml", &format!("[context]\ntrust_proxy = {trusted}\n"));
        let server = site.serve().await;
        let token = crate::explain::token(&server).await;
        let request = crate::support::process::client().get(format!("{}/_pasteup/debug?token={token}", server.pages));
        let response = request.header("x-forwarded-proto", "https").send().await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        assert_eq!(cookie.contains("Secure"), is_secure, "behind a proxy: {cookie}");
    }
}
