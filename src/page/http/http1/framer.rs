//! Splits the bytes of a connection into requests (RFC 9112, 6 and 7).
//! After a malformed request nothing more can be read: the beginning of the next one is not known.

use bytes::{Bytes, BytesMut};

use super::head::{self, BodyFraming, CheckedHead};
use super::{BARE_LINE_END, Bodies, Malformed};

/// Longest body that is read, in bytes.
const MAX_BODY: u64 = 64 * 1024;
/// Longest line of a chunked body, in bytes.
const MAX_LINE: usize = 256;
/// The field of a request after which nothing more is read.
const CLOSE: &[u8] = b"Connection: close\r\n";

/// Splits the bytes of a connection into requests.
#[derive(Debug)]
pub struct Framer {
    max_head: usize,
    bodies: Bodies,
    state: State,
    unread: BytesMut,
    /// The number of unread bytes that were searched for the end of a head.
    searched: usize,
    /// Whether an empty line before the head was skipped.
    has_skipped_line: bool,
    /// The body that is being read, if it is passed on.
    body: BytesMut,
}

/// The state of the framer: what is read next.
#[derive(Debug)]
enum State {
    /// A head.
    Head,
    /// This many bytes of the body of a head.
    Body(Bytes, u64),
    /// The line that begins a chunk, after this many bytes of the body.
    ChunkSize(Bytes, u64),
    /// The rest of a chunk and its line ending: the head, the bytes of the body with this chunk, the bytes still to come.
    Chunk(Bytes, u64, u64),
    /// The fields after the last chunk, after this many bytes of the body.
    Trailers(Bytes, u64),
}

/// The result of reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed {
    /// A request: its head, and its body if bodies are passed on.
    Request(Bytes),
    /// A request whose body is neither read nor passed on. Nothing that follows can be read, so the head that is passed on
    /// closes the connection.
    Last(Bytes),
    /// More bytes have to arrive.
    Incomplete,
    /// A part of the request is too long; nothing that follows can be read.
    TooLong(TooLong),
}

/// A part of a request that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// Its first line, which is as long as its target.
    Target,
    /// Its head.
    Head,
    /// Its body, where bodies are passed on.
    Body,
}

impl Framer {
    /// Creates a framer for heads of at most `max_head` bytes.
    #[must_use]
    pub fn new(max_head: usize, bodies: Bodies) -> Self {
        Self {
            max_head,
            bodies,
            state: State::Head,
            unread: BytesMut::new(),
            searched: 0,
            has_skipped_line: false,
            body: BytesMut::new(),
        }
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Whether a request has begun and not ended.
    pub fn is_within_request(&self) -> bool {
        !self.unread.is_empty() || !matches!(self.state, State::Head)
    }

    /// Takes the next request.
    ///
    /// # Errors
    /// The request is malformed; nothing that follows it can be read.
    pub fn next_request(&mut self) -> Result<Framed, Malformed> {
        loop {
            match std::mem::replace(&mut self.state, State::Head) {
                State::Head => match self.next_head()? {
                    None if self.unread.len() > self.max_head => {
                        let has_line = memchr::memchr(b'\n', &self.unread[..self.max_head]).is_some();
                        return Ok(Framed::TooLong(if has_line { TooLong::Head } else { TooLong::Target }));
                    }
                    None => return Ok(Framed::Incomplete),
                    Some(head) => {
                        // What is done with the body is decided here, once the whole head is known.
                        let (body, expects_continue) = (head.body, head.expects_continue);
                        let bytes = head.passed();
                        match body {
                            BodyFraming::None => return Ok(Framed::Request(bytes)),
                            // A body that is dropped is not requested. The client might send it anyway.
                            _ if expects_continue && self.bodies == Bodies::Dropped => {
                                return Ok(self.without_body(&bytes));
                            }
                            BodyFraming::Length(length) if length > MAX_BODY => return Ok(self.without_body(&bytes)),
                            BodyFraming::Length(length) => self.state = State::Body(bytes, length),
                            BodyFraming::Chunked => self.state = State::ChunkSize(bytes, 0),
                        }
                    }
                },
                State::Body(head, left) => match self.read_body(left) {
                    0 => return Ok(Framed::Request(self.with_body(head))),
                    left => return self.wait(State::Body(head, left)),
                },
                State::ChunkSize(head, length) => {
                    let Some(line) = self.next_line()? else { return self.wait(State::ChunkSize(head, length)) };
                    let size = chunk_size(&line)?;
                    let length = length + size;
                    if length > MAX_BODY {
                        return Ok(self.without_body(&head));
                    }
                    self.state =
                        if size == 0 { State::Trailers(head, length) } else { State::Chunk(head, length, size) };
                }
                State::Chunk(head, length, left) => match self.read_body(left) {
                    0 => match self.next_line()? {
                        Some(line) if line.is_empty() => self.state = State::ChunkSize(head, length),
                        Some(_) => return Err(Malformed("a chunk is longer than its size states")),
                        None => return self.wait(State::Chunk(head, length, 0)),
                    },
                    left => return self.wait(State::Chunk(head, length, left)),
                },
                State::Trailers(head, length) => {
                    let Some(line) = self.next_line()? else { return self.wait(State::Trailers(head, length)) };
                    if line.is_empty() {
                        return Ok(Framed::Request(self.with_body(head)));
                    }
                    head::field(&line)?;
                    let length = length + line.len() as u64;
                    if length > MAX_BODY {
                        return Ok(self.without_body(&head));
                    }
                    self.state = State::Trailers(head, length);
                }
            }
        }
    }

    fn wait(&mut self, state: State) -> Result<Framed, Malformed> {
        self.state = state;
        Ok(Framed::Incomplete)
    }

    /// Reads bytes of a body, and returns how many are still to come.
    fn read_body(&mut self, left: u64) -> u64 {
        let available = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
        let bytes = self.unread.split_to(available);
        if self.bodies == Bodies::Passed {
            self.body.extend_from_slice(&bytes);
        }
        left - available as u64
    }

    /// A request with its body, if bodies are passed on.
    fn with_body(&mut self, head: Bytes) -> Bytes {
        if self.body.is_empty() {
            return head;
        }
        let length = format!("Content-Length: {}\r\n", self.body.len());
        let mut request = head::with_field(&head, length.as_bytes());
        request.extend_from_slice(&self.body.split());
        request.freeze()
    }

    /// A request whose body is not read to its end.
    fn without_body(&self, head: &Bytes) -> Framed {
        match self.bodies {
            Bodies::Dropped => Framed::Last(head::with_field(head, CLOSE).freeze()),
            Bodies::Passed => Framed::TooLong(TooLong::Body),
        }
    }

    /// The next line of a body, without its line ending. `None`: it is incomplete.
    fn next_line(&mut self) -> Result<Option<Bytes>, Malformed> {
        const TOO_LONG: Malformed = Malformed("a line of the body is too long");
        match memchr::memchr2(b'\n', b'\r', &self.unread) {
            Some(at) if at > MAX_LINE => Err(TOO_LONG),
            None if self.unread.len() > MAX_LINE => Err(TOO_LONG),
            Some(at) if self.unread[at] == b'\n' => Err(BARE_LINE_END),
            Some(at) => match self.unread.get(at + 1) {
                None => Ok(None),
                Some(b'\n') => {
                    let line = self.unread.split_to(at + 2).freeze();
                    Ok(Some(line.slice(..at)))
                }
                Some(_) => Err(BARE_LINE_END),
            },
            None => Ok(None),
        }
    }

    /// The next head. `None`: it is incomplete or too long.
    fn next_head(&mut self) -> Result<Option<CheckedHead>, Malformed> {
        // One empty line before a request is skipped (RFC 9112, 2.2).
        if !self.has_skipped_line && self.searched <= 1 && self.unread.starts_with(b"\r\n") {
            let _skipped = self.unread.split_to(2);
            (self.has_skipped_line, self.searched) = (true, 0);
        }
        let from = self.searched.saturating_sub(3);
        let mut ends = memchr::memchr_iter(b'\n', &self.unread[from..]).map(|at| from + at + 1);
        let Some(end) = ends.find(|end| self.unread[..*end].ends_with(b"\r\n\r\n")) else {
            // A bare line ending is refused now: such a head might never end.
            let lines = &self.unread[self.searched..];
            if memchr::memchr_iter(b'\n', lines)
                .any(|at| self.searched + at == 0 || self.unread[self.searched + at - 1] != b'\r')
            {
                return Err(BARE_LINE_END);
            }
            self.searched = self.unread.len();
            return Ok(None);
        };
        if end > self.max_head {
            return Ok(None);
        }
        (self.has_skipped_line, self.searched) = (false, 0);
        head::check(self.unread.split_to(end).freeze()).map(Some)
    }
}

/// The size of a chunk, from the line that begins it (RFC 9112, 7.1). Extensions are ignored; whitespace before them is
/// refused, since programs have read it in different ways.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let is_number = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_printable = line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    match u64::from_str_radix(text, 16) {
        Ok(size) if is_number && is_printable => Ok(size),
        _ => Err(Malformed("the size of a chunk is not a hexadecimal number")),
    }
}
