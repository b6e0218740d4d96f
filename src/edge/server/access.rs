//! The access log: one line for each reply, once its body was sent or its client has left. A body in memory is logged when it
//! begins to be sent.
//! What clients send is escaped, so that no line can imitate another; a debug token is left out.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use serde::Serialize;

use crate::page::source::schema::Kind;
use crate::page::visit::reader::ReaderRules;

use super::body::ReplyBody;
use super::overlay::ENTRANCE;
use super::reply::{PageOrigin, Reply};

/// The header in which proxies name the client, and each other.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The format of lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// Apache's combined format, followed by where the page came from, and the request's id.
    #[default]
    Combined,
    /// A JSON object.
    Json,
}

impl AccessFormat {
    /// The formats' names in the settings.
    pub const KIND: Kind = Kind::Word(&["combined", "json"]);

    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        if name == "json" { Self::Json } else { Self::Combined }
    }
}

/// Takes a line with its line feed.
pub type TakeLine = dyn Fn(&[u8]) + Send + Sync;

/// Writes a line for each reply.
pub struct AccessLog {
    /// The format of lines.
    pub format: AccessFormat,
    /// Takes each line.
    pub write: Box<TakeLine>,
}

/// What is logged of a request and its reply.
pub(super) struct Access {
    pub(super) client: IpAddr,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) referer: Option<HeaderValue>,
    pub(super) agent: Option<HeaderValue>,
    pub(super) began: Instant,
    /// When the reply began to be sent.
    pub(super) at: Timestamp,
    pub(super) id: [u8; 32],
    pub(super) status: StatusCode,
    pub(super) origin: Option<PageOrigin>,
}

impl Access {
    /// The headers of a request that are logged: its referrer and its user agent.
    pub(super) fn headers(headers: &HeaderMap) -> (Option<HeaderValue>, Option<HeaderValue>) {
        (headers.get(REFERER).cloned(), headers.get(USER_AGENT).cloned())
    }

    /// The target of the request as the client sent it. The query of the address that a debug token is exchanged at is left
    /// out.
    fn target(&self) -> &str {
        match self.uri.path_and_query() {
            Some(target) if target.path() == ENTRANCE => target.path(),
            Some(target) => target.as_str(),
            None => "",
        }
    }

    fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    fn request_id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }
}

/// The address of a client: of the proxies that are trusted, none.
pub(super) fn client(peer: IpAddr, is_trusted: bool, headers: &HeaderMap, readers: &ReaderRules) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted {
        return peer;
    }
    // The last one was added by the nearest proxy; what precedes an address that is not trusted may be made up.
    let mut nearest = peer;
    for line in headers.get_all(&FORWARDED_FOR).iter().rev().filter_map(|line| line.to_str().ok()) {
        for address in line.rsplit(',') {
            let Ok(address) = address.trim().parse::<IpAddr>() else { return nearest };
            nearest = address.to_canonical();
            if !readers.trusts(nearest) {
                return nearest;
            }
        }
    }
    nearest
}

impl AccessLog {
    /// The reply, which is logged once its body was sent.
    pub(super) fn logged(self: &Arc<Self>, reply: Reply, access: Access) -> Reply {
        reply.map_body(|body| match body {
            ReplyBody::InMemory(chunks) => {
                // The listener leaves the body of a reply to `HEAD` out.
                let bytes = if access.method == Method::HEAD { 0 } else { chunks.length() as u64 };
                self.log(&access, bytes);
                ReplyBody::InMemory(chunks)
            }
            ReplyBody::Streamed(body) => {
                let counted = Counted { body, bytes: 0, access, log: Arc::clone(self) };
                ReplyBody::Streamed(Body::new(counted))
            }
        })
    }

    fn log(&self, access: &Access, bytes: u64) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match self.format {
                AccessFormat::Combined => combined(line, access, bytes),
                AccessFormat::Json => json(line, access, bytes),
            }
            (self.write)(line);
        });
    }
}

fn combined(line: &mut Vec<u8>, access: &Access, bytes: u64) {
    // Writing to a `Vec` never fails.
    let _ = write!(line, "{} - - [", access.client);
    with_time(access.at, |time| line.extend_from_slice(time.as_bytes()));
    line.extend_from_slice(b"] \"");
    line.extend_from_slice(access.method.as_str().as_bytes());
    line.push(b' ');
    escape(line, access.target().as_bytes());
    line.push(b' ');
    line.extend_from_slice(access.protocol().as_bytes());
    let _ = write!(line, "\" {} {bytes} \"", access.status.as_str());
    field(line, access.referer.as_ref());
    line.extend_from_slice(b"\" \"");
    field(line, access.agent.as_ref());
    line.extend_from_slice(b"\" ");
    line.extend_from_slice(access.origin.map_or("-", PageOrigin::as_str).as_bytes());
    line.push(b' ');
    line.extend_from_slice(&access.id);
    line.push(b'\n');
}

fn field(line: &mut Vec<u8>, value: Option<&HeaderValue>) {
    escape(line, value.map_or(b"-", HeaderValue::as_bytes));
}

/// Adds bytes of a client, as Apache escapes them.
fn escape(line: &mut Vec<u8>, bytes: &[u8]) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    // Nearly always nothing is to be escaped. Without a branch for each byte, many are looked at in one instruction.
    if bytes.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
        line.extend_from_slice(bytes);
        return;
    }
    for byte in bytes {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            b' '..=b'~' => line.push(*byte),
            _ => _ = write!(line, "\\x{byte:02x}"),
        }
    }
}

/// Passes on a time as Apache writes it. Each thread writes it once a second.
fn with_time(at: Timestamp, take: impl FnOnce(&str)) {
    thread_local! {
        static TIME: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    TIME.with_borrow_mut(|(second, text)| {
        if *second != at.as_second() {
            (*second, *text) = (at.as_second(), at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string());
        }
        take(text);
    });
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: Timestamp,
    client: IpAddr,
    method: &'a str,
    target: &'a str,
    protocol: &'a str,
    status: u16,
    bytes: u64,
    /// Milliseconds until the last byte was handed to the connection; for a body in memory, the first.
    ms: f64,
    referer: Option<String>,
    user_agent: Option<String>,
    cache: Option<&'a str>,
    request_id: &'a str,
}

fn json(line: &mut Vec<u8>, access: &Access, bytes: u64) {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let micros = u32::try_from(access.began.elapsed().as_micros()).unwrap_or(u32::MAX);
    let object = JsonLine {
        time: access.at,
        client: access.client,
        method: access.method.as_str(),
        target: access.target(),
        protocol: access.protocol(),
        status: access.status.as_u16(),
        bytes,
        ms: f64::from(micros) / 1e3,
        referer: access.referer.as_ref().map(text),
        user_agent: access.agent.as_ref().map(text),
        cache: access.origin.map(PageOrigin::as_str),
        request_id: access.request_id(),
    };
    serde_json::to_writer(&mut *line, &object).expect("texts and numbers can be written as JSON");
    line.push(b'\n');
}

/// A body that is logged at its end, or when its client leaves.
struct Counted {
    body: Body,
    bytes: u64,
    access: Access,
    log: Arc<AccessLog>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.log.log(&self.access, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_stays_within_its_field() {
        for (sent, logged) in [
            ("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"),
            ("a\" 200 \"b", "a\\\" 200 \\\"b"),
            ("a\\", "a\\\\"),
            ("\u{1b}[31m\n", "\\x1b[31m\\x0a"),
            ("\u{fc}", "\\xc3\\xbc"),
        ] {
            let mut line = Vec::new();
            escape(&mut line, sent.as_bytes());
            assert_eq!(String::from_utf8_lossy(&line), logged);
        }
    }

    #[test]
    fn the_client_is_the_nearest_that_is_not_a_trusted_proxy() {
        let network = "10.0.0.0/8".parse().expect("a network");
        let readers = ReaderRules { trusted: vec![network], ..ReaderRules::default() };
        let logged = |peer: &str, lines: &[&str]| {
            let values = lines.iter().map(|line| (FORWARDED_FOR, HeaderValue::from_str(line).expect("a value")));
            let peer: IpAddr = peer.parse().expect("an address");
            client(peer, readers.trusts(peer), &values.collect(), &readers).to_string()
        };
        assert_eq!(logged("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "anybody can send the header");
        assert_eq!(logged("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(logged("10.0.0.1", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(logged("10.0.0.1", &["1.1.1.1", "198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(logged("10.0.0.1", &["unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(logged("::ffff:192.0.2.1", &[]), "192.0.2.1");
    }
}
