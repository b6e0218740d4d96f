//! Parses the matches of one league from football.json, in order of their dates.
//! A match counts as played if it has a full-time score; a half-time score alone is not enough.

use std::collections::BTreeSet;

use fragment_kit::BoxError;
use jiff::civil::{Date, Time};
use serde::Deserialize;

/// One season of one league.
#[derive(Debug)]
pub(crate) struct League {
    pub(crate) name: String,
    /// The earliest first.
    pub(crate) matches: Vec<Match>,
}

/// One match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) date: Date,
    pub(crate) time: Option<Time>,
    pub(crate) home: String,
    pub(crate) away: String,
    pub(crate) outcome: Outcome,
}

/// How a match ended, or that it has not been played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The goals at full time and at half-time, the home side's first.
    Played { score: [u32; 2], half: Option<[u32; 2]> },
    /// With a status such as `postponed`, if the source has one.
    ToCome { status: Option<String> },
}

#[derive(Debug, Deserialize)]
struct File {
    name: String,
    matches: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    date: String,
    time: Option<String>,
    team1: String,
    team2: String,
    score: Option<Score>,
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Score {
    ft: Option<[u32; 2]>,
    ht: Option<[u32; 2]>,
}

#[derive(Debug, thiserror::Error)]
enum BadMatch {
    #[error("match {number}, {teams}: `{date}` is not a date such as 2026-09-18")]
    Date { number: usize, teams: String, date: String },
    #[error("match {number}, {teams}: two different clubs are needed")]
    Clubs { number: usize, teams: String },
}

impl League {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BoxError> {
        let file: File = serde_json::from_slice(bytes)?;
        let matches = file.matches.into_iter().zip(1..);
        let mut matches = matches.map(|(entry, number)| entry.check(number)).collect::<Result<Vec<_>, _>>()?;
        matches.sort_by_key(|one| (one.date, one.time));
        unite_names(&mut matches);
        let name = file.name;
        Ok(Self { name, matches })
    }

    /// The matches that were played, the latest first.
    pub(crate) fn results(&self) -> impl Iterator<Item = &Match> {
        self.matches.iter().rev().filter(|one| one.is_played())
    }

    /// The matches to come, the next first; overdue ones come last.
    pub(crate) fn fixtures(&self) -> impl Iterator<Item = &Match> {
        // Time is that of the data, not of the clock, so that a recording is always shown the same.
        let now = self.results().next().map(|latest| latest.date);
        let to_come = || self.matches.iter().filter(|one| !one.is_played());
        let overdue = move |one: &&Match| now.is_some_and(|now| one.date < now);
        to_come().filter(move |one| !overdue(one)).chain(to_come().filter(overdue))
    }
}

impl Match {
    fn is_played(&self) -> bool {
        matches!(self.outcome, Outcome::Played { .. })
    }
}

impl Entry {
    fn check(self, number: usize) -> Result<Match, BadMatch> {
        let (home, away) = (self.team1.trim(), self.team2.trim());
        let teams = format!("`{home}` against `{away}`");
        if home.is_empty() || away.is_empty() || home == away {
            return Err(BadMatch::Clubs { number, teams });
        }
        let Ok(date) = self.date.parse() else {
            let date = self.date;
            return Err(BadMatch::Date { number, teams, date });
        };
        let score = self.score.unwrap_or_default();
        Ok(Match {
            date,
            // Some sources add a time zone, which is not shown.
            time: self.time.and_then(|time| kick_off(&time)),
            home: home.to_owned(),
            away: away.to_owned(),
            outcome: match score.ft {
                Some(ft) => Outcome::Played { score: ft, half: score.ht },
                None => Outcome::ToCome { status: self.status },
            },
        })
    }
}

/// Replaces `Millwall` by `Millwall FC` if both occur in one league: a real season has nine such clubs, and its table
/// would list 33 clubs instead of 24. Nothing else is guessed.
fn unite_names(matches: &mut [Match]) {
    let sides = matches.iter().flat_map(|one| [&one.home, &one.away]);
    let names: BTreeSet<String> = sides.cloned().collect();
    let full = |name: &String| {
        let mut longer = ["FC", "AFC"].iter().map(|end| format!("{name} {end}"));
        longer.find(|longer| names.contains(longer))
    };
    for one in matches {
        for name in [&mut one.home, &mut one.away] {
            if let Some(full) = full(name) {
                *name = full;
            }
        }
    }
}

fn kick_off(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_whitespace().next()?.split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use fragment_kit::explain;

    use super::*;

    fn league(matches: &str) -> Result<League, BoxError> {
        League::parse(format!(r#"{{"name":"L","matches":[{matches}]}}"#).as_bytes())
    }

    #[track_caller]
    fn check_fixtures(matches: &str, expected: &[&str]) {
        let league = league(matches).expect("matches");
        let homes: Vec<_> = league.fixtures().map(|one| one.home.as_str()).collect();
        assert_eq!(homes, expected);
    }

    #[test]
    fn all_recorded_matches_are_read() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let Some(path) = fragment_kit::testing::recorded(folder, "scores") else {
            return;
        };
        let (mut leagues, mut matches, mut to_come, mut clubs) = (0, 0, 0, 0);
        for file in std::fs::read_dir(path).expect("the recordings") {
            let path = file.expect("a file").path();
            let league = League::parse(&std::fs::read(path).expect("a file")).expect("a league");
            leagues += 1;
            matches += league.matches.len();
            to_come += league.fixtures().count();
            clubs += crate::table::table(&league).len();
            let all = league.results().count() + league.fixtures().count();
            assert_eq!(all, league.matches.len());
        }
        assert_eq!((leagues, matches, to_come, clubs), (7, 2502, 772, 132));
    }

    #[test]
    fn a_match_without_a_full_time_score_is_to_come() {
        for score in ["", r#", "score": null"#, r#", "score": {}"#, r#", "score": {"ht": [1, 0]}"#] {
            let one = format!(r#"{{"date":"2026-01-01","team1":"A","team2":"B"{score}}}"#);
            check_fixtures(&one, &["A"]);
        }
        check_fixtures(r#"{"date":"2026-01-01","team1":"A","team2":"B","score":{"ft":[0,0]}}"#, &[]);
    }

    #[test]
    fn a_club_with_two_names_is_one_club() {
        check_fixtures(
            r#"{"date":"2026-03-01","team1":"Millwall","team2":"Hull"},
               {"date":"2026-03-02","team1":"Wrexham AFC","team2":"Millwall FC"},
               {"date":"2026-03-03","team1":"Wrexham","team2":"Hull City"}"#,
            &["Millwall FC", "Wrexham AFC", "Wrexham AFC"],
        );
    }

    #[test]
    fn overdue_matches_come_last() {
        check_fixtures(
            r#"{"date":"2026-03-01","team1":"C","team2":"D"},
               {"date":"2026-01-01","team1":"A","team2":"B","status":"postponed"},
               {"date":"2026-02-01","team1":"E","team2":"F","score":{"ft":[2,1]}}"#,
            &["C", "A"],
        );
    }

    #[test]
    fn kick_offs() {
        assert_eq!(kick_off("20:30").map(Time::hour), Some(20));
        assert_eq!(kick_off("9:05 UTC+1").map(Time::minute), Some(5));
        for none in ["", "tba", "25:00", "20.30"] {
            assert_eq!(kick_off(none), None, "{none}");
        }
    }

    #[test]
    fn an_error_names_its_match() {
        let message = |matches: &str| explain(&*league(matches).expect_err("an error"));
        let date = message(r#"{"date":"1 May","team1":"A","team2":"B"}"#);
        assert!(date.starts_with("match 1, `A` against `B`: `1 May`"), "{date}");
        let itself = message(r#"{"date":"2026-01-01","team1":"A","team2":"A"}"#);
        assert!(itself.contains("two different clubs"), "{itself}");
        let score = r#"{"date":"2026-01-01","team1":"A","team2":"B","score":{"ft":[1]}}"#;
        assert!(message(score).contains("line 1 column"));
        assert!(League::parse(b"{\"name\":\"L\",\"matches\":[{").is_err());
    }
}
