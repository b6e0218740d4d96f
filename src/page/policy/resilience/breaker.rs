//! Opens the circuit to an endpoint that only fails, so that it delays no page and can recover.
//! A single failure among many successes does not open a circuit, and neither does one request that always fails, however often
//! it is sent.

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
/// How many failures of equal requests count while other requests succeed. A client who finds a value that makes the service
/// fail can repeat it, and would otherwise close the endpoint off from everybody.
const MAX_COUNTED_PER_KEY: u32 = 2;
/// How many different requests that failed are remembered. Where more fail, it is not one request that is to blame.
const MAX_FAILED_KEYS: usize = 32;
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

/// What distinguishes one request from another: a hash of its cache key.
pub type RequestKey = u64;

/// The circuit breaker of one endpoint.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    /// The requests that failed in the current window, or before the circuit opened, and how often.
    failed: Vec<(RequestKey, u32)>,
    /// The last two different requests that succeeded, and when; the latest comes first.
    succeeded: [Option<(RequestKey, Instant)>; 2],
    /// The probe that failed last.
    failed_probe: Option<RequestKey>,
    /// Whether a request was refused since the circuit opened that is not to blame.
    has_other_requests: bool,
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

/// A request that was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    /// How it was admitted.
    pub admission: Admission,
    /// Equal for equal requests.
    pub key: RequestKey,
    /// When it began.
    pub began: Instant,
}

impl Breaker {
    /// A closed circuit without any recorded request.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            failed: Vec::new(),
            succeeded: [None; 2],
            failed_probe: None,
            has_other_requests: false,
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

    /// Whether some request would be admitted.
    #[must_use]
    pub fn is_available(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until, _) => until <= now,
            State::HalfOpen(_) => false,
        }
    }

    /// Whether a request would be admitted. The probe is another request than the last one and those that failed again and
    /// again, if there are others: one that always fails would keep the circuit open for ever.
    pub fn would_admit(&mut self, key: RequestKey, now: Instant) -> bool {
        let has_repeated = |(failed, times): &(RequestKey, u32)| *failed == key && *times > MAX_COUNTED_PER_KEY;
        let is_suspect = self.failed_probe == Some(key) || self.failed.iter().any(has_repeated);
        self.has_other_requests |= !is_suspect;
        match self.state {
            State::Closed => true,
            State::Open(until, pause) if is_suspect && self.has_other_requests => until + pause <= now,
            State::Open(until, _) => until <= now,
            State::HalfOpen(_) => false,
        }
    }

    /// Admits a request, or returns `None`. Each admitted request must later be recorded or cancelled.
    pub fn admit(&mut self, key: RequestKey, now: Instant) -> Option<Admission> {
        let is_admitted = self.would_admit(key, now);
        match self.state {
            State::Closed => Some(Admission::Normal),
            State::Open(_, pause) if is_admitted => {
                self.state = State::HalfOpen(pause);
                Some(Admission::Probe)
            }
            State::Open(..) | State::HalfOpen(_) => None,
        }
    }

    /// Ends the pause of an open circuit: the next request, whichever it is, tests whether the endpoint has recovered.
    pub fn end_pause(&mut self, now: Instant) {
        if let State::Open(_, pause) = self.state {
            self.state = State::Open(now, pause);
            (self.failed_probe, self.has_other_requests) = (None, false);
            self.failed.clear();
        }
    }

    /// An admitted request was cancelled before it had a result. If it was the probe, the next request is one.
    pub fn cancel(&mut self, admission: Admission, now: Instant) {
        if let (Admission::Probe, State::HalfOpen(pause)) = (admission, self.state) {
            self.state = State::Open(now, pause);
        }
    }

    /// Records the result of an admitted request. `jitter` is a random number from 0 to 1.
    pub fn record(&mut self, request: Admitted, succeeded: bool, rules: &BreakerRules, jitter: f64, now: Instant) {
        match (request.admission, self.state) {
            (Admission::Probe, State::HalfOpen(_)) if succeeded => {
                *self = Self { succeeded: [Some((request.key, now)), None], ..Self::new(now) };
            }
            (Admission::Probe, State::HalfOpen(pause)) => {
                self.open((pause * 2).min(rules.max_pause), jitter, now);
                self.failed_probe = Some(request.key);
            }
            // It was admitted before the circuit opened, so its result is out of date.
            (_, State::Open(..) | State::HalfOpen(_)) => {}
            (_, State::Closed) => {
                self.count(request, succeeded, now);
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

    /// How often a request has failed, this time included.
    fn remember_failure(&mut self, key: RequestKey) -> u32 {
        if let Some((_, times)) = self.failed.iter_mut().find(|(failed, _)| *failed == key) {
            *times = times.saturating_add(1);
            return *times;
        }
        if self.failed.len() == MAX_FAILED_KEYS {
            self.failed.remove(0);
        }
        self.failed.push((key, 1));
        1
    }

    fn remember_success(&mut self, key: RequestKey, now: Instant) {
        let [latest, _] = self.succeeded;
        if latest.is_some_and(|(latest, _)| latest != key) {
            self.succeeded[1] = latest;
        }
        self.succeeded[0] = Some((key, now));
    }

    /// Whether another request than this one has succeeded lately.
    fn has_other_success(&self, key: RequestKey, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        self.succeeded.iter().flatten().any(|(other, at)| *other != key && is_recent(*at))
    }

    fn count(&mut self, Admitted { key, began, .. }: Admitted, succeeded: bool, now: Instant) {
        let age = now.saturating_duration_since(self.window_start);
        if age >= WINDOW {
            self.previous = if age < 2 * WINDOW { self.current } else { Tally::default() };
            self.failed.clear();
            (self.current, self.window_start) = (Tally::default(), now);
        }
        if succeeded {
            self.remember_success(key, now);
        } else if self.remember_failure(key) > MAX_COUNTED_PER_KEY && self.has_other_success(key, now) {
            return;
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
        let failed = std::mem::take(&mut self.failed);
        *self = Self { state: State::Open(now + jittered, pause), failed, ..Self::new(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: BreakerRules =
        BreakerRules { failures: 5, pause: Duration::from_secs(1), max_pause: Duration::from_secs(30) };

    const KEY: RequestKey = 1;

    fn send(breaker: &mut Breaker, succeeds: bool, now: Instant) -> bool {
        send_key(breaker, KEY, succeeds, now)
    }

    fn send_key(breaker: &mut Breaker, key: RequestKey, succeeds: bool, now: Instant) -> bool {
        let Some(admission) = breaker.admit(key, now) else { return false };
        breaker.record(admitted(admission, now, key), succeeds, &RULES, 0.5, now);
        true
    }

    fn admitted(admission: Admission, began: Instant, key: RequestKey) -> Admitted {
        Admitted { admission, key, began }
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
    fn once_its_pause_is_ended_an_open_circuit_is_tested_by_the_next_request_whichever_it_is() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        breaker.end_pause(now);
        assert_eq!(breaker.circuit(), Circuit::Closed, "a closed one stays closed");
        (0..5).for_each(|_| assert!(send(&mut breaker, false, now)));
        assert!(!send_key(&mut breaker, KEY + 1, true, now) && !send(&mut breaker, true, now));
        breaker.end_pause(now);
        assert_eq!(breaker.admit(KEY, now), Some(Admission::Probe));
        breaker.end_pause(now);
        assert_eq!(breaker.admit(KEY, now), None, "there is one probe at a time");
    }

    #[test]
    fn concurrent_failures_count_as_one_consecutive_failure() {
        let (began, now) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut breaker = Breaker::new(began);
        for _ in 0..19 {
            breaker.record(admitted(Admission::Normal, began, KEY), false, &RULES, 0.5, now);
        }
        assert_eq!(breaker.circuit(), Circuit::Closed, "they may all belong to one slow page");
        breaker.record(admitted(Admission::Normal, began, KEY), false, &RULES, 0.5, now);
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
            assert_eq!(breaker.admit(KEY, now + pause - Duration::from_millis(1)), None);
            now += pause;
            assert_eq!(breaker.admit(KEY, now), Some(Admission::Probe));
            assert_eq!(breaker.admit(KEY, now), None, "one at a time");
            assert_eq!(breaker.circuit(), Circuit::HalfOpen);
            breaker.record(admitted(Admission::Probe, now, KEY), false, &RULES, 0.5, now);
        }
        now += Duration::from_secs(30);
        assert!(send(&mut breaker, true, now));
        assert_eq!(breaker.circuit(), Circuit::Closed);
        while send(&mut breaker, false, now) {}
        assert!(breaker.would_admit(KEY, now + Duration::from_secs(1)), "the first pause is short again");
    }

    #[test]
    fn a_cancelled_probe_admits_another_one() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        while send(&mut breaker, false, now) {}
        now += Duration::from_secs(1);
        assert_eq!(breaker.admit(KEY, now), Some(Admission::Probe));
        breaker.cancel(Admission::Probe, now);
        assert_eq!(breaker.admit(KEY, now), Some(Admission::Probe));
    }

    #[test]
    fn a_request_admitted_before_the_circuit_opened_changes_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        let early = breaker.admit(KEY, now).expect("the circuit is closed");
        while send(&mut breaker, false, now) {}
        breaker.record(admitted(early, now, KEY), true, &RULES, 0.5, now);
        breaker.cancel(early, now);
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    #[test]
    fn one_request_that_always_fails_opens_nothing_while_others_succeed() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for number in 0..300_u64 {
            let at = now + Duration::from_millis(33 * number);
            let (key, succeeds) = if number % 3 == 0 { (100 + number, true) } else { (7, false) };
            assert!(send_key(&mut breaker, key, succeeds, at), "request {number}");
        }
        let end = now + Duration::from_millis(33 * 300);
        let sent = (0..100).take_while(|key| send_key(&mut breaker, *key, false, end)).count();
        assert!(sent <= 5, "different requests that fail open it as before: {sent}");
    }

    #[test]
    fn one_request_that_always_fails_opens_the_circuit_if_no_other_succeeds() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert!(send(&mut breaker, true, now), "its own success proves nothing");
        assert_eq!((0..100).take_while(|_| send(&mut breaker, false, now)).count(), 5);
        let mut breaker = Breaker::new(now);
        assert!(send_key(&mut breaker, 2, true, now));
        let later = now + WINDOW;
        assert_eq!((0..100).take_while(|_| send(&mut breaker, false, later)).count(), 5, "that success is too old");
    }

    #[test]
    fn the_probe_is_another_request_than_the_one_that_always_fails() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        while send(&mut breaker, false, now) {}
        assert!(!breaker.would_admit(2, now), "another request is refused while the circuit is open");
        let after = now + Duration::from_secs(1);
        assert_eq!(breaker.admit(KEY, after), None, "it would probably fail again");
        assert!(send_key(&mut breaker, 2, true, after));
        assert_eq!(breaker.circuit(), Circuit::Closed);
        while send_key(&mut breaker, 3, false, after + WINDOW) {}
        assert!(!breaker.would_admit(4, after + WINDOW));
        let long_after = after + WINDOW + Duration::from_secs(2);
        assert!(send_key(&mut breaker, 3, true, long_after), "if no other comes, it is sent after one more pause");
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
                if let Some(admission) = breaker.admit(KEY, now) {
                    breaker.record(admitted(admission, now, KEY), false, &RULES, jitter, now);
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
