//! Requests as they come over HTTP/1.1, held against the letter of RFC 9112 before anything reads them: a
//! request that two programs could read in two ways is refused. Bodies are dropped, since pages read none.
//! And heads of answers as they are written.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, StatusCode};

/// Bytes of a body that is dropped, at most; who sends more is let go.
const MAX_BODY: u64 = 64 * 1024;
/// Bytes of a line of a chunked body.
const MAX_LINE: usize = 256;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A request whose head was read.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Its bytes, without what speaks of a body.
    bytes: Bytes,
    body: Framing,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length(u64),
    Chunked,
}

/// Where reading is.
#[derive(Debug)]
enum State {
    Head,
    /// So many bytes of a body, or of a chunk and its end, are still to be dropped.
    Body(Bytes, u64),
    /// The line that begins a chunk.
    ChunkSize(Bytes, u64),
    /// The bytes of a chunk with its line end.
    Chunk(Bytes, u64, u64),
    /// Fields behind the last chunk.
    Trailers(Bytes, u64),
}

/// What becomes of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// Nobody reads them.
    Dropped,
    /// They are passed on, with a length.
    Passed,
}

/// Reads requests out of bytes.
#[derive(Debug)]
pub struct Wire {
    bodies: Bodies,
    /// The body that is being read, where it is passed on.
    body: BytesMut,
    state: State,
    unread: BytesMut,
    /// So much was searched for the end of a head.
    searched: usize,
    /// An empty line was passed over.
    blank: bool,
    most: usize,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The bytes of a request, without a body.
    Request(Bytes),
    /// More has to come.
    More,
    /// A head that is longer than it may be: its beginning.
    TooLong(Bytes),
}

impl Wire {
    /// Heads of at most so many bytes.
    #[must_use]
    pub fn new(most: usize, bodies: Bodies) -> Self {
        Self {
            bodies,
            body: BytesMut::new(),
            state: State::Head,
            unread: BytesMut::new(),
            searched: 0,
            blank: false,
            most,
        }
    }

    /// Takes bytes as they come in.
    pub fn take(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Whether a request has begun and not ended.
    pub fn is_midway(&self) -> bool {
        !self.unread.is_empty() || !matches!(self.state, State::Head)
    }

    /// The next request.
    ///
    /// # Errors
    /// It is malformed; nothing that follows can be read.
    pub fn request(&mut self) -> Result<Read, Malformed> {
        loop {
            match std::mem::replace(&mut self.state, State::Head) {
                State::Head => match self.head()? {
                    None if self.unread.len() > self.most => return Ok(Read::TooLong(self.unread.split().freeze())),
                    None => return Ok(Read::More),
                    Some(Head { bytes, body }) => match body {
                        Framing::Nothing => return Ok(Read::Request(bytes)),
                        Framing::Length(length) if length > MAX_BODY => return Err(Malformed("its body is too long")),
                        Framing::Length(length) => self.state = State::Body(bytes, length),
                        Framing::Chunked => self.state = State::ChunkSize(bytes, 0),
                    },
                },
                State::Body(head, left) => match self.drop_bytes(left) {
                    0 => return Ok(Read::Request(self.whole(head))),
                    left => return self.wait(State::Body(head, left)),
                },
                State::ChunkSize(head, length) => {
                    let Some(line) = self.line()? else { return self.wait(State::ChunkSize(head, length)) };
                    let size = chunk_size(&line)?;
                    let length = length + size;
                    if length > MAX_BODY {
                        return Err(Malformed("its body is too long"));
                    }
                    self.state =
                        if size == 0 { State::Trailers(head, length) } else { State::Chunk(head, length, size) };
                }
                State::Chunk(head, length, left) => match self.drop_bytes(left) {
                    0 => match self.line()? {
                        Some(line) if line.is_empty() => self.state = State::ChunkSize(head, length),
                        Some(_) => return Err(Malformed("a chunk is longer than it says")),
                        None => return self.wait(State::Chunk(head, length, 0)),
                    },
                    left => return self.wait(State::Chunk(head, length, left)),
                },
                State::Trailers(head, length) => {
                    let Some(line) = self.line()? else { return self.wait(State::Trailers(head, length)) };
                    if line.is_empty() {
                        return Ok(Read::Request(self.whole(head)));
                    }
                    field(&line)?;
                    let length = length + line.len() as u64;
                    if length > MAX_BODY {
                        return Err(Malformed("its body is too long"));
                    }
                    self.state = State::Trailers(head, length);
                }
            }
        }
    }

    fn wait(&mut self, state: State) -> Result<Read, Malformed> {
        self.state = state;
        Ok(Read::More)
    }

    /// Drops bytes of a body, and says how many are still to come.
    fn drop_bytes(&mut self, left: u64) -> u64 {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
        let bytes = self.unread.split_to(here);
        if self.bodies == Bodies::Passed {
            self.body.extend_from_slice(&bytes);
        }
        left - here as u64
    }

    /// A request with its body, where that is passed on.
    fn whole(&mut self, head: Bytes) -> Bytes {
        if self.body.is_empty() {
            return head;
        }
        let mut whole = BytesMut::from(&head[..head.len() - 2]);
        whole.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        whole.extend_from_slice(&self.body.split());
        whole.freeze()
    }

    /// A line of a body, without its end.
    fn line(&mut self) -> Result<Option<Bytes>, Malformed> {
        match memchr::memchr2(b'\n', b'\r', &self.unread) {
            Some(at) if at > MAX_LINE => Err(Malformed("a line of its body is too long")),
            None if self.unread.len() > MAX_LINE => Err(Malformed("a line of its body is too long")),
            Some(at) if self.unread[at] == b'\n' => Err(Malformed(BARE)),
            Some(at) => match self.unread.get(at + 1) {
                None => Ok(None),
                Some(b'\n') => {
                    let line = self.unread.split_to(at + 2).freeze();
                    Ok(Some(line.slice(..at)))
                }
                Some(_) => Err(Malformed(BARE)),
            },
            None => Ok(None),
        }
    }

    /// The head that comes next, once all of it is there.
    fn head(&mut self) -> Result<Option<Head>, Malformed> {
        // RFC 9112, 2.2: an empty line before a request is passed over.
        if !self.blank && self.searched <= 1 && self.unread.starts_with(b"\r\n") {
            let _blank = self.unread.split_to(2);
            (self.blank, self.searched) = (true, 0);
        }
        let from = self.searched.saturating_sub(3);
        let mut ends = memchr::memchr_iter(b'\n', &self.unread[from..]).map(|at| from + at + 1);
        let Some(end) = ends.find(|end| self.unread[..*end].ends_with(b"\r\n\r\n")) else {
            // A line that ends otherwise would never end the head.
            let lines = &self.unread[self.searched..];
            if memchr::memchr_iter(b'\n', lines)
                .any(|at| self.searched + at == 0 || self.unread[self.searched + at - 1] != b'\r')
            {
                return Err(Malformed(BARE));
            }
            self.searched = self.unread.len();
            return Ok(None);
        };
        if end > self.most {
            return Ok(None);
        }
        (self.blank, self.searched) = (false, 0);
        let bytes = self.unread.split_to(end).freeze();
        check(bytes, self.bodies).map(Some)
    }
}

/// The head of an answer (RFC 9112, 4), but for the empty line at its end. `length`: of its body.
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

const BARE: &str = "a line does not end with CR and LF";

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    // RFC 9112, 7.1.1: extensions are for nobody here, and blanks before them have been misread elsewhere.
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let well_formed = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let visible = line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    match u64::from_str_radix(text, 16) {
        Ok(size) if well_formed && visible => Ok(size),
        _ => Err(Malformed("the size of a chunk is no number")),
    }
}

/// Letters, digits, and these. To look at each byte of a head takes longer than all else here.
const fn letters_and(is: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < is.len() {
        table[is[at] as usize] = true;
        at += 1;
    }
    table
}

/// RFC 9110, 5.6.2.
static TOKEN: [bool; 256] = letters_and(b"!#$%&'*+-.^_`|~");
/// What a value is of, and what stands around it (RFC 9110, 5.5).
static VALUE: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 32 {
        table[byte] = byte == b'\t' as usize;
        byte += 1;
    }
    table[127] = false;
    table
};
/// What every name of a host may be of.
static PLAIN: [bool; 256] = letters_and(b"-.");
/// RFC 3986, 3.2.2, and the colon of a port.
static HOST: [bool; 256] = letters_and(b"-._~%!$&'()*+;=:[]");

/// Whether bytes are a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, &TOKEN)
}

fn all(bytes: &[u8], of: &[bool; 256]) -> bool {
    reach(bytes, of) == bytes.len()
}

/// Name and value of the field (RFC 9112, 5) that a text begins with, and how long its line is without the line end.
// Byte by byte: the lines of a head are short, and to begin a search takes longer than most of them.
fn field(text: &[u8]) -> Result<(&[u8], &[u8], usize), Malformed> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Err(Malformed("a field is folded over several lines"));
    }
    let colon = reach(text, &TOKEN);
    match text.get(colon) {
        Some(b':') if colon > 0 => {}
        Some(b'\r' | b'\n') | None => return Err(Malformed("a field has no colon")),
        Some(_) => return Err(Malformed("the name of a field is none")),
    }
    let end = colon + 1 + reach(&text[colon + 1..], &VALUE);
    match text[end..] {
        [] | [b'\r', b'\n', ..] => Ok((&text[..colon], text[colon + 1..end].trim_ascii(), end)),
        [b'\r' | b'\n', ..] => Err(Malformed(BARE)),
        _ => Err(Malformed("a field holds a control character")),
    }
}

/// How many bytes are of a kind before the first that is not.
fn reach(text: &[u8], kind: &[bool; 256]) -> usize {
    text.iter().position(|byte| !kind[usize::from(*byte)]).unwrap_or(text.len())
}

/// Holds a whole head, with the empty line at its end, against RFC 9112.
fn check(head: Bytes, bodies: Bodies) -> Result<Head, Malformed> {
    let text = &head[..head.len() - 2];
    let end = reach(text, &VALUE);
    match text[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r' | b'\n', ..] => return Err(Malformed(BARE)),
        _ => return Err(Malformed("its first line holds a control character")),
    }
    let (target, is_old) = request_line(&text[..end])?;
    let mut from = end + 2;
    let mut left_out: Vec<Range<usize>> = Vec::new();
    let (mut host, mut length, mut coding, mut expects) = (None, None, None, false);
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
            left_out.push(line);
        } else if is("transfer-encoding") {
            if coding.replace(value).is_some() {
                return Err(Malformed("there is more than one Transfer-Encoding"));
            }
            left_out.push(line);
        } else if is("expect") {
            expects = true;
            left_out.push(line);
        } else if is("trailer") || is("upgrade") || is("http2-settings") {
            // They speak of what is not taken up here.
            left_out.push(line);
        }
    }
    check_host(target, host, is_old)?;
    let body = match (length, coding) {
        (Some(_), Some(_)) => return Err(Malformed("it has a Content-Length and a Transfer-Encoding")),
        (None, None) => Framing::Nothing,
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && !is_old => Framing::Chunked,
        (None, Some(_)) => return Err(Malformed("its Transfer-Encoding is not `chunked`")),
        (Some(length), None) => {
            let digits = !length.is_empty() && length.len() <= 18 && length.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(length).ok().filter(|_| digits).and_then(|length| length.parse().ok());
            match length {
                Some(0) => Framing::Nothing,
                Some(length) => Framing::Length(length),
                None => return Err(Malformed("its Content-Length is no number")),
            }
        }
    };
    let is_awaited = expects && body != Framing::Nothing && bodies == Bodies::Dropped;
    let body = if is_awaited { Framing::Nothing } else { body };
    if left_out.is_empty() {
        return Ok(Head { bytes: head, body });
    }
    let mut kept = BytesMut::with_capacity(head.len() + 32);
    let mut from = 0;
    for line in left_out {
        kept.extend_from_slice(&text[from..line.start]);
        from = line.end;
    }
    kept.extend_from_slice(&text[from..]);
    if is_awaited {
        // What would be sent is not waited for, so nothing can follow.
        kept.extend_from_slice(b"Connection: close\r\n");
    }
    kept.extend_from_slice(b"\r\n");
    Ok(Head { bytes: kept.freeze(), body })
}

/// The target, and whether it is of HTTP/1.0.
fn request_line(line: &[u8]) -> Result<(&[u8], bool), Malformed> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed("its first line is not of three words"));
    };
    if !is_token(method) {
        return Err(Malformed("its method is none"));
    }
    if target.is_empty() || !target.iter().all(|byte| matches!(byte, b'!'..=b'~')) {
        return Err(Malformed("its target holds what no URL holds"));
    }
    match version {
        b"HTTP/1.1" => Ok((target, false)),
        b"HTTP/1.0" => Ok((target, true)),
        _ => Err(Malformed("its version is neither HTTP/1.1 nor HTTP/1.0")),
    }
}

/// RFC 9112, 3.2: one Host, and the one that the target names, where it names one.
fn check_host(target: &[u8], host: Option<&[u8]>, is_old: bool) -> Result<(), Malformed> {
    let valid = |host: &[u8]| {
        if !host.is_empty() && all(host, &PLAIN) {
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
        let port =
            port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
        let authority = || all(name.as_bytes(), &PLAIN) || text.parse::<http::uri::Authority>().is_ok();
        !name.is_empty() && port && authority()
    };
    match host {
        None if is_old => {}
        None => return Err(Malformed("it has no Host")),
        Some(host) if !valid(host) => return Err(Malformed("its Host is none")),
        Some(_) => {}
    }
    if target.starts_with(b"/") || target == b"*" {
        return Ok(());
    }
    let named = target.iter().position(|byte| *byte == b':').filter(|at| target[*at..].starts_with(b"://")).map(|at| {
        let rest = &target[at + 3..];
        &rest[..rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len())]
    });
    // `CONNECT` names a host alone.
    let named = named.unwrap_or(target);
    match host {
        Some(host) if !host.eq_ignore_ascii_case(named) => Err(Malformed("its target names another host than Host")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
