//! What went wrong, one row for each cause, with the changes of files between them; and requests for pages that do not exist.

use askama::Template;
use jiff::Timestamp;

use crate::engine::statistics::{SiteChange, UnroutedStatistics};

use super::super::Admin;
use super::super::api;
use super::super::causes::Cause;
use super::format::{ago, clock};

#[derive(Template)]
#[template(path = "console/errors.html")]
struct Errors {
    now: Timestamp,
    lines: Vec<Line>,
    unrouted: UnroutedStatistics,
}

/// A line of the timeline of errors and changes.
enum Line {
    Error(Cause),
    Change(SiteChange),
}

impl Line {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Error(cause) => cause.last,
            Self::Change(mark) => mark.at,
        }
    }
}

pub(super) fn render(admin: &Admin) -> askama::Result<String> {
    let errors = api::errors(admin);
    Errors { now: admin.compositor.now(), unrouted: errors.unrouted, lines: lines(errors.causes, errors.changes) }
        .render()
}

/// Merges errors and changes, the latest first.
fn lines(causes: Vec<Cause>, changes: Vec<SiteChange>) -> Vec<Line> {
    let mut lines: Vec<Line> =
        causes.into_iter().map(Line::Error).chain(changes.into_iter().map(Line::Change)).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.at()));
    lines
}
