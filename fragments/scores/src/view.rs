//! Renders results, fixtures and tables. If there is nothing to show, the text is empty.

use askama::Template;
use jiff::civil::Date;
use serde::Deserialize;

use crate::league::{League, Match, Outcome};
use crate::table::{Row, table};

/// Matches that are shown if no limit is given.
const MATCHES: usize = 10;

/// What is shown of a league.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum View {
    /// The latest matches that were played.
    Results,
    /// The next matches.
    Fixtures,
    /// The league table.
    Table,
}

/// Renders a league as HTML. Without a limit, that is ten matches or the whole table.
pub(crate) fn show(league: &League, view: View, heading: usize, limit: Option<usize>) -> Result<String, askama::Error> {
    let matches = limit.unwrap_or(MATCHES);
    let days = match view {
        View::Results => days(league.results().take(matches)),
        View::Fixtures => days(league.fixtures().take(matches)),
        View::Table => Vec::new(),
    };
    let rows = match view {
        View::Table => table(league),
        View::Results | View::Fixtures => Vec::new(),
    };
    if days.is_empty() && rows.is_empty() {
        return Ok(String::new());
    }
    let limit = limit.unwrap_or(rows.len()).min(rows.len());
    let page = Scores { league: &league.name, view, heading, days, rows: &rows[..limit] };
    page.render()
}

#[derive(Debug, Template)]
#[template(path = "scores.html")]
struct Scores<'a> {
    league: &'a str,
    view: View,
    heading: usize,
    days: Vec<Day<'a>>,
    rows: &'a [Row<'a>],
}

/// The matches of one date.
#[derive(Debug)]
struct Day<'a> {
    date: Date,
    matches: Vec<&'a Match>,
}

impl Scores<'_> {
    fn label(&self) -> &'static str {
        match self.view {
            View::Results => "Results",
            View::Fixtures => "Fixtures",
            View::Table => "Table",
        }
    }
}

impl Day<'_> {
    fn machine(&self) -> String {
        self.date.to_string()
    }

    fn long(&self) -> String {
        self.date.strftime("%A %-d %B %Y").to_string()
    }
}

impl Match {
    fn score(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Played { score, .. } => Some(goals(*score)),
            Outcome::ToCome { .. } => None,
        }
    }

    fn half(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Played { half, .. } => half.map(goals),
            Outcome::ToCome { .. } => None,
        }
    }

    fn status(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Played { .. } => None,
            Outcome::ToCome { status } => status.as_deref(),
        }
    }

    fn kick_off(&self) -> Option<String> {
        self.time.map(|time| time.strftime("%H:%M").to_string())
    }

    /// Whether a side won: 0 is the home side, 1 the away side.
    fn won_by(&self, side: usize) -> bool {
        match &self.outcome {
            Outcome::Played { score, .. } => score[side] > score[1 - side],
            Outcome::ToCome { .. } => false,
        }
    }
}

fn days<'a>(matches: impl Iterator<Item = &'a Match>) -> Vec<Day<'a>> {
    let mut days: Vec<Day<'a>> = Vec::new();
    for one in matches {
        match days.last_mut() {
            Some(day) if day.date == one.date => day.matches.push(one),
            _ => days.push(Day { date: one.date, matches: vec![one] }),
        }
    }
    days
}

fn goals([home, away]: [u32; 2]) -> String {
    format!("{home}\u{2013}{away}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_source_is_escaped() {
        let text = r#"{"name":"<b>","matches":[
            {"date":"2026-01-01","team1":"<i>","team2":"&","status":"<u>"},
            {"date":"2026-01-02","team1":"<i>","team2":"&","score":{"ft":[1,0]}}]}"#;
        let league = League::parse(text.as_bytes()).expect("a league");
        for view in [View::Results, View::Fixtures, View::Table] {
            let html = show(&league, view, 2, None).expect("the template cannot fail");
            assert!(html.contains("&#60;i&#62;"), "{html}");
            for raw in ["<b>", "<i>", "<u>", "& "] {
                assert!(!html.contains(raw), "{raw} in {html}");
            }
        }
    }

    #[test]
    fn nothing_to_show_is_empty() {
        let league = League::parse(br#"{"name":"L","matches":[]}"#).expect("a league");
        for view in [View::Results, View::Fixtures, View::Table] {
            assert_eq!(show(&league, view, 2, None).ok().as_deref(), Some(""));
        }
    }
}
