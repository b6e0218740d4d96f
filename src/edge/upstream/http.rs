//! Asks nanoservices over HTTP, by reqwest.
//! Every default of reqwest that waits, follows, proxies or keeps without bound is set here.

use std::collections::HashMap;
use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tokio::io::AsyncBufReadExt as _;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::engine::port::{Upstream, UpstreamRequest, UpstreamResponse};
use crate::page::manifest::Auth;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;
use crate::secrets::Secrets;
use crate::secrets::credentials::{self, Identity};

/// Longest time to connect; a fragment's own deadline is mostly shorter.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept. Shorter than the 5 s of Node's servers, which close
/// theirs without a word.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections kept for one upstream.
const IDLE_PER_HOST: usize = 256;

/// Asks over HTTP/1.1, or HTTP/2 where TLS negotiates it.
pub struct HttpUpstream {
    /// For endpoints that an operator wrote into a manifest.
    plain: reqwest::Client,
    /// For URLs that a layout names.
    guarded: reqwest::Client,
    /// For services that want a certificate: one each, until its secrets change.
    identified: Mutex<HashMap<Auth, (Identity, reqwest::Client)>>,
    secrets: Secrets,
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .tcp_nodelay(true)
}

impl HttpUpstream {
    /// Makes the clients. `private` says whether a *name* that a layout may use can resolve to a
    /// loopback, link-local or private address.
    ///
    /// # Errors
    /// TLS could not be set up, as on a machine without any CA certificates.
    pub fn new(private: bool, secrets: Secrets) -> Result<Self, String> {
        let guarded = if private { builder() } else { builder().dns_resolver(Arc::new(PublicOnly)) };
        let built = |client: reqwest::Result<_>| {
            client.map_err(|error| format!("no HTTP client could be made: {}", chain(&error)))
        };
        let (plain, guarded) = (built(builder().build())?, built(guarded.build())?);
        Ok(Self { plain, guarded, identified: Mutex::default(), secrets })
    }

    /// The client that shows a certificate.
    fn identified(&self, auth: &Auth) -> Result<reqwest::Client, String> {
        let Some(identity) = Identity::of(auth, &self.secrets)? else { return Ok(self.plain.clone()) };
        let mut known = self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, client)) = known.get(auth)
            && *made_of == identity
        {
            return Ok(client.clone());
        }
        let client = identity.show(builder()).and_then(reqwest::ClientBuilder::build);
        let client = client.map_err(|error| format!("certificate and key cannot be used: {}", chain(&error)))?;
        known.insert(auth.clone(), (identity, client.clone()));
        Ok(client)
    }
}

impl Upstream for HttpUpstream {
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let UpstreamRequest { method, url, mut headers, body, manifest, credentials } = request;
        let auth = manifest.as_ref().filter(|_| credentials).and_then(|manifest| manifest.auth.as_ref());
        let client = match (&manifest, auth) {
            (None, _) => Ok(self.guarded.clone()),
            (Some(manifest), _) if manifest.guarded => Ok(self.guarded.clone()),
            (Some(_), None) => Ok(self.plain.clone()),
            (Some(_), Some(auth)) => {
                credentials::add(auth, &self.secrets, &url, &mut headers).and_then(|()| self.identified(auth))
            }
        };
        let sent = match client {
            Ok(client) => {
                // Not by its builder, which copies headers one by one.
                let mut request = reqwest::Request::new(method, url);
                *request.headers_mut() = headers;
                *request.body_mut() = Some(body.into());
                client.execute(request)
            }
            // It is not asked without what shows who asks.
            Err(why) => return futures::future::ready(Err(Failure::new(Reason::Internal, why))).boxed(),
        };
        async move {
            let response = sent.await.map_err(|error| failure(&error))?;
            let (status, mut headers) = (response.status(), response.headers().clone());
            let body = decoded(response, &mut headers).await;
            Ok(UpstreamResponse { status, headers, body })
        }
        .boxed()
    }
}

/// The whole chain of causes, for the log.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn hyper_error(error: &reqwest::Error) -> Option<&hyper::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn failure(error: &reqwest::Error) -> Failure {
    let reason = match hyper_error(error) {
        // It answered, but no HTTP.
        Some(hyper) if hyper.is_parse() => Reason::NotHtml,
        _ => Reason::Connect,
    };
    Failure::new(reason, chain(error))
}

/// The body, its content coding undone, and its header taken off. A coding that nobody knows stays.
// Not by reqwest: of a body in several members, which RFC 1952 (2.2) and RFC 8878 (3.1) allow, it
// takes the first for the whole, and it knows codings in lower case only.
async fn decoded(response: reqwest::Response, headers: &mut HeaderMap) -> BoxStream<'static, Result<Bytes, Failure>> {
    let coding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
    let wire = response.bytes_stream();
    if !matches!(coding.as_deref(), Some(b"gzip" | b"x-gzip" | b"br" | b"zstd")) {
        return wire.map(|chunk| chunk.map_err(|error| Failure::new(Reason::Incomplete, chain(&error)))).boxed();
    }
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    let mut reader = StreamReader::new(wire.map(|chunk| chunk.map_err(std::io::Error::other)).boxed());
    match reader.fill_buf().await {
        // Nothing at all is nothing in any coding.
        Ok([]) => return futures::stream::empty().boxed(),
        Ok(_) => {}
        Err(error) => return futures::stream::iter([Err(undecodable(&error))]).boxed(),
    }
    let plain = match coding.as_deref() {
        Some(b"br") => ReaderStream::new(BrotliDecoder::new(reader)).boxed(),
        Some(b"zstd") => {
            let mut decoder = ZstdDecoder::new(reader);
            decoder.multiple_members(true);
            ReaderStream::new(decoder).boxed()
        }
        _ => {
            let mut decoder = GzipDecoder::new(reader);
            decoder.multiple_members(true);
            ReaderStream::new(decoder).boxed()
        }
    };
    plain.map(|chunk| chunk.map_err(|error| undecodable(&error))).boxed()
}

/// Tells a body that did not come from one that came and is no such coding.
fn undecodable(error: &std::io::Error) -> Failure {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<reqwest::Error>()) {
        Some(error) => Failure::new(Reason::Incomplete, chain(error)),
        None => Failure::new(Reason::Encoding, error.to_string()),
    }
}

/// Resolves names, and leaves out addresses that are not public. It is asked at every connect,
/// so a name cannot point elsewhere after it was checked.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(format!("{host} has no public address, and [upstreams] private is off").into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is outside of loopback, private, link-local (metadata services are there)
/// and other special ranges (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(IpAddr::V4(ip)),
            // Global unicast is 2000::/3; 6to4 and Teredo carry other addresses inside.
            None => {
                let first = ip.segments()[0];
                first & 0xe000 == 0x2000 && first != 0x2002 && !(first == 0x2001 && ip.segments()[1] < 0x0200)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("2606:4700::1111", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2002:7f00:1::", false),
        ] {
            assert_eq!(is_public(address.parse().expect("an address")), public, "{address}");
        }
    }
}
