//! The stream of purges, and the list of replicas, in the shared store.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{cmd, pipe};

use crate::engine::port::{FleetStore, StreamEntry};
use crate::page::policy::cluster::members::LISTED_FOR;
use crate::page::policy::cluster::order::{Position, Purge, PurgeMode};
use crate::page::source::names::Name;

use super::{RedisStore, command, milliseconds};

/// Longest wait for the response to what follows the stream.
pub(super) const FOLLOW_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the store holds a request for the next entries.
const BLOCK: Duration = Duration::from_millis(900);
/// Entries of the stream that the store keeps.
const KEPT: usize = 10_000;
/// How long it is kept who has done a purge.
const DONE_FOR: Duration = Duration::from_secs(30);

/// Writes a heartbeat by the store's own clock, and lists all replicas by how long ago each was seen.
const BEAT: &str = "local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], now)
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
local all, out = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local ago = now - tonumber(all[i + 1])
  if ago > tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], all[i]) else out[#out + 1] = all[i] out[#out + 1] = ago end
end
return out";

impl RedisStore {
    fn stream(&self) -> String {
        format!("{}:purges", self.namespace)
    }

    fn replicas(&self) -> String {
        format!("{}:replicas", self.namespace)
    }
}

impl FleetStore for RedisStore {
    fn connected(&self) -> BoxFuture<'static, ()> {
        let follows = self.follows.clone();
        async move { follows.wait().await }.boxed()
    }

    fn append(&self, entry: &StreamEntry) -> BoxFuture<'static, Result<Position, String>> {
        let (writes, mut add) = (self.writes.clone(), cmd("XADD"));
        add.arg(self.stream()).arg("MAXLEN").arg("~").arg(KEPT).arg("*").arg("name").arg(&entry.name);
        if let Some((purge, mode)) = &entry.purge {
            let mode = match mode {
                PurgeMode::Hard => "hard",
                PurgeMode::Soft => "soft",
            };
            add.arg("mode").arg(mode);
            if let Purge::Tags(tags) = purge {
                let tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
                add.arg("keys").arg(serde_json::to_string(&tags).expect("texts can be written as JSON"));
            }
        }
        async move {
            let id: String = writes.ask(add).await?;
            id.parse().map_err(|error| format!("`{id}`: {error}"))
        }
        .boxed()
    }

    fn entries_from(&self, from: Option<Position>) -> BoxFuture<'static, Result<Vec<(Position, StreamEntry)>, String>> {
        let from = from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        let (follows, range) = (self.follows.clone(), command("XRANGE", &[&self.stream(), &from, "+"]));
        async move {
            let found: StreamRangeReply = follows.ask(range).await?;
            found.ids.into_iter().map(entry).collect()
        }
        .boxed()
    }

    fn next_entries(&self, after: Position) -> BoxFuture<'static, Result<Vec<(Position, StreamEntry)>, String>> {
        let (follows, mut read) = (self.follows.clone(), cmd("XREAD"));
        read.arg("COUNT").arg(100).arg("BLOCK").arg(milliseconds(BLOCK));
        read.arg("STREAMS").arg(self.stream()).arg(after.to_string());
        async move {
            let found: Option<StreamReadReply> = follows.ask(read).await?;
            found.into_iter().flat_map(|found| found.keys).flat_map(|stream| stream.ids).map(entry).collect()
        }
        .boxed()
    }

    fn last_position(&self) -> BoxFuture<'static, Result<Option<Position>, String>> {
        let mut range = command("XREVRANGE", &[&self.stream(), "+", "-"]);
        range.arg("COUNT").arg(1);
        let follows = self.follows.clone();
        async move {
            let found: StreamRangeReply = follows.ask(range).await?;
            found.ids.into_iter().next().map(|id| entry(id).map(|(at, _)| at)).transpose()
        }
        .boxed()
    }

    fn report_done(&self, at: Position, replica: &str, purged: usize) -> BoxFuture<'static, Result<(), String>> {
        let key = self.key("done", &at.to_string());
        let (writes, mut commands) = (self.writes.clone(), pipe());
        commands.cmd("HSET").arg(&key).arg(replica).arg(purged).ignore();
        commands.cmd("PEXPIRE").arg(&key).arg(milliseconds(DONE_FOR)).ignore();
        async move { writes.ask_all(commands).await }.boxed()
    }

    fn done(&self, at: Position) -> BoxFuture<'static, Result<BTreeMap<String, usize>, String>> {
        let (writes, get) = (self.writes.clone(), command("HGETALL", &[&self.key("done", &at.to_string())]));
        async move { writes.ask(get).await }.boxed()
    }

    fn beat(&self, replica: &str) -> BoxFuture<'static, Result<Vec<(String, Duration)>, String>> {
        let listed = milliseconds(LISTED_FOR).to_string();
        let (writes, beat) = (self.writes.clone(), command("EVAL", &[BEAT, "1", &self.replicas(), replica, &listed]));
        async move {
            let found: Vec<(String, u64)> = writes.ask(beat).await?;
            Ok(found.into_iter().map(|(name, ago)| (name, Duration::from_millis(ago))).collect())
        }
        .boxed()
    }

    fn leave(&self, replica: &str) -> BoxFuture<'static, Result<(), String>> {
        let (writes, leave) = (self.writes.clone(), command("HDEL", &[&self.replicas(), replica]));
        async move { writes.ask::<i64>(leave).await.map(drop) }.boxed()
    }
}

/// Reads an entry. One that another version wrote, and that cannot be understood, purges everything: what it meets is not known.
fn entry(id: StreamId) -> Result<(Position, StreamEntry), String> {
    let at = id.id.parse().map_err(|error| format!("`{}`: {error}", id.id))?;
    let name = id.get::<String>("name").unwrap_or_default();
    let mode = match id.get::<String>("mode").as_deref() {
        None if !id.map.contains_key("keys") && !name.is_empty() => return Ok((at, StreamEntry { name, purge: None })),
        Some("soft") => PurgeMode::Soft,
        _ => PurgeMode::Hard,
    };
    let purge = match id.get::<String>("keys").map(|keys| serde_json::from_str::<Vec<String>>(&keys)) {
        Some(Ok(keys)) => Purge::Tags(keys.into_iter().map(Name::from).collect()),
        None | Some(Err(_)) => Purge::All,
    };
    Ok((at, StreamEntry { name, purge: Some((purge, mode)) }))
}
