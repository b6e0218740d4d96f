//! Serves one component on a port of this machine, so that it can be checked like any service.
//! A request that fails closes its connection, and the failure is passed on.

use std::io;
use std::sync::Arc;

use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::engine::port::{UpstreamRequest, UpstreamResponse};
use crate::page::manifest::Manifest;
use crate::page::request::address::Address;
use crate::page::response::parsed::Failure;

use super::Components;

/// A component that is served until this is dropped.
pub struct Listening {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _task: AbortOnDropHandle<()>,
}

/// Is told of each request that failed.
type OnFailure = Arc<dyn Fn(&Failure) + Send + Sync>;

/// Serves a component, which was loaded before.
///
/// # Errors
/// No port is free.
pub async fn listen(
    components: Components,
    manifest: Arc<Manifest>,
    failed: impl Fn(&Failure) + Send + Sync + 'static,
) -> io::Result<Listening> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let failed: OnFailure = Arc::new(failed);
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (components, manifest, failed) = (components.clone(), Arc::clone(&manifest), Arc::clone(&failed));
            let answer = service_fn(move |request| {
                answer(components.clone(), Arc::clone(&manifest), request, Arc::clone(&failed))
            });
            // A connection that breaks is the client's affair.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    };
    Ok(Listening { port, _task: AbortOnDropHandle::new(tokio::spawn(accept)) })
}

async fn answer(
    components: Components,
    manifest: Arc<Manifest>,
    request: Request<Incoming>,
    failed: OnFailure,
) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, io::Error> {
    let (head, body) = request.into_parts();
    let base = manifest.base().ok_or_else(|| io::Error::other("what is served has an address"))?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let url: Url = base.join(path).map_err(io::Error::other)?;
    let request = UpstreamRequest {
        method: head.method,
        address: Address::Component(url.clone()),
        headers: head.headers,
        body: body.collect().await.map_err(io::Error::other)?.to_bytes(),
        manifest: Some(manifest),
        credentials: false,
        max_bytes: u64::MAX,
    };
    let reported = move |failure: Failure| {
        failed(&failure);
        io::Error::other(failure.detail)
    };
    let UpstreamResponse { status, headers, body } =
        components.ask_undecoded(request, &url).await.map_err(reported.clone())?;
    let body = StreamBody::new(body.map(move |chunk| chunk.map(Frame::data).map_err(reported.clone())));
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
