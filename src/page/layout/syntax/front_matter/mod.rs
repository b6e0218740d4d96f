//! Front matter: a layout's settings, in TOML.
//! An unknown key is an error that names the nearest known one.

mod swallowed;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source, SourceSpan};
use crate::page::source::names;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::table::{self, Data, Table, TableReader, Value, ValueError};
use crate::page::visit::experiment::Experiment;
use crate::page::visit::route::Pattern;
use crate::page::visit::window::TimeWindow;

use super::markup::placeholders::pieces;
use super::node::ParameterPiece;

/// The front matter of a file.
#[derive(Debug, Clone, Default)]
pub struct FrontMatter {
    /// The paths that the page serves. If there are none, the file is a frame or a partial.
    pub routes: Vec<Located<Pattern>>,
    /// Whether there is a `route` or a `status` that has an error.
    pub has_invalid_route: bool,
    /// The status that the page is the site's page for, instead of a route.
    pub status: Option<Located<StatusCode>>,
    /// The text of the page's `<title>`.
    pub title: Option<Title>,
    /// The frame that the file fills.
    pub frame: Option<Located<String>>,
    /// The team to notify.
    pub owner: Option<String>,
    /// Time limit of the whole page.
    pub budget: Option<Duration>,
    /// Query parameters that the page reads.
    pub query: Vec<String>,
    /// The longest freshness of the page in browsers and downstream caches.
    pub max_age: Option<Duration>,
    /// Response headers that the page adds.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Files that replace this one for a time.
    pub schedule: Vec<ScheduledFile>,
    /// Experiments, each with its variants and their weights.
    pub experiments: Vec<Experiment>,
    /// Whether `<esi:…>` is processed.
    pub esi: bool,
    /// Keys in this file that have an effect only in the file of a page, or in one that replaces it.
    pub page_keys: Vec<Located<&'static str>>,
}

/// The text of a page's `<title>`.
#[derive(Debug, Clone)]
pub struct Title {
    /// The text as it is written.
    pub text: String,
    /// The text, split at its placeholders.
    pub pieces: Vec<ParameterPiece>,
    /// Where it is.
    pub at: SourceSpan,
}

schema! {
    /// The settings of a layout.
    pub(crate) mod file {
        /// The path of the page, or several paths. `{name}` is one segment of a path, `{*name}` is all the rest. The
        /// most specific pattern wins. A file with neither a route nor a status is a frame or a partial.
        ROUTE = Field::new("route", Kind::OneOrMore(&Kind::Route)).example("\"/news/{section}\"");
        /// Instead of `route`: the layout is the site's page for this status, for paths that no route matches (`404`) and for
        /// pages that come to it: `404`, `410`, or `500` to `599`. Nothing in it is `required`.
        STATUS = Field::new("status", Kind::Integer(404, 599)).example("404");
        /// The text of the page's `<title>`. `{x}` is replaced by a parameter of the route or a query parameter that the page
        /// declares, and `{{` is a brace. It replaces the text of the frame's `<title>`, and is added to `<head>` if there is
        /// none.
        TITLE = Field::new("title", Kind::Placeholders).example("\"Weather in {city} - The Daily Courier\"");
        /// The frame that the file fills: the document around the page. A frame may name a frame itself.
        FRAME = Field::new("frame", Kind::LayoutPath).example("\"frames/site.html\"");
        /// The team to notify.
        OWNER = Field::new("owner", Kind::Text).example("\"team-news\"");
        /// Time limit of the whole page. A part that is late by then shows its fallback.
        BUDGET = Field::new("budget", Kind::PositiveDuration)
            .otherwise("the setting `page.budget`")
            .example("\"800ms\"");
        /// The query parameters that the page reads. No others reach a fragment or a cache key.
        QUERY = Field::new("query", Kind::List(&Kind::Name)).default("[]").example("[\"page\"]");
        /// The longest time for which browsers and downstream caches may store the page.
        MAX_AGE = Field::new("max_age", Kind::Duration).example("\"30s\"");
        /// Response headers that the page adds. Headers that the compositor sets itself, such as `Vary`, are an error.
        /// The headers of a frame apply to all its pages.
        HEADERS = Field::new("headers", Kind::Map("NAME", &Kind::Text))
            .example("{ X-Content-Type-Options = \"nosniff\" }");
        /// Files that are served on this file's routes for a time.
        SCHEDULE = Field::new("schedule", Kind::Tables(&schedule::SCHEMA));
        /// Experiments: for each, the weights of its variants. The cookie `pasteup-NAME` keeps clients in the variant
        /// that they saw first.
        EXPERIMENT = Field::new("experiment", Kind::Map("NAME", &Kind::Map("VARIANT", &WEIGHT)))
            .example("{ lead = { big = 1, small = 3 } }");
        /// Whether `<esi:…>` elements of this file are processed. If not, they are sent unchanged.
        ESI = Field::new("esi", Kind::Boolean).default("false");
    }
}

schema! {
    /// A file that is served on this file's routes for a time.
    pub(crate) mod schedule {
        /// The file, which has no `route` of its own.
        USE = Field::new("use", Kind::LayoutPath).required().example("\"christmas.html\"");
        /// The start of that time.
        FROM = Field::new("from", Kind::Time).otherwise("no limit").example("2026-12-24T18:00:00Z");
        /// The end of that time. From then on this file is served again.
        UNTIL = Field::new("until", Kind::Time).otherwise("no limit").example("2026-12-27T00:00:00+01:00");
    }
}

/// The weight of a variant.
static WEIGHT: Kind = Kind::Integer(0, 1_000_000);

/// Keys that set what a page does rather than what it looks like.
static PAGE_KEYS: [&Field; 5] = [&file::BUDGET, &file::QUERY, &file::MAX_AGE, &file::SCHEDULE, &file::EXPERIMENT];

/// A file that is served on another file's routes for a time.
#[derive(Debug, Clone)]
pub struct ScheduledFile {
    /// The file, below `layouts/`.
    pub file: Located<String>,
    /// When it is served.
    pub window: TimeWindow,
}

/// Headers that the compositor sets itself, or that belong to one connection.
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

/// Reads front matter, and adds its errors to `problems`.
pub fn parse(source: &Arc<Source>, range: Range<usize>, problems: &mut Vec<Diagnostic>) -> FrontMatter {
    let (table, syntax) = Table::parse(source, range, Code::FrontMatter);
    let broken = !syntax.is_empty();
    problems.extend(syntax);
    let (table, swallowed) = swallowed::take_out(table);
    let (mut front, more) = read(&table, problems);
    // It was meant to be a page, so its last good version stays live.
    front.has_invalid_route |= swallowed.iter().any(|key| [file::ROUTE.name, file::STATUS.name].contains(&key.name));
    problems.extend(swallowed.into_iter().map(|key| key.problem));
    if broken {
        // A key that is missing from a malformed table is not an error. But the file was probably meant to be a page.
        front.has_invalid_route |= ["route", "status"].iter().any(|key| source.text.contains(key));
    } else {
        problems.extend(more);
    }
    front
}

fn read(table: &Table, problems: &mut Vec<Diagnostic>) -> (FrontMatter, Vec<Diagnostic>) {
    let mut reader = TableReader::new(table, &file::SCHEMA, Code::FrontMatter);
    let routes = routes(&mut reader, problems);
    let status = status(&mut reader);
    let frame = reader.read(&file::FRAME, |value| located(value, table::filled(value)?));
    let esi = reader.read_or_default(&file::ESI, table::boolean);
    let schedule = reader.tables(&file::SCHEDULE, scheduled_file);
    let experiments = experiments(&mut reader);
    let mut front = FrontMatter {
        has_invalid_route: (reader.entry(&file::ROUTE).is_some() && routes.is_empty())
            || (reader.entry(&file::STATUS).is_some() && status.is_none()),
        routes,
        status,
        title: reader.read(&file::TITLE, title),
        frame,
        owner: reader.read(&file::OWNER, table::filled),
        budget: reader.read(&file::BUDGET, table::positive_duration),
        query: reader.read_or_default(&file::QUERY, table::list(parameter)),
        max_age: reader.read(&file::MAX_AGE, table::duration),
        headers: headers(&mut reader),
        schedule,
        experiments,
        esi,
        page_keys: PAGE_KEYS
            .iter()
            .filter_map(|field| {
                let entry = table.entry(field.name)?;
                Some(Located { value: field.name, at: entry.key_at.clone() })
            })
            .collect(),
    };
    front.query.dedup();
    (front, reader.finish())
}

#[expect(clippy::unnecessary_wraps, reason = "it ends functions that read values")]
fn located<T>(value: &Value, read: T) -> Result<Located<T>, ValueError> {
    Ok(Located { value: read, at: value.at.clone() })
}

fn status(reader: &mut TableReader<'_>) -> Option<Located<StatusCode>> {
    let status = reader.read(&file::STATUS, |value| {
        let number = table::integer(&file::STATUS.kind)(value)?;
        let allowed = u16::try_from(number).ok().filter(|status| matches!(status, 404 | 410 | 500..=599));
        match allowed.and_then(|status| StatusCode::from_u16(status).ok()) {
            Some(status) => located(value, status),
            None => Err(ValueError::new("must be 404, 410, or 500 to 599")),
        }
    });
    if let (Some(entry), Some(_)) = (reader.entry(&file::STATUS), reader.entry(&file::ROUTE)) {
        let help = "keep one of them: a page for a status is served at the paths that come to it";
        reader.note(entry.key_at.clone(), "a page has a `route` or a `status`, not both", Some(help.to_owned()));
    }
    status
}

fn title(value: &Value) -> Result<Title, ValueError> {
    let text = table::text(value)?;
    match pieces(&text) {
        Ok(pieces) => Ok(Title { text, pieces, at: value.at.clone() }),
        Err(message) => Err(ValueError::with_help(message, "`{city}` is a placeholder, `{{` is a brace")),
    }
}

fn scheduled_file(table: &mut TableReader<'_>) -> ScheduledFile {
    let file = table.read(&schedule::USE, |value| located(value, table::filled(value)?));
    let window = TimeWindow { from: table.read(&schedule::FROM, time), until: table.read(&schedule::UNTIL, time) };
    if let Some(entry) = table.entry(&schedule::UNTIL).filter(|_| window.is_empty()) {
        table.note(entry.value.at.clone(), "`until` is not after `from`, so the file is never shown", None);
    }
    ScheduledFile { file: file.unwrap_or_else(|| Located { value: String::new(), at: table.at().clone() }), window }
}

fn routes(reader: &mut TableReader<'_>, problems: &mut Vec<Diagnostic>) -> Vec<Located<Pattern>> {
    let texts = reader.read(&file::ROUTE, |value| {
        let texts = table::one_or_more(|value| located(value, table::text(value)?))(value)?;
        let help = "write `route = \"/path\"`, or leave it out if the file is a partial";
        if texts.is_empty() { Err(ValueError::with_help("the list is empty", help)) } else { Ok(texts) }
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

fn parameter(value: &Value) -> Result<String, ValueError> {
    let text = table::text(value)?;
    if names::is_name(&text) {
        Ok(text)
    } else {
        Err(ValueError::new(format!("`{text}` is not a valid parameter name: use {}", names::NAME_RULE)))
    }
}

fn time(value: &Value) -> Result<Timestamp, ValueError> {
    let text = match &value.data {
        Data::Text(text) | Data::Time(text) => text,
        other => return Err(ValueError::new(format!("must be a time, not {}", other.kind()))),
    };
    text.parse().map_err(|_| {
        ValueError::with_help(
            format!("`{text}` is not a time with an offset"),
            "write it like 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00",
        )
    })
}

fn headers(reader: &mut TableReader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let Some(entry) = reader.entry(&file::HEADERS) else { return Vec::new() };
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
            reader.note(entry.key_at.clone(), format!("`{}` is not a valid header name", entry.key), None);
            continue;
        };
        if OWNED.contains(&name.as_str()) {
            let help = "leave it out: it follows from the page's parts (`max_age` caps the freshness)";
            reader.note(
                entry.key_at.clone(),
                format!("`{}` is set by the compositor", entry.key),
                Some(help.to_owned()),
            );
            continue;
        }
        if headers.iter().any(|(known, _)| *known == name) {
            let help = "header names are not case-sensitive: keep one of them";
            reader.note(entry.key_at.clone(), format!("`{}` is used twice", entry.key), Some(help.to_owned()));
            continue;
        }
        match table::text(&entry.value).map(|text| HeaderValue::try_from(text.trim())) {
            Ok(Ok(value)) => headers.push((name, value)),
            Ok(Err(_)) => {
                reader.note(
                    entry.value.at.clone(),
                    "the value of a header must be one line of visible characters",
                    None,
                );
            }
            Err(error) => {
                reader.note(entry.value.at.clone(), format!("`{}`: {}", entry.key, error.message), error.help);
            }
        }
    }
    headers
}

/// The names that experiments cannot have, since `pasteup-NAME` is a cookie of the compositor's own.
const RESERVED: [&str; 2] = ["rollout", "debug"];

fn experiments(reader: &mut TableReader<'_>) -> Vec<Experiment> {
    let Some(entry) = reader.entry(&file::EXPERIMENT) else { return Vec::new() };
    let Data::Table(table) = &entry.value.data else {
        let help = "write `experiment.lead = { big = 1, small = 1 }`";
        reader.note(entry.value.at.clone(), "`experiment` must be a table", Some(help.to_owned()));
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
            match table::integer(&WEIGHT)(&weight.value) {
                Ok(number) => variants.push((weight.key.clone(), u32::try_from(number).unwrap_or_default())),
                Err(error) => {
                    reader.note(weight.value.at.clone(), format!("`{}`: {}", weight.key, error.message), error.help);
                }
            }
        }
        if !names::is_name(&entry.key) || variants.iter().any(|(variant, _)| !names::is_name(variant)) {
            let message = format!("`experiment.{}` and its variants must have plain names", entry.key);
            reader.note(entry.key_at.clone(), message, Some(format!("use {}", names::NAME_RULE)));
            continue;
        }
        if RESERVED.contains(&entry.key.as_str()) {
            let message = format!("an experiment cannot be called `{}`: its cookie means something else", entry.key);
            reader.note(entry.key_at.clone(), message, Some("give it another name".to_owned()));
            continue;
        }
        if variants.iter().all(|(_, weight)| *weight == 0) {
            let message = format!("`experiment.{}` has no variant with a weight above 0", entry.key);
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
    use crate::page::source::schema::check::toml_fields;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        parse(&Source::new("layouts/a.html", text), 0..text.len(), &mut problems);
        problems.into_iter().filter(Diagnostic::is_error).map(|problem| problem.message).collect()
    }

    #[test]
    fn every_key_is_read_as_its_schema_states() {
        toml_fields(&file::SCHEMA, |text| {
            let mut problems = Vec::new();
            parse(&Source::new("layouts/a.html", text), 0..text.len(), &mut problems);
            problems
        });
    }

    #[test]
    fn headers_of_the_compositor_and_duplicates_are_errors() {
        for name in OWNED {
            assert_eq!(problems(&format!("[headers]\n{name} = \"x\"\n")).len(), 1, "{name}");
        }
        assert_eq!(problems("[headers]\nX-A = \"1\"\nx-a = \"2\"\n"), ["`x-a` is used twice"]);
        assert_eq!(problems("[headers]\nX-A = \"1\"\nx-b = \"2\"\n"), [""; 0]);
    }

    #[test]
    fn a_key_that_a_table_has_taken_in_is_an_error() {
        for (text, line) in [
            ("[headers]\nX-A = \"1\"\nroute = \"/a\"\n", "[headers]"),
            ("[headers]\ntitle = \"A\"\n", "[headers]"),
            ("[[schedule]]\nuse = \"b.html\"\nbudget = \"1s\"\n", "[[schedule]]"),
            ("[experiment.lead]\nbig = 1\nquery = [\"page\"]\n", "[experiment.lead]"),
            ("[experiment]\nlead = { big = 1 }\nroute = [\"/a\"]\n", "[experiment]"),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(line), "{text}: {found:?}");
        }
        for text in [
            "headers = { Title = \"x\" }\n",
            "experiment.title = { route = 1, frame = 2 }\n",
            "[experiment.title]\nroute = 1\n",
            "route = \"/a\"\n[headers]\nX-A = \"1\"\n",
        ] {
            assert_eq!(problems(text), [""; 0], "{text}");
        }
        let text = "[headers]\nroute = \"/a\"\n";
        let front = parse(&Source::new("layouts/a.html", text), 0..text.len(), &mut Vec::new());
        assert!(front.has_invalid_route, "it was meant to be a page");
    }

    #[test]
    fn an_empty_list_of_routes_is_an_error() {
        assert_eq!(problems("route = []\n"), ["`route`: the list is empty"]);
    }

    #[test]
    fn a_schedule_that_ends_before_it_begins_is_an_error() {
        let schedule = |from: &str, until: &str| {
            problems(&format!("schedule = [{{ use = \"a.html\", from = {from}, until = {until} }}]\n")).len()
        };
        let (early, late) = ("2026-12-24T18:00:00Z", "2026-12-24T19:00:00Z");
        assert_eq!([schedule(early, late), schedule(late, early), schedule(early, early)], [0, 1, 1]);
    }
}
