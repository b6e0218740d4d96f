//! What a nanoservice was asked while it was held against the contract, and what came back.
//! What did not come back whole keeps as much as was seen of it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Why a question is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To see that it is there. It may be the first that it is asked, so its time is not judged.
    Opening,
    /// To see this example of its manifest.
    Example(usize),
    /// The first example again, to see whether it answers the same twice.
    Again,
    /// The first example once more, after all that was varied.
    After,
    /// The first example, with no coding but `identity` offered.
    Identity,
    /// The first example with this header, which the compositor never sends.
    Disguise(&'static str),
    /// The first example, from one who holds it: by this tag, or by its date.
    Held(Option<String>),
    /// The first example, from one who holds something else.
    HeldOther,
    /// A parameter with a value that the manifest refuses; without one, where it is required.
    Refused(String, Option<String>),
    /// The first example, one of many at the same time.
    Together,
    /// The first example, once more on the connection that was used before.
    KeptOpen,
}

/// One question and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Why it was asked.
    pub purpose: Purpose,
    /// From sending the request to the last byte of the answer, or to the end of patience.
    pub took: Duration,
    /// What came back.
    pub reply: Result<Reply, Silence>,
}

/// An answer whose head came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, as they were on the wire.
    pub headers: HeaderMap,
    /// Whether it says that the connection ends with it.
    pub closes: bool,
    /// Its body, codings undone.
    pub body: Result<Bytes, BodyFault>,
}

/// Why not even the head of an answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Nobody is there, or the connection broke.
    #[error("{0}")]
    Unreachable(String),
    /// What came is no HTTP.
    #[error("what came back is no HTTP: {0}")]
    NotHttp(String),
    /// Nothing came before patience ended.
    #[error("nothing came back")]
    Late,
}

/// Why the body of an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It ended before its end.
    #[error("it is cut short: {0}")]
    CutShort(String),
    /// Its end did not come before patience ended.
    #[error("it stalls: its head came, and its end did not")]
    Stalled,
    /// It has more bytes than are allowed.
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    /// Its coding is not one that the compositor undoes.
    #[error("it is coded as `{0}`, which nobody undoes")]
    UnknownCoding(String),
    /// It is not in the coding that it says.
    #[error("it says `{0}` and is not: {1}")]
    Undecodable(String, String),
}

impl Exchange {
    /// The answer's head, where it came.
    #[must_use]
    pub fn head(&self) -> Option<&Reply> {
        self.reply.as_ref().ok()
    }

    /// The fragment, where it came whole with a 200.
    #[must_use]
    pub fn fragment(&self) -> Option<(&Reply, &Bytes)> {
        let reply = self.head().filter(|reply| reply.status == StatusCode::OK)?;
        Some((reply, reply.body.as_ref().ok()?))
    }

    /// What it is about as far as it can be compared: status and body.
    #[must_use]
    pub fn essence(&self) -> Option<(StatusCode, &Bytes)> {
        let reply = self.head()?;
        Some((reply.status, reply.body.as_ref().ok()?))
    }
}
