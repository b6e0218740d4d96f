//! Wires a replica to the others: the store that they share, the stream of purges, and their admin listeners.
//! Whatever of that is missing, the replica serves its site.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::Settings;
use crate::edge::admin::AllPurged;
use crate::edge::clock::SystemClock;
use crate::edge::cluster::{Cluster, Links, Peers, Purged, Told};
use crate::edge::store::shared::{RedisStore, StoreAddress, tls};
use crate::engine::port::{Clock as _, Upstream};
use crate::engine::{Compositor, Purge, PurgeMode, Rollouts, Shared};
use crate::page::policy::cluster::health::StoreState;
use crate::secrets::Secret;
use crate::secrets::site_key::{Purpose, SiteKey};

/// Longest time before the first request for what the fleet wants most.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often the store is tried, if it is left alone, and told what is wanted.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked whether the store is there.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The shared store of the settings.
pub(super) struct Store {
    store: RedisStore,
    pub(super) shared: Arc<Shared>,
    required_to_start: bool,
}

/// Begins to connect to the shared store, if there is one.
///
/// # Errors
/// TLS could not be set up.
pub(super) fn store(settings: &Settings, key: &SiteKey) -> Result<Option<Store>, String> {
    let Some(wanted) = &settings.shared else { return Ok(None) };
    let authority = wanted.authority.as_ref().map(|pem| pem.reveal().as_bytes());
    let address = StoreAddress {
        host: wanted.url.host.clone(),
        port: wanted.url.port,
        database: wanted.url.database,
        user: wanted.user.clone(),
        password: wanted.password.clone(),
        tls: wanted.url.tls.then(|| tls::client(authority)).transpose()?,
    };
    let store = RedisStore::new(&address, &wanted.namespace, Arc::new(SystemClock));
    let shared = Shared::new(Arc::new(store.clone()), key.derive(Purpose::SharedNames), wanted.timeout);
    Ok(Some(Store { store, shared, required_to_start: wanted.required_to_start }))
}

/// Decides about rollouts together with the other replicas, and reads what they know, if `is_waiting`: the first pages should show
/// what those of the others do. A store that says nothing for a while is not waited for.
pub(super) async fn join_rollouts(rollouts: &Rollouts, store: &Store, is_waiting: bool) {
    rollouts.decide_in(Arc::new(store.store.clone()), SystemClock.wall(), fastrand::u64(..));
    let read = async {
        while is_waiting && rollouts.read_shared().await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(TICK, read).await.is_err() {
        tracing::warn!("the shared store is not there: rollouts begin with what this replica knows by itself");
    }
}

/// Decides about rollouts every second, or at once when a version is held back.
pub(super) async fn decide_rollouts(compositor: Compositor) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = compositor.rollouts().is_to_decide() => {}
        }
        compositor.rollouts().decide_together().await;
    }
}

/// The replica with its links to the others.
pub(super) fn cluster(
    settings: &Settings,
    admin: SocketAddr,
    compositor: Compositor,
    store: Option<&Store>,
    upstream: Arc<dyn Upstream>,
) -> Arc<Cluster> {
    let name = settings.cluster.name.clone().unwrap_or_else(|| {
        let host = rustix::system::uname();
        format!("{}:{}", host.nodename().to_string_lossy(), admin.port())
    });
    let peers = settings.cluster.peers.clone();
    let links = Links {
        fleet: store.map(|store| Arc::new(store.store.clone()) as _),
        shared: store.map(|store| Arc::clone(&store.shared)),
        peers: peers.map(|peers| Peers::new(peers, settings.cluster.token.clone(), upstream)),
        clock: Arc::new(SystemClock),
    };
    Cluster::new(name, compositor, links)
}

/// Tries the store again and again, and tells it what is wanted most.
pub(super) async fn tick(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.tick().await;
    }
}

/// Reads how far rollouts are and what the fleet wants most, and marks this replica as ready: after a while at the latest, unless the store is required.
async fn warm_up(shared: Arc<Shared>, required_to_start: bool, compositor: Compositor, ready: Arc<AtomicBool>) {
    let began = tokio::time::Instant::now();
    while shared.state().0 != StoreState::Up && (required_to_start || began.elapsed() < WARM_UP) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if shared.state().0 == StoreState::Up {
        compositor.rollouts().decide_together().await;
        let left = WARM_UP.saturating_sub(began.elapsed()).max(LOOK_EVERY);
        let responses = shared.warm_up(left).await;
        tracing::info!(responses, "read from the shared store what is wanted most");
    } else {
        tracing::warn!("the shared store is not there; serving without it until it is");
    }
    ready.store(true, Ordering::Release);
}

impl Store {
    /// Whether the replica is ready before it has read anything.
    pub(super) fn warm_up(
        &self,
        compositor: &Compositor,
        ready: &Arc<AtomicBool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        warm_up(Arc::clone(&self.shared), self.required_to_start, compositor.clone(), Arc::clone(ready))
    }

    /// Waits until what was to be written is written, and the last answers are counted, for a moment.
    pub(super) async fn flush(&self, rollouts: &Rollouts) {
        let _late =
            tokio::time::timeout(TICK, async { tokio::join!(self.store.flush(), rollouts.decide_together()) }).await;
    }
}

/// Purges on all replicas, for the admin listener.
pub(super) fn purge(
    cluster: &Arc<Cluster>,
    purge: Purge,
    mode: PurgeMode,
) -> futures::future::BoxFuture<'static, AllPurged> {
    let cluster = Arc::clone(cluster);
    Box::pin(async move {
        let Purged { total, replicas } = cluster.purge(purge, mode).await;
        AllPurged { purged: total, replicas }
    })
}

/// Hears what another replica tells, for the admin listener.
pub(super) fn tell(cluster: &Cluster, told: serde_json::Value) -> Result<serde_json::Value, String> {
    let told: Told = serde_json::from_value(told).map_err(|error| error.to_string())?;
    serde_json::to_value(cluster.hear(told)).map_err(|error| error.to_string())
}

/// The token of the replicas.
pub(super) fn token(settings: &Settings) -> Option<Secret> {
    settings.cluster.token.clone()
}
