//! Sends requests to nanoservices over HTTP.
//! A response whose head arrived is never an error here, whatever its status; everything else is a failure with a reason.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::engine::port::{Upstream, UpstreamRequest, UpstreamResponse};
use crate::page::manifest::Auth;
use crate::page::request::address::Address;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;
use crate::secrets::Secrets;
use crate::secrets::credentials::{self, ClientCertificate};

use super::client::{self, describe};
use super::decoding::decode;
use super::public::PublicOnly;

/// Sends requests over HTTP/1.1, or over HTTP/2 if TLS negotiates it.
pub struct HttpUpstream {
    /// For endpoints that an operator wrote into a manifest.
    trusted: reqwest::Client,
    /// For URLs that a layout names.
    guarded: reqwest::Client,
    /// For nanoservices that require a client certificate: one client each, until its secrets change.
    identified: Mutex<HashMap<Auth, (ClientCertificate, reqwest::Client)>>,
    secrets: Secrets,
}

impl HttpUpstream {
    /// Builds the clients. `private` is whether a host name in a layout may resolve to a loopback, link-local or private
    /// address.
    ///
    /// # Errors
    /// TLS could not be set up, as on a machine without any CA certificates.
    pub fn new(private: bool, secrets: Secrets) -> Result<Self, String> {
        let guarded = if private { client::builder() } else { client::builder().dns_resolver(Arc::new(PublicOnly)) };
        let (trusted, guarded) = (client::build(Ok(client::builder()))?, client::build(Ok(guarded))?);
        Ok(Self { trusted, guarded, identified: Mutex::default(), secrets })
    }

    /// The client that presents the certificate of `auth`, if it has one.
    fn identified(&self, auth: &Auth) -> Result<reqwest::Client, String> {
        let Some(identity) = ClientCertificate::of(auth, &self.secrets)? else { return Ok(self.trusted.clone()) };
        let mut known = self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((built_with, client)) = known.get(auth)
            && *built_with == identity
        {
            return Ok(client.clone());
        }
        let client = identity.present(client::builder()).and_then(reqwest::ClientBuilder::build);
        let client = client.map_err(|error| format!("certificate and key cannot be used: {}", describe(&error)))?;
        known.insert(auth.clone(), (identity, client.clone()));
        Ok(client)
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let UpstreamRequest { method, address: Address::Http(url), mut headers, body, manifest, credentials } = request;
        let auth = manifest.as_ref().filter(|_| credentials).and_then(|manifest| manifest.auth.as_ref());
        let client = match (&manifest, auth) {
            (None, _) => Ok(self.guarded.clone()),
            (Some(manifest), _) if manifest.guarded => Ok(self.guarded.clone()),
            (Some(_), None) => Ok(self.trusted.clone()),
            (Some(_), Some(auth)) => {
                credentials::add(auth, &self.secrets, &url, &mut headers).and_then(|()| self.identified(auth))
            }
        };
        let sent = match client {
            Ok(client) => {
                // reqwest's request builder is not used: it copies headers one by one.
                let mut request = reqwest::Request::new(method, url);
                *request.headers_mut() = headers;
                *request.body_mut() = Some(body.into());
                client.execute(request)
            }
            // Without its credentials a request is not sent at all.
            Err(why) => return futures::future::ready(Err(Failure::new(Reason::Internal, why))).boxed(),
        };
        async move {
            let response = sent.await.map_err(|error| failure(&error))?;
            let (status, mut headers) = (response.status(), response.headers().clone());
            let body = decode(response, &mut headers).await;
            Ok(UpstreamResponse { status, headers, body })
        }
        .boxed()
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    let reason = if client::parse_error(error).is_some() { Reason::NotHtml } else { Reason::Connect };
    Failure::new(reason, describe(error))
}
