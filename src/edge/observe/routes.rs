//! How long clients wait for the head of a response, by route and status: of the busiest routes each by itself, of all others
//! together. A route that is no longer among the busiest is left out, and continues with its counts if it returns.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tokio::time::Instant;

use crate::page::source::map::Map;

/// Upper bounds of the histogram buckets, in seconds: from a cached page to a page that waits for its whole budget.
pub(super) const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The number of routes with series of their own.
const BUSIEST: usize = 100;
/// The name under which the others are counted. A route begins with a slash.
const OTHER: &str = "other";
/// How often the busiest routes are determined.
const PERIOD: Duration = Duration::from_mins(1);

/// The durations of all responses.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    routes: Map<String, Route>,
    other: ByStatus,
    /// Responses to requests that no layout has a route for.
    none: ByStatus,
    /// When the busiest routes were determined last.
    ranked: Instant,
}

impl Default for State {
    fn default() -> Self {
        Self { routes: Map::default(), other: ByStatus::default(), none: ByStatus::default(), ranked: Instant::now() }
    }
}

#[derive(Debug, Default)]
struct Route {
    is_shown: bool,
    /// Recent requests: halved in each period.
    recent: u64,
    durations: ByStatus,
}

/// Few statuses occur, so they are in a list.
#[derive(Debug, Default)]
struct ByStatus(Vec<(u16, Durations)>);

/// A histogram of durations. That of the library would be told of each response by itself.
#[derive(Debug, Default, Clone)]
struct Durations {
    /// One count for each bound, and one for what is longer.
    counts: [u64; SECONDS.len() + 1],
    seconds: f64,
}

impl Durations {
    #[expect(clippy::cast_precision_loss, reason = "counts of one flush")]
    fn add(&mut self, took: Duration, times: u64) {
        let seconds = took.as_secs_f64();
        self.counts[SECONDS.partition_point(|bound| *bound < seconds)] += times;
        self.seconds += seconds * times as f64;
    }

    fn encode(&self, mut metric: MetricEncoder<'_>) -> fmt::Result {
        let bounds = SECONDS.into_iter().chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts).collect();
        metric.encode_histogram::<NoLabelSet>(self.seconds, self.counts.iter().sum(), &buckets, None)
    }
}

impl ByStatus {
    fn add(&mut self, status: StatusCode, took: Duration, times: u64) {
        let index = self.0.iter().position(|(known, _)| *known == status.as_u16()).unwrap_or_else(|| {
            self.0.push((status.as_u16(), Durations::default()));
            self.0.len() - 1
        });
        self.0[index].1.add(took, times);
    }
}

impl State {
    /// Determines the busiest routes. One takes the place of another only if it is twice as busy: otherwise two that are equally
    /// busy would change places again and again.
    fn rank(&mut self) {
        let mut shown: Vec<(u64, String)> = Vec::new();
        let mut hidden: Vec<(u64, String)> = Vec::new();
        for (name, route) in &mut self.routes {
            if route.is_shown { &mut shown } else { &mut hidden }.push((route.recent, name.clone()));
            route.recent /= 2;
        }
        shown.sort();
        hidden.sort_by(|a, b| b.cmp(a));
        for ((least, leaving), (most, coming)) in shown.into_iter().zip(hidden) {
            if most <= least.saturating_mul(2) {
                break;
            }
            for (name, is_shown) in [(leaving, false), (coming, true)] {
                self.routes.entry(name).or_default().is_shown = is_shown;
            }
        }
    }
}

impl Routes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds this many responses. `route`: the pattern of the page's route; `None`: it is no page.
    pub(super) fn add(&self, route: Option<&str>, status: StatusCode, took: Duration, times: u64) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(name) = route else { return state.none.add(status, took, times) };
        let has_room = state.routes.len() < BUSIEST;
        let route = match state.routes.get_mut(name) {
            Some(route) => route,
            None => state.routes.entry(name.to_owned()).or_insert(Route { is_shown: has_room, ..Route::default() }),
        };
        route.recent += times;
        if route.is_shown { &mut route.durations } else { &mut state.other }.add(status, took, times);
        if state.routes.len() > BUSIEST && state.ranked.elapsed() >= PERIOD {
            state.ranked = Instant::now();
            state.rank();
        }
    }
}

impl Collector for Routes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.state();
        let routes = state.routes.iter().filter(|(_, route)| route.is_shown);
        let mut shown: Vec<(&str, &ByStatus)> = routes.map(|(name, route)| (name.as_str(), &route.durations)).collect();
        shown.sort_by_key(|(name, _)| *name);
        shown.extend([("", &state.none), (OTHER, &state.other)]);
        let mut metric = encoder.encode_descriptor(
            "http_server_request_duration_seconds",
            "Seconds from a request to the head of its response",
            None,
            MetricType::Histogram,
        )?;
        for (route, by_status) in shown {
            for (status, durations) in &by_status.0 {
                let labels = [("http_route", route), ("http_response_status_code", &status.to_string())];
                durations.encode(metric.encode_family(&labels)?)?;
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

    /// The lines of a histogram with these labels, without its name.
    fn lines(routes: &Routes, wanted: &str) -> Vec<String> {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(routes.clone()));
        encode(&mut text, &registry).expect("a string takes everything");
        let lines = text.lines().filter_map(|line| line.strip_prefix("http_server_request_duration_seconds_"));
        lines.filter(|line| line.contains(wanted)).map(str::to_owned).collect()
    }

    fn counts(routes: &Routes) -> Vec<String> {
        let lines = lines(routes, "").into_iter().filter_map(|line| line.strip_prefix("count").map(str::to_owned));
        lines.collect()
    }

    fn add(routes: &Routes, route: &str, times: u64) {
        routes.add(Some(route), StatusCode::OK, Duration::from_millis(1), times);
    }

    #[test]
    fn a_duration_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let routes = Routes::default();
        for (ms, times) in [(1, 3), (7, 2), (20_000, 1)] {
            routes.add(None, StatusCode::NOT_FOUND, Duration::from_millis(ms), times);
        }
        let labels = "http_route=\"\",http_response_status_code=\"404\"";
        let found = lines(&routes, labels);
        for expected in [
            format!("sum{{{labels}}} 20.017"),
            format!("count{{{labels}}} 6"),
            format!("bucket{{le=\"0.0005\",{labels}}} 0"),
            format!("bucket{{le=\"0.001\",{labels}}} 3"),
            format!("bucket{{le=\"0.005\",{labels}}} 3"),
            format!("bucket{{le=\"0.01\",{labels}}} 5"),
            format!("bucket{{le=\"10.0\",{labels}}} 5"),
            format!("bucket{{le=\"+Inf\",{labels}}} 6"),
        ] {
            assert!(found.contains(&expected), "{expected} is not in {found:#?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_busiest_routes_have_series_of_their_own() {
        let routes = Routes::default();
        (0..BUSIEST).for_each(|number| add(&routes, &format!("/{number:03}"), 4));
        add(&routes, "/late", 8);
        let found = counts(&routes);
        assert_eq!(found.len(), BUSIEST + 1);
        assert!(found.contains(&"{http_route=\"other\",http_response_status_code=\"200\"} 8".to_owned()), "{found:#?}");
        // Twice as busy is not more than twice as busy.
        tokio::time::advance(PERIOD).await;
        add(&routes, "/000", 0);
        assert!(lines(&routes, "/late").is_empty());
        add(&routes, "/late", 8);
        tokio::time::advance(PERIOD).await;
        add(&routes, "/late", 0);
        add(&routes, "/late", 1);
        let found = counts(&routes);
        assert_eq!(found.len(), BUSIEST + 1, "one has left for it: {found:#?}");
        assert!(found.contains(&"{http_route=\"/late\",http_response_status_code=\"200\"} 1".to_owned()), "{found:#?}");
        assert!(
            found.contains(&"{http_route=\"other\",http_response_status_code=\"200\"} 16".to_owned()),
            "{found:#?}"
        );
        // The one that left continues where it was.
        let left: Vec<String> = (0..BUSIEST).map(|number| format!("/{number:03}")).collect();
        let left = left.iter().find(|name| lines(&routes, name).is_empty()).expect("one has left");
        add(&routes, left, 40);
        tokio::time::advance(PERIOD).await;
        add(&routes, left, 0);
        let expected = format!("{{http_route=\"{left}\",http_response_status_code=\"200\"}} 4");
        assert!(counts(&routes).contains(&expected), "{:#?}", counts(&routes));
    }
}
