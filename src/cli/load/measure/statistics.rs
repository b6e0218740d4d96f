//! What is counted of a run: per path and in all, in histograms that are merged. Memory does not grow with the requests.
//! A request that got no answer has no latency, unless its client gave up: then it waited at least so long.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Requests that leave so much later than appointed, by the tool's own fault, are late.
const LATE: Duration = Duration::from_millis(2);
/// The share of late requests from which on a run does not count.
pub(crate) const MAX_LATE: f64 = 0.01;
/// Columns of the heat map.
const COLUMNS: usize = 96;
/// Rows of the heat map: four for each power of two, from 62.5 microseconds to a minute and more.
const ROWS: usize = 84;
const ROWS_PER_OCTAVE: f64 = 4.0;
const LOWEST_ROW_MS: f64 = 0.0625;

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// There was no connection.
    Connect,
    /// There was no complete answer in time.
    Timeout,
    /// The answer had a status from 400.
    Status,
    /// The connection broke, or the answer was cut short.
    Incomplete,
}

impl ErrorKind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Status, Self::Incomplete];

    /// Its name in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Incomplete => "incomplete",
        }
    }
}

/// How one request went. Durations are from the appointed moment, except `service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measurement {
    /// When it was appointed, from the start of the run.
    pub(crate) at: Duration,
    /// Until the last byte, or until its client gave up.
    pub(crate) latency: Duration,
    /// From sending it until then; `None` if it was not sent.
    pub(crate) service: Option<Duration>,
    /// Until the head of the answer.
    pub(crate) first_byte: Option<Duration>,
    /// How late the tool was.
    pub(crate) late: Duration,
    /// Bytes of the body.
    pub(crate) bytes: u64,
    /// What went wrong.
    pub(crate) error: Option<ErrorKind>,
}

/// What is counted of one path, or of all.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// All requests.
    pub(crate) requests: u64,
    /// The errors, in the order of [`ErrorKind::ALL`].
    pub(crate) errors: [u64; 4],
    /// Times in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Times in microseconds.
    pub(crate) service: Histogram<u64>,
    /// Times in microseconds.
    pub(crate) first_byte: Histogram<u64>,
    /// Bytes of all bodies.
    pub(crate) bytes: u64,
}

/// What is counted of a run.
#[derive(Debug, Clone)]
pub(crate) struct Statistics {
    /// All requests.
    pub(crate) total: Row,
    /// Each path.
    pub(crate) rows: Vec<Row>,
    /// How late the tool was, in microseconds.
    pub(crate) late: Histogram<u64>,
    /// How many requests were late.
    pub(crate) late_requests: u64,
    /// When requests took how long.
    pub(crate) heat: HeatMap,
}

/// How many requests of each slice of time took how long.
#[derive(Debug, Clone)]
pub(crate) struct HeatMap {
    /// The time of one column.
    pub(crate) column: Duration,
    counts: Vec<[u32; ROWS]>,
}

impl Row {
    fn new() -> Self {
        let histogram = || Histogram::new(3).expect("three significant digits are allowed");
        Self {
            requests: 0,
            errors: [0; 4],
            latency: histogram(),
            service: histogram(),
            first_byte: histogram(),
            bytes: 0,
        }
    }

    fn record(&mut self, one: &Measurement) {
        self.requests += 1;
        self.bytes += one.bytes;
        if let Some(error) = one.error {
            self.errors[error as usize] += 1;
        }
        if one.has_latency() {
            record(&mut self.latency, one.latency);
            one.service.into_iter().for_each(|service| record(&mut self.service, service));
        }
        one.first_byte.into_iter().for_each(|first_byte| record(&mut self.first_byte, first_byte));
    }

    /// Adds what another worker, or another step, has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        for (own, others) in self.errors.iter_mut().zip(other.errors) {
            *own += others;
        }
        merge(&mut self.latency, &other.latency);
        merge(&mut self.service, &other.service);
        merge(&mut self.first_byte, &other.first_byte);
    }

    /// The share of errors.
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
    pub(crate) fn error_share(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.errors.iter().sum::<u64>() as f64 / self.requests as f64 }
    }

    /// A quantile of the latency, in milliseconds.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        quantile_ms(&self.latency, quantile)
    }
}

impl Measurement {
    /// Whether its latency is one that a client has seen.
    fn has_latency(&self) -> bool {
        !matches!(self.error, Some(ErrorKind::Connect | ErrorKind::Incomplete))
    }
}

fn record(histogram: &mut Histogram<u64>, value: Duration) {
    let microseconds = u64::try_from(value.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
    // It grows as it has to; no duration is too long for it.
    let _recorded = histogram.record(microseconds);
}

fn merge(own: &mut Histogram<u64>, other: &Histogram<u64>) {
    own.add(other).expect("a histogram that grows can take up any other");
}

/// A quantile of a histogram of microseconds, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a request takes less than 2^52 microseconds")]
pub(crate) fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() { 0.0 } else { histogram.value_at_quantile(quantile) as f64 / 1e3 }
}

impl Statistics {
    /// Nothing counted yet, of so many paths, in a run of about this duration.
    pub(crate) fn new(paths: usize, duration: Duration) -> Self {
        Self {
            total: Row::new(),
            rows: vec![Row::new(); paths],
            late: Histogram::new(3).expect("three significant digits are allowed"),
            late_requests: 0,
            heat: HeatMap::new(duration),
        }
    }

    /// Counts a request.
    pub(crate) fn record(&mut self, path: usize, one: &Measurement) {
        self.total.record(one);
        self.rows[path].record(one);
        record(&mut self.late, one.late);
        self.late_requests += u64::from(one.late > LATE);
        if one.has_latency() {
            self.heat.record(one.at, one.latency);
        }
    }

    /// Adds what another worker, or another step, has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        for (own, others) in self.rows.iter_mut().zip(&other.rows) {
            own.merge(others);
        }
        merge(&mut self.late, &other.late);
        self.late_requests += other.late_requests;
        self.heat.merge(&other.heat);
    }

    /// The share of requests that were late by the tool's own fault.
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
    pub(crate) fn late_share(&self) -> f64 {
        if self.total.requests == 0 { 0.0 } else { self.late_requests as f64 / self.total.requests as f64 }
    }
}

impl HeatMap {
    fn new(duration: Duration) -> Self {
        let column = duration.div_f64(COLUMNS as f64).max(Duration::from_millis(10));
        Self { column, counts: Vec::new() }
    }

    fn record(&mut self, at: Duration, latency: Duration) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "floats saturate")]
        let column = (at.div_duration_f64(self.column) as usize).min(COLUMNS - 1);
        if self.counts.len() <= column {
            self.counts.resize(column + 1, [0; ROWS]);
        }
        self.counts[column][row(latency)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), [0; ROWS]);
        }
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            for (own, others) in own.iter_mut().zip(others) {
                *own += others;
            }
        }
    }

    /// The counts of each column, by row.
    pub(crate) fn columns(&self) -> &[[u32; ROWS]] {
        &self.counts
    }

    /// The lowest latency of a row, in milliseconds.
    pub(crate) fn row_from_ms(row: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "there are few rows")]
        let octaves = row as f64 / ROWS_PER_OCTAVE;
        LOWEST_ROW_MS * octaves.exp2()
    }
}

fn row(latency: Duration) -> usize {
    let octaves = (latency.as_secs_f64() * 1e3 / LOWEST_ROW_MS).max(1.0).log2();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "floats saturate")]
    let row = (octaves * ROWS_PER_OCTAVE) as usize;
    row.min(ROWS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answered(at_ms: u64, latency_ms: u64) -> Measurement {
        let latency = Duration::from_millis(latency_ms);
        Measurement {
            at: Duration::from_millis(at_ms),
            latency,
            service: Some(latency),
            first_byte: Some(latency / 2),
            late: Duration::ZERO,
            bytes: 10,
            error: None,
        }
    }

    #[test]
    fn what_a_client_never_saw_has_no_latency() {
        let mut statistics = Statistics::new(1, Duration::from_secs(10));
        for (error, latency_ms) in [
            (None, 10),
            (Some(ErrorKind::Status), 20),
            (Some(ErrorKind::Timeout), 10_000),
            (Some(ErrorKind::Connect), 1),
            (Some(ErrorKind::Incomplete), 1),
        ] {
            statistics.record(0, &Measurement { error, ..answered(0, latency_ms) });
        }
        let row = &statistics.total;
        assert_eq!((row.requests, row.latency.len(), row.errors), (5, 3, [1, 1, 1, 1]));
        assert!((row.error_share() - 0.8).abs() < 1e-9);
        assert!((10.0..10.1).contains(&row.latency_ms(0.1)) && row.latency_ms(1.0) >= 10_000.0);
    }

    #[test]
    fn a_request_is_late_beyond_two_milliseconds() {
        let mut statistics = Statistics::new(1, Duration::from_secs(10));
        for late in [0, 500, 2_000, 2_001] {
            statistics.record(0, &Measurement { late: Duration::from_micros(late), ..answered(0, 1) });
        }
        assert_eq!((statistics.late_requests, statistics.late_share()), (1, 0.25));
    }

    #[test]
    fn the_heat_map_has_a_place_for_every_request() {
        let mut heat = HeatMap::new(Duration::from_secs(10));
        for (at, latency) in [(0, 0), (5_000, 100), (60_000, 3_600_000)] {
            heat.record(Duration::from_millis(at), Duration::from_millis(latency));
        }
        assert_eq!(heat.columns().iter().flatten().sum::<u32>(), 3);
        assert_eq!(heat.columns()[COLUMNS - 1][ROWS - 1], 1);
        let of_100_ms = row(Duration::from_millis(100));
        assert!(HeatMap::row_from_ms(of_100_ms) <= 100.0 && HeatMap::row_from_ms(of_100_ms + 1) > 100.0);
    }

    proptest! {
        #[test]
        fn merged_statistics_are_those_of_all_requests(
            requests in prop::collection::vec((0_usize..2, 0_u64..12_000, 0_u64..20_000), 0..200),
            at in 0_usize..200,
        ) {
            let record = |requests: &[(usize, u64, u64)]| {
                let mut statistics = Statistics::new(2, Duration::from_secs(10));
                requests.iter().for_each(|(path, at, latency)| statistics.record(*path, &answered(*at, *latency)));
                statistics
            };
            let (first, second) = requests.split_at(at.min(requests.len()));
            let mut merged = record(first);
            merged.merge(&record(second));
            let whole = record(&requests);
            prop_assert_eq!(merged.total.requests, whole.total.requests);
            prop_assert_eq!(&merged.total.latency, &whole.total.latency);
            prop_assert_eq!(&merged.rows[1].first_byte, &whole.rows[1].first_byte);
            prop_assert_eq!(merged.heat.columns(), whole.heat.columns());
        }
    }
}
