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

use crate::page::answer::{Answer, Failure, Head, judge_body, judge_head};
use crate::page::outcome::Reason;
use crate::page::plan::Fetch;

use super::port::{Observer, Request, Response, Upstream};

/// How many requests an upstream may have in flight; past it, one waits until its deadline.
#[derive(Default)]
pub struct Lanes {
    by_upstream: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

impl Lanes {
    fn of(&self, fetch: &Fetch) -> Arc<Semaphore> {
        let mut lanes = self.by_upstream.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = lanes
            .entry(Arc::clone(&fetch.upstream))
            .or_insert_with(|| Arc::new(Semaphore::new(fetch.concurrency.max(1) as usize)));
        Arc::clone(lanes)
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

/// Fetches within the fetch's timeout, counted from now.
///
/// # Errors
/// The nanoservice did not answer in time and by the contract.
pub async fn fetch(
    upstream: &dyn Upstream,
    lanes: &Lanes,
    observer: &dyn Observer,
    fetch: &Fetch,
    trace: Trace,
) -> Result<Answer, Failure> {
    let began = Instant::now();
    let deadline = began + fetch.timeout;
    let result = timeout_at(deadline, attempt(upstream, lanes, observer, fetch, trace, deadline))
        .await
        .unwrap_or_else(|_| Err(Failure::new(Reason::Timeout, format!("no whole answer within {:?}", fetch.timeout))));
    observer.fetched(fetch, result.as_ref(), began.elapsed());
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

async fn attempt(
    upstream: &dyn Upstream,
    lanes: &Lanes,
    observer: &dyn Observer,
    fetch: &Fetch,
    trace: Trace,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let lane = lanes.of(fetch);
    let _permit = lane.acquire().await.expect("lanes are never closed");
    let _in_flight = InFlight::new(observer, &fetch.upstream);
    let left = deadline.saturating_duration_since(Instant::now());
    let request = Request { url: fetch.url.clone(), headers: headers(fetch, trace, left), guarded: fetch.guarded };
    let Response { status, headers, body } = upstream.get(request).await?;
    match judge_head(status, &headers)? {
        Head::Done(answer) => Ok(answer),
        Head::Read(charset) => judge_body(&headers, charset, read(body, fetch.max_bytes).await?),
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
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn headers(fetch: &Fetch, trace: Trace, left: Duration) -> HeaderMap {
    const FRAGMENT_NAME: HeaderName = HeaderName::from_static("fragment-name");
    const FRAGMENT_TIMEOUT: HeaderName = HeaderName::from_static("fragment-timeout-ms");
    const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("pasteup/", env!("CARGO_PKG_VERSION")));
    let mut headers: HeaderMap = fetch.headers.iter().cloned().collect();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/html"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd"));
    headers.insert(header::USER_AGENT, USER_AGENT);
    if let Ok(name) = HeaderValue::from_str(&fetch.service) {
        headers.insert(FRAGMENT_NAME, name);
    }
    let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    headers.insert(FRAGMENT_TIMEOUT, HeaderValue::from(milliseconds));
    if let Ok(parent) = HeaderValue::from_str(&trace.parent()) {
        headers.insert(TRACEPARENT, parent);
    }
    headers
}

/// The trace that a page and all its fetches belong to (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace(u128);

impl Trace {
    /// A trace of its own.
    #[must_use]
    pub fn new() -> Self {
        Self(fastrand::u128(1..))
    }

    /// `traceparent` with a new span.
    fn parent(self) -> String {
        format!("00-{:032x}-{:016x}-01", self.0, fastrand::u64(1..))
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
