//! Accepts connections and serves them with hyper, within limits of time and size.
//! A connection that exceeds a limit is closed. When the server stops, requests in flight are finished first.
//!
//! Not `axum::serve`: it sets no timeout, so that a header that never ends would hold a connection for ever.

mod accept;
mod application;
mod limits;
mod timer;

mod direct;
mod state;

mod body;
mod closing;
mod http2_use;
mod stream;

pub mod tls;

mod connection;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};

use accept::Acceptor;
pub use application::{Application, InMemory, PendingReply, Reply};
use connection::Server;
pub use limits::ConnectionLimits;
use tls::ServerCertificate;

/// How long connections without a request are left open once the server stops. A client may be about to send a request,
/// which is then served as the last one (RFC 9112, 9.6); if the connection were closed at once, it would fail.
const LINGER: Duration = Duration::from_millis(500);

/// Serves until `stop` ends, then lets requests in flight end. With a certificate, it serves over TLS.
pub async fn serve<A: Application>(
    listener: TcpListener,
    application: A,
    limits: ConnectionLimits,
    certificate: Option<Arc<ServerCertificate>>,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let server = Arc::new(Server::new(application, limits, certificate.as_ref().map(ServerCertificate::acceptor)));
    let acceptor = Acceptor::new(listener, limits.reserve);
    let begin = |(stream, client)| {
        let connection = Arc::clone(&server).connection(stream, client, graceful.watcher());
        let reserve = Arc::clone(&acceptor.reserve);
        tokio::spawn(async move {
            connection.await;
            // At once, before another listener takes the file descriptor.
            reserve.refill();
        });
    };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = acceptor.accept() => begin(accepted),
            () = &mut stop => break,
        }
    }
    // Clients that have connected already are served: connections that are not accepted would be reset.
    tokio::task::yield_now().await;
    acceptor.backlog().for_each(begin);
    drop(acceptor);
    server.stopping.store(true, Ordering::Release);
    let end = Instant::now() + limits.drain;
    let linger = Instant::now() + LINGER;
    while graceful.count() > 0 && Instant::now() < linger.min(end) {
        tokio::time::sleep(LINGER / 50).await;
    }
    if timeout_at(end, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still in flight after {:?}; their connections are closed", limits.drain);
    }
}
