//! Turns elements of ESI into segments: tests become conditions, texts values, includes fragments.
//! This is the same for layouts and responses; only what they may include differs.

use std::sync::Arc;

use crate::page::esi::expr::Expr;
use crate::page::esi::text::EsiText;
use crate::page::layout::syntax::node::{Esi, Include, Node};
use crate::page::layout::template::fragment::{FragmentSource, FragmentUse};
use crate::page::layout::template::segment::{Condition, Segment, Value};
use crate::page::source::diagnostic::{Located, SourceSpan};
use crate::page::source::names::Name;

/// The id of includes.
pub(super) const ID: &str = "esi";

/// The tables that segments refer to by index.
#[derive(Debug, Default)]
pub(super) struct SegmentTables {
    /// The conditions that decide whether segments are shown.
    pub(super) conditions: Vec<Condition>,
    /// Texts that depend on the visit.
    pub(super) values: Vec<Value>,
    /// Whether there is a [`Segment::Try`].
    pub(super) has_tries: bool,
}

impl SegmentTables {
    /// The segment of another text that depends on the visit.
    pub(super) fn value(&mut self, value: Value) -> Segment {
        self.values.push(value);
        Segment::Value(self.values.len() - 1)
    }
}

/// Builds segments from nodes.
pub(super) trait EsiBuilder<'n> {
    /// The tables so far.
    fn tables(&mut self) -> &mut SegmentTables;

    /// The segments of the content of an element.
    fn inside(&mut self, nodes: &'n [Node]) -> Arc<[Segment]>;

    /// Adds an include. `None`: there may be no more fragments.
    fn include(&mut self, include: &'n Include) -> Option<Segment>;

    /// Records that variables are used.
    fn use_variables(&mut self, variables: &mut dyn Iterator<Item = (&str, Option<&str>)>, at: &SourceSpan);

    /// The segments of an element, in order.
    fn esi(&mut self, esi: &'n Esi) -> Vec<Segment> {
        match esi {
            Esi::Include(include) => self.include(include).into_iter().collect(),
            Esi::Value(Located { value, at }) => {
                self.use_variables(&mut value.used(), at);
                vec![self.tables().value(Value::Esi(Arc::clone(value)))]
            }
            Esi::Vars(inside) => self.inside(inside).to_vec(),
            Esi::Choose(tests, branches) => {
                for test in tests {
                    self.use_variables(&mut test.value.used(), &test.at);
                }
                let tests: Arc<[Expr]> = tests.iter().map(|test| test.value.clone()).collect();
                let conditions = &mut self.tables().conditions;
                let first = conditions.len();
                conditions.extend((0..branches.len()).map(|which| Condition::First(Arc::clone(&tests), which)));
                let branches = branches.iter().enumerate();
                branches.map(|(which, inside)| Segment::When(first + which, self.inside(inside))).collect()
            }
            Esi::Try(attempt, except) => {
                self.tables().has_tries = true;
                vec![Segment::Try(self.inside(attempt), self.inside(except))]
            }
            // One without its parent was reported when the file was read.
            Esi::Branch(..) => Vec::new(),
        }
    }
}

/// The fragment of an include. `fallback`: the content that is shown if it fails.
pub(super) fn fragment(include: &Include, src: &Arc<EsiText>, at: SourceSpan, fallback: Arc<[Segment]>) -> FragmentUse {
    let source = FragmentSource::Included { src: Arc::clone(src), continue_on_error: include.goes_on };
    FragmentUse { fallback, ..FragmentUse::new(Name::from(ID), source, at) }
}
