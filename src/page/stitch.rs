//! Joins a plan and its outcomes to the chunks of a page. Chunks are shared, never copied.

use std::collections::HashSet;

use bytes::Bytes;

use super::answer::Content;
use super::assets::Asset;
use super::layout::{Part, Template};
use super::outcome::{Outcome, Shown};
use super::plan::Plan;

/// One outcome a fragment, by the index of [`Template::fragments`]; `None` for one that was not
/// needed, since it stands in a fallback that is not shown.
pub type Outcomes = Vec<Option<Outcome>>;

/// The page's chunks, in order.
#[must_use]
pub fn stitch(plan: &Plan, outcomes: &Outcomes) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(plan.template.parts.len() * 2);
    push(&plan.template.parts, plan, outcomes, &mut chunks);
    chunks
}

fn push(parts: &[Part], plan: &Plan, outcomes: &Outcomes, chunks: &mut Vec<Bytes>) {
    for part in parts {
        match part {
            Part::Text(text) => chunks.push(text.clone()),
            Part::When(index, inside) => {
                if plan.shown[*index] {
                    push(inside, plan, outcomes, chunks);
                }
            }
            Part::Assets => {
                let assets = assets(outcomes);
                if !assets.is_empty() {
                    chunks.push(Bytes::from(assets));
                }
            }
            Part::Fragment(index) => {
                let Some(outcome) = &outcomes[*index] else { continue };
                match outcome.shown {
                    Shown::Fresh | Shown::Stale => {
                        if let Some(Content::Fragment(html)) = outcome.answer.as_ref().map(|answer| &answer.content) {
                            chunks.push(html.clone());
                        }
                    }
                    Shown::Fallback => push(&plan.template.fragments[*index].fallback, plan, outcomes, chunks),
                    Shown::Omitted => {}
                }
            }
        }
    }
}

/// What shown fragments need in the head: each asset once, in document order.
fn assets(outcomes: &Outcomes) -> String {
    let shown = outcomes.iter().flatten().filter(|outcome| matches!(outcome.shown, Shown::Fresh | Shown::Stale));
    let all = shown.filter_map(|outcome| outcome.answer.as_ref()).flat_map(|answer| &answer.assets);
    let mut met = HashSet::new();
    all.filter(|asset| met.insert((&asset.rel, &asset.href))).map(Asset::html).collect()
}

/// The fragments that parts need, those inside fallbacks left out.
#[must_use]
pub fn needed(parts: &[Part], shown: &[bool]) -> Vec<usize> {
    let mut found = Vec::new();
    for part in parts {
        match part {
            Part::Text(_) | Part::Assets => {}
            Part::When(index, inside) => {
                if shown[*index] {
                    found.extend(needed(inside, shown));
                }
            }
            Part::Fragment(index) => found.push(*index),
        }
    }
    found
}

/// The fragments that a page needs at once.
#[must_use]
pub fn needed_at_once(plan: &Plan) -> Vec<usize> {
    let template: &Template = &plan.template;
    needed(&template.parts, &plan.shown)
}
