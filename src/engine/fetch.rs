//! One request to one nanoservice, from a free lane to the last byte of the answer.
//! One deadline covers all of it: a body that stalls is a timeout.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::page::answer::{Answer, Failure, is_esi};
use crate::page::fetch::{Fetch, Wants};
use crate::page::judge::{Head, is_problem, judge_body, judge_head, problem};
use crate::page::manifest::Boundary;
use crate::page::names::Name;
use crate::page::outcome::Reason;
use crate::page::policy::directives::Arrival;
use crate::page::policy::validation::Validation;

use super::compose::Ports;
use super::port::{Observer, Request, Response};
use super::trace::Trace;

/// Bytes of a problem (RFC 9457) that are read for the log.
const MAX_PROBLEM: u64 = 16 << 10;

/// How many requests a service may have in flight on an upstream; past it, one waits until its deadline.
#[derive(Default)]
pub struct Lanes {
    by_service: Mutex<HashMap<(Name, Name), Lane>>,
}

/// The lanes of one service on one upstream, and how many there are.
struct Lane {
    width: u32,
    free: Arc<Semaphore>,
}

impl Lanes {
    fn of(&self, fetch: &Fetch) -> Arc<Semaphore> {
        let mut lanes = self.by_service.lock().unwrap_or_else(PoisonError::into_inner);
        let width = fetch.concurrency.max(1);
        let new = || Lane { width, free: Arc::new(Semaphore::new(width as usize)) };
        let lane = lanes.entry((Arc::clone(&fetch.service), Arc::clone(&fetch.upstream))).or_insert_with(new);
        // A manifest may have been changed since.
        if lane.width != width {
            *lane = new();
        }
        Arc::clone(&lane.free)
    }
}

/// Says that a request is in flight for as long as it lives.
struct InFlight<'a>(&'a dyn Observer, &'a str);

impl<'a> InFlight<'a> {
    fn new(observer: &'a dyn Observer, upstream: &'a str) -> Self {
        observer.in_flight(upstream, true);
        Self(observer, upstream)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight(self.1, false);
    }
}

/// What a fetch works with.
pub(super) struct Fetching<'a> {
    pub(super) ports: &'a Ports,
    pub(super) lanes: &'a Lanes,
    pub(super) fetch: &'a Fetch,
    pub(super) trace: &'a Trace,
    /// What is held already, and may only have to be asked about.
    pub(super) held: Option<&'a Arc<Answer>>,
}

impl Fetching<'_> {
    /// Fetches within the fetch's timeout, counted from now.
    ///
    /// # Errors
    /// The nanoservice did not answer in time and by the contract.
    pub(super) async fn run(&self) -> Result<Answer, Failure> {
        let began = Instant::now();
        let fetch = self.fetch;
        let late = |_| Err(Failure::new(Reason::Timeout, format!("no whole answer within {:?}", fetch.timeout)));
        let deadline = began + fetch.timeout;
        let result = timeout_at(deadline, self.attempt(deadline)).await.unwrap_or_else(late);
        self.ports.observer.fetched(fetch, result.as_ref(), began.elapsed());
        if let Err(failure) = &result {
            tracing::warn!(
                fragment = &*fetch.id,
                service = &*fetch.service,
                upstream = &*fetch.upstream,
                reason = failure.reason.as_str(),
                detail = failure.detail.as_str(),
                "fetch failed"
            );
        }
        result
    }

    async fn attempt(&self, deadline: Instant) -> Result<Answer, Failure> {
        let lane = self.lanes.of(self.fetch);
        let _permit = lane.acquire().await.expect("lanes are never closed");
        let _in_flight = InFlight::new(&*self.ports.observer, &self.fetch.upstream);
        if let Some(held) = self.held
            && let Some(answer) = self.ask(deadline, Some(held)).await?
        {
            return Ok(answer);
        }
        // Without a condition there is always an answer.
        self.ask(deadline, None).await?.ok_or_else(|| Failure::new(Reason::Internal, "no answer to a plain request"))
    }

    /// Sends one request. `None`: it was about an answer that the nanoservice does not speak of.
    async fn ask(&self, deadline: Instant, held: Option<&Arc<Answer>>) -> Result<Option<Answer>, Failure> {
        let validation = held.and_then(|answer| answer.validation.as_deref());
        let began = Instant::now();
        let left = deadline.saturating_duration_since(began);
        let mut headers = headers(self.fetch, self.trace, left);
        headers.extend(validation.into_iter().flat_map(Validation::conditions));
        let request = Request {
            url: self.fetch.url.clone(),
            headers,
            manifest: self.fetch.manifest.clone(),
            credentials: self.fetch.wants == Wants::Fragment,
        };
        let Response { status, headers, body } = self.ports.upstream.get(request).await?;
        let arrival = Arrival { at: self.ports.clock.wall(), delay: began.elapsed() };
        let head = match judge_head(status, &headers, self.fetch.wants, validation.is_some()) {
            Ok(head) => head,
            Err(failure) => return Err(explained(failure, &headers, body).await),
        };
        let content = match head {
            Head::Done(content) => content,
            Head::Read(form) => judge_body(form, read(body, self.fetch.max_bytes).await?)?,
            Head::NotModified => return Ok(held.and_then(|held| held.revalidated(&headers, self.fetch, arrival))),
        };
        let content = if is_esi(&headers, self.fetch) { content.unwrapped() } else { content };
        let content = match self.fetch.html {
            Boundary::Balanced => content.within_its_place(),
            Boundary::Raw => content,
        };
        let answer = Answer::new(content, &headers, self.fetch, arrival);
        if let Some(mistake) = answer.composition.as_ref().and_then(|html| html.mistake.as_deref()) {
            tracing::warn!(service = &*self.fetch.service, "its HTML asks wrongly for fragments: {mistake}");
        }
        Ok(Some(answer))
    }
}

/// A failure with what the nanoservice itself says of it. That goes into the log, and nowhere else.
async fn explained(
    failure: Failure,
    headers: &HeaderMap,
    body: futures::stream::BoxStream<'static, Result<Bytes, Failure>>,
) -> Failure {
    if !is_problem(headers) {
        return failure;
    }
    match read(body, MAX_PROBLEM).await.ok().as_deref().and_then(problem) {
        Some(said) => Failure::new(failure.reason, format!("{}, and says: {said}", failure.detail)),
        None => failure,
    }
}

async fn read(
    mut body: futures::stream::BoxStream<'static, Result<Bytes, Failure>>,
    max_bytes: u64,
) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut length: u64 = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        length += chunk.len() as u64;
        if length > max_bytes {
            return Err(Failure::new(Reason::TooLarge, format!("its body is over {max_bytes} bytes")));
        }
        // Most bodies are one chunk, which is kept as it is.
        if whole.is_empty() && first.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&chunk);
        }
    }
    // Copied to its length: a chunk is a piece of a larger buffer, which would be kept with it.
    Ok(Bytes::copy_from_slice(if whole.is_empty() { &first } else { &whole }))
}

fn headers(fetch: &Fetch, trace: &Trace, left: Duration) -> HeaderMap {
    const FRAGMENT_NAME: HeaderName = HeaderName::from_static("fragment-name");
    const FRAGMENT_TIMEOUT: HeaderName = HeaderName::from_static("fragment-timeout-ms");
    const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("pasteup/", env!("CARGO_PKG_VERSION")));
    let mut headers: HeaderMap = fetch.headers.iter().cloned().collect();
    let accept = match fetch.wants {
        Wants::Fragment => HeaderValue::from_static("text/html"),
        Wants::Asset => HeaderValue::from_static("*/*"),
    };
    headers.insert(header::ACCEPT, accept);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd"));
    headers.insert(header::USER_AGENT, USER_AGENT);
    if let Ok(name) = HeaderValue::from_str(&fetch.service) {
        headers.insert(FRAGMENT_NAME, name);
    }
    let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    headers.insert(FRAGMENT_TIMEOUT, HeaderValue::from(milliseconds));
    headers.extend(trace.headers());
    headers
}
