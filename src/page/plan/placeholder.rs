//! Writes placeholders: what late parts show until their response has arrived, and lazy ones until the page's script fetches
//! them.

use bytes::Bytes;

use crate::page::browser::lazy;
use crate::page::html::text::Text;
use crate::page::layout::Segment;

use super::{PartSource, Plan, Scope};

impl Plan {
    /// Writes the placeholder of a part: its fallback, in which nested parts show theirs.
    pub fn write_placeholder(&self, part: usize, chunks: &mut Vec<Text>) {
        let (segments, scope) = self.fallback(part);
        self.write_placeholders(segments, scope, chunks);
    }

    fn write_placeholders(&self, segments: &[Segment], scope: Scope, chunks: &mut Vec<Text>) {
        for segment in segments {
            match segment {
                Segment::Text(text) => chunks.push(text.clone().into()),
                Segment::When(condition, inside) if self.is_shown(scope, *condition) => {
                    self.write_placeholders(inside, scope, chunks);
                }
                Segment::Slot(name, default) => {
                    let (inside, scope) = self.slot_content(scope, name, default);
                    self.write_placeholders(inside, scope, chunks);
                }
                Segment::Fragment(fragment) => match self.part(scope, *fragment) {
                    Ok(part) if self.parts[part].source == PartSource::Dropped => {}
                    Ok(part) => {
                        let (open, close) = self.lazy_tags(part).unzip();
                        chunks.extend(open.map(Text::from));
                        self.write_placeholder(part, chunks);
                        chunks.extend(close.map(Text::from));
                    }
                    Err(fallback) => self.write_placeholders(fallback, scope, chunks),
                },
                Segment::Value(value) => chunks.push(self.value(scope, *value).into()),
                Segment::Try(attempt, _) => self.write_placeholders(attempt, scope, chunks),
                Segment::When(..) | Segment::Assets | Segment::Late => {}
            }
        }
    }

    /// The address from which the page's script fetches a lazy part.
    #[must_use]
    pub fn lazy_address(&self, part: usize) -> Option<&str> {
        match &self.parts[part].source {
            PartSource::Lazy(address) => Some(address),
            PartSource::Fetch(_) | PartSource::Dropped | PartSource::Refused(_) => None,
        }
    }

    /// The bytes before and after the placeholder of a lazy part.
    #[must_use]
    pub fn lazy_tags(&self, part: usize) -> Option<(Bytes, Bytes)> {
        let (address, part) = (self.lazy_address(part)?, &self.parts[part]);
        let open = lazy::open(address);
        let link = if part.fragment.fallback.is_empty() { lazy::link(address, &part.id) } else { Bytes::new() };
        Some((open, Bytes::from([link, lazy::CLOSE].concat())))
    }
}
