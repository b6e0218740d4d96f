//! Follows the stream of purges. After an absence it reads what was missed; if that is no longer there, or if the store was emptied,
//! everything is marked as stale.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::port::{FleetStore, StreamEntry};
use crate::page::policy::cluster::order::{Position, Purge, PurgeMode};

use super::Cluster;

/// The pause after the stream could not be read.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a replica shows that it is there.
const BEAT: Duration = Duration::from_millis(500);

/// Follows the stream.
pub(super) async fn follow(cluster: Arc<Cluster>, fleet: Arc<dyn FleetStore>) {
    let mut is_first = true;
    loop {
        fleet.connected().await;
        match cluster.catch_up(&*fleet, is_first).await {
            Ok(()) => is_first = false,
            Err(why) => {
                tracing::debug!("the stream of purges cannot be read: {why}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        while let Ok(true) = cluster.follow_once(&fleet).await {}
        tokio::time::sleep(PAUSE).await;
    }
}

/// Shows again and again that this replica is there, and sees who else is.
pub(super) async fn beat(cluster: Arc<Cluster>, fleet: Arc<dyn FleetStore>) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        if let Ok(all) = fleet.beat(&cluster.name).await {
            let now = Instant::now().into_std();
            let seen = all.into_iter().map(|(name, ago)| (name, now.checked_sub(ago).unwrap_or(now)));
            // Peers may be there that do not reach the store.
            let mut members = cluster.members();
            if cluster.links.peers.is_some() {
                seen.for_each(|(name, at)| members.saw(&name, at));
            } else {
                members.replace(seen);
            }
        }
    }
}

impl Cluster {
    /// Reads what was missed.
    async fn catch_up(&self, fleet: &dyn FleetStore, is_first: bool) -> Result<(), String> {
        let Some(shared) = &self.links.shared else { return Ok(()) };
        let known = (!is_first).then(|| shared.log().position());
        let mut entries = fleet.entries_from(known).await?;
        let is_known = known.is_some_and(|known| entries.first().is_some_and(|(at, _)| *at == known));
        if !is_known {
            if known.is_some() {
                tracing::warn!("the stream of purges has a gap: everything that is cached is marked as stale");
                entries = fleet.entries_from(None).await?;
            }
            if entries.is_empty() {
                // So that there is an entry that is missed if the store is emptied.
                let start = StreamEntry { name: "start".to_owned(), purge: None };
                entries.push((fleet.append(&start).await?, start));
            }
            let first = entries[0].0;
            shared.log().begin_at(first);
            // What was cached before may have been purged meanwhile.
            self.compositor.purge(&Purge::All, PurgeMode::Soft);
        }
        for (at, entry) in entries {
            self.apply(fleet, at, &entry, is_known);
        }
        self.append_queued(fleet).await?;
        shared.caught_up();
        shared.tick().await;
        Ok(())
    }

    /// Applies the next entries. `Ok(false)`: the store was emptied.
    async fn follow_once(&self, fleet: &Arc<dyn FleetStore>) -> Result<bool, String> {
        let Some(shared) = &self.links.shared else { return Ok(false) };
        let known = shared.log().position();
        let entries = fleet.next_entries(known).await?;
        if entries.is_empty() {
            self.append_queued(&**fleet).await?;
            return Ok(fleet.last_position().await?.is_some_and(|last| last >= known));
        }
        // Another replica found the stream empty, and began it anew: what was in it is lost.
        if entries.iter().any(|(_, entry)| entry.purge.is_none()) {
            return Ok(false);
        }
        for (at, entry) in entries {
            self.apply(&**fleet, at, &entry, true);
        }
        self.append_queued(&**fleet).await?;
        Ok(true)
    }

    /// Applies an entry of the stream, and reports that.
    fn apply(&self, fleet: &dyn FleetStore, at: Position, entry: &StreamEntry, is_new: bool) {
        let Some(shared) = &self.links.shared else { return };
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).remove(&entry.name);
        let (nothing, hard) = (Purge::Tags(Vec::new()), PurgeMode::Hard);
        let (purge, mode) = entry.purge.as_ref().map_or((&nothing, hard), |(purge, mode)| (purge, *mode));
        let now = Instant::now().into_std();
        // Known before the memory is purged: what a look-up finds in between is judged by it.
        shared.log().add(at, &entry.name, purge, mode, now);
        if !is_new || entry.purge.is_none() {
            return;
        }
        // Its own purges were done before.
        let purged = own.unwrap_or_else(|| self.compositor.purge(purge, mode));
        let written = u64::try_from(self.links.clock.wall().as_millisecond()).unwrap_or_default();
        self.lag.store(written.saturating_sub(at.milliseconds), Ordering::Relaxed);
        tokio::spawn(fleet.report_done(at, &self.name, purged));
    }

    /// Adds the purges that could not be added before.
    async fn append_queued(&self, fleet: &dyn FleetStore) -> Result<(), String> {
        loop {
            let next = self.queued.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
            let Some(entry) = next else { return Ok(()) };
            fleet.append(&entry).await?;
            let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
            queued.retain(|other| other.name != entry.name);
        }
    }
}
