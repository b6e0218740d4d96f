//! Properties of a nanoservice's HTML that contains other fragments.

use std::collections::BTreeSet;

use bytes::Bytes;
use pasteup::page::layout::{Composition, FragmentSource, Segment};
use pasteup::page::manifest::Manifest;
use pasteup::page::source::diagnostic::Source;

use super::{direct, our_tags};

/// Reads a text as the response of two nanoservices: one that may contain other fragments, and one that may not.
pub(crate) fn check(text: &str) {
    let html = Bytes::copy_from_slice(text.as_bytes());
    let composes_weather = "composes = [\"weather\"]";
    for (composes, esi) in [("", false), (composes_weather, false), ("", true), (composes_weather, true)] {
        let manifest = format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:1/\"\n{composes}\n");
        let (manifest, problems) = Manifest::parse(&Source::new("a.toml", manifest));
        let manifest = manifest.unwrap_or_else(|| panic!("{problems:?}"));
        let Some(response) = Composition::of_response(&html, &manifest, esi) else { continue };
        let mut reading = Reading {
            html: &html,
            response: &response,
            at: 0,
            placed: BTreeSet::new(),
            composes: !composes.is_empty(),
            esi,
        };
        reading.segments(&response.segments);
        reading.left_out(html.len());
        assert_eq!(reading.placed.len(), response.fragments.len(), "a fragment has no place");
        assert!(esi || reading.composes || response.fragments.is_empty(), "it contains a fragment that is not allowed");
        assert!(esi || (response.conditions.is_empty() && response.values.is_empty() && !response.has_tries));
        assert!(response.error.as_ref().is_none_or(|mistake| !mistake.is_empty()));
        assert!(response.size() < 4096 + 4096 * text.len(), "{} bytes for {}", response.size(), text.len());
    }
}

/// Walks over a response's segments in the order of its HTML.
struct Reading<'a> {
    html: &'a Bytes,
    response: &'a Composition,
    /// The position up to which the HTML is accounted for.
    at: usize,
    placed: BTreeSet<usize>,
    composes: bool,
    esi: bool,
}

impl Reading<'_> {
    fn segments(&mut self, parts: &[Segment]) {
        for segment in parts {
            match segment {
                Segment::Text(text) => self.text(text),
                Segment::Slot(_, inside) => self.segments(inside),
                Segment::Fragment(index) => {
                    assert!(self.placed.insert(*index), "{index} has two places");
                    let fragment = &self.response.fragments[*index];
                    assert!(match &fragment.source {
                        FragmentSource::Nested(name, _) => &**name == "weather" && self.composes,
                        FragmentSource::Included { .. } => self.esi,
                        _ => false,
                    });
                    self.segments(&fragment.fallback);
                    let mut left = direct(&fragment.fallback);
                    for index in fragment.fills.values().flat_map(|parts| direct(parts)) {
                        assert!(left.remove(&index), "{index} fills two slots, or is not in the fallback");
                    }
                }
                Segment::When(_, inside) if self.esi => self.segments(inside),
                Segment::Try(attempt, except) if self.esi => {
                    [attempt, except].into_iter().for_each(|parts| self.segments(parts));
                }
                Segment::Value(index) if self.esi => assert!(*index < self.response.values.len()),
                _ => panic!("{segment:?} cannot be in a response"),
            }
        }
    }

    /// Checks that a text is a slice of the HTML and not a copy, and that only our own tags were left out before it.
    fn text(&mut self, text: &Bytes) {
        let start = text.as_ptr() as usize - self.html.as_ptr() as usize;
        assert!(start + text.len() <= self.html.len(), "it is not a slice of this text");
        // ESI may reorder segments, and leaves much out.
        assert!(self.esi || start >= self.at, "{start} is before {}", self.at);
        self.left_out(start);
        assert!(std::str::from_utf8(text).is_ok(), "a character is split");
        self.at = start + text.len();
    }

    fn left_out(&self, until: usize) {
        if self.esi {
            return;
        }
        let between = std::str::from_utf8(&self.html[self.at..until]).expect("no character is split");
        our_tags(between, &["fragment", "slot"]);
        // Without nested fragments, only end tags that close nothing are left out.
        assert!(self.composes || between.is_empty() || between.starts_with("</"), "`{between}` is lost");
    }
}
