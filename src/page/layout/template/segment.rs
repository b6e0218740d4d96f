//! The pieces that a template is made of, and the conditions under which some are shown.
//! Indices in a segment always refer to the composition that holds it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::page::esi::expr::Expr;
use crate::page::esi::text::EsiText;
use crate::page::esi::variables::Variables;
use crate::page::layout::syntax::node::ParameterPiece;
use crate::page::source::names::Name;
use crate::page::visit::context::{Conditions, Reader};

/// A piece of a composition.
#[derive(Debug, Clone, PartialEq)]
pub enum Segment {
    /// Bytes that are the same for all readers.
    Text(Bytes),
    /// A fragment, by its index in `Composition::fragments`.
    Fragment(usize),
    /// Content that is shown under a condition, by the condition's index in `Composition::conditions`.
    When(usize, Arc<[Segment]>),
    /// A text that depends on the visit, by its index in `Composition::values`.
    Value(usize),
    /// Content that is shown unless an include in it fails, and the content that is shown in that case.
    Try(Arc<[Segment]>, Arc<[Segment]>),
    /// A slot by its name, which the layout around a composing fragment may fill, and its default content.
    Slot(Name, Arc<[Segment]>),
    /// The place where the assets of the fragments are added to the head.
    Assets,
    /// The place where the late parts are sent, which a script moves to their positions.
    Late,
}

/// A text that depends on the visit. It is escaped for HTML.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text with variables of ESI.
    Esi(Arc<EsiText>),
    /// A title with placeholders.
    Title(Arc<[ParameterPiece]>),
}

/// A condition that decides whether content is shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `<when>`
    When(Conditions),
    /// Whether the first of these tests that holds is the one with this index; if the index is their number, whether none
    /// holds.
    First(Arc<[Expr]>, usize),
}

/// Whether each condition holds for a reader at a time, and how long until time may change that.
#[must_use]
pub fn evaluate(
    conditions: &[Condition],
    reader: &Reader,
    variables: &dyn Variables,
    at: Timestamp,
) -> (Vec<bool>, Option<Duration>) {
    // The conditions of one choice are adjacent; its tests are evaluated once.
    let mut chosen: Option<(&Arc<[Expr]>, usize)> = None;
    let mut changes_in: Option<Duration> = None;
    let hold = conditions.iter().map(|condition| match condition {
        Condition::When(conditions) => {
            changes_in = changes_in.into_iter().chain(conditions.window.changes_in(at)).min();
            conditions.hold(reader, at)
        }
        Condition::First(tests, which) => {
            let first = match chosen {
                Some((same, first)) if Arc::ptr_eq(same, tests) => first,
                _ => tests.iter().position(|test| test.holds(variables)).unwrap_or(tests.len()),
            };
            chosen = Some((tests, first));
            first == *which
        }
    });
    (hold.collect(), changes_in)
}
