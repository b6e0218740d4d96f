//! Parts that arrive late and take their places in the page: markers around a place, and behind all
//! that a reader sees a template for each. Browsers that know the HTML standard's out-of-order
//! streaming need nothing else; for others the same short script stands behind each template.

use bytes::Bytes;

use super::scripts::Script;

/// The names of a page's late parts. No fragment can guess them, and so take another's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    salt: u64,
    script: &'static Script,
}

impl Names {
    pub(crate) const fn new(salt: u64, script: &'static Script) -> Self {
        Self { salt, script }
    }

    /// What stands before a place's placeholder,
    pub(crate) fn begin(self, hole: usize) -> Bytes {
        Bytes::from(format!("<?start name=\"pasteup:{:016x}:{hole}\">", self.salt))
    }

    /// and behind it.
    pub(crate) const fn end() -> Bytes {
        Bytes::from_static(b"<?end>")
    }

    /// What ends a paragraph that may be open: in it, a template would be for that alone. Nobody sees it.
    pub(crate) const fn end_paragraph() -> Bytes {
        Bytes::from_static(b"<dialog></dialog>")
    }

    /// What stands before a late part,
    pub(crate) fn open(self, hole: usize) -> Bytes {
        Bytes::from(format!("<template for=\"pasteup:{:016x}:{hole}\">", self.salt))
    }

    /// and behind it.
    pub(crate) fn close(self) -> Bytes {
        Bytes::from(format!("</template><script>{}</script>", self.script.text))
    }
}
