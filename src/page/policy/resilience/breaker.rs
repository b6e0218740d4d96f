//! Opens the circuit to an endpoint that only fails, so that it delays no page and can recover.
//! A single failure among many successes does not open a circuit.

use std::time::{Duration, Instant};

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BreakerRules {
    /// The number of consecutive failures that opens it.
    pub failures: u32,
    /// How long it stays open the first time. The time doubles with each probe that fails.
    pub pause: Duration,
    /// The longest time that it stays open, before jitter.
    pub max_pause: Duration,
}

/// The fewest requests, in the current and the previous window together, from which a rate of failures is
/// significant.
const MIN_REQUESTS: u32 = 20;
/// The length of a window. The previous window counts beside the current one.
const WINDOW: Duration = Duration::from_secs(10);
/// By what share of its length a pause is lengthened or shortened at random.
const JITTER: f64 = 0.2;

/// The results of the requests in one window.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    requests: u32,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    /// No request is admitted before this instant, after a pause of this nominal length.
    Open(Instant, Duration),
    /// One probe has been admitted, after a pause of this nominal length.
    HalfOpen(Duration),
}

/// The circuit breaker of one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    state: State,
    consecutive_failures: u32,
    /// When the last failure that counted as consecutive was recorded.
    last_failure: Option<Instant>,
    current: Tally,
    previous: Tally,
    /// When the current window began.
    window_start: Instant,
}

/// The state of a circuit, as statistics and metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// All requests are admitted.
    Closed,
    /// No request is admitted.
    Open,
    /// One request is testing the endpoint, and no other is admitted.
    HalfOpen,
}

impl Circuit {
    /// Its name in statistics and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "probing",
        }
    }
}

/// How a request was admitted. It is passed back with the request's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The circuit was closed.
    Normal,
    /// The request tests whether the endpoint has recovered.
    Probe,
}

impl Breaker {
    /// A closed circuit without any recorded request.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            consecutive_failures: 0,
            last_failure: None,
            current: Tally::default(),
            previous: Tally::default(),
            window_start: now,
        }
    }

    /// The state of the circuit.
    #[must_use]
    pub const fn circuit(&self) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open(..) => Circuit::Open,
            State::HalfOpen(_) => Circuit::HalfOpen,
        }
    }

    /// Whether a request would be admitted.
    #[must_use]
    pub fn would_admit(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until, _) => until <= now,
            State::HalfOpen(_) => false,
        }
    }

    /// Admits a request, or returns `None`. Each admitted request must later be recorded or cancelled.
    pub fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state {
            State::Closed => Some(Admission::Normal),
            State::Open(until, pause) if until <= now => {
                self.state = State::HalfOpen(pause);
                Some(Admission::Probe)
            }
            State::Open(..) | State::HalfOpen(_) => None,
        }
    }

    /// An admitted request was cancelled before it had a result. If it was the probe, the next request is one.
    pub fn cancel(&mut self, admission: Admission, now: Instant) {
        if let (Admission::Probe, State::HalfOpen(pause)) = (admission, self.state) {
            self.state = State::Open(now, pause);
        }
    }

    /// Records the result of an admitted request that began at an instant. `jitter` is a random number from
    /// 0 to 1.
    pub fn record(
        &mut self,
        (admission, began): (Admission, Instant),
        succeeded: bool,
        rules: &BreakerRules,
        jitter: f64,
        now: Instant,
    ) {
        match (admission, self.state) {
            (Admission::Probe, State::HalfOpen(_)) if succeeded => *self = Self::new(now),
            (Admission::Probe, State::HalfOpen(pause)) => self.open((pause * 2).min(rules.max_pause), jitter, now),
            // It was admitted before the circuit opened, so its result is out of date.
            (_, State::Open(..) | State::HalfOpen(_)) => {}
            (_, State::Closed) => {
                self.count(began, succeeded, now);
                let requests = self.current.requests + self.previous.requests;
                let failures = self.current.failures + self.previous.failures;
                let half_failed = requests >= MIN_REQUESTS && 2 * failures >= requests;
                if !succeeded && (self.consecutive_failures >= rules.failures || half_failed) {
                    self.open(rules.pause.min(rules.max_pause), jitter, now);
                }
            }
        }
    }

    /// Whether a failure of a request that began then counts as another consecutive one. Failures of
    /// concurrent requests, such as those of one page, count as one.
    #[must_use]
    pub fn is_new_failure(&self, began: Instant) -> bool {
        self.last_failure.is_none_or(|failed| began >= failed)
    }

    fn count(&mut self, began: Instant, succeeded: bool, now: Instant) {
        let age = now.saturating_duration_since(self.window_start);
        if age >= WINDOW {
            self.previous = if age < 2 * WINDOW { self.current } else { Tally::default() };
            (self.current, self.window_start) = (Tally::default(), now);
        }
        if succeeded {
            (self.consecutive_failures, self.last_failure) = (0, None);
        } else if self.is_new_failure(began) {
            self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            self.last_failure = Some(now);
        }
        self.current.requests += 1;
        self.current.failures += u32::from(!succeeded);
    }

    fn open(&mut self, pause: Duration, jitter: f64, now: Instant) {
        let jittered = pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter);
        *self = Self { state: State::Open(now + jittered, pause), ..Self::new(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: BreakerRules =
        BreakerRules { failures: 5, pause: Duration::from_secs(1), max_pause: Duration::from_secs(30) };

    fn send(breaker: &mut Breaker, succeeds: bool, now: Instant) -> bool {
        let Some(admission) = breaker.admit(now) else { return false };
        breaker.record((admission, now), succeeds, &RULES, 0.5, now);
        true
    }

    #[test]
    fn five_consecutive_failures_open_the_circuit() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for _ in 0..4 {
            assert!(send(&mut breaker, false, now));
        }
        assert!(send(&mut breaker, true, now), "a success resets the count");
        for _ in 0..5 {
            assert!(send(&mut breaker, false, now));
        }
        assert!(!send(&mut breaker, true, now));
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    #[test]
    fn concurrent_failures_count_as_one_consecutive_failure() {
        let (began, now) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut breaker = Breaker::new(began);
        for _ in 0..19 {
            breaker.record((Admission::Normal, began), false, &RULES, 0.5, now);
        }
        assert_eq!(breaker.circuit(), Circuit::Closed, "they may all belong to one slow page");
        breaker.record((Admission::Normal, began), false, &RULES, 0.5, now);
        assert_eq!(breaker.circuit(), Circuit::Open, "so many cannot");
    }

    #[test]
    fn half_of_many_requests_open_the_circuit_and_fewer_do_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for number in 0..100 {
            assert!(send(&mut breaker, number % 3 != 0, now), "a third fails");
        }
        let mut breaker = Breaker::new(now);
        let sent = (0..100).take_while(|number| send(&mut breaker, number % 2 == 1, now)).count();
        assert_eq!(sent, 21);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for number in 0..30 {
            assert!(send(&mut breaker, number % 2 == 1, now + WINDOW * 2 * number));
        }
    }

    #[test]
    fn probes_are_sent_one_at_a_time_after_growing_pauses() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        while send(&mut breaker, false, now) {}
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(breaker.admit(now + pause - Duration::from_millis(1)), None);
            now += pause;
            assert_eq!(breaker.admit(now), Some(Admission::Probe));
            assert_eq!(breaker.admit(now), None, "one at a time");
            assert_eq!(breaker.circuit(), Circuit::HalfOpen);
            breaker.record((Admission::Probe, now), false, &RULES, 0.5, now);
        }
        now += Duration::from_secs(30);
        assert!(send(&mut breaker, true, now));
        assert_eq!(breaker.circuit(), Circuit::Closed);
        while send(&mut breaker, false, now) {}
        assert!(breaker.would_admit(now + Duration::from_secs(1)), "the first pause is short again");
    }

    #[test]
    fn a_cancelled_probe_admits_another_one() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        while send(&mut breaker, false, now) {}
        now += Duration::from_secs(1);
        assert_eq!(breaker.admit(now), Some(Admission::Probe));
        breaker.cancel(Admission::Probe, now);
        assert_eq!(breaker.admit(now), Some(Admission::Probe));
    }

    #[test]
    fn a_request_admitted_before_the_circuit_opened_changes_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        let early = breaker.admit(now).expect("the circuit is closed");
        while send(&mut breaker, false, now) {}
        breaker.record((early, now), true, &RULES, 0.5, now);
        breaker.cancel(early, now);
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    proptest! {
        /// Simulates minutes of an endpoint that always fails, with requests at random times.
        #[test]
        fn an_endpoint_that_always_fails_is_rarely_sent_requests(pauses in proptest::collection::vec(1_u64..2_000, 500..1_000), jitter in 0.0..1.0) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(now);
            let (mut sent, mut last) = (0, None::<Instant>);
            for pause in &pauses {
                now += Duration::from_millis(*pause);
                if let Some(admission) = breaker.admit(now) {
                    breaker.record((admission, now), false, &RULES, jitter, now);
                    sent += 1;
                    if sent > RULES.failures + 1 {
                        let since = now - last.expect("a request was sent before");
                        prop_assert!(since >= RULES.pause.mul_f64(1.0 - JITTER));
                    }
                    last = Some(now);
                }
            }
            let seconds = pauses.iter().sum::<u64>() / 1000;
            // One probe after 1, 2, 4, 8 and 16 seconds, and then one every 30 seconds, less the jitter.
            prop_assert!(u64::from(sent) <= 5 + 5 + seconds / 24 + 1, "{sent} in {seconds} s");
        }
    }
}
