//! Every way in which a request has been read differently by two programs, and some more.

use bytes::Bytes;
use proptest::prelude::*;

use super::byte_sets::{PLAIN_HOST, all};
use super::*;

/// The requests in some bytes that arrive in pieces of this length; or why they are refused.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, &'static str> {
    let mut framer = Framer::new(8192, Bodies::Dropped);
    let mut requests = Vec::new();
    for piece in bytes.chunks(piece) {
        framer.push(piece);
        loop {
            match framer.next_request().map_err(|malformed| malformed.0)? {
                Framed::Request(request) => requests.push(String::from_utf8(request.to_vec()).expect("text")),
                Framed::Last(request) => {
                    requests.push(String::from_utf8(request.to_vec()).expect("text"));
                    return Ok(requests);
                }
                Framed::Incomplete => break,
                Framed::TooLong(TooLong::Target) => return Err("the target is too long"),
                Framed::TooLong(TooLong::Head) => return Err("the head is too long"),
                Framed::TooLong(TooLong::Body) => return Err("the body is too long"),
            }
        }
    }
    if framer.is_within_request() { Err("unfinished") } else { Ok(requests) }
}

/// The same for bytes that arrive at once and one by one.
fn read_both_ways(bytes: &[u8]) -> Result<Vec<String>, &'static str> {
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, 1), whole, "{}", String::from_utf8_lossy(bytes));
    whole
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

#[test]
fn well_formed_requests_are_passed_on() {
    for (sent, passed) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "GET /a?b=c%20d HTTP/1.1\r\nhost:a.test:8080\r\nX:\t y \r\n\r\n",
            "GET /a?b=c%20d HTTP/1.1\r\nhost:a.test:8080\r\nX:\t y \r\n\r\n",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"),
        ("GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n", "GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n"),
        // Bodies are dropped, and the fields that describe them.
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "POST / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("GET / HTTP/1.1\r\nContent-Length: 0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ),
        // Later minor versions are read like the latest that is known (RFC 9110, 2.5).
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("GET / HTTP/1.9\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        // A port may be left out behind its colon (RFC 3986, 3.2.3).
        ("GET / HTTP/1.1\r\nHost: news.example:\r\n\r\n", "GET / HTTP/1.1\r\nHost: news.example:\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: [::1]:\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:\r\n\r\n"),
        // The host of the target counts, and `Host` is ignored (RFC 9112, 3.2.2).
        (
            "GET http://b:80/x HTTP/1.1\r\nX: y\r\nhost: a\r\nZ: z\r\n\r\n",
            "GET http://b:80/x HTTP/1.1\r\nX: y\r\nHost: b:80\r\nZ: z\r\n\r\n",
        ),
        ("GET http://b?x HTTP/1.3\r\nHost: a\r\n\r\n", "GET http://b?x HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        // A body that is too long to be dropped is the last thing that is read of a connection.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        assert_eq!(read_both_ways(sent.as_bytes()), Ok(vec![passed.to_owned()]), "{sent:?}");
    }
    let three = format!("{GET}\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy{GET}\r\n");
    assert_eq!(read_both_ways(three.as_bytes()).expect("three requests").len(), 3);
}

#[test]
fn ambiguous_requests_are_refused() {
    let body = |fields: &str, body: &str| format!("{GET}{fields}\r\n\r\n{body}");
    let chunked = |text: &str| body("Transfer-Encoding: chunked", text);
    let kinds: Vec<String> = [
        // Lines.
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n\r\n",
        // The first line.
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1x\r\nHost: a\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/11\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1.1\r\nHost: a\r\n\r\n",
        "G\u{0}T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  HTTP/1.1\r\nHost: a\r\n\r\n",
        " / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "\u{16}\u{3}\u{1} / HTTP/1.1\r\nHost: a\r\n\r\n",
        // Hosts.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: é\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET b HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET @b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET http://b:c/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b,c/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET b/http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.12\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: :\r\n\r\n",
        // Fields.
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\u{0}: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\u{0}z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \u{1b}[0m\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\u{b}X: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nÉ: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\"X\": y\r\n\r\n",
    ]
    .iter()
    .map(|&kind| kind.to_owned())
    .chain(
        [
            // Lengths and codings.
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1, 1",
            "Content-Length: -1",
            "Content-Length: +1",
            "Content-Length: 0x1",
            "Content-Length: 1 1",
            "Content-Length:",
            "Content-Length: a",
            "Content-Length: 1.0",
            "Content-Length: 99999999999999999999",
            "Content-Length: ١",
            "Content-Length : 1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
            "Transfer-Encoding: chunked;x=y",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding:\r\n chunked",
        ]
        .iter()
        .map(|fields| body(fields, "x")),
    )
    .chain(
        [
            // Chunks.
            "x\r\n",
            "-1\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            " 1\r\na\r\n0\r\n\r\n",
            "1 \r\na\r\n0\r\n\r\n",
            "\r\n",
            "1\na\r\n0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "1\r\na0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "FFFFFFFFF\r\n",
            "1;\u{0}\r\na\r\n0\r\n\r\n",
            "1;a\rb\r\na\r\n0\r\n\r\n",
            "0\r\n x\r\n\r\n",
            "0\r\nx\r\n\r\n",
            "0\n\r\n",
            "1\r\na\rX0\r\n\r\n",
            "1.0\r\na\r\n0\r\n\r\n",
        ]
        .iter()
        .map(|text| chunked(text)),
    )
    .chain([
        "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        chunked(&format!("1;{}\r\n", "x".repeat(300))),
    ])
    .collect();
    assert!(kinds.len() >= 80, "{}", kinds.len());
    for kind in &kinds {
        let refused = read_both_ways(kind.as_bytes());
        assert!(refused.is_err_and(|why| why != "unfinished"), "{kind:?} is read");
    }
}

#[test]
fn a_body_that_is_passed_on_has_a_content_length() {
    for body in [
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        let mut framer = Framer::new(8192, Bodies::Passed);
        framer.push(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}{GET}\r\n").as_bytes());
        let passed = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(framer.next_request(), Ok(Framed::Request(Bytes::from(passed))), "{body}");
        assert_eq!(framer.next_request(), Ok(Framed::Request(Bytes::from(format!("{GET}\r\n")))));
    }
}

#[test]
fn the_part_of_a_request_that_is_too_long_is_known() {
    let long = "x".repeat(9000);
    for (request, part) in [
        (format!("{GET}X: {long}"), "the head is too long"),
        (format!("{GET}X: {long}\r\n\r\n"), "the head is too long"),
        (format!("GET /{long}"), "the target is too long"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "the target is too long"),
        (GET.to_owned(), "unfinished"),
    ] {
        assert_eq!(read_both_ways(request.as_bytes()), Err(part));
    }
    let mut framer = Framer::new(8192, Bodies::Passed);
    framer.push(format!("{GET}Content-Length: 70000\r\n\r\n").as_bytes());
    assert_eq!(framer.next_request(), Ok(Framed::TooLong(TooLong::Body)));
}

proptest! {
    #[test]
    fn requests_are_the_same_in_whatever_pieces_they_arrive(
        bytes in proptest::collection::vec(proptest::sample::select(b"GET / HTTP/1.1\r\n:Host a\x00;0x1chunkedTransfer-Encoding".to_vec()), 0..200),
        piece in 1_usize..20,
    ) {
        prop_assert_eq!(read(&bytes, piece).is_ok(), read(&bytes, bytes.len().max(1)).is_ok());
    }
}

proptest! {
    #[test]
    fn a_plain_host_is_an_authority(host in "[a-zA-Z0-9.-]{1,20}") {
        prop_assert!(all(host.as_bytes(), &PLAIN_HOST) && host.parse::<http::uri::Authority>().is_ok());
    }
}
