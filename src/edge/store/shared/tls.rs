//! How the certificate of the shared store is checked: against an authority of the operator, or those of the system.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The settings of TLS. `authority`: the certificates of the operator's own authority, as PEM.
///
/// # Errors
/// The authority cannot be used, or the system has none.
pub fn client(authority: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let failed = |error: rustls::Error| format!("TLS to the shared store could not be set up: {error}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    let builder = match authority {
        Some(pem) => {
            let unusable = |why: String| format!("`cache.shared_ca` cannot be used: {why}");
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("there is no certificate in it".to_owned()));
            }
            builder.with_root_certificates(roots)
        }
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(failed)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(Arc::new(builder.with_no_client_auth()))
}
