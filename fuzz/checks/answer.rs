//! What holds for HTML in which a nanoservice asks for other fragments.

use std::collections::BTreeSet;

use bytes::Bytes;
use pasteup::page::layout::{Composition, FragmentSource, Segment};
use pasteup::page::manifest::Manifest;
use pasteup::page::source::diagnostic::Source;

use super::{direct, our_tags};

/// Takes a text for what each of two nanoservices answers: one that combines others, and one that does not.
pub(crate) fn check(text: &str) {
    let html = Bytes::copy_from_slice(text.as_bytes());
    let composing = "composes = [\"weather\"]";
    for (composes, esi) in [("", false), (composing, false), ("", true), (composing, true)] {
        let manifest = format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:1/\"\n{composes}\n");
        let (manifest, problems) = Manifest::parse(&Source::new("a.toml", manifest));
        let manifest = manifest.unwrap_or_else(|| panic!("{problems:?}"));
        let Some(answer) = Composition::of_response(&html, &manifest, esi) else { continue };
        let mut reading =
            Reading { html: &html, answer: &answer, at: 0, met: BTreeSet::new(), combines: !composes.is_empty(), esi };
        reading.parts(&answer.parts);
        reading.left_out(html.len());
        assert_eq!(reading.met.len(), answer.fragments.len(), "a fragment stands nowhere");
        assert!(esi || reading.combines || answer.fragments.is_empty(), "it asks for what it may not");
        assert!(esi || (answer.conditions.is_empty() && answer.values.is_empty() && !answer.has_tries));
        assert!(answer.mistake.as_ref().is_none_or(|mistake| !mistake.is_empty()));
        assert!(answer.size() < 4096 + 4096 * text.len(), "{} bytes for {}", answer.size(), text.len());
    }
}

/// Goes over an answer's parts in the order of its HTML.
struct Reading<'a> {
    html: &'a Bytes,
    answer: &'a Composition,
    /// How far the HTML is accounted for.
    at: usize,
    met: BTreeSet<usize>,
    combines: bool,
    esi: bool,
}

impl Reading<'_> {
    fn parts(&mut self, parts: &[Segment]) {
        for part in parts {
            match part {
                Segment::Text(text) => self.text(text),
                Segment::Slot(_, inside) => self.parts(inside),
                Segment::Fragment(index) => {
                    assert!(self.met.insert(*index), "{index} stands in two places");
                    let fragment = &self.answer.fragments[*index];
                    assert!(match &fragment.service {
                        FragmentSource::Wanted(name, _) => &**name == "weather" && self.combines,
                        FragmentSource::Included { .. } => self.esi,
                        _ => false,
                    });
                    self.parts(&fragment.fallback);
                    let mut left = direct(&fragment.fallback);
                    for index in fragment.fills.values().flat_map(|parts| direct(parts)) {
                        assert!(left.remove(&index), "{index} fills two slots, or stands elsewhere");
                    }
                }
                Segment::When(_, inside) if self.esi => self.parts(inside),
                Segment::Try(attempt, except) if self.esi => {
                    [attempt, except].into_iter().for_each(|parts| self.parts(parts));
                }
                Segment::Value(index) if self.esi => assert!(*index < self.answer.values.len()),
                _ => panic!("{part:?} is of no answer"),
            }
        }
    }

    /// A piece of the HTML, not a copy of it; what stands before it and was left out is our own.
    fn text(&mut self, text: &Bytes) {
        let start = text.as_ptr() as usize - self.html.as_ptr() as usize;
        assert!(start + text.len() <= self.html.len(), "it is not of this text");
        // ESI may put last what was written first, and leaves much out.
        assert!(self.esi || start >= self.at, "{start} comes behind {}", self.at);
        self.left_out(start);
        assert!(std::str::from_utf8(text).is_ok(), "a character is cut up");
        self.at = start + text.len();
    }

    fn left_out(&self, until: usize) {
        if self.esi {
            return;
        }
        let between = std::str::from_utf8(&self.html[self.at..until]).expect("whole characters");
        our_tags(between, &["fragment", "slot"]);
        // Of one that combines nothing all stays but what closes nothing.
        assert!(self.combines || between.is_empty() || between.starts_with("</"), "`{between}` is lost");
    }
}
