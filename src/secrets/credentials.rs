//! Authenticates requests to a nanoservice: a token, a password, a client certificate, or a signature over the request
//! (RFC 9421). If a secret is missing the request fails; it is never sent without credentials.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use httpsig::prelude::message_component::HttpMessageComponent;
use httpsig::prelude::{
    AlgorithmName, HttpSigError, HttpSignatureBase, HttpSignatureParams, SecretKey, SharedKey, SigningKey,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use url::{Position, Url};

use crate::page::manifest::{Algorithm, Auth};

use super::{Secret, Secrets};

/// The label of the signature in its two headers (RFC 9421, 4).
const LABEL: &str = "pasteup";

/// How long a signature is valid, in seconds: longer than any request takes, and enough for clocks that differ a little.
const SIGNATURE_LIFETIME: u64 = 60;

/// Headers that are not signed: proxies on the way may change them, or they do not affect what is requested.
const UNSIGNED: [&str; 7] =
    ["accept", "accept-encoding", "user-agent", "traceparent", "tracestate", "if-none-match", "if-modified-since"];

/// Adds credentials to a request's headers.
///
/// # Errors
/// A secret is missing, or is not a valid key. The message does not contain the secret.
pub fn add(auth: &Auth, secrets: &Secrets, url: &Url, headers: &mut HeaderMap) -> Result<(), String> {
    match auth {
        Auth::Bearer(token) => {
            let token = secrets.get(token)?;
            headers.insert(AUTHORIZATION, sensitive(format!("Bearer {}", token.reveal()))?);
        }
        Auth::Basic { user, password } => {
            let password = secrets.get(password)?;
            let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
            headers.insert(AUTHORIZATION, sensitive(format!("Basic {pair}"))?);
        }
        // The client certificate is part of the connection.
        Auth::Mtls { .. } => {}
        Auth::Signature { key_id, key, algorithm } => {
            let signed = sign(key_id, &secrets.get(key)?, *algorithm, url, headers);
            let signed = signed.map_err(|error| format!("the request cannot be signed: {error}"))?;
            headers.extend(signed);
        }
    }
    Ok(())
}

/// A client certificate and its key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    cert: Secret,
    key: Secret,
    /// The certificate authorities that the service's certificate is checked against; `None`: those of the system.
    ca: Option<Secret>,
}

impl ClientCertificate {
    /// The client certificate that a service requires, if it does.
    ///
    /// # Errors
    /// A secret is missing.
    pub fn of(auth: &Auth, secrets: &Secrets) -> Result<Option<Self>, String> {
        let Auth::Mtls { cert, key, ca } = auth else { return Ok(None) };
        let ca = ca.as_ref().map(|ca| secrets.get(ca)).transpose()?;
        Ok(Some(Self { cert: secrets.get(cert)?, key: secrets.get(key)?, ca }))
    }

    /// The certificate, with those that lead to its authority, and its key.
    ///
    /// # Errors
    /// The certificate or its key cannot be parsed.
    pub fn chain_and_key(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let unusable = |error: pem::Error| format!("certificate and key cannot be used: {error}");
        let chain = certificates(&self.cert).map_err(unusable)?;
        if chain.is_empty() {
            return Err("certificate and key cannot be used: there is no certificate".to_owned());
        }
        Ok((chain, PrivateKeyDer::from_pem_slice(self.key.reveal().as_bytes()).map_err(unusable)?))
    }

    /// The certificate authorities that the service's certificate is checked against. `None`: those of the system.
    ///
    /// # Errors
    /// They cannot be parsed.
    pub fn authorities(&self) -> Result<Option<RootCertStore>, String> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let certificates = certificates(ca).map_err(|error| format!("the authority cannot be used: {error}"))?;
        let mut store = RootCertStore::empty();
        let (known, _) = store.add_parsable_certificates(certificates);
        if known == 0 {
            Err("the authority cannot be used: there is no certificate".to_owned())
        } else {
            Ok(Some(store))
        }
    }
}

fn certificates(pem: &Secret) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem.reveal().as_bytes()).collect()
}

/// A header value that is marked as sensitive, so that it is never logged.
fn sensitive(text: String) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| "the secret contains a character that is not allowed in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Signs the method, authority, path and query, and every header except [`UNSIGNED`] (RFC 9421, 2.2 and 3.1).
///
/// # Errors
/// A header is not ASCII, or the key is not valid for the algorithm.
fn sign(
    key_id: &str,
    key: &Secret,
    algorithm: Algorithm,
    url: &Url,
    headers: &HeaderMap,
) -> Result<Vec<(HeaderName, HeaderValue)>, HttpSigError> {
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let mut lines = vec![
        "\"@method\": GET".to_owned(),
        format!("\"@authority\": {authority}"),
        format!("\"@path\": {}", url.path()),
        format!("\"@query\": ?{}", url.query().unwrap_or_default()),
    ];
    for (name, value) in headers.iter().filter(|(name, _)| !UNSIGNED.contains(&name.as_str())) {
        let value = value.to_str().map_err(|_| HttpSigError::InvalidComponent(format!("`{name}` is not ASCII")))?;
        lines.push(format!("\"{name}\": {value}"));
    }
    let components: Vec<HttpMessageComponent> =
        lines.iter().map(|line| HttpMessageComponent::try_from(line.as_str())).collect::<Result<_, _>>()?;
    let ids: Vec<_> = components.iter().map(|component| component.id.clone()).collect();
    let mut params = HttpSignatureParams::try_new(&ids)?;
    params.set_keyid(key_id).set_expires_with_duration(Some(SIGNATURE_LIFETIME)).set_random_nonce();
    match algorithm {
        Algorithm::HmacSha256 => {
            finish(&components, params, &SharedKey::from_base64(&AlgorithmName::HmacSha256, key.reveal())?)
        }
        Algorithm::Ed25519 => finish(&components, params, &SecretKey::from_pem(&AlgorithmName::Ed25519, key.reveal())?),
        Algorithm::EcdsaP256Sha256 => {
            finish(&components, params, &SecretKey::from_pem(&AlgorithmName::EcdsaP256Sha256, key.reveal())?)
        }
    }
}

fn finish(
    components: &[HttpMessageComponent],
    mut params: HttpSignatureParams,
    key: &impl SigningKey,
) -> Result<Vec<(HeaderName, HeaderValue)>, HttpSigError> {
    params.set_alg(&key.alg());
    let signed = HttpSignatureBase::try_new(components, &params)?.build_signature_headers(key, Some(LABEL))?;
    let pairs =
        [("signature-input", signed.signature_input_header_value()), ("signature", signed.signature_header_value())];
    Ok(pairs.into_iter().filter_map(|(n, v)| Some((HeaderName::from_static(n), v.parse().ok()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A value that made signing fail would keep a nanoservice from whoever sends it.
        #[test]
        fn every_value_that_is_ascii_can_be_signed(value in "[ -~]{0,40}", path in "[ -~]{0,20}", query in "[ -~]{0,20}") {
            let mut url = Url::parse("http://a.test/").expect("a URL");
            url.set_path(&path);
            url.set_query(Some(&query));
            let key = Secret::new(BASE64_STANDARD.encode([7; 32]));
            let headers = [("cookie", value.as_str()), ("fragment-page", "/")];
            let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("it is ASCII")));
            let signed = sign("k", &key, Algorithm::HmacSha256, &url, &headers.into_iter().collect());
            let signed = signed.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(signed.len(), 2);
        }
    }
}
