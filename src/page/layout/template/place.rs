//! The places in which a layout loads fragments lazily, and the conditions under which each is shown.
//! Tests of ESI are not among them: they read what is only known while the page is composed.

use std::collections::BTreeMap;

use crate::page::browser::lazy_address::{ConditionFields, OWN};
use crate::page::layout::syntax::node::Load;
use crate::page::visit::context::{Conditions, TokenFilter};
use crate::page::visit::window::TimeWindow;

use super::composition::Composition;
use super::segment::{Condition, Segment};

/// The conditions of one place: all of them must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(Vec<Conditions>);

impl Place {
    /// A place that is shown in a window.
    fn within(window: TimeWindow) -> Self {
        Self::default().and(&Conditions { window, ..Conditions::default() })
    }

    /// A place in this one.
    fn and(&self, conditions: &Conditions) -> Self {
        let more = Some(conditions).filter(|conditions| !conditions.is_empty()).cloned();
        Self(self.0.iter().cloned().chain(more).collect())
    }

    /// The conditions, outermost first.
    pub fn conditions(&self) -> impl Iterator<Item = &Conditions> {
        self.0.iter()
    }

    /// The conditions as they are written into addresses: equal for equal places only.
    #[must_use]
    pub fn fields(&self) -> ConditionFields {
        let mut fields = ConditionFields::new();
        let mut add = |name: &str, value: String| fields.push((format!("{OWN}{name}"), value));
        let mut window = TimeWindow::default();
        for conditions in &self.0 {
            let filters = [
                ("device", &conditions.device),
                ("region", &conditions.region),
                ("locale", &conditions.locale),
                ("variant", &conditions.variant),
            ];
            for (name, filter) in filters {
                if let Some(TokenFilter { negated, tokens }) = filter {
                    add(name, [if *negated { "not " } else { "" }, &tokens.join(" ")].concat());
                }
            }
            window = window.intersection(conditions.window);
        }
        for (name, time) in [("from", window.from), ("until", window.until)] {
            if let Some(time) = time {
                add(name, time.to_string());
            }
        }
        fields
    }
}

/// The places of the fragments that a composition loads lazily, by the index of the fragment. `window`: when the composition
/// is served.
#[must_use]
pub fn lazy_places(html: &Composition, window: TimeWindow) -> BTreeMap<usize, Place> {
    let mut found = BTreeMap::new();
    if html.fragments.iter().any(|fragment| fragment.load == Load::Lazy) {
        add(html, &html.segments, &Place::within(window), &mut found);
    }
    found
}

fn add(html: &Composition, segments: &[Segment], around: &Place, found: &mut BTreeMap<usize, Place>) {
    for segment in segments {
        match segment {
            Segment::When(condition, inside) => match &html.conditions[*condition] {
                Condition::When(conditions) => add(html, inside, &around.and(conditions), found),
                Condition::First(..) => add(html, inside, around, found),
            },
            Segment::Fragment(index) => {
                let fragment = &html.fragments[*index];
                let here = around.and(&fragment.conditions);
                fragment.fallbacks().for_each(|fallback| add(html, fallback, &here, found));
                if fragment.load == Load::Lazy {
                    found.insert(*index, here);
                }
            }
            Segment::Try(attempt, except) => {
                add(html, attempt, around, found);
                add(html, except, around, found);
            }
            Segment::Slot(_, default) => add(html, default, around, found),
            Segment::Text(_) | Segment::Value(_) | Segment::Assets | Segment::Late => {}
        }
    }
}
