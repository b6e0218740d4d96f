//! What a listener asks of the program that answers its requests, and how an axum router is one.

use std::iter::Empty;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::Request;
use http::request::Parts;
use hyper::body::Incoming;
use tower::ServiceExt as _;

/// Answers requests.
pub trait Application: Send + Sync + 'static {
    /// What it answers with.
    type Reply: Reply;

    /// Answers a request of a client. `body`: `None` if framing left it out.
    fn call(&self, request: Parts, body: Option<Incoming>, client: SocketAddr) -> Answer<Self::Reply>;
}

/// A reply that is ready now (left), or the future of one (right).
pub type Answer<R> = Either<R, BoxFuture<'static, R>>;

/// A reply to a client.
pub trait Reply: Send + Sized + 'static {
    /// Its body as hyper sends it.
    type Body: http_body::Body<Data = Bytes, Error = axum::Error> + Send + Unpin + 'static;
    /// A body all of which is in memory.
    type InMemory: InMemory;

    /// The reply as hyper sends it.
    fn into_http(self) -> http::Response<Self::Body>;

    /// The head as HTTP/1.1 writes it, without its date and the empty line at its end, and the body.
    ///
    /// # Errors
    /// The reply itself, if its body is not in memory.
    fn into_http1(self) -> Result<(Vec<u8>, Self::InMemory), Box<Self>>;
}

/// A body all of which is in memory, in pieces.
pub trait InMemory: Iterator<Item = Bytes> + Send + 'static {
    /// Releases the permit of the request: a client that reads slowly holds a connection, but no permit.
    fn release_permit(&mut self);
}

impl Application for Router {
    type Reply = http::Response<Body>;

    fn call(&self, mut request: Parts, body: Option<Incoming>, client: SocketAddr) -> Answer<Self::Reply> {
        request.extensions.insert(ConnectInfo(client));
        let request = Request::from_parts(request, body.map(Body::new).unwrap_or_default());
        let response = self.clone().oneshot(request).map(|response| match response {
            Ok(response) => response,
            Err(never) => match never {},
        });
        Either::Right(response.boxed())
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
