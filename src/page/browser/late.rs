//! Markup for parts that arrive late: markers around each placeholder, and at the end of the page a template per part.
//! Browsers that support the out-of-order streaming of the HTML standard need nothing else. For others, a short script
//! follows each template.

use bytes::Bytes;

use super::scripts::Script;

/// The names of a page's late parts. They are unpredictable, so that no fragment can take the place of another part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    salt: u64,
    script: &'static Script,
}

impl Names {
    pub(crate) const fn new(salt: u64, script: &'static Script) -> Self {
        Self { salt, script }
    }

    /// The marker before a placeholder.
    pub(crate) fn begin(self, part: usize) -> Bytes {
        Bytes::from(format!("<?start name=\"pasteup:{:016x}:{part}\">", self.salt))
    }

    /// The marker after a placeholder.
    pub(crate) const fn end() -> Bytes {
        Bytes::from_static(b"<?end>")
    }

    /// The end of a paragraph that the layout left open. In it, a template would apply only to the paragraph.
    pub(crate) const fn end_paragraph() -> Bytes {
        Bytes::from_static(b"</p>")
    }

    /// The markup before a late part.
    pub(crate) fn open(self, part: usize) -> Bytes {
        Bytes::from(format!("<template for=\"pasteup:{:016x}:{part}\">", self.salt))
    }

    /// The markup after a late part.
    pub(crate) fn close(self) -> Bytes {
        Bytes::from(format!("</template><script>{}</script>", self.script.text))
    }
}
