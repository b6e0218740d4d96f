//! One fetch, from the request to the last byte of the response, classified and parsed.
//! One deadline covers all of it: a body that stalls is a timeout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use crate::page::policy::cache::directives::Arrival;
use crate::page::policy::cache::validation::Validation;
use crate::page::request::fetch::{Fetch, FetchKind};
use crate::page::response::classify::{HeadClass, classify_body, classify_head, is_problem, problem};
use crate::page::response::outcome::Attempt;
use crate::page::response::parsed::{Failure, ParsedResponse};
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::offload;
use super::port::{Ports, UpstreamRequest, UpstreamResponse};
use super::trace::Trace;
use super::upstream::{EndpointLog, StackRequest, Stacks};

/// Number of header fields for which a request reserves room.
const HEADER_CAPACITY: usize = 16;
/// Maximum number of bytes of a problem document (RFC 9457) that are read for the log.
const MAX_PROBLEM: u64 = 16 << 10;
/// Bodies of this many bytes and more are parsed on the blocking pool: parsing takes a millisecond per ten to a hundred KiB.
const OFFLOAD_FROM: usize = 32 << 10;

/// A fetch, and everything that it needs.
pub(super) struct FetchJob<'a> {
    pub(super) ports: &'a Ports,
    pub(super) stacks: &'a Stacks,
    pub(super) fetch: &'a Arc<Fetch>,
    pub(super) trace: &'a Trace,
    /// The stored response, if it can be revalidated.
    pub(super) stored: Option<&'a Arc<ParsedResponse>>,
    /// Whether no page waits for the fetch.
    pub(super) in_background: bool,
}

/// A whole response as it arrived. With its fetch, this is all that is needed to parse it.
struct RawResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    arrival: Arrival,
}

impl RawResponse {
    /// Parses the response.
    ///
    /// # Errors
    /// It breaks the contract.
    fn parse(self, fetch: &Fetch) -> Result<ParsedResponse, Failure> {
        let content = match classify_head(self.status, &self.headers, fetch.kind, false)? {
            HeadClass::Done(content) => content,
            HeadClass::Read(form) => classify_body(form, self.body)?,
            HeadClass::NotModified => return Err(Failure::new(Reason::Status, "304 to a request without conditions")),
        };
        Ok(ParsedResponse::new(content, &self.headers, fetch, self.arrival))
    }
}

/// The result of one request.
enum Received {
    /// A response that is to be parsed.
    Whole(RawResponse),
    /// The stored response, updated by a 304.
    Revalidated(Box<ParsedResponse>),
}

impl FetchJob<'_> {
    /// Fetches within the fetch's timeout, counted from now. The attempt is the record of how it went.
    ///
    /// # Errors
    /// The nanoservice did not respond in time and as the contract requires.
    pub(super) async fn run(&self) -> (Result<ParsedResponse, Failure>, Attempt) {
        let began = Instant::now();
        let fetch = self.fetch;
        let deadline = began + fetch.timeout;
        let mut log = RequestLog::default();
        let result = match timeout_at(deadline, self.request_once_started(deadline, &mut log)).await {
            // Parsing does not count: a response that arrived in time is used, even if parsing it takes longer.
            Ok(Ok(received)) => self.parse(received).await,
            Ok(Err(failure)) => Err(failure),
            Err(_) if log.start.is_some() && log.started.is_none() => {
                let why = format!("its program was not ready within {}", units::show(fetch.timeout));
                Err(Failure::new(Reason::Starting, why))
            }
            Err(_) => Err(late(fetch, log.requests())),
        };
        let attempt = log.finish(self, began, result.as_ref().err());
        let failure = result.as_ref().err();
        if failure.is_some_and(|failure| failure.reason == Reason::Starting) {
            // Nothing was sent, and a start is no failure.
            tracing::info!(fragment = &*fetch.id, service = &*fetch.nanoservice, "its program is still being started");
            return (result, attempt);
        }
        self.ports.observer.fetched(fetch, result.as_ref(), &attempt);
        (result, attempt)
    }

    /// Starts the nanoservice if it runs on demand, and requests a response from it. Until the last byte has arrived it is
    /// not stopped for want of requests.
    async fn request_once_started(&self, deadline: Instant, log: &mut RequestLog) -> Result<Received, Failure> {
        let starting = self.fetch.manifest.as_ref().and_then(|manifest| self.ports.upstream.start(manifest));
        let _lease = match starting {
            None => None,
            Some(mut starting) => Some(match (&mut starting).now_or_never() {
                Some(started) => started?,
                None => {
                    log.start = Some(Instant::now());
                    let lease = starting.await?;
                    log.started = Some(Instant::now());
                    lease
                }
            }),
        };
        self.request(deadline, log).await
    }

    /// Revalidates the stored response, or requests a new one.
    async fn request(&self, deadline: Instant, log: &mut RequestLog) -> Result<Received, Failure> {
        if let Some(stored) = self.stored
            && let Some(received) = self.send(deadline, Some(stored), log).await?
        {
            return Ok(received);
        }
        let received = self.send(deadline, None, log).await?;
        received.ok_or_else(|| Failure::new(Reason::Internal, "no response to a request without conditions"))
    }

    /// Sends one request, with the conditions of a stored response if one is given. `None`: a 304 that does not match it.
    async fn send(
        &self,
        deadline: Instant,
        stored: Option<&Arc<ParsedResponse>>,
        log: &mut RequestLog,
    ) -> Result<Option<Received>, Failure> {
        let validation = stored.and_then(|stored| stored.validation.as_deref());
        let began = Instant::now();
        let mut headers = request_headers(self.fetch, self.trace);
        headers.extend(validation.into_iter().flat_map(Validation::conditions));
        let stack = self.stacks.of(self.fetch);
        let request = UpstreamRequest {
            method: Method::GET,
            address: self.fetch.target().address.clone(),
            headers,
            body: Bytes::new(),
            manifest: self.fetch.manifest.clone(),
            credentials: self.fetch.kind == FetchKind::Fragment,
            max_bytes: self.fetch.max_bytes,
        };
        let request = StackRequest::new(request, self.fetch, deadline, log.begin());
        let UpstreamResponse { status, headers, body } = stack.send(request).await?;
        (log.head, log.status) = (Some(Instant::now()), Some(status));
        let arrival = Arrival { at: self.ports.clock.wall(), delay: began.elapsed() };
        let body = match classify_head(status, &headers, self.fetch.kind, validation.is_some()) {
            Ok(HeadClass::Read(_)) => read(body, content_length(&headers), self.fetch.max_bytes).await?,
            // The body is irrelevant.
            Ok(HeadClass::Done(_)) => Bytes::new(),
            Ok(HeadClass::NotModified) => {
                let updated = stored.and_then(|stored| stored.revalidated(&headers, self.fetch, arrival));
                return Ok(updated.map(|response| Received::Revalidated(Box::new(response))));
            }
            Err(failure) => return Err(with_problem(failure, &headers, body).await),
        };
        Ok(Some(Received::Whole(RawResponse { status, headers, body, arrival })))
    }

    /// Parses what was received, on the blocking pool if that takes long.
    async fn parse(&self, received: Received) -> Result<ParsedResponse, Failure> {
        let raw = match received {
            Received::Whole(raw) => raw,
            Received::Revalidated(response) => return Ok(*response),
        };
        let is_long = self.fetch.kind == FetchKind::Fragment && raw.body.len() >= OFFLOAD_FROM;
        let fetch = Arc::clone(self.fetch);
        let parse = move || raw.parse(&fetch);
        let parsed = if is_long { offload::run(parse).await } else { Some(parse()) };
        let response = parsed.ok_or_else(|| Failure::new(Reason::Internal, "its HTML could not be read"))??;
        if let Some(error) = response.composition.as_ref().and_then(|html| html.error.as_deref()) {
            let warning = "its HTML includes fragments in an invalid way";
            self.ports.observer.warned(&self.fetch.nanoservice, warning, error);
        }
        Ok(response)
    }
}

/// The failure of a fetch whose deadline has passed.
fn late(fetch: &Fetch, requests: usize) -> Failure {
    let time = units::show(fetch.timeout);
    if requests == 0 {
        let why = format!("its concurrency limit was reached for all of {time}");
        return Failure::new(Reason::Overloaded, why);
    }
    Failure::new(Reason::Timeout, format!("no complete response within {time}"))
}

/// The record of a fetch in progress: it exists however the fetch ends.
#[derive(Default)]
struct RequestLog {
    /// One entry for each request: with the conditions of a stored response, and without.
    requests: Vec<Arc<Mutex<EndpointLog>>>,
    /// When the head of the last response arrived.
    head: Option<Instant>,
    /// The status of the last response.
    status: Option<StatusCode>,
    /// When the wait for the start of the program began and ended, if there was one.
    start: Option<Instant>,
    started: Option<Instant>,
}

impl RequestLog {
    fn begin(&mut self) -> Arc<Mutex<EndpointLog>> {
        self.requests.push(Arc::default());
        (self.head, self.status) = (None, None);
        Arc::clone(&self.requests[self.requests.len() - 1])
    }

    fn entries(&self) -> impl Iterator<Item = MutexGuard<'_, EndpointLog>> {
        self.requests.iter().map(|entry| entry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of requests that were sent, retries and hedges included.
    fn requests(&self) -> usize {
        self.entries().map(|entry| entry.sent()).sum()
    }

    fn finish(&self, job: &FetchJob<'_>, began: Instant, failure: Option<&Failure>) -> Attempt {
        let last = self.entries().filter_map(|entry| entry.last()).last();
        let sent = self.entries().find_map(|entry| entry.sent_at().0);
        let last_sent = self.entries().filter_map(|entry| entry.sent_at().1).last();
        Attempt {
            began: self.started.unwrap_or(began).into_std(),
            start: self.start.map(Instant::into_std),
            sent: sent.map(Instant::into_std),
            last_sent: last_sent.map(Instant::into_std),
            head: self.head.map(Instant::into_std),
            ended: Instant::now().into_std(),
            upstream: last.unwrap_or_else(|| Arc::clone(&job.fetch.target().upstream)),
            tries: self.requests(),
            failure: failure.map(|failure| failure.detail.clone()),
            status: self.status,
            span: job.trace.span(),
            background: job.in_background,
        }
    }
}

/// Adds the nanoservice's own explanation (RFC 9457) to a failure. It is shown to operators only.
async fn with_problem(
    failure: Failure,
    headers: &HeaderMap,
    body: BoxStream<'static, Result<Bytes, Failure>>,
) -> Failure {
    if !is_problem(headers) {
        return failure;
    }
    match read(body, None, MAX_PROBLEM).await.ok().as_deref().and_then(problem) {
        Some(problem) => Failure::new(failure.reason, format!("{} ({problem})", failure.detail)),
        None => failure,
    }
}

/// Reads a body to its end. A declared length is reserved at once, so that the body is not moved as it grows.
async fn read(
    mut body: BoxStream<'static, Result<Bytes, Failure>>,
    declared: Option<u64>,
    max_bytes: u64,
) -> Result<Bytes, Failure> {
    let room = declared.filter(|length| *length <= max_bytes).and_then(|length| usize::try_from(length).ok());
    let mut whole = Vec::with_capacity(room.unwrap_or_default());
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if (whole.len() + chunk.len()) as u64 > max_bytes {
            return Err(Failure::new(Reason::TooLarge, format!("its body is over {max_bytes} bytes")));
        }
        whole.extend_from_slice(&chunk);
    }
    // Boxed to its exact length: spare capacity would be stored with the response.
    Ok(Bytes::from(whole.into_boxed_slice()))
}

/// The `Content-Length`, if it is a number.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn request_headers(fetch: &Fetch, trace: &Trace) -> HeaderMap {
    const FRAGMENT_NAME: HeaderName = HeaderName::from_static("fragment-name");
    const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("pasteup/", env!("CARGO_PKG_VERSION")));
    let mut headers = HeaderMap::with_capacity(HEADER_CAPACITY);
    for (name, value) in &fetch.headers {
        headers.append(name, value.clone());
    }
    let accept = match fetch.kind {
        FetchKind::Fragment => HeaderValue::from_static("text/html"),
        FetchKind::Asset => HeaderValue::from_static("*/*"),
    };
    headers.insert(header::ACCEPT, accept);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd"));
    headers.insert(header::USER_AGENT, USER_AGENT);
    if let Ok(name) = HeaderValue::from_str(&fetch.nanoservice) {
        headers.insert(FRAGMENT_NAME, name);
    }
    headers.extend(trace.headers());
    headers
}
