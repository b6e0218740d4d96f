//! Checks the head of a request strictly against RFC 9112.
//! Every head is refused that another program could read differently.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::byte_sets::{HOST, PLAIN_HOST, TOKEN, VALUE, all, is_token, prefix};
use super::{BARE_LINE_END, Bodies, Malformed};

/// Largest number of digits of a `Content-Length`.
const MAX_LENGTH_DIGITS: usize = 18;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// No body.
    None,
    /// A body of this many bytes.
    Length(u64),
    /// A body in chunks.
    Chunked,
}

/// A head that passed the checks. It has not been decided yet what is done with its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckedHead {
    bytes: Bytes,
    body: BodyFraming,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110, 10.1.1).
    expects_continue: bool,
    /// The lines of fields that describe the body or the connection. They are not passed on.
    removed: Vec<Range<usize>>,
}

/// A head as it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes, without the fields that describe a body.
    pub(super) bytes: Bytes,
    /// What has to be read before the next request.
    pub(super) body: BodyFraming,
}

impl CheckedHead {
    /// The head as it is passed on, once it is decided what is done with the body.
    pub(super) fn with_body(self, bodies: Bodies) -> Head {
        let Self { bytes, body, expects_continue, removed } = self;
        // A body that is dropped is not requested. The connection closes, since the client might send it anyway.
        let is_unwanted = expects_continue && body != BodyFraming::None && bodies == Bodies::Dropped;
        let body = if is_unwanted { BodyFraming::None } else { body };
        if removed.is_empty() {
            return Head { bytes, body };
        }
        let text = &bytes[..bytes.len() - 2];
        let mut passed = BytesMut::with_capacity(bytes.len() + 32);
        let mut from = 0;
        for line in removed {
            passed.extend_from_slice(&text[from..line.start]);
            from = line.end;
        }
        passed.extend_from_slice(&text[from..]);
        if is_unwanted {
            passed.extend_from_slice(b"Connection: close\r\n");
        }
        passed.extend_from_slice(b"\r\n");
        Head { bytes: passed.freeze(), body }
    }
}

/// Checks a complete head, with the empty line at its end.
///
/// # Errors
/// The head is malformed.
pub(super) fn check(head: Bytes) -> Result<CheckedHead, Malformed> {
    let text = &head[..head.len() - 2];
    let end = prefix(text, &VALUE);
    match text[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r' | b'\n', ..] => return Err(BARE_LINE_END),
        _ => return Err(Malformed("the request line contains a control character")),
    }
    let (target, is_http10) = request_line(&text[..end])?;
    let mut from = end + 2;
    let mut removed: Vec<Range<usize>> = Vec::new();
    let (mut host, mut length, mut coding, mut expects_continue) = (None, None, None, false);
    while from < text.len() {
        let (name, value, end) = field(&text[from..])?;
        let line = from..from + end + 2;
        from = line.end;
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") {
            if host.replace(value).is_some() {
                return Err(Malformed("there is more than one Host"));
            }
        } else if is("content-length") {
            if length.replace(value).is_some() {
                return Err(Malformed("there is more than one Content-Length"));
            }
            removed.push(line);
        } else if is("transfer-encoding") {
            if coding.replace(value).is_some() {
                return Err(Malformed("there is more than one Transfer-Encoding"));
            }
            removed.push(line);
        } else if is("expect") {
            expects_continue = true;
            removed.push(line);
        } else if is("trailer") || is("upgrade") || is("http2-settings") {
            // They announce what is not supported here.
            removed.push(line);
        }
    }
    check_host(target, host, is_http10)?;
    let body = body(length, coding, is_http10)?;
    Ok(CheckedHead { bytes: head, body, expects_continue, removed })
}

/// What follows a head with these fields (RFC 9112, 6.3).
fn body(length: Option<&[u8]>, coding: Option<&[u8]>, is_http10: bool) -> Result<BodyFraming, Malformed> {
    match (length, coding) {
        (Some(_), Some(_)) => Err(Malformed("there are both a Content-Length and a Transfer-Encoding")),
        (None, None) => Ok(BodyFraming::None),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && !is_http10 => Ok(BodyFraming::Chunked),
        (None, Some(_)) => Err(Malformed("the Transfer-Encoding is not `chunked`")),
        (Some(length), None) => {
            let is_number = (1..=MAX_LENGTH_DIGITS).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(length).ok().filter(|_| is_number).and_then(|length| length.parse().ok());
            match length {
                Some(0) => Ok(BodyFraming::None),
                Some(length) => Ok(BodyFraming::Length(length)),
                None => Err(Malformed("the Content-Length is not a number")),
            }
        }
    }
}

/// The target of a request line (RFC 9112, 3), and whether its version is HTTP/1.0.
fn request_line(line: &[u8]) -> Result<(&[u8], bool), Malformed> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed("the request line does not have three parts"));
    };
    if !is_token(method) {
        return Err(Malformed("the method is not a token"));
    }
    if target.is_empty() || !target.iter().all(|byte| matches!(byte, b'!'..=b'~')) {
        return Err(Malformed("the target contains characters that no URL contains"));
    }
    match version {
        b"HTTP/1.1" => Ok((target, false)),
        b"HTTP/1.0" => Ok((target, true)),
        _ => Err(Malformed("the version is neither HTTP/1.1 nor HTTP/1.0")),
    }
}

/// The name and the value of the field that a text begins with (RFC 9112, 5), and the length of its line without the line
/// ending.
// Byte by byte: the lines of a head are short, and setting up a search takes longer than most of them.
pub(super) fn field(text: &[u8]) -> Result<(&[u8], &[u8], usize), Malformed> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Err(Malformed("a field is folded over several lines"));
    }
    let colon = prefix(text, &TOKEN);
    match text.get(colon) {
        Some(b':') if colon > 0 => {}
        Some(b'\r' | b'\n') | None => return Err(Malformed("a field has no colon")),
        Some(_) => return Err(Malformed("the name of a field is not a token")),
    }
    let end = colon + 1 + prefix(&text[colon + 1..], &VALUE);
    match text[end..] {
        [] | [b'\r', b'\n', ..] => Ok((&text[..colon], text[colon + 1..end].trim_ascii(), end)),
        [b'\r' | b'\n', ..] => Err(BARE_LINE_END),
        _ => Err(Malformed("the value of a field contains a control character")),
    }
}

/// Checks that there is one valid `Host`, and that it is the host of the target if the target names one (RFC 9112, 3.2).
/// HTTP/1.0 needs none.
fn check_host(target: &[u8], host: Option<&[u8]>, is_http10: bool) -> Result<(), Malformed> {
    match host {
        None if is_http10 => {}
        None => return Err(Malformed("there is no Host")),
        Some(host) if !is_host(host) => return Err(Malformed("the Host is not valid")),
        Some(_) => {}
    }
    if target.starts_with(b"/") || target == b"*" {
        return Ok(());
    }
    let named = target.iter().position(|byte| *byte == b':').filter(|at| target[*at..].starts_with(b"://")).map(|at| {
        let rest = &target[at + 3..];
        &rest[..rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len())]
    });
    // The target of `CONNECT` is a host without anything around it.
    let named = named.unwrap_or(target);
    match host {
        Some(host) if !host.eq_ignore_ascii_case(named) => Err(Malformed("the target and Host name different hosts")),
        _ => Ok(()),
    }
}

/// Whether a text is a host, with or without a port (RFC 9110, 7.2).
fn is_host(host: &[u8]) -> bool {
    if !host.is_empty() && all(host, &PLAIN_HOST) {
        return true;
    }
    if !all(host, &HOST) {
        return false;
    }
    let text = std::str::from_utf8(host).unwrap_or_default();
    let (name, port) = match text.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_authority = || all(name.as_bytes(), &PLAIN_HOST) || text.parse::<http::uri::Authority>().is_ok();
    !name.is_empty() && port.is_none_or(is_port) && is_authority()
}
