//! The requests for paths that no layout has a route for, and the most frequent of these paths.
//! Clients choose the paths, so their number and length are limited: rare ones are forgotten.

use std::time::Duration;

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
use tokio::time::Instant;

use crate::page::source::visible::visible;

use super::report::{UnroutedPath, UnroutedStatistics};

/// The number of paths that are reported.
const MOST_FREQUENT: usize = 10;
/// Paths that a sketch has room for, of which it uses three quarters. A path that came for more than one in a hundred requests is
/// never forgotten.
const ROOM: usize = 256;
/// The longest path, in characters.
const MAX_PATH: usize = 200;
/// How long a sketch is used before a new one begins. Reported are this one and the one before it, so that what was frequent
/// days ago does not hide what is frequent now.
const PERIOD: Duration = Duration::from_hours(1);

pub(super) struct Unrouted {
    /// Since the start.
    requests: u64,
    current: FrequentItemsSketch<String>,
    previous: Option<FrequentItemsSketch<String>>,
    /// When the current sketch began.
    began: Instant,
}

impl Default for Unrouted {
    fn default() -> Self {
        Self { requests: 0, current: sketch(), previous: None, began: Instant::now() }
    }
}

fn sketch() -> FrequentItemsSketch<String> {
    FrequentItemsSketch::new(ROOM).expect("it is a power of two from 8 on")
}

impl Unrouted {
    /// Adds a request for a path, normalised.
    pub(super) fn add(&mut self, path: &str, now: Instant) {
        self.requests += 1;
        self.turn(now);
        let shown = visible(path);
        let shown: String = match shown.char_indices().nth(MAX_PATH) {
            Some((end, _)) => format!("{}…", &shown[..end]),
            None => shown.into_owned(),
        };
        self.current.update(shown);
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= PERIOD {
            let ended = std::mem::replace(&mut self.current, sketch());
            self.previous = (age < 2 * PERIOD).then_some(ended);
            self.began = now;
        }
    }

    pub(super) fn report(&mut self, now: Instant) -> UnroutedStatistics {
        self.turn(now);
        let mut all = self.current.clone();
        if let Some(previous) = &self.previous {
            all.merge(previous);
        }
        let rows = all.frequent_items(ErrorType::NoFalseNegatives);
        let path = |row: &datasketches::frequencies::Row<String>| UnroutedPath {
            path: row.item().clone(),
            requests: row.lower_bound(),
        };
        let mut paths: Vec<UnroutedPath> = rows.iter().map(path).collect();
        paths.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.path.cmp(&b.path)));
        paths.truncate(MOST_FREQUENT);
        UnroutedStatistics { requests: self.requests, paths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(unrouted: &mut Unrouted, now: Instant) -> Vec<(String, u64)> {
        unrouted.report(now).paths.into_iter().map(|one| (one.path, one.requests)).collect()
    }

    #[test]
    fn the_ten_most_frequent_paths_survive_a_scanner() {
        let (mut unrouted, now) = (Unrouted::default(), Instant::now());
        for number in 0..100_000 {
            unrouted.add(&format!("/scan/{number}"), now);
            if number % 10 == 0 {
                unrouted.add(&format!("/wanted/{}", number / 10 % 3), now);
            }
        }
        let found = paths(&mut unrouted, now);
        let wanted: Vec<&str> = found.iter().take(3).map(|(path, _)| path.as_str()).collect();
        assert_eq!(wanted, ["/wanted/0", "/wanted/1", "/wanted/2"], "{found:?}");
        // The error is at most what one place has: never too many, and few too little.
        assert!(found.iter().take(3).all(|(_, count)| (2_300..=3_334).contains(count)), "{found:?}");
        assert!(found.len() <= MOST_FREQUENT && unrouted.report(now).requests == 110_000);
    }

    #[test]
    fn what_was_frequent_hours_ago_is_forgotten() {
        let (mut unrouted, now) = (Unrouted::default(), Instant::now());
        (0..5).for_each(|_| unrouted.add("/old", now));
        unrouted.add("/new", now + PERIOD);
        let both = [("/old".to_owned(), 5), ("/new".to_owned(), 1)];
        assert_eq!(paths(&mut unrouted, now + PERIOD), both);
        assert_eq!(paths(&mut unrouted, now + 2 * PERIOD), [("/new".to_owned(), 1)]);
        assert_eq!(paths(&mut unrouted, now + 9 * PERIOD), []);
    }

    #[test]
    fn a_path_is_shown_without_control_characters_and_shortened() {
        let (mut unrouted, now) = (Unrouted::default(), Instant::now());
        unrouted.add("/\u{1b}[31m\n\u{202e}", now);
        unrouted.add(&format!("/{}", "ä".repeat(9_000)), now);
        let long = format!("/{}…", "ä".repeat(MAX_PATH - 1));
        assert_eq!(paths(&mut unrouted, now), [("/\\u{1b}[31m\\n\\u{202e}".to_owned(), 1), (long, 1)]);
    }
}
