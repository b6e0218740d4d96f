//! All pages, and one page: its figures, the paths that it was requested at, and its parts as they would be composed now.

use std::sync::Arc;

use askama::Template;

use crate::engine::statistics::PageStatistics;
use crate::page::output::record::{PartRecord, Record};
use crate::page::response::outcome::PartHealth;
use crate::page::source::units::show_ms;

use super::super::api::{self, Page};
use super::super::{Admin, Params};
use super::format::{ms, percent};

#[derive(Template)]
#[template(path = "console/pages.html")]
struct Pages {
    q: String,
    /// How many there are, including those that the filter leaves out.
    all: usize,
    pages: Vec<Page>,
}

pub(super) fn all(admin: &Admin, query: &Params) -> askama::Result<String> {
    let mut pages = api::pages(admin);
    let (q, all) = (query.value("q").to_lowercase(), pages.len());
    let matches = |text: &str| text.to_lowercase().contains(&q);
    pages.retain(|page| {
        let texts = [Some(&page.route), Some(&page.layout), page.owner.as_ref()];
        texts.into_iter().flatten().chain(&page.fragments).any(|text| matches(text))
    });
    Pages { q: query.value("q").to_owned(), all, pages }.render()
}

#[derive(Template)]
#[template(path = "console/page.html")]
struct OnePage {
    route: String,
    path: String,
    device: String,
    locale: String,
    statistics: PageStatistics,
    /// Paths that it was composed for lately, the latest first.
    paths: Vec<String>,
    record: Result<Record, String>,
}

/// A part of a page, and its bars in a waterfall that is 200 wide.
struct Row<'a> {
    depth: usize,
    part: &'a PartRecord,
    class: &'static str,
    /// The start of the bar.
    from: f64,
    /// The width of the bar until the first byte.
    wait: f64,
    /// The position of the first byte.
    first: f64,
    /// The width of the bar from the first byte to the last.
    body: f64,
    /// Milliseconds from the request to the last byte.
    took: Option<f64>,
}

impl Row<'_> {
    /// Whether more is known than the short reason.
    fn has_more(&self) -> bool {
        self.part.caching.is_some() || self.part.further_detail().is_some()
    }
}

pub(super) async fn one(admin: &Arc<Admin>, query: &Params, whole: bool) -> askama::Result<String> {
    let route = query.value("route").to_owned();
    let paths = admin.statistics.recent_paths(&route);
    let path = match query.value("path") {
        // The latest path that somebody requested, or the pattern, which may be a path.
        "" => paths.first().unwrap_or(&route).clone(),
        path => path.to_owned(),
    };
    let (device, locale) = (query.value("device").to_owned(), query.value("locale").to_owned());
    let record = if !whole {
        Err(String::new())
    } else if path.contains('{') {
        let placeholders: Vec<&str> = path.split('/').filter(|segment| segment.contains('{')).collect();
        Err(format!("Enter a real path for this route, with values in place of {}.", placeholders.join(" and ")))
    } else {
        let fields = [("path", &path), ("device", &device), ("locale", &locale)];
        let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<_> = given.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let record = admin.explain(&query).await;
        record.and_then(|record| record.ok_or_else(|| format!("No layout matches {path}.")))
    };
    OnePage { statistics: admin.statistics.page(&route), route, path, device, locale, paths, record }.render()
}

fn rows(record: &Record) -> Vec<Row<'_>> {
    let scale = 200.0 / record.all().filter_map(|part| part.end_ms).fold(record.took_ms, f64::max).max(0.01);
    let mut rows = Vec::new();
    rows_of(&record.parts, 0, scale, &mut rows);
    rows
}

fn rows_of<'a>(parts: &'a [PartRecord], depth: usize, scale: f64, rows: &mut Vec<Row<'a>>) {
    for part in parts {
        let (start, end) = (part.start_ms.unwrap_or_default(), part.end_ms.unwrap_or_default());
        let first = part.first_byte_ms.unwrap_or(end).clamp(start, end.max(start));
        rows.push(Row {
            depth: depth.min(4),
            class: match part.health {
                PartHealth::Good => "good",
                PartHealth::Old => "warn",
                PartHealth::Missing => "bad",
            },
            from: start * scale,
            wait: (first - start) * scale,
            first: first * scale,
            // At least 1, so that a part that took no time is visible.
            body: if part.start_ms.is_some() { ((end - first) * scale).max(1.0) } else { 0.0 },
            took: part.start_ms.map(|_| end - start),
            part,
        });
        rows_of(&part.parts, depth + 1, scale, rows);
    }
}
