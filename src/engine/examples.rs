//! Asks the examples of versions that are rolled out, so that a rollout goes on although few readers come.
//! Both versions are asked alike, each at most once a second.

use std::sync::Arc;

use tokio::time::Instant;

use crate::page::layout::syntax::node::ParameterPiece;
use crate::page::layout::{Candidates, FragmentSource, FragmentUse};
use crate::page::manifest::Manifest;
use crate::page::request::defaults::Defaults;
use crate::page::request::fetch::{Fetch, Origin};
use crate::page::visit::context::Visit;

use super::lookup::Lookup;

/// Asks one example of each version that is rolled out, and of the version before. `turn`: which example.
pub(super) fn ask(lookup: &Arc<Lookup>, defaults: &Defaults, turn: usize) {
    for (candidate, stable) in lookup.rollouts().running() {
        let count = candidate.examples.len();
        // Both are asked alike, or none.
        if count == 0 {
            continue;
        }
        for manifest in [&candidate, &stable] {
            let Some(fetch) = example(manifest, turn % count, defaults) else { continue };
            let lookup = Arc::clone(lookup);
            tokio::spawn(async move { lookup.ask(&Arc::new(fetch)).await });
        }
    }
}

/// The fetch of an example. A version with fewer examples begins with its first one again.
fn example(manifest: &Arc<Manifest>, number: usize, defaults: &Defaults) -> Option<Fetch> {
    let example = manifest.examples.iter().cycle().nth(number)?;
    let literal = |(name, value): &(String, String)| (name.clone(), vec![ParameterPiece::Literal(value.clone())]);
    let source = FragmentSource::Named(Candidates::one(manifest));
    let fragment = FragmentUse {
        parameters: example.params.iter().map(literal).collect(),
        ..FragmentUse::new(Arc::clone(&manifest.name), source, manifest.at.clone())
    };
    Fetch::new(&fragment, Origin::Named(manifest), &Visit::default(), defaults).ok()
}

/// Counts the seconds, for whoever asks every second.
#[derive(Debug, Default)]
pub(super) struct Turns {
    last: Option<Instant>,
    count: usize,
}

impl Turns {
    /// The number of this turn. `None`: the last one was less than a second ago.
    pub(super) fn next(&mut self) -> Option<usize> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last).as_millis() < 1_000) {
            return None;
        }
        self.last = Some(now);
        self.count = self.count.wrapping_add(1);
        Some(self.count)
    }
}
