//! What the engine needs of the world: upstreams, a store, a wall clock, someone who counts.
//! Adapters implement these; the engine knows none of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::page::answer::{Answer, Failure};
use crate::page::plan::{Fetch, Key};

use super::compose::Page;

/// A `GET` as it is sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The whole URL.
    pub url: String,
    /// All headers but `Host`.
    pub headers: HeaderMap,
    /// The address that the name resolves to is checked before it is connected to.
    pub guarded: bool,
}

/// An answer as it comes in.
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, content codings undone. An error ends it.
    pub body: BoxStream<'static, Result<Bytes, Failure>>,
}

/// Asks nanoservices. Has no deadline of its own: dropping the future ends the request.
pub trait Upstream: Send + Sync {
    /// Sends a request and returns the head of the answer.
    fn get(&self, request: Request) -> BoxFuture<'static, Result<Response, Failure>>;
}

/// An answer that is kept.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What was answered.
    pub answer: Arc<Answer>,
    /// When its last byte came in.
    pub arrived: Instant,
}

/// Keeps answers, and decides nothing about how fresh they are.
pub trait Store: Send + Sync {
    /// What is kept under a key.
    fn get(&self, key: &Key) -> Option<Stored>;

    /// Keeps an answer, which is of no use to anybody after `useful`.
    fn put(&self, key: &Key, stored: Stored, useful: Duration);
}

/// The time of day. Time spans are measured by tokio's clock, which tests can pause.
pub trait Clock: Send + Sync {
    /// Now.
    fn wall(&self) -> Timestamp;
}

/// Is told what happens, to count it.
pub trait Observer: Send + Sync {
    /// A request to an upstream began (`true`) or ended.
    fn in_flight(&self, upstream: &str, began: bool);

    /// A page was composed.
    fn composed(&self, page: &Page);

    /// A reader's request was answered with this status, this long after it came.
    fn answered(&self, status: StatusCode, took: Duration);

    /// A fetch ended, this long after it began.
    fn fetched(&self, fetch: &Fetch, result: Result<&Answer, &Failure>, took: Duration);
}

/// Counts nothing.
pub struct Unobserved;

impl Observer for Unobserved {
    fn in_flight(&self, _: &str, _: bool) {}
    fn composed(&self, _: &Page) {}
    fn answered(&self, _: StatusCode, _: Duration) {}
    fn fetched(&self, _: &Fetch, _: Result<&Answer, &Failure>, _: Duration) {}
}
