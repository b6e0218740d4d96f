//! Nanoservices that are made slow, fail, or have nothing to show, while a site is being developed. All others are asked
//! as ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, StatusCode};

use crate::engine::port::{Upstream, UpstreamRequest, UpstreamResponse};
use crate::page::response::parsed::Failure;

/// Upstreams, some of which are tampered with.
pub struct Tampered {
    inner: Arc<dyn Upstream>,
    faults: Mutex<HashMap<String, (Duration, Option<StatusCode>)>>,
}

impl Tampered {
    /// Upstreams as they are.
    #[must_use]
    pub fn new(inner: Arc<dyn Upstream>) -> Self {
        Self { inner, faults: Mutex::default() }
    }

    /// From now on a nanoservice answers so much later, and with another status where one is given.
    pub fn set(&self, fragment: String, delay: Duration, instead: Option<StatusCode>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if delay.is_zero() && instead.is_none() {
            faults.remove(&fragment);
        } else {
            faults.insert(fragment, (delay, instead));
        }
    }
}

impl Upstream for Tampered {
    fn send(&self, request: UpstreamRequest) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let host = || request.url.host_str().map(str::to_owned);
        let name = request.manifest.as_ref().map(|manifest| manifest.name.to_string()).or_else(host);
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((delay, instead)) = name.and_then(|name| faults.get(&name).copied()) else {
            drop(faults);
            return self.inner.send(request);
        };
        drop(faults);
        let inner = Arc::clone(&self.inner);
        async move {
            tokio::time::sleep(delay).await;
            match instead {
                Some(status) => {
                    Ok(UpstreamResponse { status, headers: HeaderMap::new(), body: stream::empty().boxed() })
                }
                None => inner.send(request).await,
            }
        }
        .boxed()
    }
}
