//! What the parts of a page allow it to say about itself.
//! A page that was not whole is never kept downstream.

use std::time::Duration;

use super::outcome::{Outcome, Reason, Shown};
use super::plan::Plan;
use super::stitch::Outcomes;

/// The page's `Cache-Control`: the strictest of its parts'.
#[must_use]
pub fn cache_control(plan: &Plan, outcomes: &Outcomes) -> String {
    let parts = || outcomes.iter().flatten().filter(|outcome| outcome.reason != Some(Reason::Condition));
    let private = |outcome: &Outcome| outcome.answer.as_ref().is_some_and(|answer| answer.directives.private);
    if parts().any(private) {
        return "private, no-store".to_owned();
    }
    let whole = |outcome: &Outcome| outcome.shown == Shown::Fresh || outcome.reason == Some(Reason::Empty);
    if !parts().all(whole) {
        return "no-store".to_owned();
    }
    let cap = plan.template.max_age;
    let fresh_for = parts().map(|outcome| outcome.fresh_for).chain(cap).min().unwrap_or(Duration::ZERO);
    format!("public, max-age={}", fresh_for.as_secs())
}
