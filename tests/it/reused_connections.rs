//! Connections that a nanoservice closes while they are idle, or drops together with the next request on them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};

use crate::support::process::{Server, TestSite};

/// How many clients request pages at once.
const CLIENTS: usize = 16;
/// How many pages each of them requests. `PAGES` in the environment overrides it, for a longer run by hand.
const PAGES: usize = 20;

/// When a nanoservice closes a connection that it announced to keep open.
#[derive(Debug, Clone, Copy)]
enum Closes {
    /// This long after each response.
    After(Duration),
    /// At each multiple of this time, if it has received nothing then.
    Every(Duration),
    /// With the second request on it, which it does not answer.
    WithSecondRequest,
    /// With each request from the second one of all on, on whatever connection.
    WithEachFurtherRequest,
}

/// A nanoservice that closes its connections, and counts the requests that it has received.
struct Service {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Service {
    async fn start(closes: Closes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, started) = (Arc::clone(&requests), Instant::now());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, closes, started, Arc::clone(&count)));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, closes: Closes, started: Instant, count: Arc<AtomicUsize>) {
    stream.set_nodelay(true).unwrap();
    for number in 1.. {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let byte = match closes {
                Closes::Every(interval) => {
                    let ticks = started.elapsed().as_nanos() / interval.as_nanos() + 1;
                    let next = started + interval * u32::try_from(ticks).unwrap();
                    timeout_at(next, stream.read_u8()).await.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()))
                }
                _ => stream.read_u8().await,
            };
            let Ok(byte) = byte else { return };
            request.push(byte);
        }
        let of_all = count.fetch_add(1, Ordering::SeqCst) + 1;
        let is_dropped = match closes {
            Closes::WithSecondRequest => number > 1,
            Closes::WithEachFurtherRequest => of_all > 1,
            Closes::After(_) | Closes::Every(_) => false,
        };
        let response = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 11\r\n\r\n<p>part</p>";
        if is_dropped || stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
        if let Closes::After(pause) = closes {
            tokio::time::sleep(pause).await;
            return;
        }
    }
}

/// Serves a page with three fragments of a nanoservice.
async fn serve_page(service: &Service) -> Server {
    let site = TestSite::new().file("pasteup.toml", "[page]\nstream = false\n").service("a", service.address);
    let html = "<fragment name=a data-n=1>FALLBACK</fragment><fragment name=a data-n=2>FALLBACK</fragment>\
                <fragment name=a data-n=3>FALLBACK</fragment>";
    site.front(html).serve().await
}

async fn no_reader_sees_a_fallback(closes: Closes) {
    let service = Service::start(closes).await;
    let server = Arc::new(serve_page(&service).await);
    let pages = std::env::var("PAGES").ok().and_then(|pages| pages.parse().ok()).unwrap_or(PAGES);
    let clients = (0..CLIENTS).map(|_| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut seen = HashSet::new();
            for _ in 0..pages {
                seen.insert(server.get("/").await.text().await.unwrap());
            }
            seen
        })
    });
    let mut seen = HashSet::new();
    for client in clients.collect::<Vec<_>>() {
        seen.extend(client.await.unwrap());
    }
    assert_eq!(seen, HashSet::from(["<p>part</p>".repeat(3)]), "{closes:?}");
    let metrics = reqwest::get(format!("{}/metrics", server.admin)).await.unwrap().text().await.unwrap();
    let state = metrics.lines().find(|line| line.starts_with("pasteup_circuit_state{"));
    assert!(state.is_none_or(|line| line.ends_with(" 0")), "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_right_after_a_response_costs_no_reader_a_part() {
    no_reader_sees_a_fallback(Closes::After(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_shortly_after_a_response_costs_no_reader_a_part() {
    no_reader_sees_a_fallback(Closes::After(Duration::from_millis(5))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_all_close_at_the_same_time_cost_no_reader_a_part() {
    no_reader_sees_a_fallback(Closes::Every(Duration::from_millis(250))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_dropped_on_a_reused_connection_is_sent_again_on_a_new_one() {
    no_reader_sees_a_fallback(Closes::WithSecondRequest).await;
}

#[tokio::test]
async fn a_request_that_is_lost_on_a_new_connection_as_well_is_a_failure() {
    let service = Service::start(Closes::WithEachFurtherRequest).await;
    let site = TestSite::new()
        .file("pasteup.toml", "[page]\nstream = false\n[fragment]\nretries = 0\n")
        .service("a", service.address)
        .front("<fragment name=a>FALLBACK</fragment>");
    let server = site.serve().await;
    assert_eq!(server.get("/").await.text().await.unwrap(), "<p>part</p>");
    assert_eq!(server.get("/").await.text().await.unwrap(), "FALLBACK");
    assert_eq!(service.requests(), 3, "one on the used connection, one on a new connection, and no more");
    // Nothing is left of the used connection, so that there is nothing to send again.
    assert_eq!(server.get("/").await.text().await.unwrap(), "FALLBACK");
    assert_eq!(service.requests(), 4);
}
