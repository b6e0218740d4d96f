//! The one value in the shared store in which all replicas decide about rollouts.

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use redis::{cmd, pipe};

use crate::engine::port::SharedRollouts;

use super::RedisStore;

/// Sets the value if it is the one that is expected; an empty one is none.
const COMPARE_AND_SET: &str = "if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1";

impl RedisStore {
    fn rollouts(&self) -> String {
        format!("{}:rollouts", self.namespace)
    }
}

impl SharedRollouts for RedisStore {
    fn read(&self) -> BoxFuture<'static, Result<(Option<Bytes>, Timestamp), String>> {
        let (writes, mut commands) = (self.writes.clone(), pipe());
        commands.cmd("GET").arg(self.rollouts()).cmd("TIME");
        async move {
            let (value, (seconds, microseconds)): (Option<Bytes>, (i64, i64)) = writes.ask_all(commands).await?;
            let now = Timestamp::from_microsecond(seconds.saturating_mul(1_000_000).saturating_add(microseconds));
            Ok((value, now.map_err(|error| error.to_string())?))
        }
        .boxed()
    }

    fn replace(&self, before: Option<Bytes>, after: Bytes) -> BoxFuture<'static, Result<bool, String>> {
        let (writes, mut set) = (self.writes.clone(), cmd("EVAL"));
        set.arg(COMPARE_AND_SET).arg(1).arg(self.rollouts()).arg(&*before.unwrap_or_default()).arg(&*after);
        async move { writes.ask(set).await }.boxed()
    }
}
