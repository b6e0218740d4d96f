//! Serves one league's results, fixtures or table.
//! Responds with 404 for an unknown league, 503 for one that cannot be read, and 204 if there is nothing to show.

mod league;
mod leagues;
mod table;
mod view;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use fragment_kit::{BoxError, Fragment, Params, Problem, Service, Within, run};
use serde::Deserialize;

use crate::leagues::Leagues;
use crate::view::{View, show};

/// How long a response is fresh.
const FRESH: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let service = Service {
        name: "scores",
        port: 9103,
        help: "  SCORES_SOURCE  leagues as football.json: a folder or a URL. {league} in it is \
               replaced;\n                 without it, /{league}.json is added (default: built-in \
               samples)",
    };
    run(service, routes)
}

fn routes() -> Result<Router, BoxError> {
    let leagues = Arc::new(Leagues::from_env("SCORES_SOURCE")?);
    Ok(Router::new().route("/scores", get(scores)).with_state(leagues))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    league: String,
    view: Option<View>,
    limit: Option<Within<1, 50>>,
    heading: Option<Within<2, 4>>,
}

async fn scores(
    State(leagues): State<Arc<Leagues>>,
    Params(query): Params<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let league = leagues.read(&query.league).await?;
    let view = query.view.unwrap_or(View::Results);
    let heading = query.heading.unwrap_or(Within::of(2)).get();
    let limit = query.limit.map(Within::get);
    let html = show(&league, view, heading, limit).map_err(|cause| Problem::internal(&cause))?;
    let keys = vec!["scores".to_owned(), format!("league-{}", query.league)];
    Ok(Fragment { html, fresh: FRESH, keys }.respond(&headers))
}
