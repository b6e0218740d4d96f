//! Makes a skeleton of a page: everything except the parts that are fetched for each client.

use std::sync::Arc;

use http::header::ETAG;

use crate::engine::page::Page;
use crate::page::html::text::Text;
use crate::page::output::headers::SkeletonTag;
use crate::page::output::stitch::{merge_small_chunks, stitch_skeleton};
use crate::page::request::fetch::{Fetch, Origin};
use crate::page::response::outcome::Outcome;
use crate::page::source::map::Map;
use crate::page::source::reason::Reason;

use super::cached_page::{Hole, Holes, fits_hole};

/// The parts of a page that were requested, with their outcomes: all except those whose condition does not hold.
pub(super) fn requested(page: &Page) -> impl Iterator<Item = (usize, &Outcome)> {
    page.known().filter(|(_, outcome)| outcome.reason != Some(Reason::Condition))
}

/// The parts that are holes in the skeleton of a page, sorted: those whose nanoservices are sent personal context, and those
/// whose responses are not stored. `None`: the page has no skeleton.
pub(super) fn hole_parts(page: &Page) -> Option<Vec<usize>> {
    let plan = &page.plan;
    // A page without an `ETag` has a part that is missing, which will hardly be missing for long.
    if !plan.is_flat() || !page.headers.fixed.contains_key(ETAG) {
        return None;
    }
    // A response that was fetched for this very page will be found in the store next time.
    let is_stored = |part: usize, outcome: &Outcome| {
        let responded = plan.fetch_of(part).zip(outcome.response.as_ref());
        responded.is_some_and(|(fetch, response)| !response.lifetime(fetch).retention().is_zero())
    };
    let is_hole =
        |(part, outcome): &(usize, &Outcome)| plan.parts[*part].fragment.is_personal() || !is_stored(*part, outcome);
    let holes: Vec<usize> = requested(page).filter(is_hole).map(|(part, _)| part).collect();
    let can_be_hole = |part: usize| {
        let response = page.outcomes[part].as_ref().and_then(|outcome| outcome.response.as_deref());
        Origin::of(&plan.parts[part].fragment, &plan.visit.reader).is_some() && response.is_some_and(fits_hole)
    };
    let mut on_page = vec![false; plan.parts.len()];
    plan.in_order(&page.outcomes).into_iter().for_each(|part| on_page[part] = true);
    // A part that was requested but is not on the page would still have to be fetched for each client.
    let all_on_page = requested(page).all(|(part, _)| on_page[part]);
    (all_on_page && holes.iter().all(|part| can_be_hole(*part))).then_some(holes)
}

/// A page without the content of its holes.
pub(super) struct Skeleton {
    /// The text, in few chunks. A new chunk begins after each hole.
    pub(super) chunks: Vec<Text>,
    /// The number of bytes that were copied, and are not shared with stored responses.
    pub(super) copied: usize,
    /// The parts that fill the holes, in the order in which they are on the page.
    pub(super) parts: Vec<usize>,
    /// The holes.
    pub(super) holes: Holes,
}

impl Skeleton {
    /// The skeleton of a page with these parts as holes, which are sorted. `None`: the page does not show all of them.
    pub(super) fn new(page: &Page, parts: &[usize]) -> Option<Self> {
        let (stitched, part_chunks) = stitch_skeleton(&page.plan, &page.outcomes);
        let (mut chunks, mut copied, mut from) = (Vec::new(), 0, 0);
        let mut merge = |between: &[Text]| {
            let merged = merge_small_chunks(between);
            copied += merged.copied;
            chunks.extend(merged.chunks);
            chunks.len()
        };
        // Parts that share a fetch of the plan share its response.
        let mut known: Map<*const Fetch, usize> = Map::default();
        let (mut all, mut fragments, mut on_page) = (Vec::new(), Vec::new(), Vec::new());
        for (chunk, part) in part_chunks.into_iter().filter(|(_, part)| parts.binary_search(part).is_ok()) {
            let chunks_before = merge(&stitched[from..chunk]);
            from = chunk + 1;
            let fragment = *known.entry(Arc::as_ptr(page.plan.fetch_of(part)?)).or_insert_with(|| {
                fragments.push(part);
                fragments.len() - 1
            });
            all.push(Hole { chunks_before, fragment });
            on_page.push(part);
        }
        merge(&stitched[from..]);
        let mut others = requested(page).filter(|(part, _)| parts.binary_search(part).is_err());
        let is_private =
            others.any(|(_, outcome)| outcome.response.as_ref().is_some_and(|response| response.stated.is_private()));
        let tag = SkeletonTag::of(&page.plan, &page.outcomes, parts);
        let holes = Holes { all: all.into(), fragments: fragments.into(), tag, is_private };
        (on_page.len() == parts.len()).then_some(Self { chunks, copied, parts: on_page, holes })
    }
}
