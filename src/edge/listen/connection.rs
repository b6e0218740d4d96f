//! Serves one connection: TLS if there is a certificate, then HTTP/1.1 or HTTP/2.
//! A connection that fails is closed, and logged at the level `debug`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use futures::future::{self, BoxFuture, Either};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, Method, Request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::page::http::http1::Framer;

use super::application::{Application, Reply};
use super::body::{SentBody, WriteTimeout};
use super::direct;
use super::limits::ConnectionLimits;
use super::state::{ConnectionState, RequestInProgress};
use super::stream::{ConnectionStream, Direct, Stream, Timeouts};

/// The smallest buffer that hyper can be given.
const MIN_BUFFER: usize = 8 * 1024;
/// Maximum number of concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Maximum number of reset streams that an HTTP/2 connection remembers. If there are more, the connection is closed.
const MAX_RESETS: usize = 64;

/// The settings that all connections of a listener share.
pub(super) struct Server<A> {
    application: Arc<A>,
    limits: ConnectionLimits,
    tls: Option<TlsAcceptor>,
    /// Whether each reply is the last one of its connection.
    pub(super) stopping: Arc<AtomicBool>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl<A: Application> Server<A> {
    pub(super) fn new(application: A, limits: ConnectionLimits, tls: Option<TlsAcceptor>) -> Self {
        let mut http1 = http1::Builder::new();
        // `ConnectionStream` has the timeouts. hyper's would also count idle time.
        http1.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(limits.max_header_bytes.max(MIN_BUFFER));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(limits.idle_timeout))
            .keep_alive_timeout(limits.header_timeout);
        Self { application: Arc::new(application), limits, tls, stopping: Arc::default(), http1, http2 }
    }

    pub(super) async fn connection(self: Arc<Self>, stream: TcpStream, client: SocketAddr, watcher: Watcher) {
        // Pages are written in few, large buffers: waiting for more would gain nothing.
        let _left_at_default = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.http1(stream, client, watcher).await };
        let Ok(Ok(stream)) = timeout(self.limits.header_timeout, tls.accept(stream)).await else { return };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, client, watcher).await;
        } else {
            self.http1(stream, client, watcher).await;
        }
    }

    async fn http1(self: &Arc<Self>, stream: impl Stream, client: SocketAddr, watcher: Watcher) {
        let state = Arc::<ConnectionState<A::Reply>>::default();
        let framer = Framer::new(self.limits.max_header_bytes.max(MIN_BUFFER), self.limits.bodies);
        let stream = ConnectionStream::http1(stream, framer, self.timeouts(), Arc::clone(&state), self.direct(client));
        let connection = self.http1.serve_connection(TokioIo::new(stream), self.service(client, state, None));
        log_failure(watcher.watch(connection).await);
    }

    async fn http2(self: &Arc<Self>, stream: impl Stream, client: SocketAddr, watcher: Watcher) {
        let state = Arc::<ConnectionState<A::Reply>>::default();
        let stream = ConnectionStream::http2(stream, self.timeouts(), Arc::clone(&state));
        let stuck = CancellationToken::new();
        let connection =
            self.http2.serve_connection(TokioIo::new(stream), self.service(client, state, Some(stuck.clone())));
        tokio::select! {
            result = watcher.watch(connection) => log_failure(result),
            () = stuck.cancelled() => tracing::debug!("a client does not read a stream; closing its connection"),
        }
    }

    const fn timeouts(&self) -> Timeouts {
        Timeouts {
            request: self.limits.header_timeout,
            idle: self.limits.idle_timeout,
            write: self.limits.write_timeout,
        }
    }

    /// The application for one connection.
    fn service(
        self: &Arc<Self>,
        client: SocketAddr,
        state: Arc<ConnectionState<A::Reply>>,
        stuck: Option<CancellationToken>,
    ) -> Service<A> {
        Service { server: Arc::clone(self), client, state, stuck }
    }

    /// The application for requests that may be handled without hyper, and for those that cannot be read. It handles none
    /// of the former once the server stops, since replies then have to declare that the connection closes.
    fn direct(self: &Arc<Self>, client: SocketAddr) -> Direct<A::Reply> {
        let (application, stopping) = (Arc::clone(&self.application), Arc::clone(&self.stopping));
        let handle = move |request| {
            let stops = stopping.load(Ordering::Acquire);
            (!stops).then(|| application.call(request, None, client))
        };
        let application = Arc::clone(&self.application);
        Direct { handle: Box::new(handle), refuse: Box::new(move |status| application.refuse(status)) }
    }

    /// The reply as hyper sends it on this connection. `is_bodiless`: the body is left out, as hyper does by itself over
    /// HTTP/1.1 only.
    fn sent(
        &self,
        reply: A::Reply,
        stuck: Option<&CancellationToken>,
        in_progress: RequestInProgress<A::Reply>,
        is_bodiless: bool,
    ) -> http::Response<SentBody<A::Reply>> {
        let mut response = reply.into_http();
        // hyper's own date would not follow a clock that is set back.
        if let Ok(date) = direct::with_date(HeaderValue::from_str) {
            response.headers_mut().insert(DATE, date);
        }
        if is_bodiless {
            let length = response.body().size_hint().exact().filter(|_| !response.body().is_end_stream());
            response.headers_mut().extend(length.map(|length| (CONTENT_LENGTH, length.into())));
            return response.map(|_| SentBody::empty(in_progress));
        }
        // HTTP/2 has a frame for it, which hyper sends.
        if stuck.is_none() && self.stopping.load(Ordering::Acquire) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let stuck = stuck.filter(|_| !response.body().is_end_stream());
        let timeout = stuck.map(|stuck| WriteTimeout::watch(self.limits.write_timeout, stuck.clone()));
        response.map(|body| SentBody::new(body, timeout, in_progress))
    }
}

/// The application for one connection.
struct Service<A: Application> {
    server: Arc<Server<A>>,
    client: SocketAddr,
    state: Arc<ConnectionState<A::Reply>>,
    /// Closes the connection if a client reads nothing. `None` over HTTP/1.1, where the stream detects it.
    stuck: Option<CancellationToken>,
}

type Response<R> = Result<http::Response<SentBody<R>>, Infallible>;

// A service of hyper, not of tower: a reply that is ready is not boxed.
impl<A: Application> hyper::service::Service<Request<Incoming>> for Service<A> {
    type Response = http::Response<SentBody<A::Reply>>;
    type Error = Infallible;
    type Future = Either<future::Ready<Response<A::Reply>>, BoxFuture<'static, Response<A::Reply>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_progress = RequestInProgress::new(&self.state);
        let is_bodiless = self.stuck.is_some() && request.method() == Method::HEAD;
        let server = &self.server;
        let reply = self.state.take_over().unwrap_or_else(|| {
            let (request, body) = request.into_parts();
            server.application.call(request, Some(body), self.client)
        });
        match reply {
            Either::Left(reply) => {
                let sent = server.sent(reply, self.stuck.as_ref(), in_progress, is_bodiless);
                Either::Left(future::ready(Ok(sent)))
            }
            Either::Right(reply) => {
                let (server, stuck) = (Arc::clone(server), self.stuck.clone());
                Either::Right(
                    async move { Ok(server.sent(reply.await, stuck.as_ref(), in_progress, is_bodiless)) }.boxed(),
                )
            }
        }
    }
}

fn log_failure(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection failed");
    }
}
