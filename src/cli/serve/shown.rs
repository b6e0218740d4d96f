//! What the admin listener shows of the process: what is used of each limit, and which program runs.

use tokio::sync::Semaphore;

use crate::edge::admin;
use crate::edge::clock::SystemClock;
use crate::edge::observe::process;
use crate::edge::store::memory::MemoryStore;
use crate::engine::port::Clock as _;

/// What is used of each limit.
pub(super) fn load(store: &MemoryStore, in_flight: &Semaphore, limit: usize) -> admin::Load {
    let (cache_bytes, cache_entries) = store.usage();
    let memory = process::memory();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    admin::Load {
        memory_bytes: memory.resident_bytes,
        memory_limit_bytes: memory.limit_bytes,
        cache_bytes,
        cache_limit_bytes: store.max_bytes(),
        cache_entries,
        cache_evictions: store.evictions(),
        in_flight: count(limit.saturating_sub(in_flight.available_permits())),
        in_flight_limit: count(limit),
    }
}

/// The program that runs.
pub(super) fn about() -> admin::About {
    // Containers and machines have names; where none is known, the number of the process has to do.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    let process = std::process::id();
    admin::About {
        version: env!("CARGO_PKG_VERSION"),
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        replica: host.map_or_else(|| format!("process {process}"), |host| format!("{host}, process {process}")),
        started: SystemClock.wall(),
    }
}
