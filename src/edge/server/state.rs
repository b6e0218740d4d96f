//! What the public side works with. It is shared by all requests, and changes only with the settings at a start.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::engine::load::LoadRuns;
use crate::engine::port::Observer;
use crate::engine::{Compositor, Live};

use super::access::AccessLog;
use super::coding::Compression;
use super::dev::Dev;
use super::overlay::Overlay;
use super::public::PublicFiles;

/// The parts that the public side needs.
pub struct Pages {
    /// The layouts, manifests and settings that are in force.
    pub live: Arc<Live>,
    /// Composes pages.
    pub compositor: Compositor,
    /// Counts what happens.
    pub observer: Arc<dyn Observer>,
    /// Permits for requests in flight. A request that gets none is refused with 503 at once.
    pub in_flight: Arc<Semaphore>,
    /// Longest target of a request, in bytes.
    pub max_uri_bytes: usize,
    /// The files that are served where there is no page.
    pub public: PublicFiles,
    /// Content codings that replies may be sent in.
    pub compression: Compression,
    /// Which clients see the overlay.
    pub overlay: Overlay,
    /// Logs each reply; `None`: nothing is logged.
    pub access_log: Option<Arc<AccessLog>>,
    /// The load runs, whose requests are recorded.
    pub load_runs: Arc<LoadRuns>,
    /// Whether pages are served over TLS.
    pub is_tls: bool,
    /// The state that exists only while the site is being developed.
    pub dev: Option<Dev>,
}
