//! What one replica reports about the others, and about the store that they share. It holds no secret.

use jiff::Timestamp;
use serde::Serialize;

/// The state of the cluster, as one replica sees it.
#[derive(Debug, Serialize)]
pub struct ClusterReport {
    /// The name of this replica.
    pub name: String,
    /// The shared store; `None` without one.
    pub store: Option<StoreReport>,
    /// All replicas that are known.
    pub replicas: Vec<ReplicaReport>,
}

/// The state of the shared store.
#[derive(Debug, Serialize)]
pub struct StoreReport {
    /// `up`, `open` if it is left alone for a while, or `down` if it was never there.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Its last error.
    pub last_error: Option<String>,
}

/// One replica.
#[derive(Debug, Serialize)]
pub struct ReplicaReport {
    /// Its name.
    pub name: String,
    /// When it was last seen.
    pub seen_ms_ago: u64,
    /// `up` or `unreachable`.
    pub state: &'static str,
}

impl ClusterReport {
    /// Whether there may be other replicas.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.store.is_some() || self.replicas.len() > 1
    }
}
