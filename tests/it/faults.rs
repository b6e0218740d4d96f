//! Faults of nanoservices, and what a reader sees of them: the table in `docs/faults.md`, row by row.

use std::net::SocketAddr;
use std::time::Duration;

use async_compression::tokio::bufread::GzipEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::process::{TestSite, root};
use crate::support::service::RawService;

/// What a nanoservice does with each connection after it has received a request.
#[derive(Debug, Clone)]
enum Fault {
    /// Refuses connections.
    Refuse,
    /// Never accepts a connection.
    HangAtConnect,
    /// Sends these bytes, and then nothing more.
    Stall(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    Send(Vec<u8>),
    /// Sends these bytes, and resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes, one every ten milliseconds.
    Drip(Vec<u8>),
    /// Sends the first bytes once, and the second ones without end.
    Endless(Vec<u8>, Vec<u8>),
    /// Resets every other connection at once, and sends these bytes on the others.
    Flap(Vec<u8>),
}

fn response(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body.as_ref()].concat()
}

fn html(more: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    response(&format!("200 OK\r\nContent-Type: text/html{more}"), body)
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    GzipEncoder::new(bytes).read_to_end(&mut packed).await.unwrap();
    packed
}

/// Each fault with its name in the docs.
async fn faults() -> Vec<(&'static str, Fault)> {
    use Fault::{Drip, Endless, Flap, HangAtConnect, Refuse, Reset, Send, Stall};
    let packed = gzip(b"<p>part</p>").await;
    let endless_nothing = gzip(b"").await.repeat(1_000);
    let many: String = (0..120).map(|number| format!("\r\nX-{number}: {number}")).collect();
    let bomb = gzip(&vec![b'x'; 50_000_000]).await;
    let length = |length: usize, body: &str| html(&format!("\r\nContent-Length: {length}"), body);
    let flood: String = (0..50_000).map(|number| format!("\r\nX-{number}: {number}")).collect();
    let twice_chunked = "15\r\nb\r\n<p>part</p>\r\n0\r\n\r\n\r\n0\r\n\r\n";
    let early = "103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/html";
    vec![
        ("refuses connections", Refuse),
        ("never accepts the connection", HangAtConnect),
        ("accepts the connection and sends nothing", Stall(Vec::new())),
        ("sends half a head and then nothing", Stall(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec())),
        ("sends half a body and then nothing", Stall(length(100, "<p>half"))),
        ("sends one byte at a time", Drip(length(1_000, &"x".repeat(1_000)))),
        ("closes the connection at once", Send(Vec::new())),
        ("resets the connection in the body", Reset(length(100, "<p>half"))),
        ("does not end a chunked body", Send(html("\r\nTransfer-Encoding: chunked", "5\r\n<p>ha"))),
        ("sends an invalid chunk size", Send(html("\r\nTransfer-Encoding: chunked", "x\r\n<p>"))),
        (
            "encodes a chunked body in chunks again",
            Send(html("\r\nTransfer-Encoding: chunked, chunked", twice_chunked)),
        ),
        ("states a longer length than it sends", Send(length(100, "<p>half"))),
        ("states a shorter length than it sends", Send(length(11, "<p>part</p><p>and more</p>"))),
        ("states two lengths", Send(html("\r\nContent-Length: 11\r\nContent-Length: 12", "<p>part</p>"))),
        ("sends something that is not HTTP", Send(b"<p>hello\r\n\r\n".to_vec())),
        ("sends early hints first", Send(response(early, "<p>part</p>"))),
        ("answers 304 without a condition", Send(response("304 Not Modified", ""))),
        ("answers 206 without a range", Send(response("206 Partial Content\r\nContent-Type: text/html", "<p>half"))),
        ("redirects", Send(response("302 Found\r\nLocation: http://169.254.169.254/", ""))),
        ("answers 404 with HTML", Send(response("404 Not Found\r\nContent-Type: text/html", "<p>no"))),
        ("answers 403 with HTML", Send(response("403 Forbidden\r\nContent-Type: text/html", "<p>no"))),
        ("answers 500 with HTML", Send(response("500 Oh No\r\nContent-Type: text/html", "<p>trace of the stack"))),
        ("answers 204", Send(response("204 No Content", ""))),
        ("sends another type", Send(response("200 OK\r\nContent-Type: application/json", "{}"))),
        ("sends no type", Send(response("200 OK", "<p>x"))),
        ("never ends its body", Endless(html("", ""), vec![b'x'; 64 * 1024])),
        ("sends 120 headers", Send(html(&many, "<p>part</p>"))),
        ("floods with headers", Send(html(&flood, "<p>x"))),
        ("sends bytes that are not text", Send(html("; charset=utf-8", b"<p>\xff\xfe"))),
        ("names an unknown charset", Send(html("; charset=klingon", "<p>x"))),
        ("sends a decompression bomb", Send(html("\r\nContent-Encoding: gzip", bomb))),
        ("sends a corrupt encoding", Send(html("\r\nContent-Encoding: gzip", &packed[..packed.len() / 2]))),
        ("never ends an encoding of nothing", Endless(html("\r\nContent-Encoding: gzip", ""), endless_nothing)),
        ("states an empty encoding", Send(html("\r\nContent-Encoding:", "<p>part</p>"))),
        ("states an encoding in a list with empty members", Send(html("\r\nContent-Encoding: ,gzip,", &packed))),
        ("sends an unknown encoding", Send(html("\r\nContent-Encoding: rot13", "<p>x"))),
        ("closes an element that it never opened", Send(html("", "</main></div><p>part</p>"))),
        ("breaks every other connection", Flap(html("", "<p>part</p>"))),
    ]
}

/// Starts a nanoservice with this fault. Returns its address, and connections that have to stay open meanwhile.
async fn start(fault: Fault) -> (SocketAddr, Vec<TcpStream>) {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    match fault {
        Fault::Refuse => {
            let address = TcpListener::bind(any).await.unwrap().local_addr().unwrap();
            (address, Vec::new())
        }
        Fault::HangAtConnect => {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(any).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let mut waiting = Vec::new();
            while let Ok(Ok(stream)) =
                tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
            {
                waiting.push(stream);
            }
            tokio::spawn(async move {
                let _never_accepts = listener;
                std::future::pending::<()>().await;
            });
            (address, waiting)
        }
        fault => {
            let listener = TcpListener::bind(any).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let mut number = 0;
                while let Ok((stream, _)) = listener.accept().await {
                    number += 1;
                    tokio::spawn(act(stream, fault.clone(), number));
                }
            });
            (address, Vec::new())
        }
    }
}

async fn act(mut stream: TcpStream, fault: Fault, number: usize) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    // The compositor may have closed the connection.
    let _gone = match fault {
        Fault::Refuse | Fault::HangAtConnect => Ok(()),
        Fault::Stall(bytes) => {
            let _gone = stream.write_all(&bytes).await;
            stream.read_u8().await.map(|_| ())
        }
        Fault::Send(bytes) => stream.write_all(&bytes).await,
        Fault::Reset(bytes) => {
            let _gone = stream.write_all(&bytes).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.set_zero_linger()
        }
        Fault::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        }
        Fault::Endless(head, body) => {
            let _gone = stream.write_all(&head).await;
            while stream.write_all(&body).await.is_ok() {}
            Ok(())
        }
        Fault::Flap(bytes) => {
            if number % 2 == 1 {
                stream.set_zero_linger()
            } else {
                stream.write_all(&bytes).await
            }
        }
    };
}

/// The rows of the table in the docs: the fault, what a reader sees, and the reason.
fn documented() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let rows =
        text.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn each_fault_affects_only_its_part_and_has_the_documented_reason() {
    let mut site = TestSite::new()
        .file("pasteup.toml", "[page]\nstream = false\n[fragment]\ntimeout = \"400ms\"\nmax_bytes = \"64KiB\"\n");
    let mut connections = Vec::new();
    let faults = faults().await;
    for (number, (_, fault)) in faults.iter().enumerate() {
        let (address, streams) = start(fault.clone()).await;
        connections.push(streams);
        let name = format!("f{number}");
        site = site.service(&name, address).file(
            &format!("layouts/{name}.html"),
            &format!("+++\nroute = \"/{name}\"\n+++\n<main><fragment name={name}>FALLBACK</fragment></main><p>rest"),
        );
    }
    let server = site.serve().await;
    let mut observed = Vec::new();
    for (number, (fault, _)) in faults.iter().enumerate() {
        let response = server.get(&format!("/f{number}")).await;
        assert_eq!(response.status(), 200, "{fault}");
        let html = response.text().await.unwrap();
        let part = html.strip_prefix("<main>").and_then(|html| html.strip_suffix("</main><p>rest"));
        let part = part.unwrap_or_else(|| panic!("{fault}: the page around it is broken"));
        let sees = match part {
            "FALLBACK" => "the fallback",
            "" => "nothing",
            "<p>part</p>" => "the part",
            other => panic!("{fault}: {} bytes of {:?}", other.len(), &other[..other.len().min(50)]),
        };
        observed.push((number, (*fault).to_owned(), sees.to_owned()));
    }
    let metrics = reqwest::get(format!("{}/metrics", server.admin)).await.unwrap().text().await.unwrap();
    let reason = |number: usize| {
        let line =
            metrics.lines().find(|line| line.contains(&format!("outcomes_total{{fragment=\"f{number}\""))).unwrap();
        line.split("reason=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let observed: Vec<_> = observed.into_iter().map(|(number, fault, sees)| (fault, sees, reason(number))).collect();
    assert_eq!(documented(), observed, "{observed:#?}");
}

/// A decoder allocates its window before it has read any content.
#[tokio::test]
async fn a_window_that_no_content_coding_has_is_refused() {
    // Zstandard: a frame with a window of this logarithm, and one raw block.
    let zstd = |log: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3, 0x29, 0x00, 0x00][..], b"hello"].concat();
    for (coding, body, shown) in [
        ("zstd", zstd(23), "hello"),
        ("zstd", zstd(24), "fallback"),
        ("zstd", zstd(27), "fallback"),
        ("zstd", zstd(31), "fallback"),
        // Brotli: a window of 2^30 bytes, and no content.
        ("br", vec![0x11, 0xde], "fallback"),
        // Brotli: a window of 2^16 bytes, and no content.
        ("br", vec![0x06], ""),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let response = [head.as_bytes(), &body].concat();
        let service = RawService::responding(move |_| Some(response.clone())).await;
        let site = TestSite::new().front("<fragment name=a>fallback</fragment>").service("a", service.address);
        assert_eq!(site.serve().await.text("/").await, shown, "{coding} {body:x?}");
    }
}
