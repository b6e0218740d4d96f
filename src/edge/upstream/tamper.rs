//! Makes chosen nanoservices slow, failing or empty while a site is being developed.
//! Requests to all other nanoservices are passed on unchanged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, StatusCode};

use crate::engine::port::{Lease, Upstream, UpstreamRequest, UpstreamResponse};
use crate::page::manifest::Manifest;
use crate::page::policy::naming::Place;
use crate::page::request::address::Address;
use crate::page::response::parsed::Failure;

/// An upstream with simulated faults in front of it.
pub struct Tampered {
    inner: Arc<dyn Upstream>,
    faults: Mutex<HashMap<String, Fault>>,
}

/// The simulated fault of one nanoservice.
#[derive(Clone, Copy)]
struct Fault {
    delay: Duration,
    /// The status of an empty response that is returned instead of the real one.
    status: Option<StatusCode>,
}

impl Tampered {
    /// Wraps an upstream, without any faults yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Upstream>) -> Self {
        Self { inner, faults: Mutex::default() }
    }

    /// Delays the responses of a nanoservice from now on, and replaces them by empty ones if a status is given.
    /// No delay and no status end the simulation.
    pub fn set(&self, fragment: String, delay: Duration, status: Option<StatusCode>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if delay.is_zero() && status.is_none() {
            faults.remove(&fragment);
        } else {
            faults.insert(fragment, Fault { delay, status });
        }
    }
}

impl Upstream for Tampered {
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let host = || request.address.base().host_str().map(str::to_owned);
        let name = request.manifest.as_ref().map(|manifest| manifest.name.to_string()).or_else(host);
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = name.and_then(|name| faults.get(&name).copied());
        drop(faults);
        let Some(Fault { delay, status }) = fault else { return self.inner.send(request) };
        let inner = Arc::clone(&self.inner);
        async move {
            tokio::time::sleep(delay).await;
            match status {
                Some(status) => {
                    Ok(UpstreamResponse { status, headers: HeaderMap::new(), body: stream::empty().boxed() })
                }
                None => inner.send(request).await,
            }
        }
        .boxed()
    }

    fn places(&self, address: &Address) -> BoxFuture<'static, Result<Arc<[Place]>, Failure>> {
        self.inner.places(address)
    }

    fn start(&self, manifest: &Arc<Manifest>) -> Option<BoxFuture<'static, Result<Lease, Failure>>> {
        self.inner.start(manifest)
    }

    fn is_starting(&self, manifest: &Manifest) -> bool {
        self.inner.is_starting(manifest)
    }
}
