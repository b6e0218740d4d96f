//! Serves the weather of one city, as it was observed day by day.
//! Responds with 404 for an unknown city, 503 if there is no data, and 204 if there is no day up to today.

mod days;
mod view;

use std::process::ExitCode;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use fragment_kit::{BoxError, Fragment, Params, Place, Problem, Service, Source, Within, run};
use jiff::civil::Date;
use serde::Deserialize;

use crate::days::Cities;
use crate::view::Weather;

/// The built-in sample.
const SAMPLE: &str = include_str!("../sample/daily.csv");
/// How long a response is fresh.
const FRESH: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let service = Service {
        name: "weather",
        port: 9102,
        help: "  WEATHER_SOURCE  daily observations as CSV: a file or a URL (default: a built-in sample)\n  \
               WEATHER_DATE    the day that counts as today, such as 2026-09-18 (default: the latest)",
    };
    run(service, routes)
}

#[derive(Clone, Debug)]
struct App {
    source: Source<Cities>,
    /// The day that counts as today; `None` for the latest one in the data.
    today: Option<Date>,
}

fn routes() -> Result<Router, BoxError> {
    let place = Place::from_env("WEATHER_SOURCE", SAMPLE)?;
    let source = Source::new(place, Cities::parse);
    let today = match std::env::var("WEATHER_DATE") {
        Ok(text) if !text.is_empty() => Some(text.parse::<Date>().map_err(|cause| format!("WEATHER_DATE: {cause}"))?),
        _ => None,
    };
    Ok(Router::new().route("/weather", get(weather)).with_state(App { source, today }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    city: String,
    days: Option<Within<1, 7>>,
    heading: Option<Within<2, 4>>,
}

async fn weather(
    State(app): State<App>,
    Params(query): Params<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cities = app.source.read().await;
    let cities = cities.map_err(|error| Problem::from(&*error))?;
    let city =
        cities.get(&query.city).ok_or_else(|| Problem::not_found(format!("no weather data for `{}`", query.city)))?;
    let days = query.days.unwrap_or(Within::of(1)).get();
    let html = match city.until(app.today, days) {
        [] => String::new(),
        days => Weather { city: &city.name, heading: query.heading.unwrap_or(Within::of(2)).get(), days }
            .render()
            .map_err(|cause| Problem::internal(&cause))?,
    };
    let keys = vec!["weather".to_owned(), format!("city-{}", query.city)];
    Ok(Fragment { html, fresh: FRESH, keys }.respond(&headers))
}
