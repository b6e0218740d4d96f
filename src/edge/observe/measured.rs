//! Values that others know, and that are shown as they are when the metrics are rendered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::page::policy::resilience::health::Health;
use crate::page::source::names::Name;

/// The values of this moment.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The bytes that the cache holds.
    pub cache_bytes: u64,
    /// The most bytes that it may hold.
    pub cache_limit_bytes: u64,
    /// The responses and pages that it holds.
    pub cache_entries: u64,
    /// How many had to leave it for others.
    pub cache_evictions: u64,
    /// The requests of clients in progress.
    pub in_flight: usize,
    /// The most requests that may be in progress.
    pub in_flight_limit: usize,
    /// The replicas that are there, and how long the last purge took to come here, in seconds; `None` without others.
    pub cluster: Option<(usize, f64)>,
    /// The shared store: its state, and how often look-ups ended in each way; `None` without one.
    pub shared: Option<(i64, Vec<(&'static str, u64)>)>,
    /// The health of each nanoservice.
    pub health: BTreeMap<Name, Health>,
}

/// Shows the values that were set last.
#[derive(Debug, Clone, Default)]
pub(super) struct Values(Arc<Mutex<Measured>>);

impl Values {
    pub(super) fn set(&self, measured: Measured) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = measured;
    }
}

impl Collector for Values {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let measured = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (name, help, value) in [
            ("pasteup_cache_bytes", "Bytes in the cache", measured.cache_bytes),
            ("pasteup_cache_limit_bytes", "The most bytes that the cache may hold", measured.cache_limit_bytes),
            ("pasteup_cache_entries", "Responses and whole pages in the cache", measured.cache_entries),
            ("pasteup_requests_in_flight", "Requests of clients in progress", count(measured.in_flight)),
            (
                "pasteup_requests_in_flight_limit",
                "The most requests of clients that may be in progress",
                count(measured.in_flight_limit),
            ),
        ] {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let evictions = ConstCounter::new(measured.cache_evictions);
        let help = "Responses and whole pages that left the cache for others";
        evictions.encode(encoder.encode_descriptor("pasteup_cache_evictions", help, None, MetricType::Counter)?)?;
        if let Some((replicas, lag)) = measured.cluster {
            let help = "Replicas of this site that are there";
            let family = encoder.encode_descriptor("pasteup_cluster_replicas", help, None, MetricType::Gauge)?;
            ConstGauge::new(count(replicas)).encode(family)?;
            let help = "Seconds that the last purge took from the shared store to this replica";
            let family = encoder.encode_descriptor("pasteup_purge_lag_seconds", help, None, MetricType::Gauge)?;
            ConstGauge::new(lag).encode(family)?;
        }
        if let Some((state, lookups)) = &measured.shared {
            let help = "State of the shared store: 0 up, 1 left alone for a while, 2 never there";
            let family = encoder.encode_descriptor("pasteup_shared_cache_state", help, None, MetricType::Gauge)?;
            ConstGauge::new(*state).encode(family)?;
            let help = "Look-ups in the shared store by how they ended";
            let mut family =
                encoder.encode_descriptor("pasteup_shared_cache_lookups", help, None, MetricType::Counter)?;
            for (result, times) in lookups {
                ConstCounter::new(*times).encode(family.encode_family(&[("result", *result)])?)?;
            }
        }
        let help =
            "Health of a nanoservice that was asked in the last minute: 0 healthy, 1 degraded, 2 failing, 3 down";
        let mut family = encoder.encode_descriptor("pasteup_fragment_health", help, None, MetricType::Gauge)?;
        for (fragment, health) in &measured.health {
            let value: i64 = match health {
                Health::Idle => continue,
                Health::Healthy => 0,
                Health::Degraded => 1,
                Health::Failing => 2,
                Health::Down => 3,
            };
            ConstGauge::new(value).encode(family.encode_family(&[("fragment", &**fragment)])?)?;
        }
        Ok(())
    }
}
