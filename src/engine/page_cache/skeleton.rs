//! A page but for what is its reader's own.

use std::sync::Arc;

use http::header::ETAG;

use crate::engine::page::Page;
use crate::page::html::text::Text;
use crate::page::output::headers::OpenTag;
use crate::page::output::stitch::{gathered, stitch_open};
use crate::page::request::fetch::{Fetch, Origin};
use crate::page::response::outcome::Outcome;
use crate::page::source::map::Map;
use crate::page::source::reason::Reason;

use super::cached_page::{Hole, Holes, fits};

/// What was asked for, for a page.
pub(super) fn asked(page: &Page) -> impl Iterator<Item = (usize, &Outcome)> {
    page.known().filter(|(_, outcome)| outcome.reason != Some(Reason::Condition))
}

/// The holes of a page that are open where it is kept but for its reader's own parts: those whose nanoservices are told of
/// him, and those that are not kept. `None`: it cannot be kept so.
pub(super) fn gaps(page: &Page) -> Option<Vec<usize>> {
    let plan = &page.plan;
    // A part that is missing would not be missing for long.
    if !plan.is_flat() || !page.headers.lasting.contains_key(ETAG) {
        return None;
    }
    // One that came in just now is looked up the next time.
    let is_kept = |hole: usize, outcome: &Outcome| {
        let answered = plan.of(hole).zip(outcome.response.as_ref());
        answered.is_some_and(|(fetch, answer)| !answer.lifetime(fetch).retention().is_zero())
    };
    let is_open =
        |(hole, outcome): &(usize, &Outcome)| plan.holes[*hole].fragment.is_personal() || !is_kept(*hole, outcome);
    let open: Vec<usize> = asked(page).filter(is_open).map(|(hole, _)| hole).collect();
    let can_be_open = |hole: usize| {
        let answer = page.outcomes[hole].as_ref().and_then(|outcome| outcome.response.as_deref());
        Origin::of(&plan.holes[hole].fragment).is_some() && answer.is_some_and(fits)
    };
    let mut on_page = vec![false; plan.holes.len()];
    plan.in_order(&page.outcomes).into_iter().for_each(|hole| on_page[hole] = true);
    // What was asked for and is not on the page would be asked for, too.
    let all_on_page = asked(page).all(|(hole, _)| on_page[hole]);
    (all_on_page && open.iter().all(|hole| can_be_open(*hole))).then_some(open)
}

/// A page but for what fills some of its holes.
pub(super) struct Skeleton {
    pub(super) pieces: Vec<Text>,
    pub(super) copied: usize,
    /// The holes, in the order in which they stand on it.
    pub(super) holes: Vec<usize>,
    pub(super) gaps: Holes,
}

impl Skeleton {
    /// `None` where it does not show all of these holes, which are sorted, by bytes alone.
    pub(super) fn new(page: &Page, open: &[usize]) -> Option<Self> {
        let (chunks, filled) = stitch_open(&page.plan, &page.outcomes);
        let (mut pieces, mut copied, mut from) = (Vec::new(), 0, 0);
        let mut gather = |chunks: &[Text]| {
            let gathered = gathered(chunks);
            copied += gathered.copied;
            pieces.extend(gathered.pieces);
            pieces.len()
        };
        // Holes that one fetch of the plan fills are filled by one question.
        let mut known: Map<*const Fetch, usize> = Map::default();
        let (mut all, mut fragments, mut holes) = (Vec::new(), Vec::new(), Vec::new());
        for (chunk, hole) in filled.into_iter().filter(|(_, hole)| open.binary_search(hole).is_ok()) {
            let before = gather(&chunks[from..chunk]);
            from = chunk + 1;
            let filled_by = *known.entry(Arc::as_ptr(page.plan.of(hole)?)).or_insert_with(|| {
                fragments.push(hole);
                fragments.len() - 1
            });
            all.push(Hole { before, filled_by });
            holes.push(hole);
        }
        gather(&chunks[from..]);
        let mut others = asked(page).filter(|(hole, _)| open.binary_search(hole).is_err());
        let is_private =
            others.any(|(_, outcome)| outcome.response.as_ref().is_some_and(|answer| answer.stated.is_private()));
        let tag = OpenTag::of(&page.plan, &page.outcomes, open);
        let gaps = Holes { all: all.into(), fragments: fragments.into(), tag, is_private };
        (holes.len() == open.len()).then_some(Self { pieces, copied, holes, gaps })
    }
}
