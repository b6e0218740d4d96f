//! Asks a nanoservice as the compositor would, and records what came back as it was on the wire.
//! An answer that does not come is waited for a while longer than it may take, to tell late from never.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use reqwest::redirect::Policy;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::page::conform::exchange::{BodyFault, Exchange, Purpose, Reply, Silence};
use crate::page::conform::subject::{Question, Subject};
use crate::page::manifest::Auth;
use crate::secrets::Secrets;
use crate::secrets::credentials::{self, Identity};

/// How much longer than it may take an answer is waited for.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes by which a coded body may be longer than a plain one.
const OVERHEAD: u64 = 64 << 10;

/// Asks one nanoservice.
pub struct Probe {
    client: reqwest::Client,
    patience: Duration,
    max_bytes: u64,
    /// How the service is shown who asks.
    credentials: Option<(Auth, Arc<Secrets>)>,
}

impl Probe {
    /// Gets ready to ask.
    ///
    /// # Errors
    /// TLS could not be set up, as on a machine without any CA certificates.
    pub fn new(subject: &Subject, secrets: Arc<Secrets>) -> Result<Self, String> {
        let patience = subject.timeout + GRACE;
        let auth = subject.manifest.as_ref().and_then(|manifest| manifest.auth.clone());
        let identity = auth.as_ref().map(|auth| Identity::of(auth, &secrets)).transpose()?.flatten();
        let builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(patience)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            // A connection that the service closed in silence would look like an answer that it owes:
            // to close one so has a rule of its own.
            .pool_max_idle_per_host(0)
            .tcp_nodelay(true);
        let builder = match &identity {
            Some(identity) => identity.show(builder),
            None => Ok(builder),
        };
        let client = builder
            .and_then(reqwest::ClientBuilder::build)
            .map_err(|error| format!("no HTTP client could be made: {}", chain(&error)))?;
        Ok(Self { client, patience, max_bytes: subject.max_bytes, credentials: auth.map(|auth| (auth, secrets)) })
    }

    /// Asks one question on a connection of its own.
    pub async fn ask(&self, question: &Question) -> Exchange {
        let began = Instant::now();
        let reply = self.reply(question, began + self.patience).await;
        Exchange { purpose: question.purpose.clone(), took: began.elapsed(), reply }
    }

    /// Asks the same question many times at once.
    pub async fn together(&self, question: &Question, count: u32) -> Vec<Exchange> {
        futures::future::join_all((0..count).map(|_| self.ask(question))).await
    }

    /// Asks the same question twice on one connection; once, where the first answer says that it ends
    /// there; not at all, where it is no plain HTTP.
    pub async fn twice(&self, question: &Question) -> Vec<Exchange> {
        let Some(mut line) = Line::open(&question.url, self.patience).await else { return Vec::new() };
        let mut exchanges: Vec<Exchange> = Vec::new();
        while exchanges.len() < 2 {
            let began = Instant::now();
            let reply = match self.headers(question) {
                Ok(headers) => line.ask(&question.url, headers, began + self.patience, self.max_bytes).await,
                Err(why) => Err(Silence::Unreachable(why)),
            };
            let ends = reply.as_ref().map_or(true, |reply| reply.closes);
            exchanges.push(Exchange { purpose: Purpose::KeptOpen, took: began.elapsed(), reply });
            if ends {
                break;
            }
        }
        exchanges
    }

    fn headers(&self, question: &Question) -> Result<HeaderMap, String> {
        let mut headers = question.headers.clone();
        let parent = format!("00-{:032x}-{:016x}-01", fastrand::u128(1..), fastrand::u64(1..));
        let parent = HeaderValue::from_str(&parent).ok();
        headers.extend(parent.map(|parent| (http::HeaderName::from_static("traceparent"), parent)));
        if let Some((auth, secrets)) = &self.credentials {
            credentials::add(auth, secrets, &question.url, &mut headers)?;
        }
        Ok(headers)
    }

    async fn reply(&self, question: &Question, deadline: Instant) -> Result<Reply, Silence> {
        let headers = self.headers(question).map_err(Silence::Unreachable)?;
        let sent = self.client.get(question.url.clone()).headers(headers).send();
        let response = timeout_at(deadline, sent).await.map_err(|_| Silence::Late)?.map_err(|error| silence(&error))?;
        let (status, version, headers) = (response.status(), response.version(), response.headers().clone());
        let mut stream = response.bytes_stream().map(|chunk| chunk.map_err(|error| chain(&error)));
        let whole = collect(&mut stream, self.max_bytes);
        let body = timeout_at(deadline, whole).await.unwrap_or(Err(BodyFault::Stalled));
        Ok(record(status, version, headers, body, self.max_bytes).await)
    }
}

/// One connection, over plain HTTP/1.1.
struct Line {
    sender: hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
}

impl Line {
    async fn open(url: &Url, patience: Duration) -> Option<Self> {
        let url = Some(url).filter(|url| url.scheme() == "http")?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((host, url.port_or_known_default()?));
        let stream = timeout(patience, stream).await.ok()?.ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        // How it ends is seen by whoever waits for an answer.
        tokio::spawn(connection);
        Some(Self { sender })
    }

    async fn ask(
        &mut self,
        url: &Url,
        headers: HeaderMap,
        deadline: Instant,
        max_bytes: u64,
    ) -> Result<Reply, Silence> {
        let unreachable = |error: &dyn std::fmt::Display| Silence::Unreachable(error.to_string());
        timeout_at(deadline, self.sender.ready()).await.map_err(|_| Silence::Late)?.map_err(|e| unreachable(&e))?;
        let mut request = http::Request::new(Empty::new());
        *request.uri_mut() = url[url::Position::BeforePath..].parse().map_err(|error| unreachable(&error))?;
        *request.headers_mut() = headers;
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(host).map_err(|error| unreachable(&error))?);
        let sent = self.sender.send_request(request);
        let response = timeout_at(deadline, sent).await.map_err(|_| Silence::Late)?;
        let (head, body) = response.map_err(|error| unreachable(&error))?.into_parts();
        let mut stream = body.into_data_stream().map(|chunk| chunk.map_err(|error| error.to_string()));
        let body = timeout_at(deadline, collect(&mut stream, max_bytes)).await.unwrap_or(Err(BodyFault::Stalled));
        Ok(record(head.status, head.version, head.headers, body, max_bytes).await)
    }
}

/// Reads a body to its end, or to where it is too long whatever its coding.
async fn collect(
    stream: &mut (impl futures::Stream<Item = Result<Bytes, String>> + Unpin),
    max_bytes: u64,
) -> Result<Bytes, BodyFault> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        whole.extend_from_slice(&chunk.map_err(BodyFault::CutShort)?);
        if whole.len() as u64 > max_bytes.saturating_add(OVERHEAD) {
            return Err(BodyFault::TooLarge(max_bytes));
        }
    }
    Ok(whole.freeze())
}

async fn record(
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Result<Bytes, BodyFault>,
    max_bytes: u64,
) -> Reply {
    let body = match body {
        Ok(body) => decode(&headers, body, max_bytes).await,
        Err(fault) => Err(fault),
    };
    let says = |word: &str| {
        let mut lines = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        lines.any(|line| line.split(',').any(|option| option.trim().eq_ignore_ascii_case(word)))
    };
    let closes = says("close") || (version == Version::HTTP_10 && !says("keep-alive"));
    Reply { status, closes, headers, body }
}

/// Undoes the one coding that a body may have.
async fn decode(headers: &HeaderMap, body: Bytes, max_bytes: u64) -> Result<Bytes, BodyFault> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let coding = codings.next().map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase());
    let coding = match codings.next() {
        // Of several only the compositor's own server could undo the last: so nobody does.
        Some(_) => return Err(BodyFault::UnknownCoding("several at once".to_owned())),
        None => coding.unwrap_or_default(),
    };
    // The answer to HEAD, a 204 and a 304 have no body to decode, whatever their headers say.
    if body.is_empty() {
        return Ok(body);
    }
    let plain = match coding.as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => inflate(GzipDecoder::new(&*body), max_bytes).await,
        "br" => inflate(BrotliDecoder::new(&*body), max_bytes).await,
        "zstd" => inflate(ZstdDecoder::new(&*body), max_bytes).await,
        _ => return Err(BodyFault::UnknownCoding(coding)),
    };
    match plain {
        Ok(plain) if plain.len() as u64 > max_bytes => Err(BodyFault::TooLarge(max_bytes)),
        Ok(plain) => Ok(plain),
        Err(error) => Err(BodyFault::Undecodable(coding, error.to_string())),
    }
}

async fn inflate(decoder: impl AsyncRead + Unpin, max_bytes: u64) -> std::io::Result<Bytes> {
    let mut plain = Vec::new();
    // One more than is allowed tells that it is too long, and is all of a bomb that is unpacked.
    decoder.take(max_bytes.saturating_add(1)).read_to_end(&mut plain).await?;
    Ok(plain.into())
}

fn silence(error: &reqwest::Error) -> Silence {
    let mut cause = error.source();
    while let Some(found) = cause {
        if found.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return Silence::NotHttp(found.to_string());
        }
        cause = found.source();
    }
    let told = chain(error);
    // Of the layers through which a failed connect comes up, the lowest says why.
    let why =
        if error.is_connect() { format!("no connection: {}", told.rsplit(": ").next().unwrap_or(&told)) } else { told };
    Silence::Unreachable(why)
}

/// What went wrong, from its causes: reqwest's own words repeat the URL and say little else.
fn chain(error: &reqwest::Error) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if told.last() != Some(&text) {
            told.push(text);
        }
        cause = error.source();
    }
    if told.is_empty() { error.to_string() } else { told.join(": ") }
}
