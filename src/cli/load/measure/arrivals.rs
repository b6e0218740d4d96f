//! The moments at which requests leave. They are appointed before the run, whatever happens to the requests before them.

use std::sync::Arc;
use std::time::Duration;

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// At random, as those of clients who do not know each other
    Poisson,
    /// One every 1/RATE seconds
    Steady,
}

/// A request of an access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The second in which it came, counted from the first one of the log.
    pub(crate) second: u32,
    /// What was requested, as an index.
    pub(crate) shot: u32,
}

/// When the requests of a run leave.
#[derive(Debug, Clone)]
pub(crate) enum Schedule {
    /// So many a second, until the end.
    Rate {
        /// How they are spread.
        arrivals: Arrivals,
        /// Requests per second.
        rate: f64,
        /// How long.
        duration: Duration,
        /// What the random numbers begin with.
        seed: u64,
    },
    /// As in a log whose entries are sorted by their seconds.
    Replay {
        /// The entries.
        entries: Arc<[Entry]>,
        /// How many times as fast.
        speed: f64,
        /// How much of it.
        duration: Duration,
    },
}

/// The appointment of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Appointment {
    /// The moment, from the start of the run.
    pub(crate) at: Duration,
    /// The number of the request; in a replay, the index of what is requested.
    pub(crate) shot: u64,
}

impl Schedule {
    /// How long requests leave.
    pub(crate) const fn duration(&self) -> Duration {
        match self {
            Self::Rate { duration, .. } | Self::Replay { duration, .. } => *duration,
        }
    }

    /// The appointments of one of several workers, in order. Together those of all workers are the whole schedule.
    pub(crate) fn of_worker(&self, worker: usize, workers: usize) -> Box<dyn Iterator<Item = Appointment> + Send> {
        let (first, step) = (worker as u64, workers as u64);
        match self.clone() {
            Self::Rate { arrivals: Arrivals::Steady, rate, duration, .. } => {
                let numbers = (0..).map(move |index| first + index * step);
                #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
                let appointments =
                    numbers.map(move |shot| Appointment { at: Duration::from_secs_f64(shot as f64 / rate), shot });
                Box::new(appointments.take_while(move |one| one.at < duration))
            }
            Self::Rate { arrivals: Arrivals::Poisson, rate, duration, seed } => {
                // The sum of independent Poisson processes is one.
                #[expect(clippy::cast_precision_loss, reason = "there are few workers")]
                let own_rate = rate / workers as f64;
                let mut random = fastrand::Rng::with_seed(seed.wrapping_add(first));
                let (mut at, mut index) = (0.0, 0);
                let appointments = std::iter::from_fn(move || {
                    at -= (1.0 - random.f64()).ln() / own_rate;
                    let shot = first + index * step;
                    index += 1;
                    Some(Appointment { at: Duration::from_secs_f64(at), shot })
                });
                Box::new(appointments.take_while(move |one| one.at < duration))
            }
            Self::Replay { entries, speed, duration } => {
                let all = replay(entries, speed).enumerate();
                let own = all.filter(move |(index, _)| index % workers == worker).map(|(_, one)| one);
                Box::new(own.take_while(move |one| one.at < duration))
            }
        }
    }
}

/// The entries of a log; those of one second are spread evenly over it.
fn replay(entries: Arc<[Entry]>, speed: f64) -> impl Iterator<Item = Appointment> + Send {
    let (mut index, mut first, mut count) = (0, 0, 0);
    std::iter::from_fn(move || {
        let entry = *entries.get(index)?;
        if index == first + count {
            first = index;
            count = entries[index..].iter().take_while(|other| other.second == entry.second).count();
        }
        #[expect(clippy::cast_precision_loss, reason = "a second has fewer requests than 2^52")]
        let within = (index - first) as f64 / count as f64;
        index += 1;
        let at = (f64::from(entry.second) + within) / speed;
        Some(Appointment { at: Duration::from_secs_f64(at), shot: u64::from(entry.shot) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(arrivals: Arrivals, rate: f64, seconds: u64) -> Schedule {
        Schedule::Rate { arrivals, rate, duration: Duration::from_secs(seconds), seed: 1 }
    }

    fn all(schedule: &Schedule, workers: usize) -> Vec<Appointment> {
        let mut all: Vec<Appointment> = (0..workers).flat_map(|worker| schedule.of_worker(worker, workers)).collect();
        all.sort_by_key(|one| one.at);
        all
    }

    #[test]
    fn steady_requests_leave_at_equal_intervals_whoever_sends_them() {
        for workers in [1, 2, 3] {
            let all = all(&rate(Arrivals::Steady, 1_000.0, 2), workers);
            assert_eq!(all.len(), 2_000, "{workers} workers");
            for (number, one) in all.iter().enumerate() {
                let expected = Duration::from_millis(number as u64);
                assert!(one.at.abs_diff(expected) < Duration::from_micros(1), "{one:?}");
                assert_eq!(one.shot, number as u64);
            }
        }
    }

    #[test]
    fn poisson_requests_have_the_rate_and_the_spread_of_their_kind() {
        for workers in [1, 2] {
            let all = all(&rate(Arrivals::Poisson, 1_000.0, 100), workers);
            // Its standard deviation is the root of the mean: 316.
            assert!((98_500..101_500).contains(&all.len()), "{}", all.len());
            let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((0.95..1.05).contains(&(variance.sqrt() / mean)), "exponential gaps vary by their mean");
        }
    }

    #[test]
    fn a_log_is_replayed_in_its_own_rhythm() {
        let entry = |second, shot| Entry { second, shot };
        let entries = Arc::from([entry(0, 7), entry(0, 8), entry(3, 9), entry(3, 7), entry(3, 7), entry(3, 8)]);
        let replayed = |speed, seconds| {
            let duration = Duration::from_secs(seconds);
            let schedule = Schedule::Replay { entries: Arc::clone(&entries), speed, duration };
            all(&schedule, 2).iter().map(|one| (one.at.as_millis(), one.shot)).collect::<Vec<_>>()
        };
        assert_eq!(replayed(1.0, 60), [(0, 7), (500, 8), (3_000, 9), (3_250, 7), (3_500, 7), (3_750, 8)]);
        assert_eq!(replayed(2.0, 60), [(0, 7), (250, 8), (1_500, 9), (1_625, 7), (1_750, 7), (1_875, 8)]);
        assert_eq!(replayed(1.0, 1), [(0, 7), (500, 8)]);
    }

    proptest! {
        #[test]
        fn appointments_are_in_order_and_within_the_run(per_second in 1.0..5_000.0_f64, workers in 1_usize..4) {
            for arrivals in [Arrivals::Steady, Arrivals::Poisson] {
                let schedule = rate(arrivals, per_second, 1);
                for worker in 0..workers {
                    let own: Vec<Appointment> = schedule.of_worker(worker, workers).collect();
                    prop_assert!(own.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].shot < pair[1].shot));
                    prop_assert!(own.iter().all(|one| one.at < Duration::from_secs(1)));
                }
            }
        }
    }
}
