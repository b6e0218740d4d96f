//! Half-open windows of time: from an instant on, and before another.
//! A side without an instant is open; a window that ends before it begins contains nothing.

use std::time::Duration;

use jiff::Timestamp;

/// A time in which something is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeWindow {
    /// The first moment in it; `None`: it has no beginning.
    pub from: Option<Timestamp>,
    /// The first moment after it; `None`: it has no end.
    pub until: Option<Timestamp>,
}

impl TimeWindow {
    /// Whether a moment is in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// The time that is also in another window.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self {
            from: self.from.into_iter().chain(other.from).max(),
            until: self.until.into_iter().chain(other.until).min(),
        }
    }

    /// How long after a moment the window opens or closes next. `None`: it does neither.
    #[must_use]
    pub fn changes_in(&self, now: Timestamp) -> Option<Duration> {
        let next = [self.from, self.until].into_iter().flatten().filter(|at| *at > now).min()?;
        Duration::try_from(next.duration_since(now)).ok()
    }
}
