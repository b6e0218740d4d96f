//! Looks up in DNS where services are, and again when what was found is no longer valid.
//! Whoever asks for a name that was found before never waits: a look-up that fails leaves the last places in use.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use crate::page::policy::naming::{NameState, Naming, Place};
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;

/// Longest wait for the response to one query, of which there may be two.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time of a look-up as a whole: one of an SRV record takes several queries.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);
/// How long after the last request a name is looked up again and again.
const IN_USE: Duration = Duration::from_mins(10);

/// The names that are looked up. A clone is another handle to the same ones.
#[derive(Clone)]
pub struct Names(Arc<Shared>);

struct Shared {
    servers: Vec<SocketAddr>,
    /// Built when the first name is looked up: most sites have none.
    resolver: OnceLock<Result<TokioResolver, String>>,
    known: Mutex<HashMap<Name, Arc<Known>>>,
}

/// A name, and the records that it is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    naming: Naming,
    host: Arc<str>,
    port: u16,
}

/// What is known of a name, by whoever asks for it and by the task that looks it up.
struct Known {
    state: Mutex<NameState>,
    /// When somebody last asked.
    asked: Mutex<Instant>,
    /// Why the last look-up failed. `None`: it did not. It is marked as changed by each look-up that has ended.
    failure: watch::Sender<Option<String>>,
}

impl Known {
    fn state(&self) -> MutexGuard<'_, NameState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Looks names up at these servers; if there are none, at those of the system.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self(Arc::new(Shared { servers: servers.to_vec(), resolver: OnceLock::new(), known: Mutex::default() }))
    }

    /// The places of the host of a URL. If it was never found, this waits for the look-up in progress.
    ///
    /// # Errors
    /// It was not found.
    pub(super) async fn places(&self, naming: Naming, url: &Url) -> Result<Arc<[Place]>, Failure> {
        let (known, mut looked_up) = self.known(naming, url);
        loop {
            // Marked before the state is read: a look-up that ends in between is noticed.
            let failure = looked_up.borrow_and_update().clone();
            let places = Arc::clone(known.state().places());
            match failure {
                _ if !places.is_empty() => return Ok(places),
                Some(why) => return Err(Failure::new(Reason::Connect, why)),
                None => {
                    let ended = Failure::new(Reason::Connect, "its name is no longer looked up");
                    looked_up.changed().await.map_err(|_| ended)?;
                }
            }
        }
    }

    /// Reports whether a place of the host of a URL answered.
    pub(super) fn answered(&self, naming: Naming, url: &Url, address: SocketAddr, answered: bool) {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&Name::of(naming, url)) {
            known.state().answered(address, answered);
        }
    }

    /// What is known of the host of a URL. The first time, its look-ups begin.
    fn known(&self, naming: Naming, url: &Url) -> (Arc<Known>, watch::Receiver<Option<String>>) {
        let name = Name::of(naming, url);
        let mut all = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(known) = all.get(&name) {
            *known.asked.lock().unwrap_or_else(PoisonError::into_inner) = now;
            return (Arc::clone(known), known.failure.subscribe());
        }
        let known = Arc::new(Known {
            state: Mutex::new(NameState::new(now.into_std())),
            asked: Mutex::new(now),
            failure: watch::Sender::new(None),
        });
        all.insert(name.clone(), Arc::clone(&known));
        tokio::spawn(keep_looking_up(Arc::downgrade(&self.0), name, Arc::clone(&known)));
        let looked_up = known.failure.subscribe();
        (known, looked_up)
    }
}

impl Name {
    fn of(naming: Naming, url: &Url) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        Self { naming, host: url.host_str().unwrap_or_default().into(), port }
    }
}

/// Looks a name up whenever it is due, until nobody asks for it any more.
async fn keep_looking_up(shared: Weak<Shared>, name: Name, known: Arc<Known>) {
    loop {
        let due = known.state().due();
        tokio::time::sleep_until(due.into()).await;
        let Some(shared) = shared.upgrade() else { return };
        {
            let mut all = shared.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > IN_USE {
                all.remove(&name);
                return;
            }
        }
        let found = match shared.resolver() {
            Ok(resolver) => tokio::time::timeout(LOOKUP_TIMEOUT, look_up(resolver, &name))
                .await
                .unwrap_or_else(|_| Err("no response from DNS".to_owned())),
            Err(why) => Err(why.clone()),
        };
        let failure = {
            let mut state = known.state();
            let (now, was_failing) = (Instant::now().into_std(), state.is_failing());
            match found {
                Ok((places, ttl)) => {
                    state.found(places, ttl, now);
                    if was_failing {
                        tracing::info!(name = &*name.host, "its look-ups succeed again");
                    }
                    None
                }
                Err(why) => {
                    state.failed(now);
                    let why = format!("{} cannot be looked up: {why}", name.host);
                    if !was_failing {
                        let kept = state.places().len();
                        tracing::warn!(name = &*name.host, kept, "{why}; trying again every second");
                    }
                    Some(why)
                }
            }
        };
        known.failure.send_replace(failure);
    }
}

impl Shared {
    fn resolver(&self) -> Result<&TokioResolver, &String> {
        self.resolver.get_or_init(|| resolver(&self.servers)).as_ref()
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if servers.is_empty() {
        TokioResolver::builder(provider).map_err(|error| format!("/etc/resolv.conf cannot be used: {error}"))?
    } else {
        let server = |address: &SocketAddr| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        let mut builder = TokioResolver::builder_with_config(config, provider);
        builder.options_mut().server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        builder
    };
    let options = builder.options_mut();
    options.timeout = QUERY_TIMEOUT;
    options.attempts = 1;
    // What was found is kept here, for as long as it is valid. A second cache would prolong that.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|error| error.to_string())
}

/// The places of a name, and how long they are valid.
async fn look_up(resolver: &TokioResolver, name: &Name) -> Result<(Vec<Place>, Duration), String> {
    match name.naming {
        Naming::Addresses => {
            let host: Arc<str> = match name.port {
                80 => Arc::clone(&name.host),
                port => format!("{}:{port}", name.host).into(),
            };
            let bare = name.host.trim_start_matches('[').trim_end_matches(']');
            let (addresses, ttl) = addresses(resolver, bare, name.port).await?;
            let place = |address| Place { priority: 0, address, host: Arc::clone(&host), weight: 0 };
            Ok((addresses.into_iter().map(place).collect(), ttl))
        }
        Naming::Services => {
            let found = resolver.srv_lookup(&*name.host).await.map_err(|error| error.to_string())?;
            let (mut places, mut ttl, mut failure) = (Vec::new(), None, None);
            let services = found.answers().iter().filter_map(|record| match &record.data {
                RData::SRV(service) => Some((service, record.ttl)),
                _ => None,
            });
            // A target of `.` means that there is no such service (RFC 2782).
            for (service, valid) in services.filter(|(service, _)| !service.target.is_root()) {
                ttl = ttl.into_iter().chain([Duration::from_secs(valid.into())]).min();
                let target = service.target.to_utf8();
                match addresses(resolver, &target, service.port).await {
                    Ok((addresses, valid)) => {
                        ttl = ttl.into_iter().chain([valid]).min();
                        let target = target.trim_end_matches('.');
                        let host: Arc<str> = match service.port {
                            80 => target.into(),
                            port => format!("{target}:{port}").into(),
                        };
                        let (priority, weight) = (service.priority, service.weight);
                        let place = |address| Place { priority, address, host: Arc::clone(&host), weight };
                        places.extend(addresses.into_iter().map(place));
                    }
                    // The others are as good without it.
                    Err(why) => failure = Some(why),
                }
            }
            match (places.is_empty(), failure) {
                (true, Some(why)) => Err(why),
                (true, None) => Err("it has no SRV records".to_owned()),
                (false, _) => Ok((places, ttl.unwrap_or_default())),
            }
        }
    }
}

/// All addresses of a host, and how long they are valid.
async fn addresses(resolver: &TokioResolver, host: &str, port: u16) -> Result<(Vec<SocketAddr>, Duration), String> {
    let found = resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
    let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
    if addresses.is_empty() {
        Err("it has no addresses".to_owned())
    } else {
        Ok((addresses, Duration::from_secs(ttl.into())))
    }
}
