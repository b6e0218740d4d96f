//! The requests of components to other hosts: only to those that the manifest names.
//! A name that resolves to an address that is not public is refused, unless the settings allow it.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::time::timeout;
use url::Url;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::edge::upstream::client::{Client, SendError};
use crate::edge::upstream::output::Output;
use crate::page::manifest::upstreams::Allowed;

/// Maximum size of the body of a request, in bytes.
const MAX_BODY: usize = 1 << 20;
/// How much of the body of a response is passed on without waiting, in writes and bytes for each.
const BUFFERED_WRITES: usize = 16;
const MAX_WRITE: usize = 64 << 10;

/// The hosts that an instance may reach.
#[derive(Clone)]
pub(super) struct Outbound {
    pub(super) allowed: Arc<[Allowed]>,
    /// `None`: it may reach none.
    pub(super) client: Option<Client>,
    /// Where its author looks for the reason of a refusal.
    pub(super) output: Output,
}

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Outbound {
    fn set_host_header(&mut self) -> bool {
        // The client does, for the version of HTTP that it speaks.
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let client = self.client.clone().filter(|_| self.is_allowed(&request));
        if client.is_none() {
            let uri = request.uri();
            let origin = format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
            let line =
                format!("its request to {origin} was refused: the manifest's `run.outbound` does not name this host\n");
            self.output.lines().write(line.as_bytes());
        }
        Box::new(async move {
            let client = client.ok_or(Error::HttpRequestDenied)?;
            let limits = options.unwrap_or_default();
            let head = limits.connect_timeout.into_iter().chain(limits.first_byte_timeout).sum::<Duration>();
            let sending = send(request, &client);
            let response = if head.is_zero() {
                sending.await
            } else {
                timeout(head, sending).await.unwrap_or(Err(Error::HttpResponseTimeout))
            }?;
            Ok((response, Box::new(std::future::ready(Ok(()))) as Box<_>))
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BUFFERED_WRITES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_WRITE
    }
}

impl Outbound {
    fn is_allowed(&self, request: &Request<WasiBody>) -> bool {
        // As it is parsed here, so that it cannot mean another host there.
        let url = Url::parse(&request.uri().to_string());
        request.method() != Method::CONNECT
            && url.is_ok_and(|url| url.username().is_empty() && self.allowed.iter().any(|allowed| allowed.covers(&url)))
    }
}

async fn send(request: Request<WasiBody>, client: &Client) -> Result<Response<WasiBody>, Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Error::HttpRequestBodySize(Some(MAX_BODY as u64))
        } else {
            Error::InternalError(Some(error.to_string()))
        }
    })?;
    let uri = head.uri.clone();
    let request = Request::from_parts(head, Full::new(body.to_bytes()));
    let response = client.send(request).await.map_err(|error: SendError| {
        let why = error.describe(&uri);
        tracing::debug!("a request of a component failed: {why}");
        if error.parse_error().is_some() { Error::HttpProtocolError } else { Error::InternalError(Some(why)) }
    })?;
    Ok(response.map(|body| body.map_err(Error::Hyper).boxed_unsync()))
}
