//! The interface between a listener and the program that handles its requests, implemented for axum routers.

use std::iter::Empty;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::request::Parts;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tower::ServiceExt as _;

/// Handles requests.
pub trait Application: Send + Sync + 'static {
    /// The type of its replies.
    type Reply: Reply;

    /// Handles a request of a client. `body` is `None` if framing dropped it.
    fn call(&self, request: Parts, body: Option<Incoming>, client: SocketAddr) -> PendingReply<Self::Reply>;

    /// The reply to a request that cannot be read.
    fn refuse(&self, status: StatusCode) -> Self::Reply;
}

/// A reply that is ready now (left), or the future of one (right).
pub type PendingReply<R> = Either<R, BoxFuture<'static, R>>;

/// A reply to a client.
pub trait Reply: Send + Sized + 'static {
    /// Its body as hyper sends it.
    type Body: http_body::Body<Data = Bytes, Error = axum::Error> + Send + Unpin + 'static;
    /// A body that is completely in memory.
    type InMemory: InMemory;

    /// The reply as hyper sends it.
    fn into_http(self) -> http::Response<Self::Body>;

    /// The head as HTTP/1.1 writes it, without its date and the empty line at its end, and the body.
    ///
    /// # Errors
    /// The reply itself, if its body is not in memory.
    fn into_http1(self) -> Result<(Vec<u8>, Self::InMemory), Box<Self>>;
}

/// A body that is completely in memory, in chunks.
pub trait InMemory: Iterator<Item = Bytes> + Send + 'static {
    /// Releases the permit of the request: a client that reads slowly holds a connection, but no permit.
    fn release_permit(&mut self);
}

impl Application for Router {
    type Reply = http::Response<Body>;

    fn call(&self, mut request: Parts, body: Option<Incoming>, client: SocketAddr) -> PendingReply<Self::Reply> {
        request.extensions.insert(ConnectInfo(client));
        let request = Request::from_parts(request, body.map(Body::new).unwrap_or_default());
        let response = self.clone().oneshot(request).map(|response| match response {
            Ok(response) => response,
            Err(never) => match never {},
        });
        Either::Right(response.boxed())
    }

    fn refuse(&self, status: StatusCode) -> Self::Reply {
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = status;
        response
    }
}

impl Reply for http::Response<Body> {
    type Body = Body;
    type InMemory = Empty<Bytes>;

    fn into_http(self) -> Self {
        self
    }

    fn into_http1(self) -> Result<(Vec<u8>, Empty<Bytes>), Box<Self>> {
        Err(Box::new(self))
    }
}

impl InMemory for Empty<Bytes> {
    fn release_permit(&mut self) {}
}
