//! Which pages are degraded, why, and for how long.
//! A page counts as degraded until none of its pages was for a minute: some of its addresses may be whole all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::page::response::outcome::Shown;
use crate::page::source::map::Map;
use crate::page::source::names::Name;
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::budget::{LineBudget, MINUTE};

/// The maximum number of degraded pages that are known.
const MAX_PAGES: usize = 1_000;
/// The maximum number of parts that a line names.
const MAX_NAMED: usize = 10;
/// How long a degraded page is known that nobody requests again.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// A nanoservice, what its parts show, and why.
pub(super) type Cause = (Name, Shown, Reason);
/// The causes of one page.
pub(super) type Causes = BTreeSet<Cause>;

pub(super) struct Pages {
    known: Map<String, DegradedPage>,
    budget: LineBudget,
}

/// Something to be logged about a page that has just been composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Degradation {
    /// It was not degraded within the last minute.
    Began,
    /// It was, but not for all of these causes.
    OtherCauses,
}

/// Something to be logged about a page because time has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PageEvent {
    /// Some causes did not occur for a minute. These are left.
    FewerCauses(Vec<Cause>),
    /// It is no longer degraded. So many of its pages were, of so many.
    Ended { degraded: u64, of: u64, lasted: Duration },
}

struct DegradedPage {
    /// When each cause occurred last.
    causes: BTreeMap<Cause, Instant>,
    began: Instant,
    last: Instant,
    degraded: u64,
    whole: u64,
    /// The pages that were whole since the last degraded one.
    whole_since: u64,
}

impl Default for Pages {
    fn default() -> Self {
        Self { known: Map::default(), budget: LineBudget::new(10, 3) }
    }
}

impl Pages {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Adds a degraded page. Returns what is to be logged about it.
    pub(super) fn add_degraded(&mut self, page: &str, causes: &Causes, now: Instant) -> Option<Degradation> {
        let Some(known) = self.known.get_mut(page) else {
            if self.known.len() < MAX_PAGES {
                let causes = causes.iter().map(|cause| (cause.clone(), now)).collect();
                let new = DegradedPage { causes, began: now, last: now, degraded: 1, whole: 0, whole_since: 0 };
                self.known.insert(page.to_owned(), new);
            }
            return self.budget.take(now).then_some(Degradation::Began);
        };
        known.degraded += 1;
        (known.last, known.whole_since) = (now, 0);
        let mut has_new = false;
        for cause in causes {
            has_new |= known.causes.insert(cause.clone(), now).is_none();
        }
        (has_new && self.budget.take(now)).then_some(Degradation::OtherCauses)
    }

    /// Adds pages that were whole.
    pub(super) fn add_whole(&mut self, page: &str, times: u64) {
        if let Some(known) = self.known.get_mut(page) {
            known.whole += times;
            known.whole_since += times;
        }
    }

    /// What is to be logged because time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<(String, PageEvent)> {
        let mut events = Vec::new();
        let budget = &mut self.budget;
        self.known.retain(|page, known| {
            let quiet = now.saturating_duration_since(known.last);
            if quiet >= MINUTE && known.whole_since > 0 {
                let DegradedPage { degraded, whole, began, last, .. } = *known;
                let lasted = last.saturating_duration_since(began);
                if budget.take(now) {
                    events.push((page.clone(), PageEvent::Ended { degraded, of: degraded + whole, lasted }));
                }
                return false;
            }
            // As long as nobody requests the page, nobody knows whether its causes have changed.
            let causes = known.causes.len();
            if quiet < MINUTE {
                known.causes.retain(|_, last| now.saturating_duration_since(*last) < MINUTE);
            }
            if known.causes.len() < causes && budget.take(now) {
                events.push((page.clone(), PageEvent::FewerCauses(known.causes.keys().cloned().collect())));
            }
            quiet < FORGOTTEN
        });
        events.sort_by(|(a, _), (b, _)| a.cmp(b));
        events
    }
}

/// Causes in words: `weather=fallback (timeout), news=stale (status)`.
pub(super) fn describe<'a>(causes: impl IntoIterator<Item = &'a Cause>) -> String {
    let mut words: Vec<String> =
        causes.into_iter().map(|(name, shown, reason)| format!("{name}={shown} ({reason})")).collect();
    let more = words.len().saturating_sub(MAX_NAMED);
    words.truncate(MAX_NAMED);
    words.extend((more > 0).then(|| format!("and {more} more")));
    words.join(", ")
}

/// A time in words, in whole seconds.
pub(super) fn show(time: Duration) -> String {
    units::show(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(name: &str, reason: Reason) -> Cause {
        (Name::from(name), Shown::Fallback, reason)
    }

    fn causes(all: &[Cause]) -> Causes {
        all.iter().cloned().collect()
    }

    #[test]
    fn a_page_is_logged_when_it_begins_changes_and_ends() {
        let (mut pages, began) = (Pages::default(), Instant::now());
        let (a, b) = (cause("a", Reason::Timeout), cause("b", Reason::Status));
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(pages.add_degraded("/", &causes(std::slice::from_ref(&a)), at(0)), Some(Degradation::Began));
        for second in 1..100 {
            assert_eq!(pages.add_degraded("/", &causes(std::slice::from_ref(&a)), at(second)), None);
            pages.add_whole("/", 2);
            assert_eq!(pages.tick(at(second)), []);
        }
        assert_eq!(pages.add_degraded("/", &causes(&[a, b.clone()]), at(100)), Some(Degradation::OtherCauses));
        // A cause is over once it did not occur for a minute.
        for second in 101..160 {
            assert_eq!(pages.add_degraded("/", &causes(std::slice::from_ref(&b)), at(second)), None);
            assert_eq!(pages.tick(at(second)), []);
        }
        assert_eq!(pages.tick(at(160)), [("/".to_owned(), PageEvent::FewerCauses(vec![b]))]);
        // So is the page, if it was requested since.
        assert_eq!(pages.tick(at(300)), []);
        pages.add_whole("/", 1);
        let ended = PageEvent::Ended { degraded: 160, of: 359, lasted: Duration::from_secs(159) };
        assert_eq!(pages.tick(at(301)), [("/".to_owned(), ended)]);
        assert!(pages.is_empty());
    }

    #[test]
    fn a_thousand_pages_that_degrade_at_once_take_a_few_lines() {
        let (mut pages, now) = (Pages::default(), Instant::now());
        let dead = causes(&[cause("a", Reason::Connect)]);
        let logged = (0..2_000).filter(|page| pages.add_degraded(&page.to_string(), &dead, now).is_some()).count();
        assert_eq!((logged, pages.known.len()), (10, MAX_PAGES));
        (0..2_000).for_each(|page| pages.add_whole(&page.to_string(), 1));
        assert_eq!(pages.tick(now + MINUTE).len(), 3);
        assert!(pages.is_empty());
    }
}
