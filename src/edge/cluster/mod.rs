//! One replica among several: follows the stream of purges, tells the others, and knows who is there.
//! Nothing here waits for another replica longer than a second, and without the others everything goes on.

mod follow;
mod peers;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};

use crate::engine::port::{Clock, FleetStore, StreamEntry};
use crate::engine::{Compositor, Shared};
use crate::page::policy::cluster::members::{Members, Presence};
use crate::page::policy::cluster::order::{Position, Purge, PurgeMode};
use crate::page::policy::cluster::report::{ClusterReport, ReplicaReport, StoreReport};

pub use peers::{Heard, PeerList, Peers, Told};

/// Longest wait for the other replicas.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for the store to take an entry.
const APPEND_TIMEOUT: Duration = Duration::from_millis(500);
/// How often it is looked who has done a purge.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Purges that wait to be added to the stream. Beyond it they become one purge of everything.
const MAX_QUEUED: usize = 10_000;

/// What connects a replica with the others.
pub struct Links {
    /// The stream and the list of replicas; `None` without a shared store.
    pub fleet: Option<Arc<dyn FleetStore>>,
    /// The shared store as this replica uses it.
    pub shared: Option<Arc<Shared>>,
    /// The admin listeners of all replicas.
    pub peers: Option<Peers>,
    /// Gives the time of day.
    pub clock: Arc<dyn Clock>,
}

/// One replica among several.
pub struct Cluster {
    name: String,
    compositor: Compositor,
    links: Links,
    members: Mutex<Members>,
    /// Purges of this replica: how many responses each met, until its entry has been read.
    own: Mutex<HashMap<String, usize>>,
    /// Purges that are not in the stream yet.
    queued: Mutex<Vec<StreamEntry>>,
    /// How long the last entry took from the store to here, in milliseconds.
    lag: AtomicU64,
}

/// What a purge did, on each replica that is known.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Purged {
    /// How many responses it met on all of them.
    pub total: usize,
    /// The same for each replica; `None`: it did not say.
    pub replicas: BTreeMap<String, Option<usize>>,
}

impl Cluster {
    /// A replica with this name.
    #[must_use]
    pub fn new(name: String, compositor: Compositor, links: Links) -> Arc<Self> {
        Arc::new(Self {
            name,
            compositor,
            links,
            members: Mutex::default(),
            own: Mutex::default(),
            queued: Mutex::default(),
            lag: AtomicU64::new(0),
        })
    }

    /// Whether there may be other replicas.
    #[must_use]
    pub const fn has_others(&self) -> bool {
        self.links.fleet.is_some() || self.links.peers.is_some()
    }

    /// The shared store, if there is one.
    #[must_use]
    pub const fn shared(&self) -> Option<&Arc<Shared>> {
        self.links.shared.as_ref()
    }

    /// How many replicas are there, and how long the last purge took to come here, in seconds. `None`: there are no others.
    #[must_use]
    pub fn measured(&self) -> Option<(usize, f64)> {
        let now = Instant::now().into_std();
        let mut members = self.members();
        members.saw(&self.name, now);
        let there = members.list(now).iter().filter(|(_, _, presence)| *presence == Presence::There).count();
        self.has_others().then(|| (there, self.lag().as_secs_f64()))
    }

    /// How long the last purge took from the store to this replica.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag.load(Ordering::Relaxed))
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the stream and sees who is there, until this is dropped.
    pub fn start(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        let mut tasks = Vec::new();
        if let Some(fleet) = &self.links.fleet {
            tasks.push(tokio::spawn(follow::follow(Arc::clone(self), Arc::clone(fleet))));
            tasks.push(tokio::spawn(follow::beat(Arc::clone(self), Arc::clone(fleet))));
        }
        if self.links.peers.is_some() {
            tasks.push(tokio::spawn(peers::greet(Arc::clone(self))));
        }
        tasks
    }

    /// Says goodbye, so that the others do not wait for this replica.
    pub async fn leave(&self) {
        let told = async {
            if let Some(fleet) = &self.links.fleet {
                let _ended = fleet.leave(&self.name).await;
            }
            if let Some(peers) = &self.links.peers {
                peers.tell(&Told::Leaving { from: self.name.clone() }).await;
            }
        };
        let _late = timeout(PATIENCE, told).await;
    }

    /// Purges on all replicas, and waits until those that are there have done it, or for a second.
    pub async fn purge(self: &Arc<Self>, purge: Purge, mode: PurgeMode) -> Purged {
        let deadline = Instant::now() + PATIENCE;
        let name = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let entry = StreamEntry { name, purge: Some((purge, mode)) };
        // On the blocking pool: purging a large cache takes a while.
        let (replica, here) = (Arc::clone(self), entry.clone());
        let own = tokio::task::spawn_blocking(move || replica.purge_here(&here));
        let own = own.await.expect("purging does not panic");
        if !self.has_others() {
            return Purged { total: own, replicas: BTreeMap::new() };
        }
        let mut replicas = BTreeMap::from([(self.name.clone(), Some(own))]);
        let appended = match &self.links.fleet {
            None => None,
            Some(fleet) => {
                let append = timeout(APPEND_TIMEOUT, fleet.append(&entry)).await;
                let append = append.unwrap_or_else(|_| Err("no response in time".to_owned()));
                match append {
                    Ok(at) => Some((fleet, at)),
                    Err(why) => {
                        tracing::warn!("a purge could not be added to the stream, and is added later: {why}");
                        self.queue(entry.clone());
                        None
                    }
                }
            }
        };
        match appended {
            Some((fleet, at)) => self.wait_for_others(&**fleet, at, deadline, &mut replicas).await,
            None => self.tell_peers(&entry, deadline, &mut replicas).await,
        }
        // Those that are known, but were not heard of.
        for (replica, _, _) in self.members().list(Instant::now().into_std()) {
            replicas.entry(replica.to_owned()).or_insert(None);
        }
        Purged { total: replicas.values().flatten().sum(), replicas }
    }

    /// Purges this replica at once. Until the stream has the purge, nothing that it meets is taken from the store.
    fn purge_here(&self, entry: &StreamEntry) -> usize {
        let Some((purge, mode)) = &entry.purge else { return 0 };
        if let Some(shared) = &self.links.shared {
            shared.log().add_pending(entry.name.clone(), purge.clone());
        }
        let purged = self.compositor.purge(purge, *mode);
        if self.links.fleet.is_some() {
            self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.name.clone(), purged);
        }
        purged
    }

    /// Waits until the replicas that are there have done the purge at a position of the stream, and this one has read that far.
    async fn wait_for_others(
        &self,
        fleet: &dyn FleetStore,
        at: Position,
        deadline: Instant,
        replicas: &mut BTreeMap<String, Option<usize>>,
    ) {
        loop {
            if let Ok(Ok(done)) = timeout_at(deadline, fleet.done(at)).await {
                for (replica, purged) in done {
                    replicas.entry(replica).or_insert(Some(purged));
                }
            }
            let is_missing = {
                let mut members = self.members();
                let all = members.list(Instant::now().into_std());
                all.iter().any(|(name, _, presence)| *presence == Presence::There && !replicas.contains_key(*name))
            };
            // Until its own purge has come back in the stream, this replica takes nothing from the store that it meets.
            let is_behind = self.links.shared.as_ref().is_some_and(|shared| shared.log().position() < at);
            if !(is_missing || is_behind) || Instant::now() + LOOK_EVERY >= deadline {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells the other replicas, if they are known, and waits for what they have done.
    async fn tell_peers(&self, entry: &StreamEntry, deadline: Instant, replicas: &mut BTreeMap<String, Option<usize>>) {
        let (Some(peers), Some(told)) = (&self.links.peers, Told::purge(&self.name, entry)) else { return };
        for (address, heard) in peers.tell_until(&told, deadline).await {
            match heard {
                Some(Heard { name, .. }) if name == self.name => {}
                Some(Heard { name, purged }) => {
                    self.members().saw(&name, Instant::now().into_std());
                    replicas.insert(name, purged);
                }
                // Its name may be known from before; then it is listed by that.
                None => {
                    let name = peers.name_at(&address);
                    if name.as_ref() != Some(&self.name) {
                        replicas.insert(name.unwrap_or(address), None);
                    }
                }
            }
        }
    }

    fn queue(&self, entry: StreamEntry) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        queued.push(entry);
        if queued.len() > MAX_QUEUED {
            let purge = Some((Purge::All, PurgeMode::Hard));
            let name = queued[0].name.clone();
            if let Some(shared) = &self.links.shared {
                shared.log().join_pending(name.clone());
            }
            self.own.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *queued = vec![StreamEntry { name, purge }];
        }
    }

    /// What another replica tells this one.
    pub fn hear(&self, told: Told) -> Heard {
        let purged = match told {
            Told::Purge { ref from, .. } if *from == self.name => None,
            Told::Purge { from, name, keys, all, soft } => {
                self.members().saw(&from, Instant::now().into_std());
                let purge = if all { Purge::All } else { Purge::Tags(keys.into_iter().map(Into::into).collect()) };
                let mode = if soft { PurgeMode::Soft } else { PurgeMode::Hard };
                let entry = StreamEntry { name, purge: Some((purge, mode)) };
                let purged = self.purge_here(&entry);
                // Whoever told it could not add it to the stream; perhaps this replica can.
                if self.links.fleet.is_some() {
                    self.queue(entry);
                }
                Some(purged)
            }
            Told::Hello { from } => {
                if from != self.name {
                    self.members().saw(&from, Instant::now().into_std());
                }
                None
            }
            Told::Leaving { from } => {
                self.members().left(&from);
                None
            }
        };
        Heard { name: self.name.clone(), purged }
    }

    /// The state of the cluster, without any secret.
    #[must_use]
    pub fn report(&self) -> ClusterReport {
        let store = self.links.shared.as_ref().map(|shared| {
            let (state, lasts) = shared.state();
            let lasts = jiff::SignedDuration::try_from(lasts).unwrap_or_default();
            let since = self.links.clock.wall().checked_sub(lasts).unwrap_or(Timestamp::UNIX_EPOCH);
            StoreReport { state: state.as_str(), since, last_error: shared.last_error() }
        });
        let replica = |(name, ago, presence): (&str, Duration, Presence)| ReplicaReport {
            name: name.to_owned(),
            seen_ms_ago: u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
            state: presence.as_str(),
        };
        let mut members = self.members();
        members.saw(&self.name, Instant::now().into_std());
        let replicas = members.list(Instant::now().into_std()).into_iter().map(replica).collect();
        ClusterReport { name: self.name.clone(), store, replicas }
    }
}
