//! The series of each upstream: requests, those in progress, and the state of its circuits.
//! One that was not asked for an hour is left out, and continues with its counts once it is asked again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use crate::engine::port::CircuitChange;
use crate::page::policy::resilience::breaker::Circuit;
use crate::page::policy::resilience::circuits::CircuitCounts;
use crate::page::source::map::Map;
use crate::page::source::names::Name;

/// How long after its last request an upstream is shown.
const SHOWN_FOR: Duration = Duration::from_hours(1);
/// The maximum number of upstreams: `src` may name any number of ports.
const MAX_UPSTREAMS: usize = 10_000;

/// The series of all upstreams.
#[derive(Debug, Clone, Default)]
pub(super) struct Upstreams(Arc<Mutex<Map<Name, Series>>>);

#[derive(Debug)]
struct Series {
    requests: u64,
    in_flight: i64,
    circuits: CircuitCounts,
    /// The nanoservices that it is an endpoint of.
    fragments: BTreeSet<Name>,
    /// When a request was for it last, sent or refused.
    asked: Instant,
}

impl Upstreams {
    fn all(&self) -> MutexGuard<'_, Map<Name, Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, upstream: &str, change: impl FnOnce(&mut Series)) {
        let mut all = self.all();
        let is_full = all.len() >= MAX_UPSTREAMS;
        let series = match all.get_mut(upstream) {
            Some(series) => series,
            None if is_full => return,
            None => all.entry(Name::from(upstream)).or_insert_with(|| Series {
                requests: 0,
                in_flight: 0,
                circuits: CircuitCounts::default(),
                fragments: BTreeSet::new(),
                asked: Instant::now(),
            }),
        };
        change(series);
    }

    /// Counts that a request began (`true`) or ended.
    pub(super) fn in_flight(&self, upstream: &str, began: bool) {
        self.change(upstream, |series| {
            series.requests += u64::from(began);
            series.in_flight += if began { 1 } else { -1 };
            series.asked = Instant::now();
        });
    }

    /// Notes that a request was for it, even if it was refused.
    pub(super) fn asked(&self, upstream: &str) {
        self.change(upstream, |series| series.asked = Instant::now());
    }

    pub(super) fn circuit_changed(&self, change: &CircuitChange<'_>) {
        self.change(change.upstream, |series| {
            series.circuits.change(change.before, change.after);
            if !series.fragments.contains(change.nanoservice) {
                series.fragments.insert(Arc::clone(change.nanoservice));
            }
        });
    }
}

impl Collector for Upstreams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (all, now) = (self.all(), Instant::now());
        let is_shown =
            |series: &Series| series.in_flight > 0 || now.saturating_duration_since(series.asked) < SHOWN_FOR;
        let mut shown: Vec<(&Name, &Series)> = all.iter().filter(|(_, series)| is_shown(series)).collect();
        shown.sort_by_key(|(name, _)| Arc::clone(name));
        let mut family = |name, help, kind, encode: &dyn Fn(&Series, MetricEncoder<'_>) -> fmt::Result| {
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            shown
                .iter()
                .try_for_each(|(upstream, series)| encode(series, metric.encode_family(&[("upstream", &***upstream)])?))
        };
        family(
            "pasteup_upstream_requests",
            "Requests to an upstream, retries and hedges included",
            MetricType::Counter,
            &|series, metric| ConstCounter::new(series.requests).encode(metric),
        )?;
        family(
            "pasteup_upstream_in_flight",
            "Requests to an upstream in progress",
            MetricType::Gauge,
            &|series, metric| ConstGauge::new(series.in_flight).encode(metric),
        )?;
        family(
            "pasteup_circuit_state",
            "State of the circuit breaker: 0 closed, 1 open, 2 probing",
            MetricType::Gauge,
            &|series, metric| {
                let state: i64 = match series.circuits.worst() {
                    Circuit::Closed => 0,
                    Circuit::Open => 1,
                    Circuit::HalfOpen => 2,
                };
                ConstGauge::new(state).encode(metric)
            },
        )?;
        let help = "The nanoservices that an upstream is an endpoint of; always 1";
        let mut metric = encoder.encode_descriptor("pasteup_upstream_info", help, None, MetricType::Gauge)?;
        for (upstream, series) in shown {
            for fragment in &series.fragments {
                let labels = [("upstream", &**upstream), ("fragment", &**fragment)];
                ConstGauge::new(1_i64).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_upstream_is_shown_for_an_hour_and_returns_with_its_count() {
        let (upstreams, mut registry) = (Upstreams::default(), Registry::default());
        registry.register_collector(Box::new(upstreams.clone()));
        let counts = || {
            let mut text = String::new();
            encode(&mut text, &registry).expect("a string takes everything");
            let lines = text.lines().filter_map(|line| line.strip_prefix("pasteup_upstream_requests_total"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let request = |upstream| [true, false].map(|began| upstreams.in_flight(upstream, began));
        let _sent = [request("http://a"), request("http://a"), request("http://b")];
        assert_eq!(counts(), ["{upstream=\"http://a\"} 2", "{upstream=\"http://b\"} 1"]);
        tokio::time::advance(SHOWN_FOR - Duration::from_secs(1)).await;
        // A refusal by an open circuit shows that somebody still asks.
        upstreams.asked("http://b");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(counts(), ["{upstream=\"http://b\"} 1"]);
        let _sent = request("http://a");
        assert_eq!(counts(), ["{upstream=\"http://a\"} 3", "{upstream=\"http://b\"} 1"]);
    }
}
