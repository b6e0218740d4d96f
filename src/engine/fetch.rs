//! One fetch, from the question to the last byte of the answer, judged.
//! One deadline covers all of it: a body that stalls is a timeout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::time::{Instant, timeout_at};

use crate::page::policy::cache::directives::Arrival;
use crate::page::policy::cache::validation::Validation;
use crate::page::request::fetch::{Fetch, FetchKind};
use crate::page::response::classify::{HeadClass, classify_body, classify_head, is_problem, problem};
use crate::page::response::outcome::Attempt;
use crate::page::response::parsed::{Content, Failure, ParsedResponse};
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::offload;
use super::port::{Ports, UpstreamRequest, UpstreamResponse};
use super::trace::Trace;
use super::upstream::{Services, Tried, Try};

/// Fields that most requests have room for.
const ROOM: usize = 16;
/// Bytes of a problem (RFC 9457) that are read for the log.
const MAX_PROBLEM: u64 = 16 << 10;

/// Bytes of an answer that takes long to be read: a millisecond for ten to a hundred KiB.
const LONG: usize = 32 << 10;

/// What a fetch works with.
pub(super) struct Fetching<'a> {
    pub(super) ports: &'a Ports,
    pub(super) services: &'a Services,
    pub(super) fetch: &'a Arc<Fetch>,
    pub(super) trace: &'a Trace,
    /// What is held already, and may only have to be asked about.
    pub(super) held: Option<&'a Arc<ParsedResponse>>,
    /// Nobody waits for it.
    pub(super) ahead: bool,
}

impl Fetching<'_> {
    /// Fetches within the fetch's timeout, counted from now, and tells how that went.
    ///
    /// # Errors
    /// The nanoservice did not answer in time and by the contract.
    pub(super) async fn run(&self) -> (Result<ParsedResponse, Failure>, Attempt) {
        let began = Instant::now();
        let fetch = self.fetch;
        let deadline = began + fetch.timeout;
        let mut log = Log::default();
        let result = match timeout_at(deadline, self.attempt(deadline, &mut log)).await {
            // What came in time is kept, be it that it takes its time to be read.
            Ok(Ok(came)) => self.read(came).await,
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(late(fetch, log.tries())),
        };
        let sent = log.finish(self, began, result.as_ref().err());
        self.ports.observer.fetched(fetch, result.as_ref(), &sent);
        if let Err(failure) = &result {
            tracing::warn!(
                fragment = &*fetch.id,
                service = &*fetch.nanoservice,
                upstream = &*sent.upstream,
                reason = failure.reason.as_str(),
                detail = failure.detail.as_str(),
                "fetch failed"
            );
        }
        (result, sent)
    }

    async fn attempt(&self, deadline: Instant, log: &mut Log) -> Result<Came, Failure> {
        if let Some(held) = self.held
            && let Some(came) = self.ask(deadline, Some(held), log).await?
        {
            return Ok(came);
        }
        // Without a condition there is always an answer.
        let came = self.ask(deadline, None, log).await?;
        came.ok_or_else(|| Failure::new(Reason::Internal, "no answer to a plain request"))
    }

    /// Sends one request. `None`: it was about an answer that the nanoservice does not speak of.
    async fn ask(
        &self,
        deadline: Instant,
        held: Option<&Arc<ParsedResponse>>,
        log: &mut Log,
    ) -> Result<Option<Came>, Failure> {
        let validation = held.and_then(|answer| answer.validation.as_deref());
        let began = Instant::now();
        let mut headers = headers(self.fetch, self.trace);
        headers.extend(validation.into_iter().flat_map(Validation::conditions));
        let service = self.services.of(self.fetch);
        let request = UpstreamRequest {
            method: Method::GET,
            address: self.fetch.target().address.clone(),
            headers,
            body: Bytes::new(),
            manifest: self.fetch.manifest.clone(),
            credentials: self.fetch.kind == FetchKind::Fragment,
        };
        let wanted = Try::new(request, self.fetch, deadline, log.begin());
        let UpstreamResponse { status, headers, body } = service.send(wanted).await?;
        log.head = Some(Instant::now());
        let arrival = Arrival { at: self.ports.clock.wall(), delay: began.elapsed() };
        let head = match classify_head(status, &headers, self.fetch.kind, validation.is_some()) {
            Ok(head) => head,
            Err(failure) => return Err(explained(failure, &headers, body).await),
        };
        let content = match head {
            HeadClass::Done(content) => content,
            HeadClass::Read(form) => classify_body(form, read(body, stated(&headers), self.fetch.max_bytes).await?)?,
            HeadClass::NotModified => {
                let updated = held.and_then(|held| held.revalidated(&headers, self.fetch, arrival));
                return Ok(updated.map(|answer| Came::Updated(Box::new(answer))));
            }
        };
        Ok(Some(Came::New { content, headers, arrival }))
    }

    /// Reads what came, beside the others where that takes long.
    async fn read(&self, came: Came) -> Result<ParsedResponse, Failure> {
        let (content, headers, arrival) = match came {
            Came::New { content, headers, arrival } => (content, headers, arrival),
            Came::Updated(answer) => return Ok(*answer),
        };
        let is_long = matches!(&content, Content::Fragment(text) if text.len() >= LONG);
        let fetch = Arc::clone(self.fetch);
        let read = move || ParsedResponse::new(content, &headers, &fetch, arrival);
        let answer = if is_long { offload::run(read).await } else { Some(read()) };
        let answer = answer.ok_or_else(|| Failure::new(Reason::Internal, "its HTML could not be read"))?;
        if let Some(mistake) = answer.composition.as_ref().and_then(|html| html.mistake.as_deref()) {
            tracing::warn!(service = &*self.fetch.nanoservice, "its HTML asks wrongly for fragments: {mistake}");
        }
        Ok(answer)
    }
}

/// What came of a question.
enum Came {
    /// An answer, to be read.
    New { content: Content, headers: HeaderMap, arrival: Arrival },
    /// That what is held is still good.
    Updated(Box<ParsedResponse>),
}

/// Its time was over.
fn late(fetch: &Fetch, tries: usize) -> Failure {
    let time = units::show(fetch.timeout);
    if tries == 0 {
        let why = format!("as many requests as may be were under way to it for all of {time}");
        return Failure::new(Reason::Overloaded, why);
    }
    Failure::new(Reason::Timeout, format!("no whole answer within {time}"))
}

/// What is noted of a fetch as it goes, so that it is there however it ends.
#[derive(Default)]
struct Log {
    /// One a question: about an answer that is held, and a plain one.
    tried: Vec<Arc<Mutex<Tried>>>,
    head: Option<Instant>,
}

impl Log {
    fn begin(&mut self) -> Arc<Mutex<Tried>> {
        self.tried.push(Arc::default());
        self.head = None;
        Arc::clone(&self.tried[self.tried.len() - 1])
    }

    fn tried(&self) -> impl Iterator<Item = MutexGuard<'_, Tried>> {
        self.tried.iter().map(|tried| tried.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often somebody was asked.
    fn tries(&self) -> usize {
        self.tried().map(|tried| tried.times()).sum()
    }

    fn finish(&self, of: &Fetching<'_>, began: Instant, failure: Option<&Failure>) -> Attempt {
        let last = self.tried().filter_map(|tried| tried.last()).last();
        Attempt {
            began: began.into_std(),
            head: self.head.map(Instant::into_std),
            ended: Instant::now().into_std(),
            upstream: Arc::clone(&of.fetch.targets[last.unwrap_or_default()].upstream),
            tries: self.tries(),
            failure: failure.map(|failure| failure.detail.clone()),
            span: of.trace.span(),
            background: of.ahead,
        }
    }
}

/// A failure with what the nanoservice itself says of it. That goes into the log, and nowhere else.
async fn explained(failure: Failure, headers: &HeaderMap, body: BoxStream<'static, Result<Bytes, Failure>>) -> Failure {
    if !is_problem(headers) {
        return failure;
    }
    match read(body, None, MAX_PROBLEM).await.ok().as_deref().and_then(problem) {
        Some(said) => Failure::new(failure.reason, format!("{}, and says: {said}", failure.detail)),
        None => failure,
    }
}

/// Reads a body. Where it says how long it is, it gets room of just that length, and is not moved as it grows.
async fn read(
    mut body: BoxStream<'static, Result<Bytes, Failure>>,
    stated: Option<u64>,
    max_bytes: u64,
) -> Result<Bytes, Failure> {
    let room = stated.filter(|stated| *stated <= max_bytes).and_then(|stated| usize::try_from(stated).ok());
    let mut whole = Vec::with_capacity(room.unwrap_or_default());
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if (whole.len() + chunk.len()) as u64 > max_bytes {
            return Err(Failure::new(Reason::TooLarge, format!("its body is over {max_bytes} bytes")));
        }
        whole.extend_from_slice(&chunk);
    }
    // Of just its length: what it has beside that would be kept with it.
    Ok(Bytes::from(whole.into_boxed_slice()))
}

/// How long a body is, where that is said.
fn stated(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn headers(fetch: &Fetch, trace: &Trace) -> HeaderMap {
    const FRAGMENT_NAME: HeaderName = HeaderName::from_static("fragment-name");
    const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("pasteup/", env!("CARGO_PKG_VERSION")));
    let mut headers = HeaderMap::with_capacity(ROOM);
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
