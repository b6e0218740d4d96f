//! Properties of HTTP/1.1 parsing that hold for any bytes. Called by the fuzz target and by `tests/it/fuzzing.rs`.

use pasteup::page::http::http1::{Bodies, Framed, Framer};

/// Reads an input as the bytes that a client sends.
pub(crate) fn check(input: &[u8]) {
    let whole = read(input, input.len().max(1));
    // A connection may deliver the bytes in any pieces.
    for piece in [1, 3, 7] {
        assert_eq!(read(input, piece), whole, "in pieces of {piece}");
    }
    for request in whole.into_iter().flatten() {
        // A request that was passed on passes again unchanged, and announces no body.
        assert_eq!(read(&request, request.len()), Some(vec![request.clone()]));
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        for name in ["content-length", "transfer-encoding", "expect", "upgrade"] {
            assert!(!text.contains(&format!("\r\n{name}:")), "{text}");
        }
    }
}

/// The requests in these bytes. `None` where any of them is refused.
fn read(bytes: &[u8], piece: usize) -> Option<Vec<Vec<u8>>> {
    let mut framer = Framer::new(8192, Bodies::Dropped);
    let mut requests = Vec::new();
    for piece in bytes.chunks(piece) {
        framer.push(piece);
        loop {
            match framer.next_request().ok()? {
                Framed::Request(request) => requests.push(request.to_vec()),
                Framed::Last(request) => {
                    requests.push(request.to_vec());
                    return Some(requests);
                }
                Framed::Incomplete => break,
                Framed::TooLong(_) => return None,
            }
        }
    }
    Some(requests)
}
