//! The store that all replicas of a site share: Redis 7 or Valkey 8. Responses, leases, the stream of purges, the list of
//! replicas, and the rollouts. Every command is about one key, so that a cluster of stores can hold them.
//! What it says is never trusted: rubbish is an error, and whoever asks goes on without it.

mod fleet;
mod link;
mod rollouts;
pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::{Cmd, Pipeline, cmd, pipe};
use tokio::sync::mpsc;

use crate::engine::port::{Clock, Encode, Leased, SharedStore, SharedValue};
use crate::page::policy::cluster::wanted::MOST;

use link::Link;
pub use link::StoreAddress;

/// Writes that wait to be sent. Further ones are dropped: each is only a copy of what is in memory.
const MAX_WRITES: usize = 8_192;
/// Writes that are sent together.
const BATCH: usize = 64;
/// Longest wait for the response to some writes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the list of what is wanted most is kept; a new list begins in half that time.
const WANTED_FOR: Duration = Duration::from_mins(20);
/// Values that are read together.
const READ_TOGETHER: usize = 100;

/// Gives a lease back only to whom it belongs.
const GIVE_BACK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// The shared store. A clone is another handle to it.
#[derive(Clone)]
pub struct RedisStore {
    /// For look-ups, which must be answered at once.
    reads: Link,
    /// For what takes longer than that: the follower waits for entries on a connection of its own.
    follows: Link,
    /// For writes, leases that are given back, and heartbeats.
    writes: Link,
    queue: mpsc::Sender<Write>,
    dropped: Arc<AtomicU64>,
    namespace: Arc<str>,
    clock: Arc<dyn Clock>,
}

/// A write that nobody waits for.
enum Write {
    Put { key: String, encode: Encode, useful: Duration },
    GiveBack { key: String, note: String },
    Wanted { key: String, counts: Vec<(String, u64)> },
}

impl RedisStore {
    /// Begins to connect. `namespace` stands before each key.
    #[must_use]
    pub fn new(address: &StoreAddress, namespace: &str, clock: Arc<dyn Clock>) -> Self {
        let (queue, writes) = mpsc::channel(MAX_WRITES);
        let link = |patience| Link::open(address.clone(), patience);
        let store = Self {
            reads: link(None),
            follows: link(Some(fleet::FOLLOW_TIMEOUT)),
            writes: link(Some(WRITE_TIMEOUT)),
            queue,
            dropped: Arc::default(),
            namespace: namespace.into(),
            clock,
        };
        tokio::spawn(write(store.writes.clone(), writes));
        store
    }

    /// How many writes were dropped, because the store did not take them fast enough.
    #[must_use]
    pub fn dropped_writes(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything that was queued before has been sent, or cannot be.
    pub async fn flush(&self) {
        while self.queue.capacity() < MAX_WRITES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.namespace)
    }

    fn enqueue(&self, write: Write) {
        if self.queue.try_send(write).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The list of what is wanted most at this time of day, and the one before it.
    fn wanted_keys(&self) -> [String; 2] {
        let period = (WANTED_FOR / 2).as_secs();
        let now = self.clock.wall().as_second().unsigned_abs() / period;
        [now, now.saturating_sub(1)].map(|number| self.key("wanted", &number.to_string()))
    }
}

/// How long the value under a key will be there, and the value. Should another one be written in between, it counts as older than
/// it is. No transaction: a store that is full refuses every command in one.
fn value(pipeline: &mut Pipeline, key: &str) {
    pipeline.cmd("PTTL").arg(key).cmd("GET").arg(key);
}

/// Such a value. The store keeps nothing without a time limit, so what has none is not ours.
fn shared_value(left: i64, bytes: Option<Bytes>) -> Option<SharedValue> {
    let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
    Some(SharedValue { bytes: bytes?, left: Duration::from_millis(left) })
}

impl SharedStore for RedisStore {
    fn get(&self, name: &str) -> BoxFuture<'static, Result<Option<SharedValue>, String>> {
        let (reads, key) = (self.reads.clone(), self.key("answer", name));
        async move {
            let mut commands = pipe();
            value(&mut commands, &key);
            let (left, bytes) = reads.ask_all(commands).await?;
            Ok(shared_value(left, bytes))
        }
        .boxed()
    }

    fn look(&self, name: &str) -> BoxFuture<'static, Result<(bool, Option<SharedValue>), String>> {
        let (reads, key, lease) = (self.reads.clone(), self.key("answer", name), self.key("lease", name));
        async move {
            // The lease first: it is given back after the value was written, so without either there will be none.
            let mut commands = pipe();
            value(commands.cmd("EXISTS").arg(&lease), &key);
            let (is_held, left, bytes) = reads.ask_all(commands).await?;
            Ok((is_held, shared_value(left, bytes)))
        }
        .boxed()
    }

    fn put(&self, name: String, encode: Encode, useful: Duration) {
        self.enqueue(Write::Put { key: self.key("answer", &name), encode, useful });
    }

    fn lease(&self, name: &str, note: String, lasts: Duration) -> BoxFuture<'static, Result<Leased, String>> {
        let reads = self.reads.clone();
        let mut set = cmd("SET");
        set.arg(self.key("lease", name)).arg(note).arg("NX").arg("GET").arg("PX").arg(milliseconds(lasts));
        async move {
            let held: Result<Option<String>, _> = reads.ask_to_write(set).await?;
            Ok(held.map_or(Leased::Refused, |held| held.map_or(Leased::Taken, Leased::Held)))
        }
        .boxed()
    }

    fn give_back(&self, name: String, note: String) {
        self.enqueue(Write::GiveBack { key: self.key("lease", &name), note });
    }

    fn report_wanted(&self, counts: Vec<(String, u64)>) {
        if !counts.is_empty() {
            let [key, _] = self.wanted_keys();
            self.enqueue(Write::Wanted { key, counts });
        }
    }

    fn most_wanted(&self) -> BoxFuture<'static, Result<Vec<(String, SharedValue)>, String>> {
        let store = self.clone();
        async move {
            let mut names: Vec<String> = Vec::new();
            for key in store.wanted_keys() {
                let mut list = cmd("ZREVRANGE");
                list.arg(key).arg(0).arg(MOST - 1);
                let more: Vec<String> = store.writes.ask(list).await?;
                names.extend(more);
            }
            let mut seen = std::collections::HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names.truncate(MOST);
            let mut values = Vec::new();
            for names in names.chunks(READ_TOGETHER) {
                let mut commands = pipe();
                names.iter().for_each(|name| value(&mut commands, &store.key("answer", name)));
                let found: Vec<redis::Value> = store.writes.ask_all(commands).await?;
                for (name, found) in names.iter().zip(found.chunks_exact(2)) {
                    let left = redis::from_redis_value_ref(&found[0]).unwrap_or_default();
                    let bytes = redis::from_redis_value_ref(&found[1]).ok().flatten();
                    values.extend(shared_value(left, bytes).map(|value| (name.clone(), value)));
                }
            }
            Ok(values)
        }
        .boxed()
    }
}

/// Sends writes in the order in which they were queued. A refused one is logged once until one succeeds.
async fn write(link: Link, mut queue: mpsc::Receiver<Write>) {
    let (mut batch, mut is_refused) = (Vec::with_capacity(BATCH), false);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let mut commands = pipe();
        // A refused write must not keep the others from being made.
        commands.ignore_errors();
        for write in batch.drain(..) {
            add(&mut commands, write);
        }
        match link.ask_all::<Vec<redis::Value>>(commands).await {
            Ok(results) => {
                let refused = results.iter().find_map(|result| match result {
                    redis::Value::ServerError(error) => Some(error.to_string()),
                    _ => None,
                });
                if let (Some(why), false) = (&refused, is_refused) {
                    tracing::warn!("the shared store refuses writes: {why}");
                }
                is_refused = refused.is_some();
            }
            // What could not be sent is not sent later: it would be older than what others wrote meanwhile.
            Err(why) => tracing::debug!("writes to the shared store are lost: {why}"),
        }
    }
}

fn add(commands: &mut Pipeline, write: Write) {
    match write {
        Write::Put { key, encode, useful } => {
            let value = encode();
            commands.cmd("SET").arg(key).arg(&*value).arg("PX").arg(milliseconds(useful));
        }
        Write::GiveBack { key, note } => {
            commands.cmd("EVAL").arg(GIVE_BACK).arg(1).arg(key).arg(note);
        }
        Write::Wanted { key, counts } => {
            for (name, times) in counts {
                commands.cmd("ZINCRBY").arg(&key).arg(times).arg(name);
            }
            let kept = isize::try_from(4 * MOST).unwrap_or(isize::MAX);
            commands.cmd("ZREMRANGEBYRANK").arg(&key).arg(0).arg(-kept - 1);
            commands.cmd("PEXPIRE").arg(&key).arg(milliseconds(WANTED_FOR));
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A command with its arguments.
fn command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = cmd(name);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}
