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

    /// Whether the window includes no moment, because it ends before or when it begins.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from.zip(self.until).is_some_and(|(from, until)| until <= from)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: Option<i64>, until: Option<i64>) -> TimeWindow {
        let at = |second: i64| Timestamp::from_second(second).expect("it is a valid time");
        TimeWindow { from: from.map(at), until: until.map(at) }
    }

    #[test]
    fn a_window_that_does_not_end_after_it_begins_is_empty() {
        assert!(window(Some(20), Some(10)).is_empty() && window(Some(10), Some(10)).is_empty());
        assert!(!window(Some(10), Some(11)).is_empty() && !window(Some(10), None).is_empty());
        assert!(!TimeWindow::default().is_empty());
    }

    #[test]
    fn the_intersection_begins_with_the_later_and_ends_with_the_earlier_window() {
        assert_eq!(window(Some(1), None).intersection(window(Some(2), Some(3))), window(Some(2), Some(3)));
        assert_eq!(window(None, Some(5)).intersection(window(Some(2), Some(9))), window(Some(2), Some(5)));
    }

    #[test]
    fn a_window_changes_when_it_begins_and_when_it_ends() {
        let changes_in = |now| {
            let now = Timestamp::from_second(now).expect("it is a valid time");
            window(Some(10), Some(20)).changes_in(now).map(|left| left.as_secs())
        };
        assert_eq!([4, 10, 19, 20].map(changes_in), [Some(6), Some(10), Some(1), None]);
    }
}
