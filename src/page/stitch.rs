//! Joins a plan and its outcomes to the chunks of a page. Chunks are shared, never copied.
//! What is not known yet holds up what stands behind it, and nothing before it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::answer::Content;
use super::assets::Asset;
use super::layout::Part;
use super::outcome::{Outcome, Shown};
use super::plan::{Outcomes, Plan, Scope};

/// The page's chunks, in order. All outcomes that it needs are known.
#[must_use]
pub fn stitch(plan: &Plan, outcomes: &Outcomes) -> Vec<Bytes> {
    Stitcher::new(plan).advance(plan, outcomes)
}

/// A page that is stitched in document order, as far as its outcomes are known.
pub struct Stitcher {
    /// Where it is: in parts, inside parts.
    open: Vec<Place>,
    /// Assets that are in the page already.
    met: HashSet<(String, String)>,
}

/// A place among parts.
struct Place {
    parts: Arc<[Part]>,
    scope: Scope,
    /// What comes next.
    at: usize,
}

impl Place {
    fn start((parts, scope): (&Arc<[Part]>, Scope)) -> Self {
        Self { parts: Arc::clone(parts), scope, at: 0 }
    }
}

impl Stitcher {
    /// Begins a page.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let (parts, scope) = plan.page();
        Self { open: vec![Place { parts, scope, at: 0 }], met: HashSet::new() }
    }

    /// Whether the page has come to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// The chunks up to the first fragment whose outcome is not known.
    pub fn advance(&mut self, plan: &Plan, outcomes: &Outcomes) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        while let Some(place) = self.open.last_mut() {
            let (scope, at) = (place.scope, place.at);
            let Some(part) = place.parts.get(at) else {
                self.open.pop();
                continue;
            };
            let inside = match part {
                Part::Text(text) => {
                    chunks.push(text.clone());
                    None
                }
                Part::When(condition, inside) => {
                    plan.is_shown(scope, *condition).then(|| Place::start((inside, scope)))
                }
                Part::Slot(name, default) => Some(Place::start(plan.filling(scope, name, default))),
                Part::Assets => {
                    let assets = self.all_assets(plan, outcomes);
                    chunks.extend((!assets.is_empty()).then(|| Bytes::from(assets)));
                    None
                }
                Part::Fragment(fragment) => match plan.hole(scope, *fragment) {
                    Err(fallback) => Some(Place::start((fallback, scope))),
                    Ok(hole) => {
                        let Some(outcome) = &outcomes[hole] else { break };
                        self.shown(plan, hole, outcome, &mut chunks)
                    }
                },
            };
            self.open.last_mut().expect("it was open above").at += 1;
            self.open.extend(inside);
        }
        chunks
    }

    /// What stands in a hole, led by what the head did not hold yet when it left.
    fn shown(&mut self, plan: &Plan, hole: usize, outcome: &Outcome, chunks: &mut Vec<Bytes>) -> Option<Place> {
        let shown = matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        if let Some(answer) = outcome.answer.as_ref().filter(|_| shown) {
            let late = self.new_assets(answer.assets.iter());
            chunks.extend((!late.is_empty()).then(|| Bytes::from(late)));
            if let (Content::Fragment(html), None) = (&answer.content, plan.inside(hole, outcome)) {
                chunks.push(html.clone());
            }
        }
        plan.inside(hole, outcome).map(Place::start)
    }

    /// What the page needs in its head, as far as it is known, in document order: of shown fragments what
    /// they name, and of those that are still to come what their manifests do.
    fn all_assets(&mut self, plan: &Plan, outcomes: &Outcomes) -> String {
        let mut html = String::new();
        for hole in plan.in_order(outcomes) {
            let outcome = outcomes[hole].as_ref();
            let shown = outcome.is_none_or(|outcome| matches!(outcome.shown, Shown::Fresh | Shown::Stale));
            if let (true, Some(manifest)) = (shown, plan.service(hole)) {
                html.push_str(&self.new_assets(manifest.assets.iter()));
            }
            let answer = outcome.filter(|_| shown).and_then(|outcome| outcome.answer.as_ref());
            html.push_str(&self.new_assets(answer.into_iter().flat_map(|answer| &answer.assets)));
        }
        html
    }

    /// The elements of assets that the page does not hold yet.
    fn new_assets<'a>(&mut self, assets: impl Iterator<Item = &'a Asset>) -> String {
        assets.filter(|asset| self.met.insert((asset.rel.clone(), asset.href.clone()))).map(Asset::html).collect()
    }
}
