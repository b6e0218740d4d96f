//! The requests that were sent to check a nanoservice, and the responses as they were recorded.
//! A response that did not arrive completely is recorded as far as it arrived, with the error.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::page::http::fields::members;

/// Why a request is sent. Every kind except `Example` and `Refused` sends the first example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Checks that the service is up. It may be the service's first request, so the timeout does not apply.
    Probe,
    /// Checks an example of the manifest, by its index.
    Example(usize),
    /// Repeats the first example, to check that equal requests get equal responses.
    Repeat,
    /// Repeats the first example once more, after all requests that vary something.
    LastRepeat,
    /// Accepts no content coding except `identity`.
    Identity,
    /// Adds the header of this name, which the compositor never sends to this nanoservice.
    Undeclared(&'static str),
    /// Sends the condition that the example's response is still the same: by this entity tag, or by its date.
    Conditional(Option<String>),
    /// Sends an entity tag that the service never sent.
    ForeignTag,
    /// Sends a parameter with this value, which the manifest refuses; `None` leaves a required parameter out.
    Refused(String, Option<String>),
    /// Is one of several requests at the same time.
    Concurrent,
    /// Is one of two requests on the same connection.
    Reused,
}

/// A request and its recorded response.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Why the request was sent.
    pub purpose: Purpose,
    /// From sending the request to the last byte of the response, or to giving up.
    pub took: Duration,
    /// The response, or why there was none.
    pub response: Result<RecordedResponse, NoResponse>,
}

/// A response whose head arrived.
#[derive(Debug, Clone)]
pub struct RecordedResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers, as they were sent.
    pub headers: HeaderMap,
    /// Whether the response announces that the connection closes after it.
    pub closes: bool,
    /// The body, decoded.
    pub body: Result<Bytes, BodyError>,
}

/// Why no head of a response arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoResponse {
    /// The service could not be reached, or the connection broke.
    #[error("{0}")]
    Unreachable(String),
    /// The bytes that arrived are not HTTP.
    #[error("the response is not HTTP: {0}")]
    NotHttp(String),
    /// Nothing arrived in time.
    #[error("no response")]
    Late,
}

/// Why the body of a response is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body ended too early.
    #[error("the body is cut short: {0}")]
    CutShort(String),
    /// The end of the body did not arrive in time.
    #[error("the body stalls: the headers arrived, but not the whole body")]
    Stalled,
    /// The body has more bytes than are allowed.
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
    /// The compositor does not support the content coding.
    #[error("the content coding `{0}` is not supported")]
    UnknownCoding(String),
    /// The body is not valid in its content coding.
    #[error("the content coding is given as `{0}`, but the body cannot be decoded: {1}")]
    Undecodable(String, String),
}

impl Exchange {
    /// The response, if its head arrived.
    #[must_use]
    pub fn head(&self) -> Option<&RecordedResponse> {
        self.response.as_ref().ok()
    }

    /// The response and its body, if it has status 200 and arrived completely.
    #[must_use]
    pub fn fragment(&self) -> Option<(&RecordedResponse, &Bytes)> {
        let response = self.head().filter(|response| response.status == StatusCode::OK)?;
        Some((response, response.body.as_ref().ok()?))
    }

    /// What of a response is compared with others: its status and body.
    #[must_use]
    pub fn essence(&self) -> Option<(StatusCode, &Bytes)> {
        let response = self.head()?;
        Some((response.status, response.body.as_ref().ok()?))
    }

    /// The names in `Vary`, in lower case and in order.
    #[must_use]
    pub fn vary(&self) -> Option<Vec<String>> {
        let mut names: Vec<String> =
            members(&self.head()?.headers, &header::VARY).map(str::to_ascii_lowercase).collect();
        names.sort_unstable();
        Some(names)
    }

    /// The undeclared header that the request has.
    #[must_use]
    pub const fn undeclared(&self) -> Option<&'static str> {
        match self.purpose {
            Purpose::Undeclared(name) => Some(name),
            _ => None,
        }
    }
}
