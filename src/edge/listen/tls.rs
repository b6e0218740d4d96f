//! TLS with the certificate that is in the files now: a new one is taken up without a restart.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// Reads certificate and key, as PEM.
pub type Source = Box<dyn Fn() -> Result<Texts, String> + Send + Sync>;
/// The certificate with those that it stands on, and its key.
pub type Texts = (String, String);

/// The certificate that is shown.
pub struct Shown {
    source: Source,
    /// What was read last, and what was made of it.
    current: RwLock<(Texts, Arc<CertifiedKey>)>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's business.
        f.write_str("Shown")
    }
}

impl Shown {
    /// Reads it.
    ///
    /// # Errors
    /// There is no certificate or key, or the two do not belong together.
    pub fn read(source: Source) -> Result<Arc<Self>, String> {
        let texts = source()?;
        let key = certified(&texts)?;
        Ok(Arc::new(Self { source, current: RwLock::new((texts, key)) }))
    }

    /// Takes up what is there now. `true`: that is another one.
    ///
    /// # Errors
    /// What is there is of no use; the one of before is shown.
    pub fn refresh(&self) -> Result<bool, String> {
        let texts = (self.source)()?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == texts {
            return Ok(false);
        }
        let key = certified(&texts)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (texts, key);
        Ok(true)
    }

    /// Accepts connections with it.
    #[must_use]
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("ring knows the versions that it is built with");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1))
    }
}

fn certified((certificate, key): &Texts) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("the certificate is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("the key is no PEM: {error}"))?;
    let provider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider);
    Ok(Arc::new(key.map_err(|error| format!("certificate and key do not belong together: {error}"))?))
}
