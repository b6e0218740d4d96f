//! The stack of layers between a fetch and the endpoints of a nanoservice: retry, hedge, circuit breaker and concurrency limit.
//! The decisions are made in `page/policy/resilience`; the layers carry them out.

mod request;

mod concurrency;
mod retry;

mod endpoint;

mod exchange;

mod balance;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use semver::Version;
use tower::hedge::Hedge;
use tower::retry::RetryLayer;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, layer::layer_fn};

use crate::page::policy::resilience::Resilience;
use crate::page::request::address::Target;
use crate::page::request::fetch::Fetch;
use crate::page::response::parsed::Failure;
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;

use super::port::{Ports, UpstreamResponse};

use balance::{Balancer, Endpoints};
pub(super) use request::{EndpointLog, StackRequest};
use retry::{HedgePolicy, RetryPolicy, SharedRetryBudget, SharedService};

/// The number of responses that must be known before a slow one is hedged.
const HEDGE_MIN_RESPONSES: u64 = 20;
/// The quantile of response times beyond which a response counts as slow.
const HEDGE_QUANTILE: f32 = 0.95;
/// How long response times are remembered for hedging.
const HEDGE_WINDOW: Duration = Duration::from_secs(10);
/// The number of stacks beyond which idle ones are dropped.
const MAX_STACKS: usize = 4096;

/// The stacks of all nanoservices that requests were sent to.
pub(super) struct Stacks {
    ports: Ports,
    known: Mutex<Map<StackKey, Arc<Stack>>>,
}

/// The stack of one nanoservice.
pub(super) struct Stack {
    endpoints: Arc<Endpoints>,
    budget: SharedRetryBudget,
    layers: BoxCloneSyncService<StackRequest, UpstreamResponse, BoxError>,
}

/// The values that a stack is built from. Fetches for which any of them differs have different stacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StackKey {
    nanoservice: Name,
    /// The version of its manifest: one that fails must not close the circuit of another one at the same address. `None`: it
    /// is a host of that name.
    version: Option<Version>,
    upstreams: Vec<Name>,
    concurrency: u32,
    resilience: Resilience,
}

impl Stacks {
    pub(super) fn new(ports: Ports) -> Self {
        Self { ports, known: Mutex::default() }
    }

    /// The stack of the nanoservice that a fetch goes to.
    pub(super) fn of(&self, fetch: &Fetch) -> Arc<Stack> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = StackKey {
            nanoservice: Arc::clone(&fetch.nanoservice),
            version: fetch.manifest.as_ref().map(|manifest| manifest.version.clone()),
            upstreams: fetch.targets.iter().map(|target| Arc::clone(&target.upstream)).collect(),
            concurrency: fetch.concurrency,
            resilience: fetch.resilience,
        };
        if let Some(stack) = known.get(&key) {
            return Arc::clone(stack);
        }
        if known.len() >= MAX_STACKS {
            known.retain(|_, stack| !stack.endpoints.are_idle());
        }
        let stack = Arc::new(Stack::new(&key, &fetch.targets, &self.ports));
        known.insert(key, Arc::clone(&stack));
        stack
    }

    /// Ends the pauses of a nanoservice's open circuits, so that its next request tests whether it has recovered.
    pub(super) fn end_pauses(&self, nanoservice: &str) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stacks = known.iter().filter(|(key, _)| &*key.nanoservice == nanoservice);
        stacks.for_each(|(_, stack)| stack.endpoints.end_pauses());
    }
}

impl Stack {
    fn new(key: &StackKey, targets: &[Target], ports: &Ports) -> Self {
        let budget = SharedRetryBudget::default();
        let rules = key.resilience.breaker;
        let endpoints = Endpoints::new(&key.nanoservice, targets, key.concurrency, rules, ports);
        let endpoints = Arc::new(endpoints);
        let hedge = HedgePolicy(budget.clone());
        let layers = ServiceBuilder::new()
            // Protects against connections that break before a response begins: the request is retried, at another endpoint
            // if there is one.
            .layer(RetryLayer::new(RetryPolicy { left: key.resilience.retries, budget: budget.clone() }))
            // Protects against a single slow response among fast ones: a second request is sent, and the first response is
            // used.
            .layer(layer_fn(move |inner| {
                let hedged = Hedge::new(inner, hedge.clone(), HEDGE_MIN_RESPONSES, HEDGE_QUANTILE, HEDGE_WINDOW);
                SharedService::new(hedged)
            }))
            // Protects against an endpoint that is slow or only fails: another one is chosen, or no request is sent.
            .service(Balancer(Arc::clone(&endpoints)));
        Self { endpoints, budget, layers: BoxCloneSyncService::new(layers) }
    }

    /// How long the last responses took. `None`: there was none yet.
    pub(super) fn recent_latency(&self) -> Option<Duration> {
        self.endpoints.recent_latency()
    }

    /// Sends a request, and returns the head of the response with a stream of its body.
    pub(super) async fn send(&self, request: StackRequest) -> Result<UpstreamResponse, Failure> {
        self.budget.deposit();
        self.layers.clone().oneshot(request).await.map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Failure::new(Reason::Internal, error.to_string()),
        })
    }
}
