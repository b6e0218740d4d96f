//! Whether the shared store is asked, or left alone for a while.
//! Only look-ups count: a store that is full refuses writes, and is as good as before for look-ups.

use std::time::{Duration, Instant};

/// Look-ups in a row that failed after which the store is left alone.
const FAILURES: u32 = 5;
/// How long it is left alone before one look-up tries it.
const PAUSE: Duration = Duration::from_secs(1);

/// The state of the store, as one replica sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreState {
    /// It is asked.
    Up,
    /// It is left alone for a while.
    LeftAlone,
    /// It was never there.
    NeverThere,
}

impl StoreState {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::LeftAlone => "open",
            Self::NeverThere => "down",
        }
    }

    /// Its number in metrics.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Up => 0,
            Self::LeftAlone => 1,
            Self::NeverThere => 2,
        }
    }
}

/// What is known of the store.
#[derive(Debug)]
pub struct StoreHealth {
    state: StoreState,
    since: Instant,
    /// Look-ups that failed since one succeeded.
    failures: u32,
    /// When one look-up tries the store again.
    due: Instant,
}

impl StoreHealth {
    /// A store that was never there so far.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { state: StoreState::NeverThere, since: now, failures: 0, due: now }
    }

    /// The state, and since when it is that.
    #[must_use]
    pub const fn state(&self) -> (StoreState, Instant) {
        (self.state, self.since)
    }

    /// Whether look-ups of pages ask the store.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        matches!(self.state, StoreState::Up)
    }

    /// Whether the store, which is not asked by pages, is tried now. The next try is a while later.
    pub fn is_try_due(&mut self, now: Instant) -> bool {
        if self.is_asked() || now < self.due {
            return false;
        }
        self.due = now + PAUSE;
        true
    }

    /// Records a look-up that succeeded, whether it found something or not. Returns whether the state has changed.
    pub const fn succeeded(&mut self, now: Instant) -> bool {
        self.failures = 0;
        self.change(StoreState::Up, now)
    }

    /// Records a look-up that timed out or broke. Returns whether the state has changed.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.state != StoreState::Up || self.failures < FAILURES {
            return false;
        }
        self.due = now + PAUSE;
        self.change(StoreState::LeftAlone, now)
    }

    const fn change(&mut self, state: StoreState, now: Instant) -> bool {
        let has_changed = self.state as u8 != state as u8;
        if has_changed {
            self.state = state;
            self.since = now;
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_left_alone_after_five_failures_in_a_row_until_a_look_up_succeeds() {
        let now = Instant::now();
        let mut health = StoreHealth::new(now);
        assert!(!health.is_asked() && health.is_try_due(now) && !health.is_try_due(now));
        assert!(health.succeeded(now) && health.is_asked());
        for _ in 0..3 {
            (0..4).for_each(|_| assert!(!health.failed(now)));
            assert!(!health.succeeded(now), "one that succeeds ends the row");
        }
        let later = now + Duration::from_secs(9);
        (0..4).for_each(|_| assert!(!health.failed(later)));
        assert!(health.failed(later) && !health.is_asked());
        assert_eq!(health.state(), (StoreState::LeftAlone, later));
        assert!(!health.is_try_due(later));
        assert!(health.is_try_due(later + PAUSE) && !health.is_try_due(later + PAUSE));
        assert!(!health.failed(later + PAUSE));
        assert!(health.is_try_due(later + 2 * PAUSE) && health.succeeded(later + 2 * PAUSE) && health.is_asked());
    }
}
