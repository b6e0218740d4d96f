//! Sends requests to nanoservices over HTTP.
//! A response whose head arrived and can be understood is never an error here, whatever its status; everything else is a
//! failure with a reason. A request that was not even sent, for want of a credential, fails as `internal`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use http_body_util::{BodyExt as _, Full};
use url::Url;

use crate::engine::port::{Upstream, UpstreamRequest, UpstreamResponse};
use crate::page::http::fields;
use crate::page::manifest::Auth;
use crate::page::policy::naming::{Naming, Place};
use crate::page::request::address::Address;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;
use crate::secrets::Secrets;
use crate::secrets::credentials::{self, ClientCertificate};

use super::client::{Client, SendError, describe};
use super::decoding::decode;
use super::names::Names;
use super::resolver::{Resolver, is_public};

/// Sends requests over HTTP/1.1, or over HTTP/2 if TLS negotiates it.
pub struct HttpUpstream {
    /// For endpoints that an operator wrote into a manifest.
    trusted: Client,
    /// For URLs that a layout names.
    guarded: Client,
    /// For nanoservices that require a client certificate: one client each, until its secrets change.
    identified: Mutex<HashMap<Auth, (ClientCertificate, Client)>>,
    secrets: Secrets,
    names: Names,
    /// Whether a host name in a layout may resolve to an address that is not public.
    private: bool,
}

/// Where a request is sent.
enum Destination {
    /// To the host of its URL.
    Host,
    /// To a place of that host.
    Place(Naming, Place),
    /// To the first of the places of that host that can be reached.
    AnyPlace(Naming),
}

impl HttpUpstream {
    /// Builds the clients. `private` is whether a host name in a layout may resolve to a loopback, link-local or private
    /// address.
    ///
    /// # Errors
    /// TLS could not be set up, as on a machine without any CA certificates.
    pub fn new(private: bool, secrets: Secrets, names: Names) -> Result<Self, String> {
        let trusted = Client::pooling(Resolver::Any, None)?;
        let guarded = if private { Resolver::Any } else { Resolver::PublicOnly };
        let guarded = Client::pooling(guarded, None)?;
        Ok(Self { trusted, guarded, identified: Mutex::default(), secrets, names, private })
    }

    /// The client that presents the certificate of `auth`, if it has one.
    fn identified(&self, auth: &Auth) -> Result<Client, String> {
        let Some(identity) = ClientCertificate::of(auth, &self.secrets)? else { return Ok(self.trusted.clone()) };
        let mut known = self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((built_with, client)) = known.get(auth)
            && *built_with == identity
        {
            return Ok(client.clone());
        }
        let client = Client::pooling(Resolver::Any, Some(&identity))?;
        known.insert(auth.clone(), (identity, client.clone()));
        Ok(client)
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let UpstreamRequest { method, address, mut headers, body, manifest, credentials, max_bytes } = request;
        let (url, destination) = match address {
            Address::Http(url) => (url, Destination::Host),
            Address::Placed(naming, url, place) => (url, Destination::Place(naming, place)),
            Address::Named(naming, url) => (url, Destination::AnyPlace(naming)),
            Address::Process(_) | Address::Component(_) => {
                let failure = Failure::new(Reason::Internal, format!("{address} cannot be requested over HTTP"));
                return std::future::ready(Err(failure)).boxed();
            }
        };
        let auth = manifest.as_ref().filter(|_| credentials).and_then(|manifest| manifest.auth.as_ref());
        let is_guarded = manifest.as_ref().is_none_or(|manifest| manifest.guarded) && !self.private;
        let client = match (&manifest, auth) {
            (None, _) => Ok(self.guarded.clone()),
            (Some(manifest), _) if manifest.guarded => Ok(self.guarded.clone()),
            (Some(_), None) => Ok(self.trusted.clone()),
            (Some(_), Some(auth)) => {
                credentials::add(auth, &self.secrets, &url, &mut headers).and_then(|()| self.identified(auth))
            }
        };
        let prepared = client.and_then(|client| Ok((client, message(method, &url, headers, body)?)));
        if let Destination::Host = destination {
            return async move {
                // Without its credentials a request is not sent at all.
                let (client, request) = prepared.map_err(|why| Failure::new(Reason::Internal, why))?;
                send(&client, request, max_bytes).await
            }
            .boxed();
        }
        let names = self.names.clone();
        async move {
            let (client, request) = prepared.map_err(|why| Failure::new(Reason::Internal, why))?;
            let (naming, places) = match destination {
                Destination::Place(naming, place) => (naming, Arc::from([place])),
                Destination::AnyPlace(naming) => (naming, names.places(naming, &url).await?),
                Destination::Host => unreachable!("it was sent above"),
            };
            let mut result = Err(Failure::new(Reason::Connect, format!("{url} has no place")));
            for place in places.iter() {
                if is_guarded && !is_public(place.address.ip()) {
                    let why = format!("{} is not a public address, and [upstreams] private is off", place.address);
                    result = Err(Failure::new(Reason::Connect, why));
                    continue;
                }
                result = send(&client, at_place(&request, place)?, max_bytes).await;
                let is_reached = !matches!(&result, Err(failure) if failure.reason == Reason::Connect);
                names.answered(naming, &url, place.address, is_reached);
                if is_reached {
                    break;
                }
            }
            result
        }
        .boxed()
    }

    fn places(&self, address: &Address) -> BoxFuture<'static, Result<Arc<[Place]>, Failure>> {
        let Address::Named(naming, url) = address else {
            let failure = Failure::new(Reason::Internal, format!("the host of {address} is not looked up"));
            return std::future::ready(Err(failure)).boxed();
        };
        let (names, naming, url) = (self.names.clone(), *naming, url.clone());
        async move { names.places(naming, &url).await }.boxed()
    }
}

/// Sends a request, and returns the head of the response with a stream of its body.
async fn send(client: &Client, request: Request<Full<Bytes>>, max_bytes: u64) -> Result<UpstreamResponse, Failure> {
    let uri = request.uri().clone();
    let response = client.send(request).await.map_err(|error| failure(&error, &uri))?;
    check_framing(response.version(), response.headers())?;
    let (head, body) = response.into_parts();
    let mut headers = head.headers;
    let incomplete = |error| Failure::new(Reason::Incomplete, describe(&error));
    let wire = body.into_data_stream().map(move |chunk| chunk.map_err(incomplete)).boxed();
    let body = decode(wire, &mut headers, max_bytes).await;
    Ok(UpstreamResponse { status: head.status, headers, body })
}

/// The same request, sent to a place of its host. It is still for the name of that place.
fn at_place(request: &Request<Full<Bytes>>, place: &Place) -> Result<Request<Full<Bytes>>, Failure> {
    let internal = |why: String| Failure::new(Reason::Internal, why);
    let mut request = request.clone();
    let mut uri = request.uri().clone().into_parts();
    uri.authority = Some(place.address.to_string().parse().expect("an address and a port are an authority"));
    *request.uri_mut() = Uri::from_parts(uri).map_err(|error| internal(error.to_string()))?;
    let host = HeaderValue::from_str(&place.host).map_err(|error| internal(error.to_string()))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

/// The request for a URL.
fn message(method: Method, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.as_str().parse().map_err(|error| format!("{url} cannot be requested: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Refuses transfer codings other than one `chunked` (RFC 9112, 6.1 and 7). The client would take the framing of a second
/// one for the body. `identity`, which older standards had, means none.
fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), Failure> {
    if version > Version::HTTP_11 || !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let codings: Vec<&str> = fields::members(headers, &header::TRANSFER_ENCODING).collect();
    match codings.as_slice() {
        [one] if one.eq_ignore_ascii_case("chunked") || one.eq_ignore_ascii_case("identity") => Ok(()),
        _ => {
            let why = format!("the transfer coding {:?} is not supported", codings.join(", "));
            Err(Failure::new(Reason::NotHtml, why))
        }
    }
}

fn failure(error: &SendError, uri: &Uri) -> Failure {
    let reason = if error.parse_error().is_some() { Reason::NotHtml } else { Reason::Connect };
    Failure::new(reason, error.describe(uri))
}
