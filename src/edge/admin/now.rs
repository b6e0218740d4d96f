//! Whether all is well at this moment: what fails and since when, whom to call, which pages it touches, how much of each limit is
//! used, and which program it is that runs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::statistics::{PageStatistics, SiteChange};
use crate::page::policy::resilience::health::Health;
use crate::page::source::diagnostic::Diagnostic;

use super::api::{self, Fragment};
use super::causes::in_words;
use super::{About, Admin, Load};

/// The number of changes that are listed.
const MAX_CHANGES: usize = 5;

/// The state of everything at one moment.
#[derive(Serialize)]
pub(super) struct Now {
    /// Whether nothing needs attention.
    pub(super) ok: bool,
    /// Nanoservices that are degraded or worse, the worst first.
    pub(super) troubles: Vec<Trouble>,
    /// Files with errors. Their last good versions are live.
    pub(super) files: BTreeSet<String>,
    /// Nanoservices that an operator has switched off.
    pub(super) switched_off: Vec<SwitchedOff>,
    /// How many nanoservices there are, and how many of them were asked within the last minute.
    pub(super) fragments: usize,
    pub(super) asked: usize,
    /// The statistics of all pages in the last minute.
    pub(super) pages: PageStatistics,
    /// What is used of each limit.
    pub(super) load: Load,
    /// The program that runs.
    pub(super) about: About,
    /// The time.
    pub(super) at: Timestamp,
    /// The latest changes, the latest first.
    pub(super) changes: Vec<SiteChange>,
}

/// A nanoservice that needs attention.
#[derive(Serialize)]
pub(super) struct Trouble {
    pub(super) fragment: String,
    pub(super) health: Health,
    /// Since when its health is this.
    pub(super) since: Option<Timestamp>,
    /// The latest failure, in words. `None`: no request failed lately.
    pub(super) cause: Option<String>,
    /// The share of requests that failed, and of parts that were degraded, in the last minute.
    pub(super) failures: f64,
    pub(super) degraded: f64,
    pub(super) owner: Option<String>,
    pub(super) runbook: Option<String>,
    /// The patterns of the pages that use it.
    pub(super) pages: BTreeSet<String>,
}

#[derive(Serialize)]
pub(super) struct SwitchedOff {
    pub(super) fragment: String,
    pub(super) until: Timestamp,
}

/// The state of everything at this moment.
pub(super) fn now(admin: &Admin) -> Now {
    let fragments = api::fragments(admin);
    let live = admin.live.now();
    let errors = live.problems.iter().filter(|problem| problem.is_error());
    let files: BTreeSet<String> = errors.map(|error: &Diagnostic| error.at.source.file.clone()).collect();
    let names: BTreeSet<&str> = fragments.iter().map(|one| one.name.as_str()).collect();
    let asked = fragments.iter().filter(|one| one.statistics.health != Health::Idle);
    let asked = asked.map(|one| one.name.as_str()).collect::<BTreeSet<_>>().len();
    let off = names.iter().filter_map(|name| Some((name, admin.compositor.switched_off_until(name)?)));
    let switched_off: Vec<SwitchedOff> =
        off.map(|(name, until)| SwitchedOff { fragment: (*name).to_owned(), until }).collect();
    let pages = admin.statistics.all_pages();
    let troubles = troubles(admin, &fragments);
    Now {
        ok: troubles.is_empty() && files.is_empty() && switched_off.is_empty() && pages.errors == 0.0,
        troubles,
        files,
        switched_off,
        fragments: names.len(),
        asked,
        pages,
        load: (admin.load)(),
        about: admin.about.clone(),
        at: admin.compositor.now(),
        changes: admin.statistics.changes().into_iter().take(MAX_CHANGES).collect(),
    }
}

/// The nanoservices that need attention, each once, the worst first, and of those with the same health the latest first.
fn troubles(admin: &Admin, fragments: &[Fragment]) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    for one in fragments.iter().filter(|one| one.statistics.health > Health::Healthy) {
        match troubles.iter_mut().find(|known| known.fragment == one.name) {
            // Another version of it: the pages of both are touched.
            Some(known) => {
                known.pages.extend(one.pages.iter().cloned());
                known.owner = known.owner.take().or_else(|| one.owner.clone());
                known.runbook = known.runbook.take().or_else(|| one.runbook.clone());
            }
            None => troubles.push(Trouble {
                fragment: one.name.clone(),
                health: one.statistics.health,
                since: one.statistics.since,
                cause: cause(admin, one),
                failures: one.statistics.failures,
                degraded: one.statistics.degraded,
                owner: one.owner.clone(),
                runbook: one.runbook.clone(),
                pages: one.pages.iter().cloned().collect(),
            }),
        }
    }
    troubles.sort_by(|a, b| b.health.cmp(&a.health).then_with(|| b.since.cmp(&a.since)));
    troubles
}

/// Why a nanoservice needs attention, in words.
fn cause(admin: &Admin, one: &Fragment) -> Option<String> {
    let last = admin.statistics.recent_failures(&one.name).into_iter().next();
    // A failure of long ago does not explain what is slow now.
    let is_recent = |at: Timestamp| admin.compositor.now().duration_since(at).as_secs() <= 60;
    let is_failing = one.statistics.failures > 0.0 || one.statistics.refused > 0;
    match last.filter(|failure| is_failing || is_recent(failure.at)) {
        Some(failure) => Some(in_words(failure.reason, &failure.detail)),
        None => {
            let groups = admin.statistics.failures();
            let group = groups.iter().find(|group| *group.fragment == *one.name && is_recent(group.last));
            group.map(|group| in_words(group.reason, &group.detail))
        }
    }
}
