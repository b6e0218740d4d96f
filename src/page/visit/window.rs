//! Half-open time windows: they include the moment at which they begin, and exclude the one at which they end.
//! A window without a beginning or an end is unbounded on that side; one that ends before it begins is empty.

use std::time::Duration;

use jiff::Timestamp;

/// A period of time in which something is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeWindow {
    /// The first moment in it. `None`: it has no beginning.
    pub from: Option<Timestamp>,
    /// The first moment after it. `None`: it has no end.
    pub until: Option<Timestamp>,
}

impl TimeWindow {
    /// Whether the window includes a moment.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// The time that both windows include.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self {
            from: self.from.into_iter().chain(other.from).max(),
            until: self.until.into_iter().chain(other.until).min(),
        }
    }

    /// How long after a moment the window next begins or ends. `None`: it does neither.
    #[must_use]
    pub fn changes_in(&self, now: Timestamp) -> Option<Duration> {
        let next = [self.from, self.until].into_iter().flatten().filter(|at| *at > now).min()?;
        Duration::try_from(next.duration_since(now)).ok()
    }
}
