//! TLS with the certificate that is currently in the files: a new one is used without a restart.
//! If the new one is unusable, the previous one stays in use.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// Reads the certificate chain and the key.
pub type Source = Box<dyn Fn() -> Result<Pem, String> + Send + Sync>;
/// A certificate chain and its key, as PEM.
pub type Pem = (String, String);

/// The certificate that the server presents.
pub struct ServerCertificate {
    source: Source,
    /// The texts that were read last, and the certificate in them.
    current: RwLock<(Pem, Arc<CertifiedKey>)>,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is secret.
        f.write_str("ServerCertificate")
    }
}

impl ServerCertificate {
    /// Reads the certificate for the first time.
    ///
    /// # Errors
    /// There is no certificate or no key, or the two do not belong together.
    pub fn read(source: Source) -> Result<Arc<Self>, String> {
        let texts = source()?;
        let key = certified(&texts)?;
        Ok(Arc::new(Self { source, current: RwLock::new((texts, key)) }))
    }

    /// Reads the certificate again. Returns `true` if it is another one, which is used from now on.
    ///
    /// # Errors
    /// The certificate or key is unusable; the previous one stays in use.
    pub fn refresh(&self) -> Result<bool, String> {
        let texts = (self.source)()?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == texts {
            return Ok(false);
        }
        let key = certified(&texts)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (texts, key);
        Ok(true)
    }

    /// Accepts TLS connections with this certificate.
    #[must_use]
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("ring supports the protocol versions that it is built with");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1))
    }
}

fn certified((certificate, key): &Pem) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("the certificate is not valid PEM: {error}"))?;
    if chain.is_empty() {
        return Err("it contains no certificate".to_owned());
    }
    let key =
        PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("the key is not valid PEM: {error}"))?;
    let provider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider);
    Ok(Arc::new(key.map_err(|error| format!("certificate and key do not belong together: {error}"))?))
}
