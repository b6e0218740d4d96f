//! The parts of a page while they are put together: neighbouring bytes become one.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::layout::template::composition::Segment;

/// Joins neighbouring bytes.
#[derive(Default)]
pub(crate) struct Parts {
    done: Vec<Segment>,
    text: Vec<u8>,
}

impl Parts {
    pub(crate) fn text(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    pub(crate) fn push(&mut self, part: Segment) {
        self.flush();
        self.done.push(part);
    }

    pub(crate) fn prepend(&mut self, part: Segment) {
        self.flush();
        self.done.insert(0, part);
    }

    pub(crate) fn prepend_all(&mut self, other: Self) {
        self.flush();
        self.done.splice(0..0, other.finish().iter().cloned());
    }

    pub(crate) fn flush(&mut self) {
        if !self.text.is_empty() {
            self.done.push(Segment::Text(Bytes::from(std::mem::take(&mut self.text))));
        }
    }

    pub(crate) fn finish(mut self) -> Arc<[Segment]> {
        self.flush();
        self.done.into()
    }
}
