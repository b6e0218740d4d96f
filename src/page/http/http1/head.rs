//! Checks the head of a request strictly against RFC 9112.
//! Every head is refused that another program could read differently.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::byte_sets::{HOST, PLAIN_HOST, TOKEN, VALUE, all, is_token, prefix};
use super::{BARE_LINE_END, Malformed};

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
    pub(super) body: BodyFraming,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110, 10.1.1).
    pub(super) expects_continue: bool,
    /// Ranges in which the head that is passed on differs, in their order, each with what takes its place. Fields that
    /// describe the body or the connection are not passed on.
    edits: Vec<(Range<usize>, Bytes)>,
}

impl CheckedHead {
    /// The head as it is passed on.
    pub(super) fn passed(self) -> Bytes {
        let Self { bytes, edits, .. } = self;
        if edits.is_empty() {
            return bytes;
        }
        let mut passed = BytesMut::with_capacity(bytes.len() + 32);
        let mut from = 0;
        for (range, instead) in edits {
            passed.extend_from_slice(&bytes[from..range.start]);
            passed.extend_from_slice(&instead);
            from = range.end;
        }
        passed.extend_from_slice(&bytes[from..]);
        passed.freeze()
    }
}

/// A head with one more field, which ends with CR and LF.
pub(super) fn with_field(head: &Bytes, field: &[u8]) -> BytesMut {
    let mut longer = BytesMut::with_capacity(head.len() + field.len());
    longer.extend_from_slice(&head[..head.len() - 2]);
    longer.extend_from_slice(field);
    longer.extend_from_slice(b"\r\n");
    longer
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
    let (target, version) = request_line(&text[..end])?;
    let is_http10 = version == b'0';
    let mut from = end + 2;
    let mut edits: Vec<(Range<usize>, Bytes)> = Vec::new();
    if version > b'1' {
        // A later minor version is read like the latest that is known (RFC 9110, 2.5).
        edits.push((end - 1..end, Bytes::from_static(b"1")));
    }
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
            if let Some(named) = host_of_target(target).filter(|named| !value.eq_ignore_ascii_case(named)) {
                edits.push((line, [b"Host: ", named, b"\r\n"].concat().into()));
            }
        } else if is("content-length") {
            if length.replace(value).is_some() {
                return Err(Malformed("there is more than one Content-Length"));
            }
            edits.push((line, Bytes::new()));
        } else if is("transfer-encoding") {
            if coding.replace(value).is_some() {
                return Err(Malformed("there is more than one Transfer-Encoding"));
            }
            edits.push((line, Bytes::new()));
        } else if is("expect") {
            expects_continue = true;
            edits.push((line, Bytes::new()));
        } else if is("trailer") || is("upgrade") || is("http2-settings") {
            // They announce what is not supported here.
            edits.push((line, Bytes::new()));
        }
    }
    check_host(target, host, is_http10)?;
    let body = body(length, coding, is_http10)?;
    Ok(CheckedHead { bytes: head, body, expects_continue, edits })
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

/// The target of a request line (RFC 9112, 3), and the digit of its minor version.
fn request_line(line: &[u8]) -> Result<(&[u8], u8), Malformed> {
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
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9'] => Ok((target, *minor)),
        _ => Err(Malformed("the version is not one of HTTP/1")),
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

/// Checks that there is one valid `Host`, and that the target is valid beside it (RFC 9112, 3.2). HTTP/1.0 needs none.
/// If the target names a host, that one counts and `Host` is ignored (RFC 9112, 3.2.2), but it must be valid.
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
    match (host_of_target(target), host) {
        (Some(named), _) if is_host(named) => Ok(()),
        (Some(_), _) => Err(Malformed("the target names a host that is not valid")),
        // The target of `CONNECT` is a host without anything around it.
        (None, Some(host)) if !host.eq_ignore_ascii_case(target) => {
            Err(Malformed("the target and Host name different hosts"))
        }
        (None, _) => Ok(()),
    }
}

/// The host, with its port, that a target in absolute form names (RFC 9112, 3.2.2).
fn host_of_target(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().position(|byte| *byte == b':').filter(|at| !target[..*at].contains(&b'/'))?;
    let rest = target[colon..].strip_prefix(b"://")?;
    Some(&rest[..rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len())])
}

/// Whether a text is a host, with or without a port (RFC 9110, 7.2).
fn is_host(host: &[u8]) -> bool {
    // Nearly all hosts are a name or an IPv4 address: nothing else is looked at in them.
    match host.split_at(prefix(host, &PLAIN_HOST)) {
        ([_, ..], []) => return true,
        ([_, ..], [b':', port @ ..]) if is_port(port) => return true,
        _ => {}
    }
    if !all(host, &HOST) {
        return false;
    }
    let text = std::str::from_utf8(host).unwrap_or_default();
    let (name, port) = match text.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_authority = || all(name.as_bytes(), &PLAIN_HOST) || name.parse::<http::uri::Authority>().is_ok();
    !name.is_empty() && port.is_none_or(|port| is_port(port.as_bytes())) && is_authority()
}

/// Whether a text is a port. It may be left out behind its colon (RFC 3986, 3.2.3).
fn is_port(port: &[u8]) -> bool {
    let add = |number: u16, digit: &u8| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u16::from(digit - b'0')),
        _ => None,
    };
    port.iter().try_fold(0, add).is_some()
}
