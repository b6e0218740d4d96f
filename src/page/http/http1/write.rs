//! Writes the heads of responses (RFC 9112, 4).

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, StatusCode};

/// The head of a response, without the empty line at its end. `length`: the number of bytes of its body.
#[must_use]
pub fn head(status: StatusCode, headers: &HeaderMap, length: Option<usize>) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in headers {
        write_field(&mut head, name, value.as_bytes());
    }
    if let Some(length) = length {
        write_field(&mut head, &CONTENT_LENGTH, length.to_string().as_bytes());
    }
    head
}

/// Adds a field to a head.
pub fn write_field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
