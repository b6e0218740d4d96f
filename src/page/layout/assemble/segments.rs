//! Builds the segments of a composition: adjacent bytes become one segment.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::layout::template::segment::Segment;

/// Segments in order, and the bytes that the next one begins with.
#[derive(Default)]
pub(super) struct SegmentBuilder {
    done: Vec<Segment>,
    text: Vec<u8>,
}

impl SegmentBuilder {
    pub(super) fn text(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.flush();
        self.done.push(segment);
    }

    pub(super) fn prepend_all(&mut self, other: Self) {
        self.flush();
        self.done.splice(0..0, other.finish().iter().cloned());
    }

    pub(super) fn finish(mut self) -> Arc<[Segment]> {
        self.flush();
        self.done.into()
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.done.push(Segment::Text(Bytes::from(std::mem::take(&mut self.text))));
        }
    }
}
