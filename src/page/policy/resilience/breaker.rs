//! Shuts out an endpoint that only fails, so that it costs its readers no time, and it gets air.
//! One failure among many successes shuts out nobody.

use std::time::{Duration, Instant};

/// When an endpoint is shut out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BreakerRules {
    /// Failures in a row.
    pub failures: u32,
    /// The first time that it is shut out for; doubled while probes fail.
    pub pause: Duration,
    /// The longest.
    pub longest: Duration,
}

/// Requests in a window before a rate of failures means anything.
const ENOUGH: u32 = 20;
/// How long a window is. The last one counts beside the one that is being filled.
const WINDOW: Duration = Duration::from_secs(10);
/// How much longer or shorter a pause may be by chance.
const JITTER: f64 = 0.2;

/// What happened to requests in a window.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    all: u32,
    failed: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    /// Nobody is let through before an instant.
    Open(Instant, Duration),
    /// One is let through, since an instant, to see.
    Probing(Duration),
}

/// What is known of an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    state: State,
    in_a_row: u32,
    /// When the last failure was counted.
    failed: Option<Instant>,
    now: Tally,
    before: Tally,
    window: Instant,
}

/// What is made known to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Everybody is let through.
    Closed,
    /// Nobody is.
    Open,
    /// One is, to see.
    Probing,
}

impl Circuit {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// The way in which a request was let through; it comes back with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As always.
    Usual,
    /// To see whether the endpoint is well again.
    Probe,
}

impl Breaker {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            in_a_row: 0,
            failed: None,
            now: Tally::default(),
            before: Tally::default(),
            window: now,
        }
    }

    /// What it is now.
    #[must_use]
    pub const fn circuit(&self) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open(..) => Circuit::Open,
            State::Probing(_) => Circuit::Probing,
        }
    }

    /// Whether a request would be let through.
    #[must_use]
    pub fn would_admit(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until, _) => until <= now,
            State::Probing(_) => false,
        }
    }

    /// Lets a request through, or not. Whoever is let through says later what became of it.
    pub fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state {
            State::Closed => Some(Admission::Usual),
            State::Open(until, pause) if until <= now => {
                self.state = State::Probing(pause);
                Some(Admission::Probe)
            }
            State::Open(..) | State::Probing(_) => None,
        }
    }

    /// A request that was let through came to nothing: nobody wanted it any more.
    pub fn abandoned(&mut self, admission: Admission, now: Instant) {
        if let (Admission::Probe, State::Probing(pause)) = (admission, self.state) {
            self.state = State::Open(now, pause);
        }
    }

    /// A request that began at an instant has ended. `chance`: a number from 0 up to 1.
    pub fn ended(
        &mut self,
        (admission, began): (Admission, Instant),
        is_well: bool,
        rules: &BreakerRules,
        chance: f64,
        now: Instant,
    ) {
        match (admission, self.state) {
            (Admission::Probe, State::Probing(_)) if is_well => *self = Self::new(now),
            (Admission::Probe, State::Probing(pause)) => self.open((pause * 2).min(rules.longest), chance, now),
            // It was let through before the endpoint was shut out, and tells nothing new.
            (_, State::Open(..) | State::Probing(_)) => {}
            (_, State::Closed) => {
                self.count(began, is_well, now);
                let often = self.now.all + self.before.all >= ENOUGH
                    && 2 * (self.now.failed + self.before.failed) >= self.now.all + self.before.all;
                if !is_well && (self.in_a_row >= rules.failures || often) {
                    self.open(rules.pause.min(rules.longest), chance, now);
                }
            }
        }
    }

    /// Whether a failure of what began then counts in the row: those that were under way together, as those
    /// of one page are, count as one.
    #[must_use]
    pub fn is_news(&self, began: Instant) -> bool {
        self.failed.is_none_or(|failed| began >= failed)
    }

    fn count(&mut self, began: Instant, is_well: bool, now: Instant) {
        let age = now.saturating_duration_since(self.window);
        if age >= WINDOW {
            self.before = if age < 2 * WINDOW { self.now } else { Tally::default() };
            (self.now, self.window) = (Tally::default(), now);
        }
        if is_well {
            (self.in_a_row, self.failed) = (0, None);
        } else if self.is_news(began) {
            (self.in_a_row, self.failed) = (self.in_a_row.saturating_add(1), Some(now));
        }
        self.now.all += 1;
        self.now.failed += u32::from(!is_well);
    }

    fn open(&mut self, pause: Duration, chance: f64, now: Instant) {
        let jittered = pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance);
        *self = Self { state: State::Open(now + jittered, pause), ..Self::new(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: BreakerRules =
        BreakerRules { failures: 5, pause: Duration::from_secs(1), longest: Duration::from_secs(30) };

    fn ask(breaker: &mut Breaker, is_well: bool, now: Instant) -> bool {
        let Some(admission) = breaker.admit(now) else { return false };
        breaker.ended((admission, now), is_well, &RULES, 0.5, now);
        true
    }

    #[test]
    fn five_failures_in_a_row_shut_it_out() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for _ in 0..4 {
            assert!(ask(&mut breaker, false, now));
        }
        assert!(ask(&mut breaker, true, now), "one success begins anew");
        for _ in 0..5 {
            assert!(ask(&mut breaker, false, now));
        }
        assert!(!ask(&mut breaker, true, now));
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    #[test]
    fn what_fails_together_counts_as_one_in_a_row() {
        let (began, now) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut breaker = Breaker::new(began);
        for _ in 0..19 {
            breaker.ended((Admission::Usual, began), false, &RULES, 0.5, now);
        }
        assert_eq!(breaker.circuit(), Circuit::Closed, "they may all be one slow page's");
        breaker.ended((Admission::Usual, began), false, &RULES, 0.5, now);
        assert_eq!(breaker.circuit(), Circuit::Open, "so many are not");
    }

    #[test]
    fn half_of_many_shut_it_out_and_less_do_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for number in 0..100 {
            assert!(ask(&mut breaker, number % 3 != 0, now), "a third fails");
        }
        let mut breaker = Breaker::new(now);
        let asked = (0..100).take_while(|number| ask(&mut breaker, number % 2 == 1, now)).count();
        assert_eq!(asked, 21);
    }

    #[test]
    fn failures_of_long_ago_are_forgotten() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for number in 0..30 {
            assert!(ask(&mut breaker, number % 2 == 1, now + WINDOW * 2 * number));
        }
    }

    #[test]
    fn probes_go_one_at_a_time_with_growing_pauses() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        while ask(&mut breaker, false, now) {}
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(breaker.admit(now + pause - Duration::from_millis(1)), None);
            now += pause;
            assert_eq!(breaker.admit(now), Some(Admission::Probe));
            assert_eq!(breaker.admit(now), None, "one at a time");
            assert_eq!(breaker.circuit(), Circuit::Probing);
            breaker.ended((Admission::Probe, now), false, &RULES, 0.5, now);
        }
        now += Duration::from_secs(30);
        assert!(ask(&mut breaker, true, now));
        assert_eq!(breaker.circuit(), Circuit::Closed);
        while ask(&mut breaker, false, now) {}
        assert!(breaker.would_admit(now + Duration::from_secs(1)), "pauses begin anew");
    }

    #[test]
    fn a_probe_that_nobody_waits_for_lets_another_one_through() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        while ask(&mut breaker, false, now) {}
        now += Duration::from_secs(1);
        assert_eq!(breaker.admit(now), Some(Admission::Probe));
        breaker.abandoned(Admission::Probe, now);
        assert_eq!(breaker.admit(now), Some(Admission::Probe));
    }

    #[test]
    fn what_was_under_way_when_it_was_shut_out_changes_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        let early = breaker.admit(now).expect("it is closed");
        while ask(&mut breaker, false, now) {}
        breaker.ended((early, now), true, &RULES, 0.5, now);
        breaker.abandoned(early, now);
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    proptest! {
        /// Hours of an endpoint that always fails, asked at random times.
        #[test]
        fn an_endpoint_that_always_fails_is_asked_rarely(gaps in proptest::collection::vec(1_u64..2_000, 500..1_000), chance in 0.0..1.0) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(now);
            let (mut asked, mut last) = (0, None::<Instant>);
            for gap in &gaps {
                now += Duration::from_millis(*gap);
                if let Some(admission) = breaker.admit(now) {
                    breaker.ended((admission, now), false, &RULES, chance, now);
                    asked += 1;
                    if asked > RULES.failures + 1 {
                        let since = now - last.expect("there was one before");
                        prop_assert!(since >= RULES.pause.mul_f64(1.0 - JITTER));
                    }
                    last = Some(now);
                }
            }
            let seconds = gaps.iter().sum::<u64>() / 1000;
            // One after 1, 2, 4, 8 and 16 seconds, and then every 30, less the jitter.
            prop_assert!(u64::from(asked) <= 5 + 5 + seconds / 24 + 1, "{asked} in {seconds} s");
        }
    }
}
