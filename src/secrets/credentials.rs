//! Shows a nanoservice who asks: a token, a password, or a signature over the request (RFC 9421).
//! A secret that is not there fails the request; it is never sent without.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use httpsig::prelude::message_component::HttpMessageComponent;
use httpsig::prelude::{
    AlgorithmName, HttpSigError, HttpSignatureBase, HttpSignatureParams, SecretKey, SharedKey, SigningKey,
};
use url::{Position, Url};

use crate::page::manifest::{Algorithm, Auth};

use super::{Secret, Secrets};

/// What a signature is called in its two headers.
const LABEL: &str = "pasteup";

/// Headers that say nothing of what is asked, or that proxies on the way may change.
const UNSIGNED: [&str; 7] =
    ["accept", "accept-encoding", "user-agent", "traceparent", "tracestate", "if-none-match", "if-modified-since"];

/// Adds to a request's headers what shows who asks.
///
/// # Errors
/// A secret is not there, or is no key. The message holds nothing of it.
pub fn add(auth: &Auth, secrets: &Secrets, url: &Url, headers: &mut HeaderMap) -> Result<(), String> {
    match auth {
        Auth::Bearer(token) => {
            let token = secrets.get(token)?;
            headers.insert(AUTHORIZATION, hidden(format!("Bearer {}", token.reveal()))?);
        }
        Auth::Basic { user, password } => {
            let password = secrets.get(password)?;
            let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
            headers.insert(AUTHORIZATION, hidden(format!("Basic {pair}"))?);
        }
        // The connection shows it.
        Auth::Mtls { .. } => {}
        Auth::Signature { key_id, key, algorithm } => {
            let signed = sign(key_id, &secrets.get(key)?, *algorithm, url, headers);
            let signed = signed.map_err(|error| format!("the request cannot be signed: {error}"))?;
            headers.extend(signed);
        }
    }
    Ok(())
}

/// A client's certificate, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    cert: Secret,
    key: Secret,
    /// The authority of the service's own certificate; the system's, where there is none.
    ca: Option<Secret>,
}

impl Identity {
    /// What a service wants to be shown at connect, if it does.
    ///
    /// # Errors
    /// A secret is not there.
    pub fn of(auth: &Auth, secrets: &Secrets) -> Result<Option<Self>, String> {
        let Auth::Mtls { cert, key, ca } = auth else { return Ok(None) };
        let ca = ca.as_ref().map(|ca| secrets.get(ca)).transpose()?;
        Ok(Some(Self { cert: secrets.get(cert)?, key: secrets.get(key)?, ca }))
    }

    /// A client that shows it.
    ///
    /// # Errors
    /// Certificate or key cannot be read.
    pub fn show(&self, builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::ClientBuilder> {
        let pem = format!("{}\n{}\n", self.cert.reveal(), self.key.reveal());
        let builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
        Ok(match &self.ca {
            Some(ca) => builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(ca.reveal().as_bytes())?),
            None => builder,
        })
    }
}

/// A value that no log shows.
fn hidden(text: String) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text).map_err(|_| "the secret cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Signs method, authority, path and query, and all that a nanoservice is told of the reader
/// (RFC 9421, 2.2 and 3.1).
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
        let value = value.to_str().map_err(|_| HttpSigError::InvalidComponent(format!("`{name}` is no ASCII")))?;
        lines.push(format!("\"{name}\": {value}"));
    }
    let components: Vec<HttpMessageComponent> =
        lines.iter().map(|line| HttpMessageComponent::try_from(line.as_str())).collect::<Result<_, _>>()?;
    let ids: Vec<_> = components.iter().map(|component| component.id.clone()).collect();
    let mut params = HttpSignatureParams::try_new(&ids)?;
    params.set_keyid(key_id);
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
