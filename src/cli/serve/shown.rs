//! What the admin listener shows that the engine does not know: what is used of each limit, which program runs, and how the
//! endpoints of a nanoservice answer.

use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Semaphore;

use crate::edge::admin;
use crate::edge::clock::SystemClock;
use crate::edge::observe::process;
use crate::edge::store::memory::MemoryStore;
use crate::edge::upstream::probe::Probe;
use crate::engine::port::Clock as _;
use crate::page::conform::exchange::{Exchange, NoResponse};
use crate::page::conform::subject::Subject;
use crate::page::manifest::Manifest;
use crate::page::request::defaults::Defaults;
use crate::secrets::Secrets;

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

/// Sends the first example of a manifest to each of its endpoints.
pub(super) async fn probe(
    manifest: Arc<Manifest>,
    secrets: Arc<Secrets>,
    defaults: Arc<Defaults>,
) -> Vec<admin::ProbeResult> {
    let probes = manifest.endpoints.iter().map(|endpoint| async {
        let subject = Subject::declared(&manifest, endpoint, &[], &defaults);
        let mut result = admin::ProbeResult {
            version: manifest.version.to_string(),
            url: endpoint.as_str().to_owned(),
            ok: false,
            what: String::new(),
            took_ms: 0.0,
        };
        match (subject.probe(), Probe::new(&subject, Arc::clone(&secrets))) {
            (None, _) => {
                let needed = "it needs parameters: add one of `[[examples]]` to its manifest";
                needed.clone_into(&mut result.what);
            }
            (_, Err(why)) => result.what = why,
            (Some(request), Ok(probe)) => {
                let exchange = probe.ask(&request).await;
                result.url = request.url.to_string();
                result.took_ms = (exchange.took.as_secs_f64() * 1e4).round() / 10.0;
                (result.ok, result.what) = outcome(&exchange);
            }
        }
        result
    });
    join_all(probes).await
}

/// Whether an endpoint answered with a success, and what happened, in words.
fn outcome(exchange: &Exchange) -> (bool, String) {
    match &exchange.response {
        Ok(response) => match &response.body {
            Ok(_) => (response.status.is_success(), format!("it answered {}", response.status)),
            Err(_) => (false, format!("it answered {}, and the response was cut short", response.status)),
        },
        Err(NoResponse::Late) => (false, "no response in time".to_owned()),
        Err(failure) => (false, failure.to_string()),
    }
}
