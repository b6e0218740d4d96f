//! Walks the parts of a page, as far as they are known: their order, which of them are needed, and their content.
//! The content of a part is unknown until its outcome is known.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::layout::{Composition, FragmentSource, Segment};
use crate::page::manifest::Manifest;
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::source::reason::Reason;

use super::{Outcomes, Plan, Scope};

impl Plan {
    /// The segments of the layout, and their scope.
    #[must_use]
    pub fn root(&self) -> (Arc<[Segment]>, Scope) {
        (Arc::clone(&self.template.html.segments), Scope { parts: Some(0), conditions: 0, values: 0, parent: None })
    }

    /// The part of a fragment.
    ///
    /// # Errors
    /// The page has no part for it: its fallback.
    pub fn part(&self, scope: Scope, fragment: usize) -> Result<usize, &Arc<[Segment]>> {
        scope.parts.map(|first| first + fragment).ok_or_else(|| {
            let nested = scope.parent.and_then(|part| self.parts[part].nested.as_ref());
            let (html, _) = nested.expect("a layout never has more fragments than a page may have");
            html.fragments[fragment].fallback_for(Some(Reason::TooMany))
        })
    }

    /// Whether a condition holds.
    #[must_use]
    pub fn is_shown(&self, scope: Scope, condition: usize) -> bool {
        self.shown[scope.conditions + condition]
    }

    /// The value of a text with variables.
    #[must_use]
    pub fn value(&self, scope: Scope, value: usize) -> Bytes {
        self.values[scope.values + value].clone()
    }

    /// The decisions for this visit in the layout, or in the composition that fills a part: whether each condition holds, and
    /// the values of texts with variables.
    #[must_use]
    pub fn decisions(&self, part: Option<usize>) -> (&[bool], &[Bytes]) {
        let html: &Composition;
        let (conditions, values) = match part {
            None => {
                html = &self.template.html;
                (0, 0)
            }
            Some(part) => match &self.parts[part].nested {
                Some((nested, scope)) => {
                    html = nested;
                    (scope.conditions, scope.values)
                }
                None => return (&[], &[]),
            },
        };
        let conditions = conditions..conditions + html.conditions.len();
        (&self.shown[conditions], &self.values[values..values + html.values.len()])
    }

    /// The digest of the composition that fills a part; 0 if none does.
    #[must_use]
    pub fn nested_digest(&self, part: usize) -> u128 {
        self.parts[part].nested.as_ref().map_or(0, |(html, _)| html.digest)
    }

    /// The content of a slot: that from the layout, or otherwise its default.
    #[must_use]
    pub fn slot_content<'p>(
        &'p self,
        scope: Scope,
        name: &str,
        default: &'p Arc<[Segment]>,
    ) -> (&'p Arc<[Segment]>, Scope) {
        let around = scope.parent.map(|part| &self.parts[part]);
        let filled = around.and_then(|part| Some((part.fragment.fills.get(name)?, part.scope)));
        filled.unwrap_or((default, scope))
    }

    /// The fallback of a part for all reasons that have none of their own. It is also the placeholder of a late part.
    #[must_use]
    pub fn fallback(&self, part: usize) -> (&Arc<[Segment]>, Scope) {
        let part = &self.parts[part];
        (&part.fragment.fallback, part.scope)
    }

    /// The segments that a part with this outcome shows: its fallback, or a composition. `None`: it shows bytes, or nothing.
    #[must_use]
    pub fn content(&self, part: usize, outcome: &Outcome) -> Option<(&Arc<[Segment]>, Scope)> {
        match outcome.shown {
            Shown::Fallback => {
                let part = &self.parts[part];
                Some((part.fragment.fallback_for(outcome.reason), part.scope))
            }
            Shown::Fresh | Shown::Stale => {
                self.parts[part].nested.as_ref().map(|(html, scope)| (&html.segments, *scope))
            }
            Shown::Omitted => None,
        }
    }

    /// The parts that a page needs from the start, and with each those that fill the slots of its HTML, which are needed whatever
    /// the part's outcome.
    #[must_use]
    pub fn needed_first(&self) -> Vec<usize> {
        let (segments, scope) = self.root();
        self.needed(&segments, scope)
    }

    /// The parts that are needed because of the outcome of a part.
    #[must_use]
    pub fn needed_after(&self, part: usize, outcome: &Outcome) -> Vec<usize> {
        self.content(part, outcome).map(|(segments, scope)| self.needed(segments, scope)).unwrap_or_default()
    }

    /// The parts that are needed because an include has failed and other content is shown instead.
    #[must_use]
    pub fn needed_instead(&self, outcomes: &Outcomes) -> Vec<usize> {
        if !self.has_tries {
            return Vec::new();
        }
        let shown = self.in_order(outcomes).into_iter();
        shown.filter(|part| outcomes[*part].is_none()).flat_map(|part| self.with_fills(part)).collect()
    }

    fn needed(&self, segments: &[Segment], scope: Scope) -> Vec<usize> {
        let mut found = Vec::new();
        self.walk(segments, scope, &Vec::new(), &mut |part| found.extend(self.with_fills(part)));
        found
    }

    /// A part, and those that fill the slots of its HTML.
    fn with_fills(&self, part: usize) -> Vec<usize> {
        let mut found = vec![part];
        let part = &self.parts[part];
        for segments in part.fragment.fills.values() {
            found.extend(self.needed(segments, part.scope));
        }
        found
    }

    /// Whether the outcomes of a part and of all parts in it are known.
    #[must_use]
    pub fn is_known(&self, part: usize, outcomes: &Outcomes) -> bool {
        let Some((content, scope)) = outcomes[part].as_ref().and_then(|outcome| self.content(part, outcome)) else {
            return outcomes[part].is_some();
        };
        let mut known = true;
        self.walk(content, scope, outcomes, &mut |part| known &= outcomes[part].is_some());
        known
    }

    /// Whether a part with this outcome shows nothing but its placeholder: a fallback without parts, or nothing.
    #[must_use]
    pub fn shows_placeholder(&self, part: usize, outcome: &Outcome) -> bool {
        let (placeholder, scope) = self.fallback(part);
        match (outcome.shown, self.content(part, outcome)) {
            (Shown::Fallback, Some((content, _))) => {
                Arc::ptr_eq(content, placeholder) && self.needed(placeholder, scope).is_empty()
            }
            (Shown::Omitted, _) => placeholder.is_empty(),
            _ => false,
        }
    }

    /// The parts on the page, as far as they are known, in document order. Lazy parts are not among them.
    #[must_use]
    pub fn in_order(&self, outcomes: &Outcomes) -> Vec<usize> {
        let mut found = Vec::with_capacity(self.parts.len());
        let (segments, scope) = self.root();
        let mut add = |part| found.extend(self.lazy_address(part).is_none().then_some(part));
        self.walk(&segments, scope, outcomes, &mut add);
        found
    }

    /// The parts of the page, as far as they are known, in document order, and whether each is on the page. Lazy parts are among
    /// them. Those inside of a condition that does not hold are not on the page.
    #[must_use]
    pub fn in_order_with_hidden(&self, outcomes: &Outcomes) -> Vec<(usize, bool)> {
        let mut found = Vec::with_capacity(self.parts.len());
        let (segments, scope) = self.root();
        self.walk_all::<true>((&segments, true), scope, outcomes, &mut |part, shown| found.push((part, shown)));
        found
    }

    /// Visits the parts of segments in document order, and the parts nested in those whose outcomes are known.
    fn walk(&self, segments: &[Segment], scope: Scope, outcomes: &Outcomes, visit: &mut impl FnMut(usize)) {
        self.walk_all::<false>((segments, true), scope, outcomes, &mut |part, _| visit(part));
    }

    /// The same. `shown`: whether the segments are on the page. `HIDDEN`: whether those that are not are visited, too.
    fn walk_all<const HIDDEN: bool>(
        &self,
        (segments, shown): (&[Segment], bool),
        scope: Scope,
        outcomes: &Outcomes,
        visit: &mut impl FnMut(usize, bool),
    ) {
        for segment in segments {
            match segment {
                Segment::Text(_) | Segment::Value(_) | Segment::Assets | Segment::Late => {}
                Segment::When(condition, inside) => {
                    let shown = shown && self.is_shown(scope, *condition);
                    if shown || HIDDEN {
                        self.walk_all::<HIDDEN>((inside, shown), scope, outcomes, visit);
                    }
                }
                Segment::Try(attempt, except) => {
                    let failed = self.has_failed(attempt, scope, outcomes) == Some(true);
                    let inside = if failed { except } else { attempt };
                    self.walk_all::<HIDDEN>((inside, shown), scope, outcomes, visit);
                }
                Segment::Slot(name, default) => {
                    let (inside, scope) = self.slot_content(scope, name, default);
                    self.walk_all::<HIDDEN>((inside, shown), scope, outcomes, visit);
                }
                Segment::Fragment(fragment) => {
                    let inside = match self.part(scope, *fragment) {
                        // Its fallback is not on the page either.
                        Ok(part) if !shown => {
                            visit(part, false);
                            None
                        }
                        Ok(part) if self.lazy_address(part).is_some() => {
                            visit(part, true);
                            Some(self.fallback(part))
                        }
                        Ok(part) => {
                            visit(part, true);
                            let outcome = outcomes.get(part).and_then(Option::as_ref);
                            outcome.and_then(|outcome| self.content(part, outcome))
                        }
                        Err(fallback) => Some((fallback, scope)),
                    };
                    if let Some((inside, scope)) = inside {
                        self.walk_all::<HIDDEN>((inside, shown), scope, outcomes, visit);
                    }
                }
            }
        }
    }

    /// Whether an include in segments has failed. `None`: that is not known yet.
    #[must_use]
    pub fn has_failed(&self, segments: &[Segment], scope: Scope, outcomes: &Outcomes) -> Option<bool> {
        let mut known = Some(false);
        for segment in segments {
            let failed = match segment {
                Segment::When(condition, inside) if self.is_shown(scope, *condition) => {
                    self.has_failed(inside, scope, outcomes)
                }
                Segment::Try(attempt, except) => match self.has_failed(attempt, scope, outcomes) {
                    Some(true) => self.has_failed(except, scope, outcomes),
                    other => other,
                },
                Segment::Slot(name, default) => {
                    let (inside, scope) = self.slot_content(scope, name, default);
                    self.has_failed(inside, scope, outcomes)
                }
                Segment::Fragment(fragment) => match self.part(scope, *fragment) {
                    Ok(part) => self.include_failed(part, outcomes),
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

    /// Whether a part is an include that failed, and so did its `alt` if it has one.
    fn include_failed(&self, index: usize, outcomes: &Outcomes) -> Option<bool> {
        let part = &self.parts[index];
        let FragmentSource::Included { continue_on_error: false, .. } = part.fragment.source else {
            return Some(false);
        };
        let outcome = outcomes.get(index).and_then(Option::as_ref)?;
        match outcome.shown {
            Shown::Fresh | Shown::Stale => Some(false),
            Shown::Omitted => Some(!matches!(outcome.reason, Some(Reason::Empty | Reason::Condition))),
            Shown::Fallback => self.has_failed(&part.fragment.fallback, part.scope, outcomes),
        }
    }

    /// Whether a part whose outcome is not known yet may affect the head of the page: its status, or cookies, which are sent with
    /// the head or not at all.
    #[must_use]
    pub fn may_affect_head(&self, index: usize) -> bool {
        let part = &self.parts[index];
        let sets_cookies = |manifest: &Arc<Manifest>| {
            !manifest.cookies.is_empty() || (!manifest.composes.is_empty() && self.template.nested_set_cookies())
        };
        // The content of its slots is nested in it too.
        let inside = || {
            let mut found = false;
            for segments in part.fragment.fallbacks() {
                let visit = &mut |part| found = found || self.may_affect_head(part);
                self.walk(segments, part.scope, &Vec::new(), visit);
            }
            found
        };
        part.required || self.manifest_of(index).is_some_and(sets_cookies) || inside()
    }
}
