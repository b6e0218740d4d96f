//! What stands between a fetch and the endpoints of a nanoservice: a stack of layers, each of which
//! protects something. What they decide is decided in `page/policy/`; here it is only done.

mod request;

mod concurrency;
mod endpoint;
mod retry;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tower::hedge::Hedge;
use tower::retry::RetryLayer;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, layer::layer_fn};

use crate::page::policy::resilience::Resilience;
use crate::page::request::fetch::Fetch;
use crate::page::response::parsed::Failure;
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::port::{Ports, UpstreamResponse};

use endpoint::Endpoints;
pub(super) use request::{Tried, Try};
use retry::{Again, OnceMore, Shared};

/// Answers that a service has to be known by before a slow one is asked for twice.
const ENOUGH: u64 = 20;
/// Of answers so many are faster than what is slow.
const MOST: f32 = 0.95;
/// How long a service is known by its answers.
const MEMORY: Duration = Duration::from_secs(10);
/// Services that are known, beyond which those are forgotten that nobody asks.
const MANY: usize = 4096;

/// All services that were asked.
pub(super) struct Services {
    ports: Ports,
    known: Mutex<Map<Rules, Arc<Service>>>,
}

/// One service.
pub(super) struct Service {
    endpoints: Arc<Endpoints>,
    allowance: retry::Shares,
    stack: BoxCloneSyncService<Try, UpstreamResponse, BoxError>,
}

/// What a service is known by: where anything of it is another, it is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Rules {
    service: Name,
    /// It has a manifest, and is not a host of that name.
    is_named: bool,
    upstreams: Vec<Name>,
    concurrency: u32,
    withstand: Resilience,
}

impl Services {
    pub(super) fn new(ports: Ports) -> Self {
        Self { ports, known: Mutex::default() }
    }

    /// The service that a fetch goes to.
    pub(super) fn of(&self, fetch: &Fetch) -> Arc<Service> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = Rules {
            service: Arc::clone(&fetch.nanoservice),
            is_named: fetch.manifest.is_some(),
            upstreams: fetch.targets.iter().map(|target| Arc::clone(&target.upstream)).collect(),
            concurrency: fetch.concurrency,
            withstand: fetch.resilience,
        };
        if let Some(service) = known.get(&rules) {
            return Arc::clone(service);
        }
        if known.len() >= MANY {
            known.retain(|_, service| service.endpoints.is_busy());
        }
        let service = Arc::new(Service::new(&rules, &self.ports));
        known.insert(rules, Arc::clone(&service));
        service
    }
}

impl Service {
    fn new(rules: &Rules, ports: &Ports) -> Self {
        let allowance = retry::Shares::default();
        let endpoints = Arc::new(Endpoints::new(&rules.upstreams, rules.concurrency, rules.withstand.breaker, ports));
        let once_more = OnceMore(allowance.clone());
        let stack = ServiceBuilder::new()
            // A connection that breaks before an answer begins: it is tried again, of another endpoint where
            // there is one.
            .layer(RetryLayer::new(Again { left: rules.withstand.retries, allowance: allowance.clone() }))
            // One answer that is slow among fast ones: it is asked for a second time, and the first to come
            // counts.
            .layer(layer_fn(move |inner| Shared::new(Hedge::new(inner, once_more.clone(), ENOUGH, MOST, MEMORY))))
            // An endpoint that is slow, or only fails: another one is chosen, or nobody is asked.
            .service(endpoint::Choose(Arc::clone(&endpoints)));
        Self { endpoints, allowance, stack: BoxCloneSyncService::new(stack) }
    }

    /// How long its answers take just now, where that is known.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.endpoints.usual()
    }

    /// Sends a request, and returns the head of the answer.
    pub(super) async fn send(&self, wanted: Try) -> Result<UpstreamResponse, Failure> {
        self.allowance.earn();
        self.stack.clone().oneshot(wanted).await.map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Failure::new(Reason::Internal, error.to_string()),
        })
    }
}
