//! What stands where on a page, as far as that is known: in which order holes come, which of them are
//! needed, and what fills what.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::browser::lazy;
use crate::page::html::text::Text;
use crate::page::layout::{Composition, FragmentSource, Segment};
use crate::page::manifest::Manifest;
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::source::reason::Reason;

use super::{Outcomes, Plan, Scope, Slot};

impl Plan {
    /// The page, in order.
    #[must_use]
    pub fn page(&self) -> (Arc<[Segment]>, Scope) {
        (Arc::clone(&self.template.html.parts), Scope { holes: Some(0), conditions: 0, values: 0, within: None })
    }

    /// The hole that a fragment of some parts is.
    ///
    /// # Errors
    /// It is one too many: its fallback.
    pub fn hole(&self, scope: Scope, fragment: usize) -> Result<usize, &Arc<[Segment]>> {
        scope.holes.map(|first| first + fragment).ok_or_else(|| {
            let asked = scope.within.and_then(|hole| self.holes[hole].grown.as_ref());
            let (html, _) = asked.expect("only what an answer asks for is too many");
            &html.fragments[fragment].fallback
        })
    }

    /// Whether what is shown under a condition is shown.
    #[must_use]
    pub fn is_shown(&self, scope: Scope, condition: usize) -> bool {
        self.shown[scope.conditions + condition]
    }

    /// The value of a text with variables.
    #[must_use]
    pub fn value(&self, scope: Scope, value: usize) -> Bytes {
        self.values[scope.values + value].clone()
    }

    /// What was decided for this reader in the layout, or in what a hole is filled with: which conditions
    /// hold, and what variables are.
    #[must_use]
    pub fn decided(&self, hole: Option<usize>) -> (&[bool], &[Bytes]) {
        let html: &Composition;
        let (conditions, values) = match hole {
            None => {
                html = &self.template.html;
                (0, 0)
            }
            Some(hole) => match &self.holes[hole].grown {
                Some((grown, scope)) => {
                    html = grown;
                    (scope.conditions, scope.values)
                }
                None => return (&[], &[]),
            },
        };
        let conditions = conditions..conditions + html.conditions.len();
        (&self.shown[conditions], &self.values[values..values + html.values.len()])
    }

    /// A hash over the parts of what a hole is filled with; 0 where it has none.
    #[must_use]
    pub fn parts_of(&self, hole: usize) -> u128 {
        self.holes[hole].grown.as_ref().map_or(0, |(html, _)| html.digest)
    }

    /// What fills a slot of some parts: what the layout put there, or else its default.
    #[must_use]
    pub fn filling<'p>(&'p self, scope: Scope, name: &str, default: &'p Arc<[Segment]>) -> (&'p Arc<[Segment]>, Scope) {
        let around = scope.within.map(|hole| &self.holes[hole]);
        let filled = around.and_then(|hole| Some((hole.fragment.fills.get(name)?, hole.scope)));
        filled.unwrap_or((default, scope))
    }

    /// What stands in a hole when nothing better can.
    #[must_use]
    pub fn fallback(&self, hole: usize) -> (&Arc<[Segment]>, Scope) {
        let hole = &self.holes[hole];
        (&hole.fragment.fallback, hole.scope)
    }

    /// What stands in a hole, where that is made of parts: its fallback, or an answer that asks for others.
    #[must_use]
    pub fn inside(&self, hole: usize, outcome: &Outcome) -> Option<(&Arc<[Segment]>, Scope)> {
        match outcome.shown {
            Shown::Fallback => Some(self.fallback(hole)),
            Shown::Fresh | Shown::Stale => self.holes[hole].grown.as_ref().map(|(html, scope)| (&html.parts, *scope)),
            Shown::Omitted => None,
        }
    }

    /// The holes that a page needs at once, and with each those that fill the slots of its HTML: those
    /// are needed whatever comes of it.
    #[must_use]
    pub fn needed_at_once(&self) -> Vec<usize> {
        let (parts, scope) = self.page();
        self.needed(&parts, scope)
    }

    /// The holes that are needed since this one is filled as it is.
    #[must_use]
    pub fn needed_then(&self, hole: usize, outcome: &Outcome) -> Vec<usize> {
        self.inside(hole, outcome).map(|(parts, scope)| self.needed(parts, scope)).unwrap_or_default()
    }

    /// The holes that are needed since something that was tried has failed.
    #[must_use]
    pub fn needed_instead(&self, outcomes: &Outcomes) -> Vec<usize> {
        if !self.has_tries {
            return Vec::new();
        }
        let met = self.in_order(outcomes).into_iter();
        met.filter(|hole| outcomes[*hole].is_none()).flat_map(|hole| self.with_fills(hole)).collect()
    }

    fn needed(&self, parts: &[Segment], scope: Scope) -> Vec<usize> {
        let mut found = Vec::new();
        self.walk(parts, scope, &Vec::new(), &mut |hole| found.extend(self.with_fills(hole)));
        found
    }

    /// A hole, and those that fill the slots of its HTML.
    fn with_fills(&self, hole: usize) -> Vec<usize> {
        let mut found = vec![hole];
        let hole = &self.holes[hole];
        for parts in hole.fragment.fills.values() {
            found.extend(self.needed(parts, hole.scope));
        }
        found
    }

    /// Whether a hole and all that stands in it are filled.
    #[must_use]
    pub fn is_known(&self, hole: usize, outcomes: &Outcomes) -> bool {
        let Some((inside, scope)) = outcomes[hole].as_ref().and_then(|outcome| self.inside(hole, outcome)) else {
            return outcomes[hole].is_some();
        };
        let mut known = true;
        self.walk(inside, scope, outcomes, &mut |hole| known &= outcomes[hole].is_some());
        known
    }

    /// Whether a hole's fallback asks for nothing.
    #[must_use]
    pub fn is_plain(&self, hole: usize) -> bool {
        let (parts, scope) = self.fallback(hole);
        self.needed(parts, scope).is_empty()
    }

    /// What stands in a hole until it is filled: its fallback, and of what that asks for the fallbacks.
    pub fn placeholder(&self, hole: usize, chunks: &mut Vec<Text>) {
        let (parts, scope) = self.fallback(hole);
        self.plainly(parts, scope, chunks);
    }

    fn plainly(&self, parts: &[Segment], scope: Scope, chunks: &mut Vec<Text>) {
        for part in parts {
            match part {
                Segment::Text(text) => chunks.push(text.clone().into()),
                Segment::When(condition, inside) if self.is_shown(scope, *condition) => {
                    self.plainly(inside, scope, chunks);
                }
                Segment::Slot(name, default) => {
                    let (inside, scope) = self.filling(scope, name, default);
                    self.plainly(inside, scope, chunks);
                }
                Segment::Fragment(fragment) => match self.hole(scope, *fragment) {
                    Ok(hole) if self.holes[hole].slot == Slot::Dropped => {}
                    Ok(hole) => {
                        let (open, close) = self.around_lazy(hole).unzip();
                        chunks.extend(open.map(Text::from));
                        self.placeholder(hole, chunks);
                        chunks.extend(close.map(Text::from));
                    }
                    Err(fallback) => self.plainly(fallback, scope, chunks),
                },
                Segment::Value(value) => chunks.push(self.value(scope, *value).into()),
                Segment::Try(attempt, _) => self.plainly(attempt, scope, chunks),
                Segment::When(..) | Segment::Assets | Segment::Late => {}
            }
        }
    }

    /// Where readers find what a hole is filled with by and by.
    #[must_use]
    pub fn lazy(&self, hole: usize) -> Option<&str> {
        match &self.holes[hole].slot {
            Slot::Lazy(address) => Some(address),
            Slot::Fetch(_) | Slot::Dropped | Slot::Refused(_) => None,
        }
    }

    /// Bytes before and behind what stands in a lazy hole.
    #[must_use]
    pub fn around_lazy(&self, hole: usize) -> Option<(Bytes, Bytes)> {
        let (address, hole) = (self.lazy(hole)?, &self.holes[hole]);
        let open = lazy::open(address);
        let link = if hole.fragment.fallback.is_empty() { lazy::link(address, &hole.id) } else { Bytes::new() };
        Some((open, Bytes::from([link, lazy::CLOSE].concat())))
    }

    /// The holes that stand on the page, as far as that is known, in document order. Those that readers ask
    /// for by themselves are none of the page's own.
    #[must_use]
    pub fn in_order(&self, outcomes: &Outcomes) -> Vec<usize> {
        let mut found = Vec::with_capacity(self.holes.len());
        let (parts, scope) = self.page();
        self.walk(&parts, scope, outcomes, &mut |hole| found.extend(self.lazy(hole).is_none().then_some(hole)));
        found
    }

    /// The same, and among them those that readers ask for by themselves.
    #[must_use]
    pub fn in_order_with_lazy(&self, outcomes: &Outcomes) -> Vec<usize> {
        let mut found = Vec::with_capacity(self.holes.len());
        let (parts, scope) = self.page();
        self.walk(&parts, scope, outcomes, &mut |hole| found.push(hole));
        found
    }

    /// Meets the holes of some parts in document order, and goes into those whose outcomes are known.
    fn walk(&self, parts: &[Segment], scope: Scope, outcomes: &Outcomes, meet: &mut impl FnMut(usize)) {
        for part in parts {
            match part {
                Segment::Text(_) | Segment::Value(_) | Segment::Assets | Segment::Late => {}
                Segment::When(condition, inside) => {
                    if self.is_shown(scope, *condition) {
                        self.walk(inside, scope, outcomes, meet);
                    }
                }
                Segment::Try(attempt, except) => {
                    let failed = self.has_failed(attempt, scope, outcomes) == Some(true);
                    self.walk(if failed { except } else { attempt }, scope, outcomes, meet);
                }
                Segment::Slot(name, default) => {
                    let (inside, scope) = self.filling(scope, name, default);
                    self.walk(inside, scope, outcomes, meet);
                }
                Segment::Fragment(fragment) => {
                    let inside = match self.hole(scope, *fragment) {
                        Ok(hole) if self.lazy(hole).is_some() => {
                            meet(hole);
                            Some(self.fallback(hole))
                        }
                        Ok(hole) => {
                            meet(hole);
                            let outcome = outcomes.get(hole).and_then(Option::as_ref);
                            outcome.and_then(|outcome| self.inside(hole, outcome))
                        }
                        Err(fallback) => Some((fallback, scope)),
                    };
                    if let Some((inside, scope)) = inside {
                        self.walk(inside, scope, outcomes, meet);
                    }
                }
            }
        }
    }

    /// Whether an include among some parts has failed. `None`: that is not known yet.
    #[must_use]
    pub fn has_failed(&self, parts: &[Segment], scope: Scope, outcomes: &Outcomes) -> Option<bool> {
        let mut known = Some(false);
        for part in parts {
            let failed = match part {
                Segment::When(condition, inside) if self.is_shown(scope, *condition) => {
                    self.has_failed(inside, scope, outcomes)
                }
                Segment::Try(attempt, except) => match self.has_failed(attempt, scope, outcomes) {
                    Some(true) => self.has_failed(except, scope, outcomes),
                    other => other,
                },
                Segment::Slot(name, default) => {
                    let (inside, scope) = self.filling(scope, name, default);
                    self.has_failed(inside, scope, outcomes)
                }
                Segment::Fragment(fragment) => match self.hole(scope, *fragment) {
                    Ok(hole) => self.include_failed(hole, outcomes),
                    Err(_) => Some(true),
                },
                Segment::Text(_) | Segment::Value(_) | Segment::When(..) | Segment::Assets | Segment::Late => {
                    Some(false)
                }
            };
            match failed {
                Some(true) => return failed,
                None => known = None,
                Some(false) => {}
            }
        }
        known
    }

    /// Whether a hole is an include that failed, and its `alt` too.
    fn include_failed(&self, hole: usize, outcomes: &Outcomes) -> Option<bool> {
        let one = &self.holes[hole];
        let FragmentSource::Included { goes_on: false, .. } = one.fragment.service else { return Some(false) };
        let outcome = outcomes.get(hole).and_then(Option::as_ref)?;
        match outcome.shown {
            Shown::Fresh | Shown::Stale => Some(false),
            Shown::Omitted => Some(!matches!(outcome.reason, Some(Reason::Empty | Reason::Condition))),
            Shown::Fallback => self.has_failed(&one.fragment.fallback, one.scope, outcomes),
        }
    }

    /// Whether a hole that is not filled yet may decide what the head says: its status, and cookies,
    /// which leave with the head or not at all.
    #[must_use]
    pub fn may_decide(&self, hole: usize) -> bool {
        let one = &self.holes[hole];
        let sets_cookies = |manifest: &Arc<Manifest>| {
            !manifest.cookies.is_empty() || (!manifest.composes.is_empty() && self.template.nested_set_cookies())
        };
        // What fills its slots stands inside it too.
        let inside = || {
            let (parts, scope) = self.fallback(hole);
            let mut found = false;
            self.walk(parts, scope, &Vec::new(), &mut |hole| found = found || self.may_decide(hole));
            found
        };
        one.required || self.service(hole).is_some_and(sets_cookies) || inside()
    }
}
