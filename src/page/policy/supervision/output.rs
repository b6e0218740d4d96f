//! How much of a program's output is logged, and which lines of it are remembered.
//! A program that writes without end costs a bounded number of log lines; the number of the others is reported.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Maximum length of a line, in bytes. The rest of a longer one is dropped.
pub const MAX_LINE: usize = 4 << 10;
/// Maximum number of lines of one second that are logged.
pub const LINES_PER_SECOND: u64 = 100;
/// Number of lines that are remembered.
pub const REMEMBERED: usize = 20;
/// The time in which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The lines of a program in the current second.
#[derive(Debug)]
pub struct OutputGate {
    since: Instant,
    logged: u64,
    dropped: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// The number of earlier lines that were dropped, to be reported before this line.
    pub dropped: Option<u64>,
    /// Whether this line is logged.
    pub is_logged: bool,
}

impl OutputGate {
    /// A gate that nothing has passed.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { since: now, logged: 0, dropped: 0 }
    }

    /// Decides about a line.
    pub fn line(&mut self, now: Instant) -> Passage {
        let dropped = self.report(now);
        let is_logged = self.logged < LINES_PER_SECOND;
        if is_logged {
            self.logged += 1;
        } else {
            self.dropped += 1;
        }
        Passage { dropped, is_logged }
    }

    /// The number of lines that were dropped, once the second in which they were written is over.
    pub fn report(&mut self, now: Instant) -> Option<u64> {
        if now < self.since + WINDOW {
            return None;
        }
        self.since = now;
        self.logged = 0;
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then_some(dropped)
    }

    /// When [`OutputGate::report`] has something to report. `None`: no line was dropped.
    #[must_use]
    pub fn report_due(&self) -> Option<Instant> {
        (self.dropped > 0).then(|| self.since + WINDOW)
    }
}

/// The last lines of a program's output.
#[derive(Debug, Default, Clone)]
pub struct LastLines(VecDeque<String>);

impl LastLines {
    /// Remembers a line, and forgets the oldest one if there are too many.
    pub fn push(&mut self, line: String) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// The lines, the oldest first.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

/// Cuts a line that is too long, at the end of a character.
#[must_use]
pub fn cut(line: &str) -> &str {
    &line[..line.floor_char_boundary(MAX_LINE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_lines_a_second_are_logged_and_the_others_are_counted_once_a_second() {
        let start = Instant::now();
        let mut gate = OutputGate::new(start);
        let logged = (0..150).filter(|_| gate.line(start).is_logged).count();
        assert_eq!((logged, gate.report(start)), (100, None));
        assert_eq!(gate.report_due(), Some(start + WINDOW));
        assert_eq!(gate.line(start + WINDOW), Passage { dropped: Some(50), is_logged: true });
        assert_eq!((gate.report_due(), gate.report(start + WINDOW * 3)), (None, None));
    }

    #[test]
    fn the_last_lines_are_remembered_and_long_ones_are_cut() {
        let mut last = LastLines::default();
        (0..30).for_each(|number| last.push(number.to_string()));
        assert_eq!(last.to_vec(), (10..30).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(cut(&"é".repeat(MAX_LINE)).len(), MAX_LINE);
        assert_eq!(cut(&format!("a{}", "é".repeat(MAX_LINE))).len(), MAX_LINE - 1);
        assert_eq!(cut("short"), "short");
    }
}
