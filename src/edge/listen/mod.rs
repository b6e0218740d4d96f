//! Accepts connections and serves them by hyper, with timers and limits.
//!
//! Not `axum::serve`: it sets no timer, so a header that never ends holds a connection for ever.

mod direct;
mod guarded;
pub mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture, Either};
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, unconstrained};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::page::http::http1::{Bodies, Wire};

use direct::Sending;
use guarded::{Direct, Guarded, Progress, Tried, Waits};
use tls::Shown;

/// What a connection may do.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Longest time from the first byte of a request to its last.
    pub header_timeout: Duration,
    /// Longest time without any request.
    pub idle_timeout: Duration,
    /// Longest time in which a reader takes nothing of what he is sent.
    pub write_timeout: Duration,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// How long requests under way may take once the server stops.
    pub drain: Duration,
    /// What becomes of bodies.
    pub bodies: Bodies,
}

/// What answers requests.
pub struct App<B> {
    /// Answers some past all layers.
    pub at_once: Option<Arc<AtOnce<B>>>,
    /// The same over HTTP/1.1.
    pub at_once_written: Option<Arc<AtOnceWritten<B>>>,
    /// Answers all.
    pub router: Router,
}

/// Answers a request of a reader, or leaves it to the router.
pub type AtOnce<B> = dyn Fn(&Parts, SocketAddr) -> Option<Soon<http::Response<B>>> + Send + Sync;

/// Answers a request of a reader with a head, but for its date and the empty line, and a body; or leaves it to the router.
pub type AtOnceWritten<B> = dyn Fn(&Parts, SocketAddr) -> Option<Soon<(Vec<u8>, B)>> + Send + Sync;

/// An answer that does not need the router: it is there, or something has to be waited for.
pub type Soon<T> = Either<T, Later>;

/// An answer that is waited for.
pub type Later = BoxFuture<'static, http::Response<Body>>;

/// A body that is there at once.
pub trait Ready: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {
    /// Gives up the place of its request among those that are under way: what is left of it is sent as its reader takes it.
    fn let_go(&mut self);
}

/// Pause after `accept` failed, as it does when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections without a request are left open once the server stops: a reader may be about to send
/// one, which is then answered as the last (RFC 9112, 9.6). To close at once would fail it.
const LINGER: Duration = Duration::from_millis(500);
/// Connections that wait to be accepted when the server stops, at most.
const WAITING: usize = 8192;
/// The least that hyper can be told.
const LEAST_BUFFER: usize = 8 * 1024;
/// Requests of one HTTP/2 connection at once.
const STREAMS: u32 = 128;
/// Streams of one HTTP/2 connection that were reset and are not forgotten yet; past them it is closed.
const RESETS: usize = 64;

/// Serves until `stop` ends, then lets requests under way end. With a certificate, over TLS.
pub async fn serve<B: Ready>(
    listener: TcpListener,
    app: App<B>,
    limits: ConnectionLimits,
    tls: Option<Arc<Shown>>,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let server = Arc::new(Server::new(app, limits, tls.as_ref().map(Shown::acceptor)));
    let begin = |(stream, peer)| {
        tokio::spawn(Arc::clone(&server).connection(stream, peer, graceful.watcher()));
    };
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok(accepted) => begin(accepted),
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever has connected already is answered: what waits to be accepted would be reset.
    tokio::task::yield_now().await;
    // All of them: tokio would have a task rest after some.
    for accepted in std::iter::from_fn(|| unconstrained(listener.accept()).now_or_never()).take(WAITING) {
        let _failed = accepted.map(begin);
    }
    drop(listener);
    server.stopping.store(true, Ordering::Release);
    let end = Instant::now() + limits.drain;
    let linger = Instant::now() + LINGER;
    while graceful.count() > 0 && Instant::now() < linger.min(end) {
        tokio::time::sleep(LINGER / 50).await;
    }
    if timeout_at(end, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after {:?}; they are cut off", limits.drain);
    }
}

/// What connections are served with.
struct Server<B> {
    app: App<B>,
    limits: ConnectionLimits,
    tls: Option<TlsAcceptor>,
    /// Each answer is the last of its connection.
    stopping: Arc<AtomicBool>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl<B: Ready> Server<B> {
    fn new(app: App<B>, limits: ConnectionLimits, tls: Option<TlsAcceptor>) -> Self {
        let mut http1 = http1::Builder::new();
        // What a connection waits for, `Guarded` says; hyper would count idle time, too.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(limits.max_header_bytes.max(LEAST_BUFFER));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(limits.idle_timeout))
            .keep_alive_timeout(limits.header_timeout);
        Self { app, limits, tls, stopping: Arc::default(), http1, http2 }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Pages are written in few, large pieces: nothing is gained by waiting for more.
        let _kept_default = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.http1(stream, peer, watcher).await };
        let Ok(Ok(stream)) = timeout(self.limits.header_timeout, tls.accept(stream)).await else { return };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, peer, watcher).await;
        } else {
            self.http1(stream, peer, watcher).await;
        }
    }

    async fn http1(self: &Arc<Self>, stream: impl Stream, peer: SocketAddr, watcher: Watcher) {
        let progress = Arc::<Progress>::default();
        let wire = Wire::new(self.limits.max_header_bytes.max(LEAST_BUFFER), self.limits.bodies);
        let stream = Guarded::new(stream, Some(wire), self.waits(), Arc::clone(&progress)).directly(self.direct(peer));
        let connection = self.http1.serve_connection(TokioIo::new(stream), self.service(peer, progress, None));
        ended(watcher.watch(connection).await);
    }

    async fn http2(self: &Arc<Self>, stream: impl Stream, peer: SocketAddr, watcher: Watcher) {
        let progress = Arc::<Progress>::default();
        let stream = Guarded::new(stream, None, self.waits(), Arc::clone(&progress));
        let stuck = CancellationToken::new();
        let connection =
            self.http2.serve_connection(TokioIo::new(stream), self.service(peer, progress, Some(stuck.clone())));
        tokio::select! {
            result = watcher.watch(connection) => ended(result),
            () = stuck.cancelled() => tracing::debug!("a reader takes nothing, and is let go"),
        }
    }

    const fn waits(&self) -> Waits {
        Waits { request: self.limits.header_timeout, idle: self.limits.idle_timeout, write: self.limits.write_timeout }
    }

    /// The application for one connection.
    fn service(
        self: &Arc<Self>,
        peer: SocketAddr,
        progress: Arc<Progress>,
        stuck: Option<CancellationToken>,
    ) -> Service<B> {
        Service { server: Arc::clone(self), peer, progress, stuck }
    }

    /// What answers past hyper, until the server stops: then connections are told that they close.
    fn direct(self: &Arc<Self>, peer: SocketAddr) -> Option<Direct> {
        let (at_once, stopping) = (self.app.at_once_written.clone()?, Arc::clone(&self.stopping));
        Some(Box::new(move |request| {
            let answer = if stopping.load(Ordering::Acquire) { None } else { at_once(request, peer) };
            match answer {
                Some(Either::Left(answer)) => Ok(Sending::new(answer)),
                Some(Either::Right(later)) => Err(Tried::Asked(later)),
                None => Err(Tried::InVain),
            }
        }))
    }
}

/// The application for one connection: it is told who asks, and noted that somebody is being answered.
struct Service<B> {
    server: Arc<Server<B>>,
    peer: SocketAddr,
    progress: Arc<Progress>,
    /// Ends the connection, where `Guarded` does not see that a reader takes nothing.
    stuck: Option<CancellationToken>,
}

type Answer<B> = Result<http::Response<Answering<B>>, Infallible>;

// Past tower: what answers at once is no future, and is not to be boxed.
impl<B: Ready> hyper::service::Service<Request<Incoming>> for Service<B> {
    type Response = http::Response<Answering<B>>;
    type Error = Infallible;
    type Future = Either<future::Ready<Answer<B>>, BoxFuture<'static, Answer<B>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (mut request, body) = request.into_parts();
        let busy = Busy::new(&self.progress);
        let server = &self.server;
        let soon = match self.progress.tried() {
            Some(Tried::Asked(later)) => Some(Either::Right(later)),
            Some(Tried::InVain) => None,
            None => server.app.at_once.as_ref().and_then(|at_once| at_once(&request, self.peer)),
        };
        let later = match soon {
            Some(Either::Left(answer)) => {
                let answer = answer.map(Sent::AtOnce);
                return Either::Left(future::ready(Ok(server.answering(answer, self.stuck.as_ref(), busy))));
            }
            Some(Either::Right(later)) => later,
            None => {
                request.extensions.insert(ConnectInfo(self.peer));
                let answer = server.app.router.clone().oneshot(Request::from_parts(request, body));
                answer.map(|answer| answer.unwrap_or_else(|never| match never {})).boxed()
            }
        };
        let (server, stuck) = (Arc::clone(server), self.stuck.clone());
        Either::Right(async move { Ok(server.answering(later.await.map(Sent::Other), stuck.as_ref(), busy)) }.boxed())
    }
}

impl<B: Ready> Server<B> {
    fn answering(
        &self,
        mut answer: http::Response<Sent<B>>,
        stuck: Option<&CancellationToken>,
        busy: Busy,
    ) -> http::Response<Answering<B>> {
        // HTTP/2 has a frame for it, which hyper sends.
        if stuck.is_none() && self.stopping.load(Ordering::Acquire) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let stuck = stuck.filter(|_| !answer.body().is_end_stream());
        let taking = stuck.map(|stuck| Taking::watch(self.limits.write_timeout, stuck.clone()));
        answer.map(|body| Answering { body, taking, _busy: busy })
    }
}

fn ended(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A connection to a reader.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl Stream for TcpStream {}
impl Stream for tokio_rustls::server::TlsStream<TcpStream> {}

/// That somebody is being answered, until it is dropped.
struct Busy(Arc<Progress>);

impl Busy {
    fn new(progress: &Arc<Progress>) -> Self {
        progress.busy.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(progress))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
        self.0.done.fetch_add(1, Ordering::AcqRel);
    }
}

/// A body that is being sent.
struct Answering<B> {
    body: Sent<B>,
    taking: Option<Arc<Taking>>,
    _busy: Busy,
}

/// What is sent.
enum Sent<B> {
    /// It was there at once.
    AtOnce(B),
    /// It may be still to come.
    Other(Body),
}

impl<B: Ready> http_body::Body for Sent<B> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::AtOnce(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Other(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::AtOnce(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::AtOnce(body) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

/// Whether a reader takes what he is sent, where only a stream of his connection stands still.
struct Taking {
    /// When something was given to him that he has to take first; `None` while it is for us to give.
    since: Mutex<Option<Instant>>,
    watcher: OnceLock<AbortHandle>,
}

impl Drop for Taking {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.abort();
        }
    }
}

impl Taking {
    /// Ends a connection on which a reader takes nothing for too long. Without it one of HTTP/2, whose windows
    /// are closed, would hold what is being answered for as long as it likes.
    fn watch(wait: Duration, connection: CancellationToken) -> Arc<Self> {
        let taking = Arc::new(Self { since: Mutex::default(), watcher: OnceLock::new() });
        let watched = Arc::downgrade(&taking);
        let watcher = tokio::spawn(async move {
            loop {
                tokio::time::sleep(wait / 2).await;
                let Some(taking) = watched.upgrade() else { return };
                let since = *taking.since.lock().unwrap_or_else(PoisonError::into_inner);
                if since.is_some_and(|since| since.elapsed() >= wait) {
                    return connection.cancel();
                }
            }
        });
        let _first = taking.watcher.set(watcher.abort_handle());
        taking
    }

    fn set(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl<B: Ready> http_body::Body for Answering<B> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Some(taking) = &self.taking {
            taking.set(matches!(frame, Poll::Ready(Some(Ok(_)))).then(Instant::now));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
