//! Computes a league table from results: three points for a win, one for a draw.
//! Clubs that are level on points, goal difference and goals are in the order of their names.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::league::{League, Match, Outcome};

/// One club's season so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) club: &'a str,
    pub(crate) won: u32,
    pub(crate) drawn: u32,
    pub(crate) lost: u32,
    pub(crate) scored: u32,
    pub(crate) conceded: u32,
}

impl Row<'_> {
    pub(crate) fn played(&self) -> u32 {
        self.won + self.drawn + self.lost
    }

    pub(crate) fn points(&self) -> u32 {
        self.won * 3 + self.drawn
    }

    fn difference(&self) -> i64 {
        i64::from(self.scored) - i64::from(self.conceded)
    }

    /// The goal difference with its sign, as tables show it.
    pub(crate) fn signed_difference(&self) -> String {
        match self.difference() {
            0 => "0".to_owned(),
            more @ 1.. => format!("+{more}"),
            less => format!("\u{2212}{}", less.unsigned_abs()),
        }
    }

    fn count(&mut self, scored: u32, conceded: u32) {
        // A source may state any number of goals, and their sum must not overflow.
        self.scored = self.scored.saturating_add(scored);
        self.conceded = self.conceded.saturating_add(conceded);
        match scored.cmp(&conceded) {
            std::cmp::Ordering::Greater => self.won += 1,
            std::cmp::Ordering::Equal => self.drawn += 1,
            std::cmp::Ordering::Less => self.lost += 1,
        }
    }
}

/// A row for every club that has a match, played or not, the best first.
pub(crate) fn table(league: &League) -> Vec<Row<'_>> {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    for Match { home, away, outcome, .. } in &league.matches {
        let score = match outcome {
            Outcome::Played { score, .. } => Some(*score),
            Outcome::ToCome { .. } => None,
        };
        let sides = [(home, [0, 1]), (away, [1, 0])];
        for (club, [own, other]) in sides {
            let row = rows.entry(club).or_default();
            row.club = club;
            if let Some(score) = score {
                row.count(score[own], score[other]);
            }
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    // The sort is stable: clubs that are level stay in the order of the map, by name.
    rows.sort_by_key(|row| Reverse((row.points(), row.difference(), row.scored)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn league(results: &[(&str, [u32; 2], &str)]) -> League {
        let matches = results.iter().map(|(home, score, away)| Match {
            date: jiff::civil::date(2026, 1, 1),
            time: None,
            home: (*home).to_owned(),
            away: (*away).to_owned(),
            outcome: Outcome::Played { score: *score, half: None },
        });
        League { name: "L".to_owned(), matches: matches.collect() }
    }

    #[track_caller]
    fn check(results: &[(&str, [u32; 2], &str)], expected: &[(&str, u32, &str)]) {
        let league = league(results);
        let table = table(&league);
        let rows = table.iter().map(|row| (row.club, row.points(), row.signed_difference()));
        let rows: Vec<_> = rows.collect();
        let rows: Vec<_> = rows.iter().map(|(c, p, d)| (*c, *p, d.as_str())).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn points_then_difference_then_goals_then_names() {
        check(
            &[("A", [1, 0], "B"), ("C", [3, 0], "D")],
            &[("C", 3, "+3"), ("A", 3, "+1"), ("B", 0, "−1"), ("D", 0, "−3")],
        );
        check(&[("B", [1, 1], "A"), ("D", [2, 2], "C")], &[("C", 1, "0"), ("D", 1, "0"), ("A", 1, "0"), ("B", 1, "0")]);
    }

    #[test]
    fn absurd_scores_do_not_panic() {
        let most = u32::MAX;
        let league = league(&[("A", [most, 0], "B"), ("A", [most, 0], "B")]);
        assert_eq!(table(&league)[0].club, "A");
    }
}
