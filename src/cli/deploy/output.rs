//! Writes what the places say: for people, as JSON, as JUnit XML, or as annotations for GitHub Actions.
//! What a manifest or a nanoservice says can appear in it, so control characters are made visible.

use askama::Template;
use serde::Serialize;

use crate::page::site::deploy::{Answer, PlaceAnswer};
use crate::page::source::visible::{visible, visible_json};

#[derive(Serialize)]
struct Json<'a> {
    verdict: Answer,
    places: &'a [PlaceAnswer],
}

#[derive(Template)]
#[template(path = "deploy.xml")]
struct Junit<'a> {
    version: &'a str,
    failures: usize,
    skipped: usize,
    places: &'a [PlaceAnswer],
}

/// One line for each place, and the verdict as the last one.
pub(super) fn human(verdict: Answer, places: &[PlaceAnswer]) -> String {
    let line = |place: &PlaceAnswer| {
        let route = if place.route.is_empty() { String::new() } else { format!(" {}", place.route) };
        let text = format!("{}:{}{route}  {}: {}", place.file, place.line, place.verdict.as_str(), place.says);
        format!("{}\n", visible(&text))
    };
    places.iter().map(line).chain([format!("{}\n", verdict.as_str())]).collect()
}

pub(super) fn json(verdict: Answer, places: &[PlaceAnswer]) -> String {
    let json = serde_json::to_string_pretty(&Json { verdict, places }).expect("texts can be written as JSON");
    format!("{}\n", visible_json(json))
}

/// A test suite with a test case for each place.
///
/// # Errors
/// The template fails.
pub(super) fn junit(version: &str, places: &[PlaceAnswer]) -> Result<String, String> {
    let count = |wanted| places.iter().filter(|place| place.verdict == wanted).count();
    let (failures, skipped) = (count(Answer::No), count(Answer::Unknown));
    let text = Junit { version, failures, skipped, places }.render();
    Ok(format!("{}\n", text.map_err(|error| format!("cannot write JUnit XML: {error}"))?))
}

/// An annotation for each place, and the verdict as the last line.
pub(super) fn github(version: &str, verdict: Answer, places: &[PlaceAnswer]) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let line = |place: &PlaceAnswer| {
        let level = match place.verdict {
            Answer::No => "error",
            Answer::Unknown => "warning",
            Answer::Yes => "notice",
        };
        let (file, says) = (property(&place.file), data(&place.says));
        let text = format!("::{level} file={file},line={},title={}::{says}", place.line, property(version));
        format!("{}\n", visible(&text))
    };
    places.iter().map(line).chain([format!("{}\n", verdict.as_str())]).collect()
}
