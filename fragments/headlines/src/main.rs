//! Serves the headlines of a feed as a fragment, newest first.
//! Responds with 503 if there is no feed and no old copy, 404 for an unknown section, and 204 if there are no stories.

mod feed;
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
use serde::Deserialize;

use crate::feed::Feed;
use crate::view::{Headlines, View};

/// The built-in sample.
const SAMPLE: &str = include_str!("../sample/daily-courier.atom.xml");
/// How long a response is fresh.
const FRESH: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let service = Service {
        name: "headlines",
        port: 9101,
        help: "  HEADLINES_SOURCE  an Atom or RSS feed: a file or a URL (default: a built-in sample)",
    };
    run(service, routes)
}

fn routes() -> Result<Router, BoxError> {
    let place = Place::from_env("HEADLINES_SOURCE", SAMPLE)?;
    let source = Source::new(place, Feed::parse);
    Ok(Router::new().route("/headlines", get(headlines)).with_state(source))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    section: Option<String>,
    limit: Option<Within<1, 50>>,
    skip: Option<Within<0, 1000>>,
    view: Option<View>,
    heading: Option<Within<2, 4>>,
}

async fn headlines(
    State(source): State<Source<Feed>>,
    Params(query): Params<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let feed = source.read().await.map_err(|error| Problem::from(&*error))?;
    let section = match &query.section {
        None => None,
        Some(name) => {
            Some(feed.section(name).ok_or_else(|| Problem::not_found(format!("no section `{name}` in the feed")))?)
        }
    };
    let skip = query.skip.map_or(0, Within::get);
    let limit = query.limit.unwrap_or(Within::of(10)).get();
    let page = Headlines {
        view: query.view.unwrap_or(View::List),
        heading: query.heading.unwrap_or(Within::of(2)).get(),
        section,
        more: skip > 0,
        stories: feed.stories(section).skip(skip).take(limit).collect(),
    };
    let html = match page.stories.is_empty() {
        true => String::new(),
        false => page.render().map_err(|cause| Problem::internal(&cause))?,
    };
    let mut keys = vec!["headlines".to_owned()];
    keys.extend(section.map(|section| format!("section-{}", section.slug)));
    Ok(Fragment { html, fresh: FRESH, keys }.respond(&headers))
}
