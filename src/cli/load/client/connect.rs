//! Opens connections: TCP, TLS where the URL has it, and HTTP/1.1 or HTTP/2 on top.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::super::targets::Origin;

/// The body of all requests.
pub(super) type NoBody = Empty<Bytes>;

/// What TLS connections are made with.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

/// An open connection.
pub(super) enum Connection {
    Http1(http1::SendRequest<NoBody>),
    Http2(http2::SendRequest<NoBody>),
}

/// An open connection, with the task that moves its bytes.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Ends with the connection. `None`: others share it.
    pub(super) driver: Option<JoinHandle<()>>,
}

/// Why a request has no answer.
pub(super) enum SendError {
    /// It was never sent: the connection had closed before.
    Unsent,
    /// The connection broke.
    Broken,
}

impl Tls {
    /// TLS that trusts the system's authorities, or everybody.
    ///
    /// # Errors
    /// The system has no authorities.
    pub(crate) fn new(insecure: bool, http2: bool) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = if insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustsEverybody(provider)))
                .with_no_client_auth()
        } else {
            builder.with_platform_verifier().map_err(|error| error.to_string())?.with_no_client_auth()
        };
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(Self(Arc::new(config)))
    }
}

impl Opened {
    /// Opens a connection. `None`: that was not possible.
    pub(super) async fn to(origin: &Origin, tls: Option<&Tls>, http2: bool) -> Option<Self> {
        let stream = connect(&origin.addresses).await?;
        // Without it, a request could wait for the acknowledgement of the one before.
        let _best_effort = stream.set_nodelay(true);
        if !origin.is_tls {
            return Self::over(stream, http2).await;
        }
        let name = ServerName::try_from(origin.host.clone()).ok()?;
        let stream = TlsConnector::from(Arc::clone(&tls?.0)).connect(name, stream).await.ok()?;
        Self::over(stream, http2).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, http2: bool) -> Option<Self> {
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            return Some(Self { connection: Connection::Http2(sender), driver: Some(driver) });
        }
        let (sender, connection) = http1::handshake(io).await.ok()?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Some(Self { connection: Connection::Http1(sender), driver: Some(driver) })
    }
}

impl Connection {
    /// Whether it can no longer be used.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(&mut self, request: Request<NoBody>) -> Result<Response<Incoming>, SendError> {
        let sent = match self {
            Self::Http1(sender) => {
                sender.ready().await.map_err(|_| SendError::Unsent)?;
                sender.try_send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(|_| SendError::Unsent)?;
                sender.try_send_request(request).await
            }
        };
        sent.map_err(|mut error| if error.take_message().is_some() { SendError::Unsent } else { SendError::Broken })
    }

    /// Another handle to the same connection; `None` if it takes one request at a time.
    pub(super) fn another(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

/// Connects to the first address that accepts.
async fn connect(addresses: &[SocketAddr]) -> Option<TcpStream> {
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address).await {
            return Some(stream);
        }
    }
    None
}

/// Accepts every certificate, as `--insecure` demands: for a test server whose certificate nobody has signed.
#[derive(Debug)]
struct TrustsEverybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsEverybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
