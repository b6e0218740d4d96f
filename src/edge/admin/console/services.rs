//! All nanoservices, those that need attention first, and one nanoservice.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use jiff::Timestamp;

use crate::engine::statistics::{NanoserviceStatistics, RecentFailure};
use crate::page::policy::resilience::health::Health;
use crate::page::source::units::show_ms;

use super::super::api::{self, Fragment};
use super::super::causes::in_words;
use super::super::{Admin, Params};
use super::format::{ago, bytes, class, clock, ms, percent};

#[derive(Template)]
#[template(path = "console/fragments.html")]
struct Fragments {
    q: String,
    now: Timestamp,
    /// How many there are, including those that the filter leaves out.
    all: usize,
    fragments: Vec<Fragment>,
    /// Groups of nanoservices that may be one nanoservice written twice, and why.
    duplicates: Vec<(Vec<String>, &'static str)>,
}

pub(super) fn all(admin: &Admin, query: &Params) -> askama::Result<String> {
    let mut fragments = api::fragments(admin);
    let (duplicates, all) = (duplicates(admin, &fragments), fragments.len());
    let q = query.value("q").to_lowercase();
    let matches = |text: &str| text.to_lowercase().contains(&q);
    fragments.retain(|one| {
        let texts =
            [Some(one.name.as_str()), one.owner.as_deref(), one.lifecycle, Some(one.statistics.health.as_str())];
        texts.into_iter().flatten().any(matches)
    });
    // The worst first; what is switched off is next, since somebody must switch it on again.
    fragments.sort_by(|a, b| {
        let rank = |one: &Fragment| (one.statistics.health.max(Health::Healthy), one.off_until.is_some());
        rank(b).cmp(&rank(a)).then_with(|| (&a.name, &a.version).cmp(&(&b.name, &b.version)))
    });
    Fragments { q: query.value("q").to_owned(), now: admin.compositor.now(), all, fragments, duplicates }.render()
}

fn duplicates(admin: &Admin, fragments: &[Fragment]) -> Vec<(Vec<String>, &'static str)> {
    let same_bytes = admin.statistics.same_content().into_iter();
    let mut duplicates: Vec<(Vec<String>, &'static str)> = same_bytes
        .map(|names| (names.iter().map(ToString::to_string).collect(), "their last responses were the same"))
        .collect();
    let mut by_params: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    for one in fragments.iter().filter(|one| one.params.len() >= 2) {
        by_params.entry(one.params.clone()).or_default().insert(one.name.clone());
    }
    let groups = by_params.into_values().filter(|names| names.len() > 1);
    duplicates.extend(groups.map(|names| (names.into_iter().collect(), "they take the same parameters")));
    duplicates
}

#[derive(Template)]
#[template(path = "console/fragment.html")]
struct OneFragment {
    name: String,
    now: Timestamp,
    versions: Vec<Fragment>,
    statistics: NanoserviceStatistics,
    off_until: Option<Timestamp>,
    failures: Vec<RecentFailure>,
}

pub(super) fn one(admin: &Admin, query: &Params) -> askama::Result<String> {
    let name = query.value("name").to_owned();
    let versions: Vec<Fragment> = api::fragments(admin).into_iter().filter(|one| one.name == name).collect();
    OneFragment {
        now: admin.compositor.now(),
        statistics: admin.statistics.nanoservice(&name),
        off_until: admin.compositor.switched_off_until(&name),
        failures: admin.statistics.recent_failures(&name),
        versions,
        name,
    }
    .render()
}

/// Since when something is wrong with a nanoservice.
fn trouble_since(statistics: &NanoserviceStatistics) -> Option<Timestamp> {
    statistics.since.filter(|_| statistics.health > Health::Healthy)
}
