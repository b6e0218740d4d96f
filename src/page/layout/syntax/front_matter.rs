//! Front matter: what a layout says of itself, in TOML.
//! An unknown key is a mistake that names the nearest known one.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source};
use crate::page::source::names;
use crate::page::source::table::{self, Data, Table, TableReader, Value, Wrong};
use crate::page::visit::experiment::Experiment;
use crate::page::visit::route::Pattern;

/// What a layout says of itself.
#[derive(Debug, Clone, Default)]
pub struct FrontMatter {
    /// The paths it answers. None: it is a frame or a partial.
    pub routes: Vec<Located<Pattern>>,
    /// There is a `route`, but a mistake in it.
    pub route_was_wrong: bool,
    /// Text of the page's `<title>`.
    pub title: Option<String>,
    /// The shell that it fills.
    pub frame: Option<Located<String>>,
    /// Who is told.
    pub owner: Option<String>,
    /// Longest time from the request to the page's last part.
    pub budget: Option<Duration>,
    /// Query parameters that the page reads.
    pub query: Vec<String>,
    /// Caps the page's downstream freshness.
    pub max_age: Option<Duration>,
    /// Headers that the page adds.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Files that take over for a time.
    pub schedule: Vec<Takeover>,
    /// Experiments, each with its variants' weights.
    pub experiments: Vec<Experiment>,
    /// Whether `<esi:…>` is acted on.
    pub esi: bool,
    /// Keys that only the file of a page, or one that takes its place, has a use for.
    pub of_pages: Vec<Located<&'static str>>,
}

/// Keys that say what a page does, and not what it looks like.
const OF_PAGES: [&str; 5] = ["budget", "query", "max_age", "schedule", "experiment"];

/// A file that is served on this file's routes for a time.
#[derive(Debug, Clone)]
pub struct Takeover {
    /// The file, below `layouts/`.
    pub file: Located<String>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// Headers that the compositor itself sets, or that speak of one connection.
const OWNED: [&str; 19] = [
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "host",
    "keep-alive",
    "location",
    "set-cookie",
    "surrogate-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "x-request-id",
];

/// Reads front matter and adds its mistakes to `problems`.
pub fn parse(source: &Arc<Source>, range: Range<usize>, problems: &mut Vec<Diagnostic>) -> FrontMatter {
    let (table, syntax) = Table::parse(source, range, Code::FrontMatter);
    let broken = !syntax.is_empty();
    problems.extend(syntax);
    let (mut front, more) = read(&table, problems);
    if broken {
        // Half of a table says nothing of what is missing; but a page it was meant to be.
        front.route_was_wrong |= source.text.contains("route");
    } else {
        problems.extend(more);
    }
    front
}

fn read(table: &Table, problems: &mut Vec<Diagnostic>) -> (FrontMatter, Vec<Diagnostic>) {
    let mut reader = TableReader::new(table, Code::FrontMatter);
    let routes = routes(&mut reader, problems);
    let frame = reader.read("frame", |value| located(value, table::filled(value)?));
    let esi = reader.read("esi", table::boolean);
    let schedule = reader.tables("schedule", takeover);
    let experiments = experiments(&mut reader);
    let mut front = FrontMatter {
        route_was_wrong: table.get("route").is_some() && routes.is_empty(),
        routes,
        title: reader.read("title", table::text),
        frame,
        owner: reader.read("owner", table::filled),
        budget: reader.read("budget", |value| {
            let budget = table::duration(value)?;
            if budget.is_zero() { Err(Wrong::new("a page with no time at all has no parts")) } else { Ok(budget) }
        }),
        query: reader.read("query", table::list(parameter)).unwrap_or_default(),
        max_age: reader.read("max_age", table::duration),
        headers: headers(&mut reader),
        schedule,
        experiments,
        esi: esi.unwrap_or_default(),
        of_pages: OF_PAGES
            .into_iter()
            .filter_map(|key| {
                let entry = table.entries.iter().find(|entry| entry.key == key)?;
                Some(Located { value: key, at: entry.key_at.clone() })
            })
            .collect(),
    };
    front.query.dedup();
    (front, reader.finish())
}

#[expect(clippy::unnecessary_wraps, reason = "stands at the end of readers of values")]
fn located<T>(value: &Value, read: T) -> Result<Located<T>, Wrong> {
    Ok(Located { value: read, at: value.at.clone() })
}

fn takeover(takeover: &mut TableReader<'_>) -> Takeover {
    let file = takeover.read("use", |value| located(value, table::filled(value)?));
    let (from, until) = (takeover.read("from", time), takeover.read("until", time));
    if let (Some(from), Some(until), Some(entry)) = (from, until, takeover.entry("until"))
        && from >= until
    {
        takeover.note(entry.value.at.clone(), "`until` is not after `from`, so the file is never shown", None);
    }
    Takeover { file: file.unwrap_or_else(|| Located { value: String::new(), at: takeover.at().clone() }), from, until }
}

fn routes(reader: &mut TableReader<'_>, problems: &mut Vec<Diagnostic>) -> Vec<Located<Pattern>> {
    let texts = reader.read("route", |value| {
        let texts = table::one_or_more(|value| located(value, table::text(value)?))(value)?;
        let help = "write `route = \"/path\"`, or leave it out if the file is a partial";
        if texts.is_empty() { Err(Wrong::with_help("the list is empty", help)) } else { Ok(texts) }
    });
    let mut routes = Vec::new();
    for text in texts.into_iter().flatten() {
        match text.value.parse::<Pattern>() {
            Ok(value) => routes.push(Located { value, at: text.at }),
            Err(error) => problems.push(
                Diagnostic::new(Code::BadRoute, text.at, error.to_string())
                    .help("routes look like \"/\", \"/news/{section}\" or \"/files/{*rest}\""),
            ),
        }
    }
    routes
}

fn parameter(value: &Value) -> Result<String, Wrong> {
    let text = table::text(value)?;
    if names::is_name(&text) {
        Ok(text)
    } else {
        Err(Wrong::new(format!("`{text}` is no parameter name: {}", names::NAME_RULE)))
    }
}

fn time(value: &Value) -> Result<Timestamp, Wrong> {
    let text = match &value.data {
        Data::Text(text) | Data::Time(text) => text,
        other => return Err(Wrong::new(format!("must be a time, not {}", other.kind()))),
    };
    text.parse().map_err(|_| {
        Wrong::with_help(
            format!("`{text}` is no time with an offset"),
            "write it like 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00",
        )
    })
}

fn headers(reader: &mut TableReader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let Some(entry) = reader.entry("headers") else { return Vec::new() };
    let Data::Table(table) = &entry.value.data else {
        reader.note(
            entry.value.at.clone(),
            "`headers` must be a table",
            Some("write them below a line `[headers]`".to_owned()),
        );
        return Vec::new();
    };
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for entry in &table.entries {
        let Ok(name) = HeaderName::try_from(entry.key.as_str()) else {
            reader.note(entry.key_at.clone(), format!("`{}` is no header name", entry.key), None);
            continue;
        };
        if OWNED.contains(&name.as_str()) {
            let cure = "leave it out: it follows from the page's parts (`max_age` caps the freshness)";
            reader.note(
                entry.key_at.clone(),
                format!("`{}` is set by the compositor", entry.key),
                Some(cure.to_owned()),
            );
            continue;
        }
        if headers.iter().any(|(known, _)| *known == name) {
            let cure = "names of headers are equal in capital and small letters: keep one of them";
            reader.note(entry.key_at.clone(), format!("`{}` stands twice", entry.key), Some(cure.to_owned()));
            continue;
        }
        match table::text(&entry.value).map(|text| HeaderValue::try_from(text.trim())) {
            Ok(Ok(value)) => headers.push((name, value)),
            Ok(Err(_)) => {
                reader.note(entry.value.at.clone(), "a header's value is one line of visible characters", None);
            }
            Err(wrong) => {
                reader.note(entry.value.at.clone(), format!("`{}`: {}", entry.key, wrong.message), wrong.help);
            }
        }
    }
    headers
}

fn experiments(reader: &mut TableReader<'_>) -> Vec<Experiment> {
    let Some(entry) = reader.entry("experiment") else { return Vec::new() };
    let Data::Table(table) = &entry.value.data else {
        let cure = "write `experiment.lead = { big = 1, small = 1 }`";
        reader.note(entry.value.at.clone(), "`experiment` must be a table", Some(cure.to_owned()));
        return Vec::new();
    };
    let mut experiments = Vec::new();
    for entry in &table.entries {
        let Data::Table(weights) = &entry.value.data else {
            let message = format!("`experiment.{}` must be a table of variants and weights", entry.key);
            reader.note(entry.value.at.clone(), message, Some("write `{ big = 1, small = 1 }`".to_owned()));
            continue;
        };
        let mut variants = Vec::new();
        for weight in &weights.entries {
            match table::integer(0..=1_000_000)(&weight.value) {
                Ok(number) => variants.push((weight.key.clone(), u32::try_from(number).unwrap_or_default())),
                Err(wrong) => {
                    reader.note(weight.value.at.clone(), format!("`{}`: {}", weight.key, wrong.message), wrong.help);
                }
            }
        }
        if !names::is_name(&entry.key) || variants.iter().any(|(variant, _)| !names::is_name(variant)) {
            let message = format!("`experiment.{}` and its variants must have plain names", entry.key);
            reader.note(entry.key_at.clone(), message, Some(format!("use {}", names::NAME_RULE)));
            continue;
        }
        if variants.iter().all(|(_, weight)| *weight == 0) {
            let message = format!("`experiment.{}` has no variant that any reader gets", entry.key);
            reader.note(entry.value.at.clone(), message, Some("write `{ big = 1, small = 1 }`".to_owned()));
            continue;
        }
        experiments.push(Experiment { name: entry.key.clone(), variants });
    }
    experiments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        parse(&Source::new("layouts/a.html", text), 0..text.len(), &mut problems);
        problems.into_iter().filter(Diagnostic::is_error).map(|problem| problem.message).collect()
    }

    #[test]
    fn a_page_adds_no_header_of_the_compositor_and_none_twice() {
        for name in OWNED {
            assert_eq!(problems(&format!("[headers]\n{name} = \"x\"\n")).len(), 1, "{name}");
        }
        assert_eq!(problems("[headers]\nX-A = \"1\"\nx-a = \"2\"\n"), ["`x-a` stands twice"]);
        assert_eq!(problems("[headers]\nX-A = \"1\"\nx-b = \"2\"\n"), [""; 0]);
    }

    #[test]
    fn an_empty_list_of_routes_is_told() {
        assert_eq!(problems("route = []\n"), ["`route`: the list is empty"]);
    }

    #[test]
    fn a_takeover_that_ends_before_it_begins_is_told() {
        let schedule = |from: &str, until: &str| {
            problems(&format!("schedule = [{{ use = \"a.html\", from = {from}, until = {until} }}]\n")).len()
        };
        let (early, late) = ("2026-12-24T18:00:00Z", "2026-12-24T19:00:00Z");
        assert_eq!([schedule(early, late), schedule(late, early), schedule(early, early)], [0, 1, 1]);
    }
}
