//! What the store holds, for those who look: which answers, how old, until when, and what a purge would meet.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio::time::Instant;

use crate::page::source::units;

use super::port::Store;
use super::purge::Purge;

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheEntry {
    /// Who answered.
    pub fragment: String,
    /// What was asked, and for whom: what its key is made of.
    pub key: Vec<String>,
    /// What it can be purged by, beside the nanoservice's name.
    pub tags: Vec<String>,
    /// Seconds since it came in.
    pub age: u64,
    /// What the service says of keeping it.
    pub says: String,
    /// That it was purged softly, or that asking for a new one fails.
    pub state: String,
    /// Bytes of its body.
    pub bytes: usize,
}

/// Answers that are kept whose nanoservice, tags or key hold a text; so many of them, and how many there are.
#[must_use]
pub(super) fn entries(store: &dyn Store, text: &str, at_most: usize) -> (Vec<CacheEntry>, usize) {
    let now = Instant::now().into_std();
    let (mut found, mut count) = (Vec::new(), 0);
    for key in store.keys() {
        let Some(stored) = store.get(&key) else { continue };
        let fields = key.fields();
        let tags = || stored.response.tags.iter().map(ToString::to_string);
        let is_it = stored.nanoservice.contains(text)
            || fields.iter().any(|field| field.contains(text))
            || tags().any(|tag| tag.contains(text));
        if !is_it {
            continue;
        }
        count += 1;
        if found.len() >= at_most {
            continue;
        }
        let trouble = stored.backoff.map(|trouble| format!("asking for a new one fails: {}", trouble.reason));
        let softened = stored.times.soft_purged.map(|_| "purged softly: stale".to_owned());
        found.push(CacheEntry {
            fragment: stored.nanoservice.to_string(),
            key: fields,
            tags: tags().collect(),
            age: now.saturating_duration_since(stored.times.arrived).as_secs(),
            says: match stored.response.stated.compositor.max_age {
                Some(max_age) => format!("max-age {}", units::show(max_age)),
                None => "nothing; the layout, manifest or settings do".to_owned(),
            },
            state: softened.into_iter().chain(trouble).collect::<Vec<_>>().join("; "),
            bytes: stored.response.content.length(),
        });
    }
    found.sort_by(|a, b| (&a.fragment, &a.key).cmp(&(&b.fragment, &b.key)));
    (found, count)
}

/// How many answers a purge would meet just now.
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
