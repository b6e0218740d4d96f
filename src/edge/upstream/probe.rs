//! Sends the requests of `conform` to a nanoservice, and records each response as it was on the wire.
//! A response that is late is waited for a little longer than its timeout, to distinguish late from never.
//!
//! The engine's `Upstream` port is not used here: it decodes bodies, pools connections and hides how they end, and all of
//! that is what the contract is about. Both build their clients with `client`.

use std::sync::Arc;
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::page::conform::exchange::{BodyError, Exchange, NoResponse, Purpose, RecordedResponse};
use crate::page::conform::subject::{Subject, TestRequest};
use crate::page::http::coding::ContentCoding;
use crate::page::manifest::Auth;
use crate::secrets::Secrets;
use crate::secrets::credentials::{self, ClientCertificate};

use super::client::{Client, SendError, describe};
use super::decoding::OVERHEAD;
use super::resolver::Resolver;

/// How much longer than its timeout a response is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Sends requests to one nanoservice.
pub struct Probe {
    client: Client,
    /// Longest wait for a whole response: its timeout and the grace period.
    longest: Duration,
    max_bytes: u64,
    /// The credentials that its manifest names, and where their secrets are looked up.
    credentials: Option<(Auth, Arc<Secrets>)>,
}

impl Probe {
    /// Builds the client.
    ///
    /// # Errors
    /// A secret is missing, or TLS could not be set up, as on a machine without any CA certificates.
    pub fn new(subject: &Subject, secrets: Arc<Secrets>) -> Result<Self, String> {
        let longest = subject.timeout + GRACE;
        let auth = subject.manifest.as_ref().and_then(|manifest| manifest.auth.clone());
        let identity = auth.as_ref().map(|auth| ClientCertificate::of(auth, &secrets)).transpose()?.flatten();
        // A pooled connection that the nanoservice has closed would look like a missing response. Closing one without notice
        // is checked by a separate rule.
        let client = Client::single(Resolver::Any, identity.as_ref(), longest)?;
        Ok(Self { client, longest, max_bytes: subject.max_bytes, credentials: auth.map(|auth| (auth, secrets)) })
    }

    /// Sends one request, on a connection of its own.
    pub async fn ask(&self, request: &TestRequest) -> Exchange {
        let began = Instant::now();
        let response = self.reply(request, began + self.longest).await;
        Exchange { purpose: request.purpose.clone(), took: began.elapsed(), response }
    }

    /// Sends the same request many times at once.
    pub async fn together(&self, request: &TestRequest, count: u32) -> Vec<Exchange> {
        futures::future::join_all((0..count).map(|_| self.ask(request))).await
    }

    /// Sends the same request twice on one connection: only once if the first response announces that the connection
    /// closes, and not at all if the URL is not plain HTTP.
    pub async fn twice(&self, request: &TestRequest) -> Vec<Exchange> {
        let Some(mut connection) = Connection::open(&request.url, self.longest).await else { return Vec::new() };
        let mut exchanges: Vec<Exchange> = Vec::new();
        while exchanges.len() < 2 {
            let began = Instant::now();
            let response = match self.headers(request) {
                Ok(headers) => connection.ask(&request.url, headers, began + self.longest, self.max_bytes).await,
                Err(why) => Err(NoResponse::Unreachable(why)),
            };
            let ends = response.as_ref().map_or(true, |response| response.closes);
            exchanges.push(Exchange { purpose: Purpose::Reused, took: began.elapsed(), response });
            if ends {
                break;
            }
        }
        exchanges
    }

    fn headers(&self, request: &TestRequest) -> Result<HeaderMap, String> {
        let mut headers = request.headers.clone();
        let parent = format!("00-{:032x}-{:016x}-01", fastrand::u128(1..), fastrand::u64(1..));
        let parent = HeaderValue::from_str(&parent).ok();
        headers.extend(parent.map(|parent| (http::HeaderName::from_static("traceparent"), parent)));
        if let Some((auth, secrets)) = &self.credentials {
            credentials::add(auth, secrets, &request.url, &mut headers)?;
        }
        Ok(headers)
    }

    async fn reply(&self, request: &TestRequest, deadline: Instant) -> Result<RecordedResponse, NoResponse> {
        let headers = self.headers(request).map_err(NoResponse::Unreachable)?;
        let mut message = http::Request::new(Full::default());
        *message.uri_mut() = request
            .url
            .as_str()
            .parse()
            .map_err(|error: http::uri::InvalidUri| NoResponse::Unreachable(error.to_string()))?;
        *message.headers_mut() = headers;
        let uri = message.uri().clone();
        let response = timeout_at(deadline, self.client.send(message)).await.map_err(|_| NoResponse::Late)?;
        let (head, body) = response.map_err(|error| no_response(&error, &uri))?.into_parts();
        let (status, version, headers) = (head.status, head.version, head.headers);
        let mut stream = body.into_data_stream().map(|chunk| chunk.map_err(|error| describe(&error)));
        let whole = collect(&mut stream, self.max_bytes);
        let body = timeout_at(deadline, whole).await.unwrap_or(Err(BodyError::Stalled));
        Ok(record(status, version, headers, body, self.max_bytes).await)
    }
}

/// One plain HTTP/1.1 connection.
struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
}

impl Connection {
    async fn open(url: &Url, longest: Duration) -> Option<Self> {
        let url = Some(url).filter(|url| url.scheme() == "http")?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((host, url.port_or_known_default()?));
        let stream = timeout(longest, stream).await.ok()?.ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        // An error of the connection also fails the request that is waiting on it.
        tokio::spawn(connection);
        Some(Self { sender })
    }

    async fn ask(
        &mut self,
        url: &Url,
        headers: HeaderMap,
        deadline: Instant,
        max_bytes: u64,
    ) -> Result<RecordedResponse, NoResponse> {
        let unreachable = |error: &dyn std::fmt::Display| NoResponse::Unreachable(error.to_string());
        timeout_at(deadline, self.sender.ready()).await.map_err(|_| NoResponse::Late)?.map_err(|e| unreachable(&e))?;
        let mut request = http::Request::new(Empty::new());
        *request.uri_mut() = url[url::Position::BeforePath..].parse().map_err(|error| unreachable(&error))?;
        *request.headers_mut() = headers;
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(host).map_err(|error| unreachable(&error))?);
        let sent = self.sender.send_request(request);
        let response = timeout_at(deadline, sent).await.map_err(|_| NoResponse::Late)?;
        let (head, body) = response.map_err(|error| unreachable(&error))?.into_parts();
        let mut stream = body.into_data_stream().map(|chunk| chunk.map_err(|error| error.to_string()));
        let body = timeout_at(deadline, collect(&mut stream, max_bytes)).await.unwrap_or(Err(BodyError::Stalled));
        Ok(record(head.status, head.version, head.headers, body, max_bytes).await)
    }
}

/// Reads a body to its end, or until it is too long in any coding.
async fn collect(
    stream: &mut (impl futures::Stream<Item = Result<Bytes, String>> + Unpin),
    max_bytes: u64,
) -> Result<Bytes, BodyError> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        whole.extend_from_slice(&chunk.map_err(BodyError::CutShort)?);
        if whole.len() as u64 > max_bytes.saturating_add(OVERHEAD) {
            return Err(BodyError::TooLarge(max_bytes));
        }
    }
    Ok(whole.freeze())
}

async fn record(
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Result<Bytes, BodyError>,
    max_bytes: u64,
) -> RecordedResponse {
    let body = match body {
        Ok(body) => decode(&headers, body, max_bytes).await,
        Err(fault) => Err(fault),
    };
    let has_option = |wanted: &str| {
        let mut lines = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        lines.any(|line| line.split(',').any(|option| option.trim().eq_ignore_ascii_case(wanted)))
    };
    let closes = has_option("close") || (version == Version::HTTP_10 && !has_option("keep-alive"));
    RecordedResponse { status, closes, headers, body }
}

/// Decodes the one content coding that a body may have.
async fn decode(headers: &HeaderMap, body: Bytes, max_bytes: u64) -> Result<Bytes, BodyError> {
    let coding = ContentCoding::of(headers).map_err(BodyError::UnknownCoding)?;
    // A 204 and a 304 have no body to decode, whatever their headers state.
    if body.is_empty() {
        return Ok(body);
    }
    let plain = match coding {
        None => Ok(body),
        Some(ContentCoding::Gzip) => inflate(GzipDecoder::new(&*body), max_bytes).await,
        Some(ContentCoding::Brotli) => inflate(BrotliDecoder::new(&*body), max_bytes).await,
        Some(ContentCoding::Zstd) => inflate(ZstdDecoder::new(&*body), max_bytes).await,
    };
    match plain {
        Ok(plain) if plain.len() as u64 > max_bytes => Err(BodyError::TooLarge(max_bytes)),
        Ok(plain) => Ok(plain),
        Err(error) => {
            Err(BodyError::Undecodable(coding.map_or("", ContentCoding::as_str).to_owned(), error.to_string()))
        }
    }
}

async fn inflate(decoder: impl AsyncRead + Unpin, max_bytes: u64) -> std::io::Result<Bytes> {
    let mut plain = Vec::new();
    // One byte more than allowed shows that the body is too long, and limits how much of a compression bomb is unpacked.
    decoder.take(max_bytes.saturating_add(1)).read_to_end(&mut plain).await?;
    Ok(plain.into())
}

fn no_response(error: &SendError, uri: &Uri) -> NoResponse {
    match error.parse_error() {
        Some(error) => NoResponse::NotHttp(error.to_string()),
        None => NoResponse::Unreachable(error.describe(uri)),
    }
}
