//! The HTTP client of this folder: connections that are used again, and how errors are described.
//! It follows no redirects, uses no proxy, and has no deadline except for connecting.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Authority;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::secrets::credentials::ClientCertificate;

use super::connection::{ConnectionState, Connector};
use super::resolver::Resolver;

/// Longest time to connect. The timeout of a fetch is mostly shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection stays in the pool. Shorter than the 5 s after which Node's servers close one without notice.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the connections of an endpoint are used. After it new ones are opened, so that a name which resolves elsewhere
/// by then is followed within two minutes.
const MAX_AGE: Duration = Duration::from_secs(115);
/// Maximum number of idle connections in the pool for each endpoint.
const MAX_IDLE: usize = 256;
/// Maximum number of endpoints that connections stay open to. Beyond it, those that are too old are closed, or all idle ones.
const MAX_ENDPOINTS: usize = 1024;
/// Maximum number of header lines of a response.
pub(super) const MAX_HEADER_LINES: usize = 256;
/// Maximum size of the head of a response, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 400 << 10;

/// Sends requests over HTTP/1.1, or over HTTP/2 where TLS negotiates it.
#[derive(Clone)]
pub(super) struct Client {
    connector: Connector,
    /// Opens a connection for each request.
    single: Connections,
    /// The connections to each endpoint. `None`: no connection is used again.
    pools: Option<Arc<Mutex<HashMap<Authority, Pool>>>>,
    /// How long the connections of an endpoint are used.
    max_age: Duration,
}

type Connections = legacy::Client<Connector, Full<Bytes>>;

/// The connections to one endpoint that are used again. The idle ones close when it is dropped.
#[derive(Clone)]
struct Pool {
    connections: Connections,
    opened: Instant,
}

/// A request that failed before the head of its response came.
#[derive(Debug)]
pub(super) struct SendError {
    error: legacy::Error,
    /// Whether the nanoservice probably never saw the request: it went out on a connection that had been open before, and
    /// that ended before a byte of the response came.
    is_unseen: bool,
}

impl Client {
    /// A client that uses connections again, and presents a client certificate if one is given.
    ///
    /// # Errors
    /// TLS could not be set up, as on a machine without any CA certificates.
    pub(super) fn pooling(resolver: Resolver, identity: Option<&ClientCertificate>) -> Result<Self, String> {
        let client = Self::single(resolver, identity, CONNECT_TIMEOUT)?;
        Ok(Self { pools: Some(Arc::default()), ..client })
    }

    /// A client that opens a connection for each request.
    ///
    /// # Errors
    /// As for [`Client::pooling`].
    pub(super) fn single(
        resolver: Resolver,
        identity: Option<&ClientCertificate>,
        connect_timeout: Duration,
    ) -> Result<Self, String> {
        let connector = Connector::new(resolver, tls(identity)?, connect_timeout);
        let single = connections(&connector, 0);
        Ok(Self { connector, single, pools: None, max_age: MAX_AGE })
    }

    /// Sends a request, and returns the head of the response. A service may close a connection at the moment at which a
    /// request is sent on it. A request without a body that was lost in this way is sent once more, on a new connection
    /// (RFC 9112, 9.3.1).
    ///
    /// # Errors
    /// There was no response.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        let Some((pool, endpoint)) = self.pool(request.uri()) else {
            return attempt(&self.single, request).await;
        };
        let again = (request.body().size_hint().exact() == Some(0)).then(|| request.clone());
        let result = attempt(&pool.connections, request).await;
        let is_unseen = result.as_ref().err().is_some_and(|error| error.is_unseen);
        match again {
            Some(request) if is_unseen => {
                // Whatever ended this connection has probably ended the idle ones as well.
                self.close_idle(&endpoint, &pool);
                // Not from the pool: what was put into it meanwhile may have been used before as well.
                attempt(&self.single, request).await
            }
            _ => result,
        }
    }

    /// The connections to the endpoint of a URI.
    fn pool(&self, uri: &Uri) -> Option<(Pool, Authority)> {
        let mut pools = self.pools.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = uri.authority()?;
        if let Some(pool) = pools.get(endpoint).filter(|pool| pool.opened.elapsed() < self.max_age) {
            return Some((pool.clone(), endpoint.clone()));
        }
        if pools.len() >= MAX_ENDPOINTS {
            pools.retain(|_, pool| pool.opened.elapsed() < self.max_age);
            if pools.len() >= MAX_ENDPOINTS {
                pools.clear();
            }
        }
        let pool = Pool { connections: connections(&self.connector, MAX_IDLE), opened: Instant::now() };
        pools.insert(endpoint.clone(), pool.clone());
        Some((pool, endpoint.clone()))
    }

    /// Closes the idle connections to an endpoint, unless that was done since this pool was taken.
    fn close_idle(&self, endpoint: &Authority, pool: &Pool) {
        let Some(pools) = &self.pools else { return };
        let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.get(endpoint).is_some_and(|current| current.opened == pool.opened) {
            pools.remove(endpoint);
        }
    }
}

/// Sends a request once.
async fn attempt(
    connections: &Connections,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, SendError> {
    let began = Instant::now();
    let captured = capture_connection(&mut request);
    match connections.request(request).await {
        Ok(response) => {
            if let Some(state) = response.extensions().get::<Arc<ConnectionState>>() {
                state.mark_used();
            }
            Ok(response)
        }
        Err(error) => {
            let is_unseen = is_unseen(&error, &captured, began);
            Err(SendError { error, is_unseen })
        }
    }
}

/// Whether a request that began at this instant, and failed, went out on a connection that had been open before, and that
/// ended before a byte of the response came.
fn is_unseen(error: &legacy::Error, captured: &CaptureConnection, began: Instant) -> bool {
    let connected = captured.connection_metadata();
    let Some(connected) = connected.as_ref() else { return false };
    let mut extensions = http::Extensions::new();
    connected.get_extras(&mut extensions);
    let Some(state) = extensions.get::<Arc<ConnectionState>>().filter(|state| state.is_older_than(began)) else {
        return false;
    };
    let is_unsent = |cause: &(dyn Error + 'static)| cause.downcast_ref().is_some_and(hyper::Error::is_canceled);
    // HTTP/2: the service goes away, and names the last request that it has seen (RFC 9113, 6.8).
    let is_beyond_last = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref().is_some_and(|error: &h2::Error| error.is_go_away() && error.is_remote())
    };
    // Over HTTP/2 bytes of other responses may have come.
    let is_silent = connected.is_negotiated_h2() || !state.has_received();
    (state.has_ended() && is_silent) || chain(error).any(|cause| is_unsent(cause) || is_beyond_last(cause))
}

/// How connections are used. At most this many idle ones stay open.
fn connections(connector: &Connector, max_idle: usize) -> Connections {
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(max_idle)
        .http1_max_headers(MAX_HEADER_LINES)
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .build(connector.clone())
}

/// The settings of TLS, with a client certificate if one is given.
fn tls(identity: Option<&ClientCertificate>) -> Result<rustls::ClientConfig, String> {
    let failed = |error: rustls::Error| format!("the HTTP client could not be built: {error}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match identity.map(ClientCertificate::authorities).transpose()?.flatten() {
        Some(authorities) => builder.with_root_certificates(authorities),
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(failed)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = identity.chain_and_key()?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("certificate and key cannot be used: {error}"))
}

impl SendError {
    /// The cause if it means that the response was not HTTP.
    pub(super) fn parse_error(&self) -> Option<&hyper::Error> {
        chain(&self.error).filter_map(|cause| cause.downcast_ref()).find(|cause: &&hyper::Error| cause.is_parse())
    }

    /// Describes in one line what went wrong with a request to this URI.
    pub(super) fn describe(&self, uri: &Uri) -> String {
        if self.parse_error().is_some_and(hyper::Error::is_parse_too_large) {
            let kib = MAX_HEAD_BYTES >> 10;
            return format!("the head of its response has more than {MAX_HEADER_LINES} header lines, or {kib} KiB");
        }
        if !self.error.is_connect() {
            return describe(&self.error);
        }
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 });
        let refused = |cause: &io::Error| cause.kind() == ErrorKind::ConnectionRefused;
        if chain(&self.error).filter_map(|cause| cause.downcast_ref()).any(refused) {
            return format!("connection to {host}:{port} refused");
        }
        match chain(&self.error).skip(1).last() {
            // A failed connect passes through several layers, and the innermost one knows why.
            Some(innermost) => format!("cannot connect to {host}:{port}: {innermost}"),
            None => format!("cannot connect to {host}:{port}"),
        }
    }
}

/// Describes an error in one line, from the outermost to the innermost of its causes.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut causes: Vec<String> = chain(error).map(ToString::to_string).collect();
    causes.dedup();
    causes.join(": ")
}

/// An error and its causes, from the outermost to the innermost.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&cause: &&'a (dyn Error + 'static)| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Sends three requests to a service that numbers its connections. Returns the number of the connection of each.
    async fn connections_of_three_requests(client: &Client) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let uri = format!("http://{}/", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            for number in 1.. {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        request.push(byte);
                        if request.ends_with(b"\r\n\r\n") {
                            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                            stream.write_all(response.as_bytes()).await.expect("the client is there");
                        }
                    }
                });
            }
        });
        let mut seen = Vec::new();
        for _ in 0..3 {
            let request = Request::get(&uri).body(Full::default()).expect("a request");
            let body = client.send(request).await.expect("a response").into_body().collect().await.expect("a body");
            seen.push(String::from_utf8(body.to_bytes().into()).expect("a number"));
        }
        seen
    }

    #[tokio::test]
    async fn a_connection_is_used_again_until_it_is_too_old() {
        let client = Client::pooling(Resolver::Any, None).expect("a client");
        assert_eq!(connections_of_three_requests(&client).await, ["1", "1", "1"]);
        let client = Client { max_age: Duration::ZERO, ..client };
        assert_eq!(connections_of_three_requests(&client).await, ["1", "2", "3"]);
    }
}
