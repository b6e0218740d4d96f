//! The second layer behind the store: a store that all replicas of a site share.
//! No request waits for a write, and a page view waits for all its look-ups together no longer than one time limit. Without the
//! shared store everything is as if there were none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::time::{Instant, timeout_at};

use crate::page::policy::cluster::health::{StoreHealth, StoreState};
use crate::page::policy::cluster::lease::Note;
use crate::page::policy::cluster::order::{Position, PurgeLog};
use crate::page::policy::cluster::wait::WaitBudget;
use crate::page::policy::cluster::wanted::Wanted;
use crate::page::request::fetch::Fetch;
use crate::page::request::key::Key;
use crate::page::response::wire::{SharedResponse, may_be_shared};

use super::port::{Leased, SharedStore, SharedValue, StoredResponse};

/// How long after its start a replica keeps what it read before its first request.
const WARM_FOR: Duration = Duration::from_mins(1);
/// Bytes of the keyed hash that stands for a key.
const HASH: usize = 16;

/// The shared store, as one replica uses it.
pub struct Shared {
    store: Arc<dyn SharedStore>,
    /// The key of the hashes that stand for what services are sent.
    hash_key: [u8; 32],
    /// How long a page view waits for all its look-ups together.
    timeout: Duration,
    log: Mutex<PurgeLog>,
    health: Mutex<StoreHealth>,
    last_error: Mutex<Option<String>>,
    /// Whether the purges of the past are known, so that look-ups can be judged.
    is_caught_up: AtomicBool,
    counts: [AtomicU64; 5],
    wanted: Mutex<Wanted<Key>>,
    warm: Mutex<Warm>,
}

/// What was read before the first request: values by their keys, and when they were read.
#[derive(Default)]
struct Warm {
    values: HashMap<String, SharedValue>,
    read: Option<Instant>,
}

/// How a look-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedLookup {
    /// It found a response that can be used.
    Hit,
    /// It found nothing, or something that was purged.
    Miss,
    /// It took too long.
    Timeout,
    /// The store is broken, or cannot be reached.
    Error,
    /// What it found could not be read.
    Invalid,
}

impl SharedLookup {
    /// All ends.
    pub const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Timeout, Self::Error, Self::Invalid];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Invalid => "invalid",
        }
    }
}

/// The time that one page view has for the shared store. A clone is another handle to the same time.
#[derive(Debug, Clone)]
pub(super) struct PageWait(Arc<Mutex<WaitBudget>>);

/// One look-up within the time of a page view, until it is dropped.
pub(super) struct Waiting<'w> {
    budget: &'w PageWait,
    pub(super) until: Instant,
}

impl PageWait {
    /// Begins a look-up. `None`: no time is left.
    pub(super) fn begin(&self) -> Option<Waiting<'_>> {
        let until = self.budget().begin(Instant::now().into_std())?;
        Some(Waiting { budget: self, until: until.into() })
    }

    fn budget(&self) -> MutexGuard<'_, WaitBudget> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.budget().end(Instant::now().into_std());
    }
}

/// What was asked of the store, and did not come.
enum Failed {
    Late,
    Broken(String),
}

impl Shared {
    /// The shared store behind an adapter. Nothing is asked of it before [`Shared::caught_up`].
    #[must_use]
    pub fn new(store: Arc<dyn SharedStore>, hash_key: [u8; 32], timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            store,
            hash_key,
            timeout,
            log: Mutex::default(),
            health: Mutex::new(StoreHealth::new(Instant::now().into_std())),
            last_error: Mutex::default(),
            is_caught_up: AtomicBool::new(false),
            counts: Default::default(),
            wanted: Mutex::default(),
            warm: Mutex::default(),
        })
    }

    /// The purges that are known. Whoever holds this keeps look-ups waiting.
    pub fn log(&self) -> MutexGuard<'_, PurgeLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> MutexGuard<'_, StoreHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that all purges up to now are known: from here on look-ups ask the store.
    pub fn caught_up(&self) {
        self.is_caught_up.store(true, Ordering::Release);
    }

    /// Whether look-ups ask the store.
    pub(super) fn is_asked(&self) -> bool {
        self.is_caught_up.load(Ordering::Acquire) && self.health().is_asked()
    }

    /// The state of the store, and how long it has been that.
    #[must_use]
    pub fn state(&self) -> (StoreState, Duration) {
        let (state, since) = self.health().state();
        (state, Instant::now().into_std().saturating_duration_since(since))
    }

    /// The last error of the store. `None`: there was none.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often look-ups ended in each way.
    #[must_use]
    pub fn lookups(&self) -> [(SharedLookup, u64); 5] {
        SharedLookup::ALL.map(|end| (end, self.counts[end as usize].load(Ordering::Relaxed)))
    }

    fn count(&self, end: SharedLookup) {
        self.counts[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how a response that a look-up found was used.
    pub(super) fn count_found(&self, is_used: bool) {
        self.count(if is_used { SharedLookup::Hit } else { SharedLookup::Miss });
    }

    /// The time that a page view has.
    pub(super) fn page_wait(&self) -> PageWait {
        PageWait(Arc::new(Mutex::new(WaitBudget::new(self.timeout, Instant::now().into_std()))))
    }

    /// The last purge that is known.
    pub(super) fn position(&self) -> Position {
        self.log().position()
    }

    /// The name of a response in the store. What the service is sent stands in it as a keyed hash.
    pub(super) fn name(&self, key: &Key) -> String {
        let mut hash = Hmac::<Sha256>::new_from_slice(&self.hash_key).expect("a key can have any length");
        hash.update(key.portable_bytes());
        hash.finalize().into_bytes()[..HASH].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Waits for the store until a time, and records how that went.
    async fn ask<T>(&self, until: Instant, asked: impl Future<Output = Result<T, String>>) -> Result<T, Failed> {
        let result = match timeout_at(until, asked).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => Err(Failed::Broken(why)),
            Err(_) => Err(Failed::Late),
        };
        let now = Instant::now().into_std();
        match &result {
            Ok(_) => {
                if self.health().succeeded(now) {
                    tracing::info!("the shared store is there");
                }
            }
            Err(failed) => {
                let why = match failed {
                    Failed::Late => format!("no response within {}", crate::page::source::units::show(self.timeout)),
                    Failed::Broken(why) => why.clone(),
                };
                if self.health().failed(now) {
                    tracing::warn!("the shared store is left alone for a while: {why}");
                }
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            }
        }
        result
    }

    /// Looks a response up. `None`: there is none that can be read, or the store did not say in time.
    pub(super) async fn get(&self, fetch: &Fetch, until: Instant) -> Option<(SharedResponse, Duration)> {
        let name = self.name(&fetch.key);
        let value = match self.take_warm(&name) {
            Some(value) => Some(value),
            None => match self.ask(until, self.store.get(&name)).await {
                Ok(value) => value,
                Err(failed) => {
                    self.count(if let Failed::Late = failed { SharedLookup::Timeout } else { SharedLookup::Error });
                    return None;
                }
            },
        };
        let Some(SharedValue { bytes, left }) = value else {
            self.count(SharedLookup::Miss);
            return None;
        };
        let response = SharedResponse::read(&bytes, fetch);
        if response.is_none() {
            self.count(SharedLookup::Invalid);
        }
        Some((response?, left))
    }

    /// Looks for the response that another replica fetches: whether the lease is still held, and the response.
    ///
    /// # Errors
    /// The store did not say in time.
    pub(super) async fn look(&self, fetch: &Fetch) -> Result<(bool, Option<(SharedResponse, Duration)>), ()> {
        let name = self.name(&fetch.key);
        let looked = self.ask(Instant::now() + self.timeout, self.store.look(&name)).await;
        let (is_held, value) = looked.map_err(|_| ())?;
        let found = value.and_then(|SharedValue { bytes, left }| Some((SharedResponse::read(&bytes, fetch)?, left)));
        Ok((is_held, found))
    }

    /// Writes a response, if it may leave the process. Nobody waits for that.
    pub(super) fn put(&self, fetch: &Fetch, stored: &StoredResponse, useful: Duration, since: Position) {
        if !may_be_shared(&stored.response) || !self.is_caught_up.load(Ordering::Acquire) {
            return;
        }
        let StoredResponse { response, longest, nanoservice, .. } = stored.clone();
        let value = SharedResponse { response, longest, useful, since, nanoservice };
        self.store.put(self.name(&fetch.key), Box::new(move || value.write()), useful);
    }

    /// Takes the lease of a fetch. `Ok(Err(note))`: another replica holds it.
    ///
    /// # Errors
    /// The store did not say in time, or takes no writes.
    pub(super) async fn take_lease(&self, fetch: &Fetch, until: Instant) -> Result<Result<Lease<'_>, String>, ()> {
        let name = self.name(&fetch.key);
        let note = Note { holder: fastrand::u64(..), known: self.position() }.to_string();
        let taken = self.ask(until, self.store.lease(&name, note.clone(), fetch.timeout)).await;
        match taken {
            Ok(Leased::Taken) => Ok(Ok(Lease { shared: self, name, note })),
            Ok(Leased::Held(held)) => Ok(Err(held)),
            Ok(Leased::Refused) | Err(_) => Err(()),
        }
    }

    /// Counts that a response was wanted.
    pub(super) fn want(&self, key: &Key, times: u64) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).add(key, times);
    }

    /// Tries the store, if it is left alone or was never there, and reports what is wanted most. Called about once a second.
    pub async fn tick(&self) {
        let is_due = self.health().is_try_due(Instant::now().into_std());
        if is_due {
            let until = Instant::now() + self.timeout;
            let _recorded = self.ask(until, self.store.get("try")).await;
        }
        if self.is_asked() {
            let report = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).report();
            self.store.report_wanted(report.iter().map(|(key, times)| (self.name(key), *times)).collect());
        }
    }

    /// Reads what the fleet wants most, before the first request. Returns how many responses there were.
    pub async fn warm_up(&self, at_most: Duration) -> usize {
        let Ok(Ok(values)) = tokio::time::timeout(at_most, self.store.most_wanted()).await else { return 0 };
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        warm.read = Some(Instant::now());
        warm.values = values.into_iter().collect();
        warm.values.len()
    }

    /// Takes a value that was read before the first request.
    fn take_warm(&self, name: &str) -> Option<SharedValue> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        let age = warm.read?.elapsed();
        if age > WARM_FOR {
            *warm = Warm::default();
            return None;
        }
        let SharedValue { bytes, left } = warm.values.remove(name)?;
        Some(SharedValue { bytes, left: left.checked_sub(age)? })
    }
}

/// The lease of a fetch. It is given back once what the fetch brought has been written.
pub(super) struct Lease<'s> {
    shared: &'s Shared,
    name: String,
    note: String,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.shared.store.give_back(std::mem::take(&mut self.name), std::mem::take(&mut self.note));
    }
}
