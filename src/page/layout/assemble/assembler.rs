//! The state of a page while it is assembled. The other files of this folder each add some of its methods.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::page::layout::syntax::file::LayoutFile;
use crate::page::layout::syntax::front_matter::Title;
use crate::page::layout::template::fragment::FragmentUse;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::upstreams::Allowed;
use crate::page::source::diagnostic::{Diagnostic, Located};
use crate::page::source::names::Name;
use crate::page::visit::route::Pattern;

use super::esi::SegmentTables;
use super::frames::Frames;
use super::ids::IdSource;
use super::places::Places;

/// The context in which a layout is assembled.
pub struct AssemblyContext<'a> {
    /// All files below `layouts/`, by their path there.
    pub files: &'a BTreeMap<String, LayoutFile>,
    /// The nanoservices.
    pub catalogue: &'a Catalogue,
    /// The names whose manifests have errors, each with its file.
    pub broken_manifests: &'a BTreeMap<String, String>,
    /// The upstreams that `src` may name.
    pub allowed: &'a [Allowed],
    /// Maximum number of partials on a page.
    pub max_includes: usize,
    /// Maximum number of fragments on a page.
    pub max_fragments: usize,
    /// The locales of the site.
    pub locales: &'a [String],
    /// The time limit of a page that states none.
    pub budget: Duration,
}

/// A page while it is assembled.
pub(super) struct Assembler<'a> {
    pub(super) context: &'a AssemblyContext<'a>,
    pub(super) page: &'a LayoutFile,
    /// The routes that it is served on.
    pub(super) routes: &'a [Located<Pattern>],
    /// The page and the frames around it.
    pub(super) frames: Frames<'a>,
    /// The index of the file among them that is being walked.
    pub(super) level: usize,
    pub(super) problems: Vec<Diagnostic>,
    /// The fragments in document order; `None` while the content of one is being walked.
    pub(super) fragments: Vec<Option<FragmentUse>>,
    pub(super) tables: SegmentTables,
    /// The files that are being walked: one of the page and its frames, a partial of it, a partial of that.
    pub(super) files: Vec<&'a LayoutFile>,
    /// The number of partials so far.
    pub(super) includes: usize,
    /// The number of open elements of the compositor.
    pub(super) depth: usize,
    /// The number of open fragments. Their content is a fallback, and never part of the head.
    pub(super) fallbacks: usize,
    /// The slots that fragments fill, by the index of the fragment.
    pub(super) slots: BTreeMap<usize, Name>,
    /// The sources of the fragments' ids, in document order.
    pub(super) ids: Vec<IdSource>,
    /// The page's title.
    pub(super) title: Option<&'a Title>,
    pub(super) places: Places,
    /// The number of the next title or insertion point, as [`Places`] counts them.
    pub(super) next_place: usize,
    /// Whether the content of the page's head is being walked.
    pub(super) in_heads: bool,
}

impl<'a> Assembler<'a> {
    /// Begins to assemble a layout for the routes of a page.
    pub(super) fn new(
        page: &'a LayoutFile,
        routes: &'a [Located<Pattern>],
        frames: Frames<'a>,
        context: &'a AssemblyContext<'a>,
    ) -> Self {
        Self {
            context,
            page,
            routes,
            problems: page.problems.iter().chain(&frames.problems).cloned().collect(),
            title: frames.title(),
            places: Places::of(&frames, context),
            next_place: 0,
            in_heads: false,
            files: vec![frames.levels[0]],
            frames,
            level: 0,
            fragments: Vec::new(),
            tables: SegmentTables::default(),
            includes: 0,
            depth: 0,
            fallbacks: 0,
            slots: BTreeMap::new(),
            ids: Vec::new(),
        }
    }
}
