//! Joins a plan and its outcomes to the chunks of a page. Chunks are shared, never copied.
//! What is not known yet holds up what stands behind it, and nothing before it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::answer::Content;
use super::assets::Asset;
use super::layout::{Part, Service};
use super::outcome::{Outcome, Shown};
use super::plan::{Plan, Slot};

/// One outcome a fragment, by the index of [`Template::fragments`](super::layout::Template::fragments);
/// `None` for one that is not known yet, or not needed, since it stands in a fallback that is not shown.
pub type Outcomes = Vec<Option<Outcome>>;

/// The page's chunks, in order. All outcomes that it needs are known.
#[must_use]
pub fn stitch(plan: &Arc<Plan>, outcomes: &Outcomes) -> Vec<Bytes> {
    Stitcher::new(plan).advance(outcomes)
}

/// A page that is stitched in document order, as far as its outcomes are known.
pub struct Stitcher {
    plan: Arc<Plan>,
    steps: Vec<Step>,
    at: usize,
    /// Assets that are in the page already.
    met: HashSet<(String, String)>,
}

/// What comes next; hidden parts are left out.
enum Step {
    Text(Bytes),
    Assets,
    Fragment {
        index: usize,
        /// The step behind its fallback, which follows this one.
        behind: usize,
    },
}

fn lay_out(parts: &[Part], plan: &Plan, steps: &mut Vec<Step>) {
    for part in parts {
        match part {
            Part::Text(text) => steps.push(Step::Text(text.clone())),
            Part::Assets => steps.push(Step::Assets),
            Part::When(index, inside) if plan.shown[*index] => lay_out(inside, plan, steps),
            Part::When(..) => {}
            Part::Fragment(index) => {
                let at = steps.len();
                steps.push(Step::Fragment { index: *index, behind: 0 });
                lay_out(&plan.template.fragments[*index].fallback, plan, steps);
                steps[at] = Step::Fragment { index: *index, behind: steps.len() };
            }
        }
    }
}

impl Stitcher {
    /// Begins a page.
    #[must_use]
    pub fn new(plan: &Arc<Plan>) -> Self {
        let mut steps = Vec::with_capacity(plan.template.parts.len());
        lay_out(&plan.template.parts, plan, &mut steps);
        Self { plan: Arc::clone(plan), steps, at: 0, met: HashSet::new() }
    }

    /// Whether the page has come to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at == self.steps.len()
    }

    /// The chunks up to the first fragment whose outcome is not known.
    pub fn advance(&mut self, outcomes: &Outcomes) -> Vec<Bytes> {
        let mut chunks = Vec::with_capacity(self.steps.len() - self.at);
        while let Some(step) = self.steps.get(self.at) {
            match step {
                Step::Text(text) => chunks.push(text.clone()),
                Step::Assets => {
                    let assets = self.all_assets(outcomes);
                    if !assets.is_empty() {
                        chunks.push(Bytes::from(assets));
                    }
                }
                Step::Fragment { index, behind } => {
                    let Some(outcome) = &outcomes[*index] else { break };
                    let behind = *behind;
                    match outcome.shown {
                        Shown::Fresh | Shown::Stale => {
                            chunks.extend(self.shown(outcome));
                            self.at = behind;
                        }
                        Shown::Omitted => self.at = behind,
                        Shown::Fallback => self.at += 1,
                    }
                    continue;
                }
            }
            self.at += 1;
        }
        chunks
    }

    /// A fragment's HTML, led by what the head did not hold yet when it left.
    fn shown(&mut self, outcome: &Outcome) -> Vec<Bytes> {
        let Some(answer) = &outcome.answer else { return Vec::new() };
        let late = self.new_assets(answer.assets.iter());
        let html = match &answer.content {
            Content::Fragment(html) => Some(html.clone()),
            _ => None,
        };
        let late = (!late.is_empty()).then(|| Bytes::from(late));
        late.into_iter().chain(html).collect()
    }

    /// What the page needs in its head, as far as it is known, in document order: of shown fragments what
    /// they name, and of those that are still to come what their manifests do.
    fn all_assets(&mut self, outcomes: &Outcomes) -> String {
        let plan = Arc::clone(&self.plan);
        let mut html = String::new();
        // Behind this step stand no fallbacks of fragments before it.
        let mut behind_fallback = 0;
        for at in 0..self.steps.len() {
            let Step::Fragment { index, behind } = self.steps[at] else { continue };
            let in_fallback = at < behind_fallback;
            behind_fallback = behind_fallback.max(behind);
            match (&outcomes[index], &plan.slots[index], &plan.template.fragments[index].service) {
                (Some(outcome), ..) if matches!(outcome.shown, Shown::Fresh | Shown::Stale) => {
                    if let Service::Named(manifest) = &plan.template.fragments[index].service {
                        html.push_str(&self.new_assets(manifest.assets.iter()));
                    }
                    let named = outcome.answer.iter().flat_map(|answer| &answer.assets);
                    html.push_str(&self.new_assets(named));
                }
                (None, Slot::Fetch(_), Service::Named(manifest)) if !in_fallback => {
                    html.push_str(&self.new_assets(manifest.assets.iter()));
                }
                _ => {}
            }
        }
        html
    }

    /// The elements of assets that the page does not hold yet.
    fn new_assets<'a>(&mut self, assets: impl Iterator<Item = &'a Asset>) -> String {
        assets.filter(|asset| self.met.insert((asset.rel.clone(), asset.href.clone()))).map(Asset::html).collect()
    }
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
    needed(&plan.template.parts, &plan.shown)
}
