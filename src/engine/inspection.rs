//! Cache inspection: which responses are stored, how old they are, how long they are fresh, and what a purge would match.
//! The store is read entry by entry; entries that change meanwhile may be missing.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio::time::Instant;

use crate::page::policy::cache::freshness::{Freshness, freshness};
use crate::page::source::units;

use super::port::Store;
use super::purge::{self, Purge};

/// A stored response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheEntry {
    /// What purges this entry alone.
    pub entry: String,
    /// The nanoservice that sent it.
    pub fragment: String,
    /// The fields of its key: what was requested, and for which context.
    pub key: Vec<String>,
    /// The surrogate keys that purge it, in addition to the nanoservice's name.
    pub tags: Vec<String>,
    /// Seconds since it arrived.
    pub age: u64,
    /// Seconds until it is no longer fresh, by the rules of the page that may use it longest. `None`: it is stale.
    pub fresh_for: Option<u64>,
    /// The lifetime that the nanoservice states.
    #[serde(rename = "says")]
    pub stated: String,
    /// Whether it was purged softly, and whether refreshing it fails.
    pub state: String,
    /// How often it was used since it was stored first, its refreshes included. Cached pages count once a second.
    pub hits: u64,
    /// Bytes of its body.
    pub bytes: usize,
}

/// The stored responses whose nanoservice, tags or key contain a text: at most `limit` of them, and their total number.
#[must_use]
pub(super) fn entries(store: &dyn Store, text: &str, limit: usize) -> (Vec<CacheEntry>, usize) {
    let now = Instant::now().into_std();
    let (mut entries, mut count) = (Vec::new(), 0);
    for key in store.keys() {
        let Some(stored) = store.get(&key) else { continue };
        let fields = key.fields();
        let tags = || stored.response.tags.iter().map(ToString::to_string);
        let matches = stored.nanoservice.contains(text)
            || fields.iter().any(|field| field.contains(text))
            || tags().any(|tag| tag.contains(text));
        if !matches {
            continue;
        }
        count += 1;
        if entries.len() >= limit {
            continue;
        }
        let failing = stored.backoff.map(|backoff| format!("refresh failing ({})", backoff.reason));
        let soft_purged = stored.times.soft_purged.map(|_| "stale (purged softly)".to_owned());
        let lifetime = stored.response.lifetime_by(&stored.longest);
        entries.push(CacheEntry {
            entry: purge::entry_name(&key),
            fragment: stored.nanoservice.to_string(),
            key: fields,
            tags: tags().collect(),
            age: now.saturating_duration_since(stored.times.arrived).as_secs(),
            fresh_for: match freshness(&stored.times, &lifetime, now) {
                Freshness::Fresh(left) => Some(left.as_secs()),
                Freshness::Revalidate | Freshness::IfError | Freshness::Expired => None,
            },
            stated: match stored.response.stated.compositor.max_age {
                Some(max_age) => format!("max-age {}", units::show(max_age)),
                None => "none; layout, manifest or settings apply".to_owned(),
            },
            state: soft_purged.into_iter().chain(failing).collect::<Vec<_>>().join("; "),
            hits: stored.hits.count(),
            bytes: stored.response.content.length(),
        });
    }
    entries.sort_by(|a, b| (&a.fragment, &a.key).cmp(&(&b.fragment, &b.key)));
    (entries, count)
}

/// How many stored responses a purge would match now.
#[must_use]
pub(super) fn count_matches(store: &dyn Store, purge: &Purge) -> usize {
    match purge {
        Purge::All => store.keys().len(),
        Purge::Tags(tags) => {
            let keys = tags.iter().flat_map(|tag| store.tagged(tag));
            keys.map(|key| key.as_bytes().to_vec()).collect::<BTreeSet<_>>().len()
        }
    }
}
