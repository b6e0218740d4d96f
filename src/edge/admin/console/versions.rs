//! The console's screen of versions: what is locked, what runs, what takes over, and what goes away.
//! What no page uses is not listed.

use std::sync::Arc;

use askama::Template;
use jiff::tz::TimeZone;

use crate::engine::RolloutStatus;
use crate::page::manifest::{Lifecycle, Manifest};
use crate::page::policy::rollout::progress::{Action, State};

use super::super::{Admin, api};
use super::format::ms;

/// The screen.
#[derive(Template)]
#[template(path = "console/versions.html")]
struct Versions {
    rollouts: Vec<RolloutStatus>,
    is_locked: bool,
    services: Vec<Service>,
    going: Vec<Going>,
}

/// A nanoservice that pages use.
struct Service {
    name: String,
    /// The versions that pages show.
    shown: Vec<String>,
    locked: Vec<String>,
    /// All versions in the catalogue.
    known: Vec<String>,
    /// On how many pages it is.
    pages: usize,
}

/// A version that goes away, and is still used.
struct Going {
    name: String,
    version: String,
    sunset: Option<String>,
    is_over: bool,
    successor: Option<String>,
    pages: Vec<String>,
}

impl Versions {
    fn new(admin: &Admin) -> Self {
        let live = admin.live.now();
        let site = &live.site;
        let rollouts = api::rollouts(admin);
        let went_back = |name: &str, version: &str| {
            let mut ended = rollouts.iter().filter(|one| !one.state.is_live());
            ended.any(|one| one.name == name && one.candidate == version)
        };
        let mut services: Vec<Service> = Vec::new();
        for used in site.used_versions() {
            let new = Some(used.version).filter(|version| !went_back(&used.name, version));
            let shown = used.after.map(|(before, _)| before).into_iter().chain(new);
            match services.last_mut().filter(|last| last.name == used.name) {
                Some(last) => last.shown.extend(shown),
                None => services.push(Service {
                    shown: shown.collect(),
                    locked: site
                        .lock
                        .iter()
                        .flat_map(|lock| lock.versions(&used.name))
                        .map(ToString::to_string)
                        .collect(),
                    known: site.catalogue.versions(&used.name).map(|one| one.version.to_string()).collect(),
                    pages: site.impact(&used.name, None).pages.len(),
                    name: used.name,
                }),
            }
        }
        for service in &mut services {
            service.shown.sort();
            service.shown.dedup();
        }
        let today = admin.compositor.now().to_zoned(TimeZone::UTC).date();
        let is_going = |one: &&Arc<Manifest>| one.lifecycle == Lifecycle::Deprecated || one.sunset.is_some();
        let going = site.catalogue.manifests().iter().filter(is_going).map(|one| Going {
            name: one.name.to_string(),
            version: one.version.to_string(),
            sunset: one.sunset.map(|day| day.to_string()),
            is_over: one.sunset.is_some_and(|day| day <= today),
            successor: one.successor.as_ref().map(ToString::to_string),
            pages: site.impact(&one.name, Some(&one.version)).pages.into_iter().map(|page| page.route).collect(),
        });
        let going = going.filter(|one| !one.pages.is_empty()).collect();
        Self { rollouts, is_locked: site.lock.is_some(), services, going }
    }
}

/// Renders the screen.
pub(super) fn render(admin: &Admin) -> askama::Result<String> {
    Versions::new(admin).render()
}

/// The CSS class of a state.
const fn class_of(state: &State) -> &'static str {
    match state {
        State::Running => "good",
        State::Paused => "warn",
        State::RolledBack | State::Aborted => "bad",
    }
}

/// What can be done with a rollout: the action, its button, and the question before it is done.
fn actions(status: &RolloutStatus) -> Vec<(&'static str, &'static str, String)> {
    let RolloutStatus { name, stable, candidate, .. } = status;
    let next = if status.step < status.steps { "the next share of page views" } else { "all page views" };
    let promote = (Action::Promote, "Promote", format!("Show {name} {candidate} to {next}?"));
    let abort = (Action::Abort, "Abort", format!("Show {name} {stable} to everybody again?"));
    let all = match status.state {
        State::Running => vec![
            promote,
            (
                Action::Pause,
                "Pause",
                format!("Leave {name} {candidate} at {}% of page views until you resume it?", status.share),
            ),
            abort,
        ],
        State::Paused => {
            vec![promote, (Action::Resume, "Resume", format!("Let {name} {candidate} go on by itself?")), abort]
        }
        State::RolledBack | State::Aborted => {
            vec![(Action::Retry, "Retry", format!("Begin again with {name} {candidate} at the first step?"))]
        }
    };
    all.into_iter().map(|(action, label, ask)| (action.as_str(), label, ask)).collect()
}
